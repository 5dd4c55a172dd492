"""The network of a recipe: what trains, in which precision, with which loss."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2 import MobileNetV2
from tasks.classification.model import build_model, compile_model
from tasks.classification.recipes import RECIPES, ClassificationRecipe

BASE = ClassificationRecipe(height=32, width=32, alpha=0.35, dropout=0.0, optimizer="adam")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Path of a trained-looking network with 5 classes, and the network."""
    keras.utils.set_random_seed(1)
    model = MobileNetV2((32, 32, 3), alpha=0.35, classes=5, include_preprocessing=True)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    path = tmp_path_factory.mktemp("weights") / "five.keras"
    model.save(path)
    return path, model


def changed(model, recipe):
    """Names of the layers whose weights a step of training changes."""
    before = {v.path: v.numpy() for v in model.weights}
    compile_model(model, recipe)
    images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    model.train_on_batch(images, np.eye(4, model.output_shape[-1], dtype=np.float32))
    return {v.path.split("/")[0] for v in model.weights if np.any(before[v.path] != v.numpy())}


def test_all_but_the_head_of_another_class_count_is_loaded(weights):
    path, original = weights
    model = build_model(dataclasses.replace(BASE, init_weights=str(path)), num_classes=3)
    assert model.output_shape == (None, 3)
    for mine, theirs in zip(model.weights[:-2], original.weights[:-2], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    same = build_model(dataclasses.replace(BASE, init_weights=str(path)), num_classes=5)
    np.testing.assert_array_equal(same.weights[-2], original.weights[-2])


def test_a_backbone_leaves_the_head_alone(weights):
    path, original = weights
    recipe = dataclasses.replace(BASE, backbone_weights=str(path))
    model = build_model(recipe, num_classes=5)
    np.testing.assert_array_equal(model.weights[-3], original.weights[-3])
    assert not np.array_equal(model.weights[-2], original.weights[-2])


@pytest.mark.parametrize(
    ("fields", "trained"),
    [
        ({"train_from": "predictions"}, {"predictions"}),
        ({"train_from": "Conv_1"}, {"Conv_1", "Conv_1_bn", "predictions"}),
        ({"train_from": "Conv_1", "freeze_bn": True}, {"Conv_1", "predictions"}),
    ],
)
def test_only_what_is_after_the_named_block_trains(fields, trained, weights):
    recipe = dataclasses.replace(BASE, init_weights=str(weights[0]), weight_decay=0.1, **fields)
    assert changed(build_model(recipe, num_classes=3), recipe) == trained


def test_blocks_are_told_apart_by_their_whole_name(weights):
    """block_1 is not block_10 to block_16."""
    recipe = dataclasses.replace(BASE, init_weights=str(weights[0]), train_from="block_1")
    model = build_model(recipe, num_classes=3)
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    assert frozen == [
        *("Conv1", "bn_Conv1", "expanded_conv_depthwise", "expanded_conv_depthwise_BN"),
        *("expanded_conv_project", "expanded_conv_project_BN"),
    ]
    everything = dataclasses.replace(recipe, train_from="Conv1")
    assert all(layer.trainable for layer in build_model(everything, 3).layers if layer.weights)


def test_the_paper_network():
    model = build_model(dataclasses.replace(RECIPES["imagenet_paper"], height=32, width=32), 1000)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 3_504_872
    regularized = {x.name for x in model.layers if getattr(x, "kernel_regularizer", None)}
    assert {"Conv1", "block_3_expand", "block_3_project", "Conv_1", "predictions"} <= regularized
    assert not any(getattr(x, "depthwise_regularizer", None) for x in model.layers)
    kernel = model.get_layer("Conv1").kernel
    assert float(kernel.regularizer(kernel)) == pytest.approx(
        4e-5 * float(tf.nn.l2_loss(kernel.value)), rel=1e-4
    )


def test_the_recipe_reaches_the_network():
    recipe = dataclasses.replace(
        BASE,
        dropout=0.3,
        bn_momentum=0.9,
        label_smoothing=0.2,
        precision="mixed_bfloat16",
        jit_compile=True,
    )
    model = build_model(recipe, num_classes=4)
    compile_model(model, recipe)
    assert model.get_layer("dropout").rate == 0.3
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {x.momentum for x in norms} == {0.9}
    assert model.loss.label_smoothing == 0.2 and model.jit_compile is True
    assert model.get_layer("Conv1").compute_dtype == "bfloat16"
    assert model.get_layer("predictions").compute_dtype == "float32"


def test_initial_kernels_have_the_deviation_asked_for():
    """Normal values, cut off at twice the deviation, in the classifier too."""
    model = build_model(dataclasses.replace(BASE, initial_stddev=0.3), num_classes=50)
    kernels = [v.numpy() for v in model.weights if v.name.endswith("kernel")]
    assert len(kernels) == 53
    for kernel in kernels:
        # 0.88 of the deviation is left; small kernels scatter.
        assert 0.22 < kernel.std() < 0.31 and 0.4 < np.abs(kernel).max() <= 0.6
    assert np.abs(kernels[-1] - kernels[-1][0]).max() > 0.4
    glorot = build_model(BASE, num_classes=50).get_layer("predictions").kernel
    assert np.abs(glorot).max() <= (6 / (1280 + 50)) ** 0.5


def test_the_loss_is_that_of_the_logits():
    """Of probabilities that underflow there is neither a loss nor a gradient any more."""
    recipe = dataclasses.replace(BASE, optimizer="sgd", momentum=0.0, weight_decay=0.0)
    recipe = dataclasses.replace(recipe, schedule="constant", learning_rate=0.5)
    model = build_model(recipe, num_classes=2)
    kernel, bias = model.get_layer("predictions").weights
    kernel.assign(tf.zeros_like(kernel))
    bias.assign([0.0, 500.0])
    compile_model(model, recipe)
    images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    loss = model.train_on_batch(images, np.eye(2, dtype=np.float32)[[0] * 4])
    assert loss == pytest.approx(500.0)
    np.testing.assert_allclose(bias, [0.5, 499.5])


@functools.cache
def losses(precision, jit_compile):
    """Of the first three updates of alpha 0.35 at 96 x 96, on pictures that tell four classes.

    At this rate they fall by a tenth, and rounding is not yet amplified by what is learnt from it.
    Steps that loss scaling skips update nothing.
    """
    recipe = ClassificationRecipe(
        alpha=0.35,
        height=96,
        width=96,
        dropout=0.0,
        zero_init_residual=True,
        optimizer="sgd",
        momentum=0.0,
        learning_rate=1e-4,
        schedule="constant",
        precision=precision,
        jit_compile=jit_compile,
    )
    keras.utils.set_random_seed(0)
    model = build_model(recipe, num_classes=4)
    compile_model(model, recipe)
    classes = np.arange(8) % 4
    rows, columns = np.mgrid[0:96, 0:96]
    images = np.random.default_rng(0).integers(0, 64, (8, 96, 96, 3))
    images[..., 0] += rows * (classes % 2)[:, np.newaxis, np.newaxis]
    images[..., 1] += columns * (classes // 2)[:, np.newaxis, np.newaxis]
    labels = np.eye(4, dtype=np.float32)[classes]
    found = {}
    for _ in range(20):
        updates = int(model.optimizer.iterations)
        found[updates] = float(model.train_on_batch(images.astype(np.uint8), labels))
        if len(found) == 3:
            break
    # Neither option was ignored.
    assert model.get_layer("Conv1").compute_dtype == precision.removeprefix("mixed_")
    assert model.jit_compile is jit_compile
    return [found[updates] for updates in range(3)]


@pytest.mark.parametrize(
    ("precision", "jit_compile", "tolerance"),
    [
        ("float32", True, 2e-3),
        ("mixed_bfloat16", False, 0.03),
        ("mixed_bfloat16", True, 0.03),
        ("mixed_float16", False, 0.01),
        ("mixed_float16", True, 0.01),
    ],
)
def test_precision_and_compiler_do_not_change_the_training(precision, jit_compile, tolerance):
    expected = losses("float32", False)
    assert expected[0] > expected[1] > expected[2] and expected[2] < 0.92 * expected[0]
    np.testing.assert_allclose(losses(precision, jit_compile), expected, rtol=tolerance)

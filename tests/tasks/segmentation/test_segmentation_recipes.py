"""Recipes of segmentation: what they refuse and what they say of the original training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_mnv2.segmentation import with_output_stride
from tasks.common.optimization import learning_rate_schedule
from tasks.segmentation.model import at_crop_size, build_model, compile_model
from tasks.segmentation.recipes import RECIPES, SegmentationRecipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output_stride": 4}, "output_stride=4 must be 8, 16 or 32"),
        (
            {"height": 512},
            "height=512 must be a multiple of the output stride 16 plus 1, such as 513",
        ),
        ({"width": 1}, "width=1 must be a multiple of the output stride 16 plus 1, such as 17"),
        ({"height": 505, "output_stride": 16}, "such as 513"),
        ({"evaluation_output_stride": 4}, "evaluation_output_stride=4 must be 8, 16 or 32"),
        ({"evaluation_output_stride": 32, "height": 497}, "multiple of the output stride 32 plus"),
        ({"crop_width": 100}, "crop_width=100 must be a multiple of the output stride 16 plus 1"),
        ({"top_k_percent_pixels": 25.0}, "top_k_percent_pixels=25.0"),
        ({"max_scale": 0.25}, "max_scale=0.25 must be at least min_scale"),
        ({"separable_aspp": True}, "separable_aspp=True"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"ignore_label": 256}, "ignore_label=256"),
        ({"last_layer_rate": 0.0}, "last_layer_rate=0.0"),
    ],
)
def test_values_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        SegmentationRecipe(**fields)


def test_the_voc_recipe_is_the_original_one():
    """research/deeplab/train.py, common.py and the comments there."""
    recipe = RECIPES["voc_trainaug"]
    expected = {
        "train_split": "train_aug",
        "validation_split": "val",
        "backbone_weights": "imagenet",
        "batch_size": 16,
        "train_steps": 30_000,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 4e-5,
        "bn_momentum": 0.997,
        "head_bn_momentum": 0.9997,
        "freeze_bn": False,
        "size": (513, 513),
        "crop_size": (513, 513),
        "alpha": 1.0,
        "output_stride": 16,
        "aspp": False,
        "dropout": 0.1,
        "min_scale": 0.5,
        "max_scale": 2.0,
        "scale_step": 0.25,
        "flip": True,
        "photometric": False,
        "last_layer_rate": 1.0,
        "top_k_percent_pixels": 1.0,
        "warmup_steps": 0,
        "moving_average_decay": None,
    }
    assert {name: getattr(recipe, name) for name in expected} == expected
    schedule = learning_rate_schedule(recipe)
    steps = np.array([0, 10_000, 29_999])
    expected = 0.007 * (1 - steps / 30_000) ** 0.9
    np.testing.assert_allclose([float(schedule(step)) for step in steps], expected, rtol=1e-3)


@pytest.mark.parametrize(("aspp", "parameters"), [(False, 2_113_557), (True, 4_523_541)])
def test_the_network_is_that_of_the_paper(aspp, parameters):
    recipe = dataclasses.replace(RECIPES["voc_trainaug"], aspp=aspp, backbone_weights=None)
    model = build_model(recipe, num_classes=21)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == parameters
    regularized = {
        layer.name for layer in model.layers if getattr(layer, "kernel_regularizer", None)
    }
    assert {"Conv1", "block_3_expand", "aspp0", "concat_projection", "logits"} <= regularized
    # As slim: depthwise kernels carry no weight decay.
    assert not any(getattr(layer, "depthwise_regularizer", None) for layer in model.layers)


def test_training_crops_go_through_the_layers_of_the_whole_images():
    recipe = dataclasses.replace(
        RECIPES["shapes"], height=65, width=97, crop_height=33, crop_width=None
    )
    model = build_model(recipe, 3)
    trainer = at_crop_size(model, recipe)
    assert model.input_shape == (None, 65, 97, 3) and trainer.input_shape == (None, 33, 97, 3)
    variables = [id(variable) for variable in model.variables]
    assert [id(variable) for variable in trainer.variables] == variables
    images = np.random.default_rng(0).integers(0, 256, (2, 33, 97, 3), np.uint8)
    expected = with_output_stride(model, input_shape=(33, 97, 3))(images)
    np.testing.assert_array_equal(trainer(images), expected)
    whole = dataclasses.replace(recipe, crop_height=None)
    assert at_crop_size(model, whole) is model


def test_the_last_layer_has_a_rate_of_its_own():
    recipe = dataclasses.replace(
        RECIPES["shapes"],
        height=33,
        width=33,
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        learning_rate=0.1,
        warmup_steps=0,
        dropout=0.0,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 33, 33, 3), np.uint8)
    masks = rng.integers(0, 3, (2, 33, 33, 1), np.uint8)

    def moves(last_layer_rate):
        model = build_model(dataclasses.replace(recipe, last_layer_rate=last_layer_rate), 3)
        values = np.random.default_rng(1)
        for variable in model.trainable_variables:
            variable.assign(values.normal(0.2, 0.1, variable.shape))
        before = [variable.numpy() for variable in model.trainable_variables]
        compile_model(model, dataclasses.replace(recipe, last_layer_rate=last_layer_rate))
        model.train_on_batch(images, masks)
        after = [variable.numpy() for variable in model.trainable_variables]
        return [new - old for new, old in zip(after, before, strict=True)]

    once, thrice = moves(1.0), moves(3.0)
    np.testing.assert_allclose(thrice[-2], 3 * once[-2], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(thrice[-1], 3 * once[-1], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(thrice[0], once[0], rtol=1e-3, atol=1e-6)
    # The bias has twice the rate of the last layer: with softmax the gradient of the bias is known.
    model = build_model(recipe, 3)
    model.get_layer("logits").kernel.assign(np.zeros(model.get_layer("logits").kernel.shape))
    compile_model(model, recipe)
    model.train_on_batch(images, masks)
    share = np.bincount(masks.ravel(), minlength=3) / masks.size
    np.testing.assert_allclose(
        model.get_layer("logits").bias, 2 * 0.1 * (share - 1 / 3), rtol=1e-3, atol=1e-6
    )

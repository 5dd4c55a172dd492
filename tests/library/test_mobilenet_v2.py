"""MobileNetV2 against keras.applications, and its own options."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

from keras_mnv2 import MobileNetV2
from keras_mnv2.mobilenet_v2 import make_divisible

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Weights with lively statistics, so that no layer is an accidental identity."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0.0, 0.1, weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            value = 1.0 + np.abs(value)
        elif weight.name == "kernel":
            value = rng.normal(0.0, 1.0, weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(value)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equals_keras_applications(alpha):
    size = 96
    theirs = keras.applications.MobileNetV2((size, size, 3), alpha=alpha, weights=None)
    ours = MobileNetV2((size, size, 3), alpha=alpha)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    randomize(theirs)
    ours.set_weights(theirs.get_weights())
    images = random_images(2, size, size, 3)
    features = keras.Model(ours.input, [ours.get_layer("out_relu").output, ours.output])
    expected = keras.Model(theirs.input, [theirs.get_layer("out_relu").output, theirs.output])
    for ours_out, their_out in zip(features(images), expected(images), strict=True):
        np.testing.assert_allclose(ours_out, their_out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(97, 97), (65, 96), (128, 33), (100, 51)])
def test_equals_keras_applications_at_odd_sizes(size):
    theirs = keras.applications.MobileNetV2((*size, 3), alpha=0.35, weights=None, include_top=False)
    ours = MobileNetV2((*size, 3), alpha=0.35, include_top=False)
    open_size = MobileNetV2((None, None, 3), alpha=0.35, include_top=False)
    randomize(theirs)
    ours.set_weights(theirs.get_weights())
    open_size.set_weights(theirs.get_weights())
    images = random_images(1, *size, 3)
    expected = theirs(images)
    np.testing.assert_allclose(ours(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(open_size(images), expected, rtol=1e-4, atol=1e-5)


def test_layer_names_that_code_relies_on():
    names = {layer.name for layer in MobileNetV2((96, 96, 3)).layers}
    theirs = {
        layer.name for layer in keras.applications.MobileNetV2((96, 96, 3), weights=None).layers
    }
    missing = {name for name in theirs - names if not name.endswith("_pad")}
    # Two layers of keras.applications carry automatic names.
    assert missing <= {name for name in missing if "input_layer" in name or "pooling" in name}


@pytest.mark.parametrize(("output_stride", "side"), [(8, 9), (16, 5), (32, 3)])
def test_output_stride_sets_the_feature_size(output_stride, side):
    model = MobileNetV2((65, 65, 3), alpha=0.35, include_top=False, output_stride=output_stride)
    assert model.output_shape == (None, side, side, 1280)


def test_output_stride_keeps_dense_features():
    """Dilation computes at stride 32 what stride computes, and more positions between."""
    coarse = MobileNetV2((64, 64, 3), alpha=0.35, include_top=False)
    fine = MobileNetV2((None, None, 3), alpha=0.35, include_top=False, output_stride=16)
    randomize(coarse)
    fine.set_weights(coarse.get_weights())
    dilations = {
        layer.name: layer.dilation_rate[0]
        for layer in fine.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    }
    assert [dilations[f"block_{i}_depthwise"] for i in (12, 13, 14, 15, 16)] == [1, 1, 2, 2, 2]
    # The center of an image large enough that no border is seen: SAME pads stride 2 at the end,
    # so that position i of the coarse map is position 2i + 1 of the fine one.
    images = random_images(1, 1024, 1024, 3)
    wide = MobileNetV2((1024, 1024, 3), alpha=0.35, include_top=False)
    wide.set_weights(coarse.get_weights())
    expected = np.asarray(wide(images))[0, 15:17, 15:17]
    found = np.asarray(fine(images))[0, 31:35:2, 31:35:2]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_input_tensor_may_be_inside_a_graph():
    image = keras.Input((64, 64, 3))
    inside = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    model = MobileNetV2(input_tensor=inside, alpha=0.35, include_top=False, pooling="avg")
    assert model.inputs[0] is image
    assert model.output_shape == (None, 1280)


def test_preprocessing_is_part_of_the_model():
    plain = MobileNetV2((64, 64, 3), alpha=0.35)
    scaled = MobileNetV2((64, 64, 3), alpha=0.35, include_preprocessing=True)
    scaled.set_weights(plain.get_weights())
    pixels = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = plain(pixels / np.float32(127.5) - 1)
    np.testing.assert_allclose(scaled(pixels), expected, rtol=1e-4, atol=1e-6)


def test_arguments_reach_the_layers():
    model = MobileNetV2(
        (64, 64, 3),
        alpha=0.35,
        classes=7,
        classifier_activation=None,
        dropout=0.3,
        bn_momentum=0.9,
        bn_epsilon=1e-5,
        bn_synchronized=True,
        kernel_regularizer=keras.regularizers.L2(1e-3),
        last_filters=256,
    )
    assert model.output_shape == (None, 7)
    assert model.get_layer("dropout").rate == 0.3
    assert model.get_layer("Conv_1").filters == 256
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.9, 1e-5, True)
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            assert layer.depthwise_regularizer is None
        elif isinstance(layer, keras.layers.Conv2D):
            assert layer.kernel_regularizer is not None
    without_top = MobileNetV2((64, 64, 3), alpha=0.35, dropout=0.3, include_top=False)
    assert "dropout" not in {layer.name for layer in without_top.layers}


@pytest.mark.parametrize("alpha", [0.1, 0.9, 1.05, 2.0])
def test_any_alpha(alpha):
    model = MobileNetV2((33, 47, 3), alpha=alpha, classes=3)
    output = np.asarray(model(random_images(2, 33, 47, 3)))
    np.testing.assert_allclose(output.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("divisor", [1, 4, 8, 16])
def test_make_divisible(divisor):
    for value in np.linspace(0.1, 500, 997):
        rounded = make_divisible(value, divisor)
        assert rounded % divisor == 0 and rounded >= max(divisor, 0.9 * value)
        assert rounded <= value + divisor


def test_divisor_one_gives_the_deeplab_widths():
    model = MobileNetV2((64, 64, 3), alpha=0.5, divisor=1, include_top=False)
    assert model.get_layer("block_1_project").filters == 12
    assert model.get_layer("block_3_project").filters == 16


def test_mixed_precision_ends_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = MobileNetV2((64, 64, 3), alpha=0.35, classes=5)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("Conv1").compute_dtype == "bfloat16"
    assert model(random_images(1, 64, 64, 3)).dtype == "float32"


def test_saved_model_loads(tmp_path):
    model = MobileNetV2((64, 64, 3), alpha=0.35, classes=5, include_preprocessing=True)
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = 255 * np.abs(random_images(1, 64, 64, 3))
    np.testing.assert_array_equal(loaded(images), model(images))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(images), model(images))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"alpha": 0}, "alpha=0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"output_stride": 4}, "output_stride=4"),
        ({"divisor": 0}, "divisor=0"),
        ({"pooling": "sum"}, "pooling='sum'"),
        ({"classes": 0}, "classes=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"input_shape": (224, 224)}, "input_shape=(224, 224)"),
        ({"input_shape": (224, 0, 3)}, "input_shape=(224, 0, 3)"),
        ({"input_shape": (224, 224, None)}, "input_shape=(224, 224, None)"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "input_tensor"),
        ({"weights": "no/such/file.h5"}, "no/such/file.h5"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        MobileNetV2(**arguments)

"""Activation memory, against numbers worked out by hand. One image of 8x8 pixels."""

from __future__ import annotations

import keras
import pytest

from keras_mnv2 import BatchNormalization, MobileNetV2
from keras_mnv2.complexity import count

layers = keras.layers
PIXELS = 4 * 64  # bytes of one channel


def conv(channels: int, name: str, strides: int = 1):
    return layers.Conv2D(channels, 1, strides=strides, name=name)


@pytest.fixture
def image():
    return keras.Input((8, 8, 1))


def live_channels(model: keras.Model) -> dict[str, float]:
    return {name: size / PIXELS for name, size in count(model).live_bytes.items()}


def test_a_chain(image):
    """Input and output of each layer, and the image all the time."""
    model = keras.Model(image, conv(5, "c")(conv(3, "b")(conv(2, "a")(image))))
    assert live_channels(model) == {"a": 1 + 2, "b": 1 + 2 + 3, "c": 1 + 3 + 5}
    found = count(model)
    assert found.peak_activation_bytes == 9 * PIXELS
    assert found.peak_activation_layer == "c"


@pytest.mark.parametrize("normalization", [BatchNormalization, layers.BatchNormalization])
def test_normalization_and_activation_belong_to_the_convolution(image, normalization):
    x = conv(4, "a")(image)
    x = layers.ReLU(6.0, name="relu")(normalization(name="bn")(x))
    assert live_channels(keras.Model(image, x)) == {"a": 5, "bn": 5, "relu": 5}


def test_what_is_read_later_is_not_overwritten(image):
    x = conv(4, "a")(image)
    y = layers.ReLU(name="relu")(x)
    model = keras.Model(image, layers.Add(name="add")([x, y]))
    assert live_channels(model) == {"a": 5, "relu": 9, "add": 9}
    # The image is never overwritten, what the model returns neither.
    model = keras.Model(image, layers.ReLU(name="relu")(image))
    assert live_channels(model) == {"relu": 2}
    model = keras.Model(image, [x, y])
    assert live_channels(model) == {"a": 5, "relu": 9}


def test_a_residual_block_keeps_its_input(image):
    x = conv(2, "a")(image)
    y = conv(2, "c")(conv(6, "b")(x))
    model = keras.Model(image, conv(1, "d")(layers.Add(name="add")([x, y])))
    assert live_channels(model) == {"a": 3, "b": 9, "c": 11, "add": 5, "d": 4}


def test_branches_run_one_after_the_other(image):
    """Depth first, while Keras runs layer 1 of both branches before layer 2 of either."""
    branches = [conv(1, f"{name}2")(conv(10, f"{name}1")(image)) for name in "ab"]
    model = keras.Model(image, layers.Concatenate(name="both")(branches))
    expected = {"a1": 11, "a2": 12, "b1": 12, "b2": 13, "both": 5}
    assert live_channels(model) == expected
    assert list(live_channels(model)) == list(expected)


def test_reshaped_and_dropped_tensors_stay_where_they_are(image):
    x = layers.Dropout(0.5)(conv(4, "a")(image))
    x = layers.Flatten(name="flat")(layers.Reshape((16, 16), name="rows")(x))
    assert live_channels(keras.Model(image, x)) == {"a": 5, "rows": 5, "flat": 5}


def test_models_in_models_and_operations(image):
    inner = keras.Sequential([conv(6, "a"), conv(2, "b")], name="inner")
    x = inner(image)
    x = keras.ops.concatenate([x, x * 2.0], axis=-1)
    model = keras.Model(image, conv(1, "c")(x))
    found = live_channels(model)
    assert (found["a"], found["b"], found["c"]) == (7, 9, 6)
    assert "inner" not in found
    assert max(found.values()) == 9 == 1 + 2 + 2 + 4


def test_of_a_layer_called_twice_the_larger_number_counts(image):
    shared = conv(1, "shared")
    model = keras.Model(image, layers.Concatenate(name="both")([shared(image), shared(image)]))
    assert live_channels(model) == {"shared": 3, "both": 5}


def test_subclassed_models_run_in_their_own_order():
    class Chain(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(3, "a"), conv(2, "b")

        def call(self, x):
            return self.second(self.first(x))

    model = Chain()
    model(keras.ops.zeros((1, 8, 8, 1)))
    found = count(model, (8, 8, 1))
    assert found.live_bytes == {"a": 4 * PIXELS, "b": 6 * PIXELS}


def test_mobilenet_v2():
    """The first block that expands, at its depthwise convolution (Table 2 of the paper)."""
    found = count(MobileNetV2(alpha=1.0))
    image, expanded, depthwise = 224 * 224 * 3, 112 * 112 * 96, 56 * 56 * 96
    assert found.peak_activation_layer == "block_1_depthwise"
    assert found.peak_activation_bytes == 4 * (image + expanded + depthwise) == 6_623_232

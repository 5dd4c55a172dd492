"""The counts of the paper, and the counter on other Keras models."""

from __future__ import annotations

import keras
import pytest

from keras_mnv2 import MobileNetV2
from keras_mnv2.complexity import count, largest_activations

RESOLUTIONS = (96, 128, 160, 192, 224)
# alpha: (parameters, trainable, without top, multiply-adds at each resolution)
FIGURES = {
    0.35: (1691208, 1677128, 410208, (11934128, 20220672, 30874800, 43896512, 59285808)),
    0.5: (1987224, 1968680, 706224, (18885440, 32578560, 50184000, 71701760, 97131840)),
    0.75: (2663064, 2636424, 1382064, (39445472, 69129728, 107295200, 153941888, 209069792)),
    1.0: (3538984, 3504872, 2257984, (56289152, 99074048, 154083200, 221316608, 300774272)),
    1.3: (5431048, 5386792, 3766048, (94916960, 167447040, 260700000, 374675840, 509374560)),
    1.4: (6156712, 6108776, 4363712, (108396784, 191311616, 297916400, 428211136, 582195824)),
}


@pytest.mark.parametrize("alpha", FIGURES)
def test_published_figures(alpha):
    parameters, trainable, without_top, multiply_adds = FIGURES[alpha]
    model = MobileNetV2((None, None, 3), alpha=alpha)
    for resolution, expected in zip(RESOLUTIONS, multiply_adds, strict=True):
        found = count(model, (resolution, resolution, 3))
        assert (found.parameters, found.trainable_parameters) == (parameters, trainable)
        assert found.multiply_adds == expected
        assert found.uncounted == ()
    assert MobileNetV2(alpha=alpha, include_top=False).count_params() == without_top


def test_every_kind_of_layer():
    """Against numbers worked out by hand, for one 8x8x4 image."""
    image = keras.Input((8, 8, 4))
    layers = keras.layers
    x = layers.Conv2D(6, 3, padding="same", groups=2, name="grouped")(image)
    x = layers.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(3, 2, strides=2, name="transposed")(x)
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same", name="depth")(x)
    x = layers.GlobalAveragePooling2D()(x)
    shared = layers.Dense(6, name="shared")
    model = keras.Model(image, shared(shared(x)))
    found = count(model)
    assert found.layers == {
        "grouped": 64 * 3 * 3 * 2 * 6,
        "separable": 64 * (3 * 3 * 6 + 6 * 5),
        "transposed": 64 * 2 * 2 * 5 * 3,
        "depth": 64 * 3 * 3 * 3 * 2,
        "shared": 2 * 36,
    }
    assert found.multiply_adds == sum(found.layers.values())


def test_nested_and_subclassed_models():
    inner = keras.Sequential([keras.layers.Conv2D(2, 1, use_bias=False, name="inner")])

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return self.inner(self.inner(x))

    model = Twice()
    model(keras.ops.zeros((1, 4, 4, 2)))
    assert count(model, (4, 4, 2)).layers == {"inner": 2 * 16 * 4}


def test_layers_of_unknown_kind_are_named():
    class Custom(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3))

        def call(self, x):
            return x @ self.kernel

    model = keras.Sequential([keras.Input((4,)), Custom(name="mystery")])
    assert count(model).uncounted == ("mystery",)


def test_open_size_is_refused():
    with pytest.raises(ValueError, match="input_shape"):
        count(MobileNetV2((None, None, 3), alpha=0.35))


def test_largest_activations():
    """Against the shapes of the network at 64x64, and of its bottlenecks alone."""
    model = MobileNetV2((None, None, 3), alpha=0.35)
    every_layer = {(32, 32): 48, (16, 16): 48, (8, 8): 96, (4, 4): 192, (2, 2): 1280, (): 1280}
    assert largest_activations(model, (64, 64, 3)) == every_layer
    found = largest_activations(
        model, (64, 64, 3), materialized=lambda layer: layer.name.endswith("_project_BN")
    )
    assert found == {(32, 32): 8, (16, 16): 8, (8, 8): 16, (4, 4): 32, (2, 2): 112}
    with pytest.raises(ValueError, match="input_shape"):
        largest_activations(model)

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mnv2
from keras_mnv2 import complexity
from keras_mnv2.segmentation import PixelwiseCrossEntropy

ASPP = {"aspp_rates": "auto"}


def small(**arguments):
    """A narrow network."""
    defaults = {"num_classes": 5, "input_shape": (65, 65, 3), "alpha": 0.1, "aspp_filters": 8}
    return keras_mnv2.DeepLabV3(**{**defaults, **arguments})


def randomized(**arguments):
    """A narrow network with moving statistics and logits that differ visibly between pixels."""
    # Of the narrowest networks some initial weights let nothing through.
    keras.utils.set_random_seed(0)
    model = small(**arguments)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            low_and_high = ((0.8, 1.2), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5))
            layer.set_weights([random.uniform(*bounds, count) for bounds in low_and_high])
    model.get_layer("logits").set_weights([random.normal(size=(1, 1, 8, 5)), random.normal(size=5)])
    return model


def run(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def images(height=65, width=65, batch=2, seed=0):
    return np.random.default_rng(seed).integers(256, size=(batch, height, width, 3), dtype="uint8")


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("arguments", "trainable", "total", "multiply_adds"),
    [
        ({}, 2_113_557, 2_146_645, 2_740_709_056),
        (ASPP, 4_523_541, 4_558_165, 5_363_508_928),
        ({"output_stride": 8}, 2_113_557, 2_146_645, 8_825_853_632),
        ({**ASPP, "output_stride": 8}, 4_523_541, 4_558_165, 19_001_546_432),
        ({"alpha": 0.5, "divisor": 1}, 697_013, 714_325, 867_496_704),
    ],
)
def test_counts_of_the_specification(arguments, trainable, total, multiply_adds):
    counted = complexity.count(keras_mnv2.DeepLabV3(**arguments))
    assert counted.trainable_parameters == trainable
    assert counted.parameters == total
    assert counted.multiply_adds == multiply_adds
    assert not counted.uncounted


def test_separable_aspp_has_fewer_parameters():
    model = keras_mnv2.DeepLabV3(aspp_rates="auto", separable_aspp=True)
    assert complexity.count(model).trainable_parameters == 2_568_021
    depthwise = model.get_layer("aspp2_depthwise")
    assert depthwise.dilation_rate == (12, 12)
    assert depthwise.depthwise_regularizer is None


@pytest.mark.parametrize(
    ("output_stride", "strided_blocks", "dilations"),
    [
        (32, (1, 3, 6, 13), {}),
        (16, (1, 3, 6), dict.fromkeys((14, 15, 16), 2)),
        (8, (1, 3), {**dict.fromkeys(range(7, 14), 2), **dict.fromkeys((14, 15, 16), 4)}),
    ],
)
def test_strides_become_dilation_of_later_blocks(output_stride, strided_blocks, dilations):
    model = small(output_stride=output_stride)
    for block in range(1, 17):
        layer = model.get_layer(f"block_{block}_depthwise")
        assert layer.strides == ((2, 2) if block in strided_blocks else (1, 1))
        assert layer.dilation_rate == (dilations.get(block, 1),) * 2
    side = 64 // output_stride + 1
    assert model.get_layer("block_16_project_BN").output.shape == (None, side, side, 32)


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))]
)
def test_derived_aspp_rates(output_stride, rates):
    model = small(output_stride=output_stride, **ASPP)
    found = [model.get_layer(f"aspp{index}").dilation_rate for index in (1, 2, 3)]
    assert found == [(rate, rate) for rate in rates]


def test_explicit_aspp_rates_and_none():
    model = small(aspp_rates=(2, 5))
    assert model.get_layer("aspp2").dilation_rate == (5, 5)
    without = [weight.path for weight in small(aspp_rates=None).weights]
    assert [weight.path for weight in small(aspp_rates=()).weights] == without
    assert "aspp0/kernel" in without and "aspp1/kernel" not in without


def test_head_is_that_of_the_original():
    model = small(**ASPP)
    joined = model.get_layer("aspp_concat").input
    prefixes = [tensor._keras_history.operation.name for tensor in joined]
    assert prefixes == [
        "image_pooling_resize",
        "aspp0_relu",
        "aspp1_relu",
        "aspp2_relu",
        "aspp3_relu",
    ]
    assert all(model.get_layer(name).max_value is None for name in prefixes[1:])
    assert model.get_layer("concat_projection_dropout").rate == pytest.approx(0.1)
    assert model.get_layer("concat_projection_BN").epsilon == 1e-5
    assert model.get_layer("block_16_project_BN").epsilon == 1e-3
    assert model.get_layer("logits").use_bias
    assert "Conv_1" not in {layer.name for layer in model.layers}


def test_batch_normalization_of_backbone_and_head():
    model = small(bn_momentum=0.9, head_bn_momentum=0.8, head_bn_epsilon=1e-4)
    assert model.get_layer("bn_Conv1").momentum == 0.9
    assert model.get_layer("aspp0_BN").momentum == 0.8
    assert model.get_layer("aspp0_BN").epsilon == 1e-4
    assert small(bn_momentum=0.9).get_layer("aspp0_BN").momentum == 0.9


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_any_size_fixed_or_open(output_stride):
    open_sizes = randomized(input_shape=(None, None, 3), output_stride=output_stride, **ASPP)
    assert open_sizes.output_shape == (None, None, None, 5)
    in_graph = tf.function(
        open_sizes, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    for size in [(65, 65), (64, 96), (33, 50), (1, 1)]:
        fixed = small(input_shape=(*size, 3), output_stride=output_stride, **ASPP)
        fixed.set_weights(open_sizes.get_weights())
        assert fixed.output_shape == (None, *size, 5)
        x = images(*size)
        np.testing.assert_allclose(in_graph(x), run(fixed, x), atol=1e-4)


def test_takes_rgb_of_any_number_type():
    model = randomized()
    x = images()
    np.testing.assert_allclose(run(model, x.astype("float32")), run(model, x), atol=1e-4)


def test_logits_are_upsampled_with_aligned_corners():
    model = randomized()
    coarse = keras.Model(model.input, model.get_layer("logits").output)
    x = images()
    np.testing.assert_allclose(run(model, x)[:, ::16, ::16], run(coarse, x), atol=1e-4)


def test_weights_of_one_output_stride_serve_the_others(tmp_path):
    trained = randomized(output_stride=16, **ASPP)
    path = tmp_path / "trained.weights.h5"
    trained.save_weights(path)
    x = images()
    for output_stride in (8, 32):
        arguments = {"output_stride": output_stride, "input_shape": (None, None, 3), **ASPP}
        copied = small(**arguments)
        copied.set_weights(trained.get_weights())
        for ours, theirs in zip(copied.weights, trained.weights, strict=True):
            assert ours.path == theirs.path
        expected = run(copied, x)
        np.testing.assert_array_equal(run(small(weights=path, **arguments), x), expected)
        assert np.abs(expected - run(trained, x)).mean() > 1e-3


def test_backbone_weights_are_those_of_the_backbone_alone(tmp_path):
    backbone = keras_mnv2.MobileNetV2((65, 65, 3), alpha=0.1, include_top=False)
    path = tmp_path / "backbone.weights.h5"
    backbone.save_weights(path)
    model = keras_mnv2.DeepLabV3(input_shape=(65, 65, 3), alpha=0.1, backbone_weights=path)
    for layer in model.layers:
        if layer.weights and layer.name.startswith(("Conv1", "bn_", "expanded_conv", "block_")):
            for ours, theirs in zip(
                layer.get_weights(), backbone.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_saved_model_loads_in_a_new_process(tmp_path):
    model = randomized(**ASPP, separable_aspp=True)
    model.compile("sgd", PixelwiseCrossEntropy(top_k_percent_pixels=0.5))
    model.save(tmp_path / "model.keras")
    x = images()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", run(model, x))
    script = """
import sys, numpy as np, keras, keras_mnv2
folder = sys.argv[1]
model = keras.models.load_model(folder + "/model.keras")
assert model.loss.top_k_percent_pixels == 0.5
actual = model(np.load(folder + "/x.npy"), training=False)
np.testing.assert_allclose(actual, np.load(folder + "/y.npy"), atol=1e-4)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
def test_mixed_precision_ends_in_float32(policy):
    model = small(input_shape=(33, 33, 3), **ASPP)
    assert model.get_layer("aspp0").compute_dtype == policy.removeprefix("mixed_")
    assert model.get_layer("logits").compute_dtype == "float32"
    logits = model(images(33, 33))
    assert logits.dtype == tf.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_fits_under_mixed_precision_with_void_images(policy):
    model = small(input_shape=(33, 33, 3))
    labels = np.random.default_rng(0).integers(5, size=(4, 33, 33)).astype("uint8")
    labels[0] = 255
    model.compile(keras.optimizers.SGD(0.1), PixelwiseCrossEntropy(), jit_compile=False)
    history = model.fit(images(33, 33, batch=4), labels, batch_size=2, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("separable", [False, True])
def test_gradient_reaches_every_variable(separable):
    model = small(input_shape=(33, 33, 3), separable_aspp=separable, **ASPP)
    labels = np.random.default_rng(0).integers(5, size=(2, 33, 33)).astype("uint8")
    with tf.GradientTape() as tape:
        loss = PixelwiseCrossEntropy()(labels, model(images(33, 33), training=True))
    variables = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(loss, variables)
    assert all(gradient is not None for gradient in gradients)
    kernels = [
        g for g, v in zip(gradients, model.trainable_weights, strict=True) if "kernel" in v.path
    ]
    assert all(np.abs(gradient).max() > 0 for gradient in kernels)


def test_regularizer_is_on_ordinary_convolutions_only():
    model = small(kernel_regularizer=keras.regularizers.L2(1.0), separable_aspp=True, **ASPP)
    ordinary = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    expected = sum(float(tf.reduce_sum(layer.kernel**2)) for layer in ordinary)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"aspp_filters": 0}, "aspp_filters=0"),
        ({"output_stride": 4}, "output_stride=4"),
        ({"aspp_rates": "some"}, "aspp_rates='some'"),
        ({"aspp_rates": (6, 0)}, "aspp_rates="),
        ({"aspp_rates": 6}, "aspp_rates=6"),
        ({"separable_aspp": True, "aspp_rates": None}, "separable_aspp"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"alpha": 0}, "alpha=0"),
        ({"input_shape": (513, 513)}, "input_shape="),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mnv2.DeepLabV3(**arguments)

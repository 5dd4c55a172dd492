import keras
import numpy as np
import pytest

import keras_mnv2
from keras_mnv2.segmentation import with_output_stride

SMALL = {"num_classes": 5, "input_shape": (65, 49, 3), "alpha": 0.2, "aspp_filters": 8}
AUTO = {"aspp_rates": "auto"}
SEPARABLE = {"aspp_rates": "auto", "separable_aspp": True}


def randomized(**arguments):
    """A narrow network whose outputs depend on all of its weights."""
    model = keras_mnv2.DeepLabV3(**{**SMALL, **arguments})
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            low_and_high = ((0.8, 1.2), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5))
            layer.set_weights([random.uniform(*bounds, count) for bounds in low_and_high])
    return model


def run(model, height=65, width=49):
    images = np.random.default_rng(1).integers(256, size=(1, height, width, 3), dtype="uint8")
    return keras.ops.convert_to_numpy(model(images, training=False))


def assert_same_network(actual, expected):
    """The layers have the same configuration, the weights the same values."""
    for ours, theirs in zip(actual.layers, expected.layers, strict=True):
        if not isinstance(ours, keras.layers.InputLayer):
            assert ours.get_config() == theirs.get_config()
    for ours, theirs in zip(actual.weights, expected.weights, strict=True):
        assert ours.path == theirs.path
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("before", "after", "arguments"),
    [
        (8, 16, AUTO),
        (8, 32, SEPARABLE),
        (16, 8, SEPARABLE),
        (16, 8, {}),
        (16, 32, AUTO),
        (32, 8, AUTO),
        (32, 16, SEPARABLE),
        (16, 16, AUTO),
        # So narrow that two stages have the same number of channels.
        (8, 32, {"alpha": 0.1}),
        (32, 8, {"alpha": 0.1}),
    ],
)
def test_is_the_network_built_at_that_stride(before, after, arguments):
    model = randomized(output_stride=before, **arguments)
    changed = with_output_stride(model, after)
    built = keras_mnv2.DeepLabV3(**{**SMALL, **arguments}, output_stride=after)
    built.set_weights(model.get_weights())
    assert_same_network(changed, built)
    assert changed.name == model.name and changed.input_shape == model.input_shape
    np.testing.assert_array_equal(run(changed), run(built))


def test_only_the_input_shape_changes():
    model = randomized(**AUTO)
    changed = with_output_stride(model, input_shape=(None, None, 3))
    assert_same_network(changed, model)
    assert changed.input_shape == (None, None, None, 3)
    np.testing.assert_allclose(run(changed), run(model), atol=1e-5)
    assert run(changed, 30, 47).shape == (1, 30, 47, 5)
    again = with_output_stride(changed, 8, (65, 49, 3))
    np.testing.assert_array_equal(run(again), run(with_output_stride(model, 8)))


def test_explicit_rates_follow_the_stride():
    model = randomized(aspp_rates=(2, 5))
    finer = with_output_stride(model, 8)
    assert [finer.get_layer(f"aspp{i}").dilation_rate for i in (0, 1, 2)] == [
        (1, 1),
        (4, 4),
        (10, 10),
    ]
    assert_same_network(with_output_stride(finer, 16), model)
    with pytest.raises(ValueError, match="aspp2 has rate 5 at output stride 16.* 2.5"):
        with_output_stride(model, 32)


def test_saved_and_compiled_model(tmp_path):
    model = randomized(**SEPARABLE)
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    changed = with_output_stride(loaded, 8)
    assert not changed.compiled
    np.testing.assert_array_equal(run(changed), run(with_output_stride(model, 8)))
    changed.save(tmp_path / "changed.keras")
    np.testing.assert_array_equal(
        run(keras.models.load_model(tmp_path / "changed.keras")), run(changed)
    )


def test_copy_shares_nothing_and_keeps_what_is_frozen():
    model = randomized(alpha=0.15, divisor=1)
    model.get_layer("block_3_depthwise_BN").trainable = False
    before = run(model)
    changed = with_output_stride(model, 8)
    assert len(changed.trainable_weights) == len(model.trainable_weights)
    assert not changed.get_layer("block_3_depthwise_BN").trainable
    changed.get_layer("logits").bias.assign(np.full(5, 7.0))
    np.testing.assert_array_equal(run(model), before)
    model.trainable = False
    assert not with_output_stride(model, 8).trainable_weights


def test_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = randomized(**AUTO)
    finally:
        keras.config.set_dtype_policy(before)
    changed = with_output_stride(model, 8)
    assert changed.get_layer("aspp0").compute_dtype == "bfloat16"
    assert changed.get_layer("logits").compute_dtype == "float32"
    assert_same_network(with_output_stride(changed, 16), model)


def test_refuses_other_models_and_bad_arguments():
    model = keras_mnv2.DeepLabV3(**SMALL)
    backbone = keras_mnv2.MobileNetV2((33, 33, 3), alpha=0.1, include_top=False)
    for other in (backbone, keras.Sequential(name="wrapped"), "deeplab"):
        with pytest.raises(ValueError, match="is not a DeepLabV3 model"):
            with_output_stride(other, 8)
    for stride in (4, 64, "8"):
        with pytest.raises(ValueError, match="output_stride="):
            with_output_stride(model, stride)
    with pytest.raises(ValueError, match="input_shape="):
        with_output_stride(model, 8, (65, 65))
    with pytest.raises(ValueError, match="weights .* are for 3 channels"):
        with_output_stride(model, 8, (65, 65, 4))

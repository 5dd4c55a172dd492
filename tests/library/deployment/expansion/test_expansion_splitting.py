"""Blocks as sums over groups: the same results, and memory for one group at a time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.complexity import count
from keras_mnv2.deployment.expansion.blocks import expansion_blocks
from keras_mnv2.deployment.expansion.splitting import split_expansion, ways_to_fit

layers = keras.layers
BLOCKS = ["expanded_conv_depthwise", *(f"block_{i}_depthwise" for i in range(1, 17))]


def shuffled(model: keras.Model) -> keras.Model:
    """`model` with normalization statistics that make every mistake visible."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def pictures(model: keras.Model) -> np.ndarray:
    generator = np.random.default_rng(1)
    return generator.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")


def assert_same_outputs(model: keras.Model, other: keras.Model) -> None:
    images = pictures(model)
    expected, found = model(images, training=False), other(images, training=False)
    keras.tree.assert_same_structure(expected, found)
    pairs = zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True)
    for before, after in pairs:
        before, after = np.asarray(before), np.asarray(after)
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * np.abs(before).max())


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    return shuffled(MobileNetV2((64, 64, 3), alpha=0.35, classes=5, include_preprocessing=True))


@pytest.mark.parametrize("ways", [2, 3, {"block_1_depthwise": 4, "block_16_depthwise": 7}])
def test_mobilenet_v2(classifier, ways):
    split = split_expansion(classifier, ways)
    assert_same_outputs(classifier, split)
    before, after = count(classifier), count(split)
    assert after.multiply_adds == before.multiply_adds
    assert after.peak_activation_bytes < before.peak_activation_bytes
    names = {layer.name for layer in split.layers}
    for name in BLOCKS:
        parts = ways if isinstance(ways, int) else ways.get(name, 1)
        assert (name in names) == (parts == 1)
        assert (f"{name}_part_{parts}" in names) == (parts > 1)
        assert f"{name}_part_{parts + 1}" not in names


NETWORKS = {
    "keras.applications": lambda: keras.applications.MobileNetV2(
        (64, 64, 3), alpha=0.35, weights=None, include_top=False
    ),
    "divisor 1": lambda: MobileNetV2((48, 80, 3), alpha=0.5, divisor=1, classes=3),
    "SSDLite": lambda: SSDLite(2, (64, 64, 3), alpha=0.35),
    "DeepLabV3": lambda: DeepLabV3(3, (65, 65, 3), alpha=0.35, output_stride=8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_networks(name):
    model = shuffled(NETWORKS[name]())
    found = [block.name for block in expansion_blocks(model)]
    # The heads of SSDLite read the expanded tensor of block 13.
    assert found == [x for x in BLOCKS if name != "SSDLite" or x != "block_13_depthwise"]
    split = split_expansion(model, 3)
    assert_same_outputs(model, split)
    assert ("block_13_expand_relu" in [layer.name for layer in split.layers]) == (name == "SSDLite")


def test_weights_are_taken_over(classifier):
    before = [array.copy() for array in classifier.get_weights()]
    split = split_expansion(classifier, {"block_3_depthwise": 5})
    # 48 channels in eights.
    parts = [split.get_layer(f"block_3_depthwise_part_{i}").get_weights()[0] for i in range(1, 6)]
    assert [part.shape[2] for part in parts] == [8, 8, 8, 8, 16]
    kernel = classifier.get_layer("block_3_depthwise").get_weights()[0]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), kernel)
    expansion = [split.get_layer(f"block_3_expand_part_{i}").get_weights()[0] for i in range(1, 6)]
    kernel = classifier.get_layer("block_3_expand").get_weights()[0]
    np.testing.assert_array_equal(np.concatenate(expansion, axis=3), kernel)
    # The model that was given stays what it was, and shares nothing with the new one.
    split.set_weights([array + 1 for array in split.get_weights()])
    for array, now in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(array, now)


def test_groups_smaller_than_a_kernel_step_and_no_empty_ones(classifier):
    split = split_expansion(classifier, {"expanded_conv_depthwise": 7, "block_1_depthwise": 1000})
    shares = [split.get_layer(f"Conv1_part_{i}").filters for i in range(1, 8)]
    assert sum(shares) == 16 and set(shares) == {2, 3}
    assert split.get_layer("block_1_depthwise_part_48").kernel.shape[2] == 1
    assert_same_outputs(classifier, split)


def test_a_split_model_is_saved_and_loaded(classifier, tmp_path):
    split = split_expansion(classifier, 2)
    split.save(tmp_path / "split.keras")
    assert_same_outputs(split, keras.saving.load_model(tmp_path / "split.keras"))


@pytest.mark.filterwarnings("error:The structure of:UserWarning")
def test_an_input_in_a_list_is_one_input(classifier):
    split = split_expansion(keras.Model([classifier.input], classifier.output), 2)
    assert_same_outputs(classifier, split)


def test_one_group_is_a_copy(classifier):
    copy = split_expansion(classifier, 1)
    assert [x.name for x in copy.layers] == [x.name for x in classifier.layers]
    assert_same_outputs(classifier, copy)


def test_compiled_and_frozen_models():
    model = MobileNetV2((32, 32, 3), alpha=0.35, classes=2)
    model.get_layer("Conv_1").trainable = False
    model.compile("sgd", "mse")
    split = split_expansion(model, 2)
    assert not split.compiled
    assert not split.get_layer("Conv_1").trainable


def chain(*inner, **projection) -> keras.Sequential:
    return keras.Sequential([keras.Input((8, 8, 4)), *inner, layers.Conv2D(4, 1, **projection)])


def test_blocks_without_normalization():
    """Biases are added once, paddings and activations may stand anywhere between."""
    model = chain(
        layers.Conv2D(10, 3, strides=2, padding="same", activation="silu", name="expand"),
        layers.ZeroPadding2D(1),
        layers.DepthwiseConv2D(3, name="depthwise", bias_initializer="ones"),
        layers.Activation("relu"),
        layers.LeakyReLU(),
        bias_initializer="ones",
    )
    assert [block.expanded_channels for block in expansion_blocks(model)] == [10]
    assert_same_outputs(model, split_expansion(model, 3))


def test_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = shuffled(MobileNetV2((32, 32, 3), alpha=0.35, classes=2))
    finally:
        keras.config.set_dtype_policy("float32")
    split_expansion(model, 2).save(tmp_path / "split.keras")
    split = keras.saving.load_model(tmp_path / "split.keras")
    for name in (
        "block_1_expand_part_1",
        "block_1_expand_after_part_1",
        "block_1_project_BN_sum_2",
    ):
        assert split.get_layer(name).output.dtype == "float16"
    images = pictures(model)
    np.testing.assert_allclose(model(images), split(images), atol=0.01)


DEPTHWISE = layers.DepthwiseConv2D
NO_BLOCKS = {
    "narrow": lambda: chain(layers.Conv2D(4, 1), DEPTHWISE(3)),
    "softmax": lambda: chain(layers.Conv2D(8, 1), layers.Activation("softmax"), DEPTHWISE(3)),
    "softmax in a layer": lambda: chain(layers.Conv2D(8, 1, activation="softmax"), DEPTHWISE(3)),
    "activation": lambda: chain(layers.Conv2D(8, 1), DEPTHWISE(3), activation="relu"),
    "pooling": lambda: chain(layers.Conv2D(8, 1), layers.MaxPooling2D(), DEPTHWISE(3)),
    "groups": lambda: chain(layers.Conv2D(8, 1, groups=2), DEPTHWISE(3)),
    "multiplier": lambda: chain(layers.Conv2D(8, 1), DEPTHWISE(3, depth_multiplier=2)),
    "no expansion": lambda: chain(DEPTHWISE(3)),
    "no depthwise": lambda: chain(layers.Conv2D(8, 1)),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_what_is_no_block(name):
    model = NO_BLOCKS[name]()
    assert expansion_blocks(model) == []
    with pytest.raises(ValueError, match="has no inverted residual block"):
        split_expansion(model, 2)


def test_tensors_that_are_read_from_outside_stay_whole():
    """By an output, another layer, an operation, or a second call of a layer of the block."""
    image = keras.Input((8, 8, 4))
    expand, depthwise, project = layers.Conv2D(8, 1), DEPTHWISE(3), layers.Conv2D(4, 1)
    expanded = expand(image)
    x = project(depthwise(expanded))
    assert len(expansion_blocks(keras.Model(image, x))) == 1
    for other in (expanded, layers.ReLU()(expanded), expanded * 2, project(expand(image))):
        assert expansion_blocks(keras.Model(image, [x, other])) == []


def test_bad_arguments(classifier):
    for ways in (0, -1, 2.0, "2", {"block_1_depthwise": None}):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            split_expansion(classifier, ways)
    with pytest.raises(ValueError, match="names 'block_1', but .* are expanded_conv_depthwise, "):
        split_expansion(classifier, {"block_1": 2})
    for model in (keras.Sequential([layers.Conv2D(2, 1)]), keras.layers.ReLU(), None):
        with pytest.raises(ValueError, match="no functional or sequential model"):
            split_expansion(model, 2)


def test_as_few_groups_as_a_bound_allows():
    model = MobileNetV2(alpha=1.0)
    before = count(model).peak_activation_bytes
    bound = 3_020_000
    ways = ways_to_fit(model, bound)
    assert ways == {"expanded_conv_depthwise": 2, "block_1_depthwise": 6, "block_2_depthwise": 2}
    split = split_expansion(model, ways)
    found = count(split).peak_activation_bytes
    assert found == 3_010_560 <= bound
    assert before > 2 * found
    assert ways_to_fit(model, before) == {}
    with pytest.raises(ValueError, match="cannot be reached .*: at .* there are 2[0-9]* bytes"):
        ways_to_fit(model, 1_000_000)


def test_one_group_less_breaks_the_bound(classifier):
    bound = 200_000
    ways = ways_to_fit(classifier, bound)
    assert count(split_expansion(classifier, ways)).peak_activation_bytes <= bound
    for name in ways:
        fewer = split_expansion(classifier, {**ways, name: ways[name] - 1})
        assert count(fewer).peak_activation_bytes > bound


def test_a_bound_for_values_of_one_byte(classifier):
    for bound in (50_000, 90_000):
        assert ways_to_fit(classifier, bound, bytes_per_value=1) == ways_to_fit(
            classifier, 4 * bound
        )
    with pytest.raises(ValueError, match="a peak of 9000 bytes .*: at .* there are [1-9][0-9]{4} "):
        ways_to_fit(classifier, 9_000, bytes_per_value=1)


def test_bound_of_a_network_of_open_size():
    model = MobileNetV2((None, None, 3), alpha=0.35, include_top=False)
    ways = ways_to_fit(model, 200_000, (64, 64, 3))
    split = split_expansion(model, ways)
    assert count(split, (64, 64, 3)).peak_activation_bytes <= 200_000
    assert count(model, (64, 64, 3)).peak_activation_bytes > 200_000
    with pytest.raises(ValueError, match="input_shape"):
        ways_to_fit(model, 200_000)


def litert_file(model: keras.Model, path):
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    function = call.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:])))
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert())
    return path


def test_litert_computes_group_after_group(tmp_path):
    interpreters = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="LiteRT is absent: pip install ai-edge-litert"
    )
    from keras_mnv2.deployment.litert.arena import arena_bytes

    network = MobileNetV2((64, 64, 3), alpha=0.35, include_top=False)
    model = shuffled(keras.Model(network.input, network.get_layer("block_3_project_BN").output))
    whole = litert_file(model, tmp_path / "whole.tflite")
    # Eleven, so that an order by name would show.
    split = split_expansion(model, {"expanded_conv_depthwise": 2, "block_1_depthwise": 11})
    path = litert_file(split, tmp_path / "split.tflite")
    interpreter = interpreters.Interpreter(str(path))
    group = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    expected = [*group, *group, "ADD", *group, *([*group, "ADD"] * 10)]
    found = [operation["op_name"] for operation in interpreter._get_ops_details()]
    assert found[: len(expected)] == expected
    # The plan of LiteRT is what `count` says, where no kernel needs memory of its own.
    assert arena_bytes(whole) == count(model).peak_activation_bytes
    assert arena_bytes(path) < 0.8 * arena_bytes(whole)
    images = pictures(model)[:1]
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = np.asarray(model(images))
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())

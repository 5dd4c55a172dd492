"""BatchNormalization equals the Keras layer, and really runs the fused kernel."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.normalization import BatchNormalization

SHAPE = (3, 5, 4, 6)
POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
# One rounding of the output's dtype; everything else is float32.
OUTPUT_TOLERANCE = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}


def random_inputs(shape=SHAPE, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 3.0, shape).astype("float32")


def random_weights(count: int, channels: int, seed=1) -> list[np.ndarray]:
    """Values that are no one's default and positive, as a variance must be."""
    return list(np.random.default_rng(seed).uniform(0.5, 2.0, (count, channels)).astype("float32"))


def pair(shape=SHAPE, dtype="float32", trainable=True, **arguments):
    """Our layer and the Keras one, built, with equal weights."""
    layers = []
    for cls in (BatchNormalization, keras.layers.BatchNormalization):
        layer = cls(dtype=POLICIES.get(dtype, dtype), **arguments)
        layer.build(shape)
        layer.trainable = trainable
        axis = arguments.get("axis", -1)
        layer.set_weights(random_weights(len(layer.weights), shape[axis]))
        layers.append(layer)
    return layers


def run(layer, inputs, training, dtype="float32", mask=None, jit_compile=False):
    """Returns what a training or inference call gives: output, gradients, moving statistics."""
    x = tf.Variable(tf.cast(inputs, dtype))
    factor = tf.random.stateless_normal(inputs.shape, seed=(1, 2))

    @tf.function(jit_compile=jit_compile)
    def call():
        with tf.GradientTape() as tape:
            y = layer(x, training=training, mask=mask)
            loss = tf.reduce_sum(tf.cast(y, "float32") * factor)
        sources = {"inputs": x}
        sources |= {
            weight.name: weight.value for weight in (layer.gamma, layer.beta) if weight is not None
        }
        return y, tape.gradient(loss, sources)

    y, gradients = call()
    return {
        "output": y,
        **{f"gradient of {name}": gradient for name, gradient in gradients.items()},
        "moving mean": layer.moving_mean.value,
        "moving variance": layer.moving_variance.value,
    }


def assert_same(ours: dict, theirs: dict, dtype="float32") -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        expected = tf.cast(value, "float32").numpy()
        rounded = name in ("output", "gradient of inputs")
        tolerance = OUTPUT_TOLERANCE[dtype] if rounded else 2e-6
        np.testing.assert_allclose(
            tf.cast(ours[name], "float32").numpy(),
            expected,
            rtol=tolerance,
            atol=tolerance * max(1.0, np.abs(expected).max(initial=0.0)),
            err_msg=name,
        )


def operations(layer, inputs, training) -> set[str]:
    """Types of all operations in the layer's traced call with gradients."""
    x = tf.constant(inputs)

    @tf.function
    def call():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
        return y, tape.gradient(y, x)

    return {operation.type for operation in call.get_concrete_function().graph.get_operations()}


@pytest.mark.parametrize("dtype", POLICIES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_equals_keras(dtype, training, trainable):
    layers = pair(dtype=dtype, trainable=trainable)
    ours, theirs = (run(layer, random_inputs(), training, dtype) for layer in layers)
    assert ours["output"].dtype == dtype
    assert_same(ours, theirs, dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("center", "scale"), [(False, True), (True, False), (False, False)])
def test_equals_keras_without_center_or_scale(training, center, scale):
    layers = pair(center=center, scale=scale, momentum=0.9997, epsilon=0.01)
    assert_same(*(run(layer, random_inputs(), training) for layer in layers))


@pytest.mark.parametrize("training", [True, False])
def test_equals_keras_under_xla(training):
    assert_same(*(run(layer, random_inputs(), training, jit_compile=True) for layer in pair()))


def test_equals_keras_in_eager_mode():
    ours, theirs = pair()
    x = random_inputs()
    np.testing.assert_allclose(
        ours(x, training=True), theirs(x, training=True), rtol=1e-4, atol=2e-6
    )
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=2e-6)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((8, 6), {}),
        ((2, 3, 4, 5, 6), {}),
        (SHAPE, {"axis": 1}),
        (SHAPE, {"epsilon": 1e-6}),
        (SHAPE, {"dtype": "float64"}),
    ],
    ids=["rank 2", "rank 5", "channels first", "tiny epsilon", "float64"],
)
def test_equals_keras_where_the_kernel_does_not_apply(shape, arguments):
    ours, theirs = pair(shape, **arguments)
    x = random_inputs(shape).astype(arguments.get("dtype", "float32"))
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    np.testing.assert_array_equal(ours.moving_variance, theirs.moving_variance)
    assert "FusedBatchNormV3" not in operations(ours, x, training=True)


def test_masked_positions_do_not_count():
    x = random_inputs()
    mask = np.random.default_rng(2).random(SHAPE[:3]) < 0.5
    ours, theirs = (run(layer, x, True, mask=tf.constant(mask)) for layer in pair())
    assert_same(ours, theirs)
    unmasked = run(pair()[0], x, True)
    assert np.abs(ours["moving mean"] - unmasked["moving mean"]).max() > 1e-4


def test_synchronized_is_fused_while_there_is_nothing_to_synchronize():
    x = random_inputs()
    for training in (False, True):
        ours, theirs = (run(layer, x, training) for layer in pair(synchronized=True))
        assert_same(ours, theirs)
        assert "FusedBatchNormV3" in operations(pair(synchronized=True)[0], x, training=training)


def test_one_pixel_has_variance_zero():
    shape = (1, 1, 1, 6)
    ours, theirs = (run(layer, random_inputs(shape), True) for layer in pair(shape, momentum=0.75))
    assert_same(ours, theirs)
    before = pair(shape)[0].moving_variance.numpy()
    np.testing.assert_allclose(ours["moving variance"], 0.75 * before, rtol=1e-6)


def test_empty_batch_is_what_it_is_for_keras():
    shape = (0, 5, 4, 6)
    for layer in pair():
        result = run(layer, np.zeros(shape, "float32"), True)
        assert result["output"].shape == shape
        assert np.isnan(layer.moving_mean.numpy()).all()
        assert np.isnan(layer.moving_variance.numpy()).all()


def test_batch_size_unknown_when_traced():
    ours, theirs = pair()
    call = tf.function(
        lambda x: ours(x, training=True), input_signature=[tf.TensorSpec((None, None, None, 6))]
    )
    for size in (2, 3):
        x = random_inputs((size, 5, 4, 6), seed=size)
        np.testing.assert_allclose(call(x), theirs(x, training=True), rtol=1e-4, atol=2e-6)
    for new, keras_one in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(new, keras_one, rtol=2e-6, atol=2e-6)


def test_float16_statistics_do_not_overflow():
    layer = pair(dtype="float16", momentum=0.0)[0]
    x = random_inputs() * 1000.0  # squares are beyond the largest float16, 65504
    layer(tf.cast(x, "float16"), training=True)
    np.testing.assert_allclose(layer.moving_variance, x.var((0, 1, 2)), rtol=1e-2)


@pytest.mark.parametrize("training", [True, False])
def test_call_traces_the_fused_kernel(training):
    found = operations(pair()[0], random_inputs(), training)
    assert {"FusedBatchNormV3", "FusedBatchNormGradV3"} <= found
    assert not {"SquaredDifference", "Rsqrt"} & found
    assert "FusedBatchNormV3" not in operations(pair()[1], random_inputs(), training)


def test_training_step_runs_the_fused_kernel():
    model = small_model(BatchNormalization)
    model.compile("sgd", "mse", jit_compile=False)
    step = tf.function(model.train_step)
    graph = step.get_concrete_function((random_inputs((2, 8, 8, 3)), np.zeros((2, 4), "float32")))
    found = [operation.type for operation in graph.graph.get_operations()]
    assert found.count("FusedBatchNormV3") == found.count("FusedBatchNormGradV3") == 2


def small_model(cls) -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(5, 3, use_bias=False, name="conv"),
            cls(momentum=0.9, name="bn_1"),
            keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"),
            cls(scale=False, name="bn_2"),
            keras.layers.ReLU(6.0, name="relu6"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(4, name="logits"),
        ]
    )


def test_fit_equals_keras():
    x, y = random_inputs((12, 8, 8, 3)), random_inputs((12, 4), seed=5)
    results = []
    for cls in (BatchNormalization, keras.layers.BatchNormalization):
        model = small_model(cls)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
        model.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_go_both_ways(tmp_path, suffix):
    first, second = BatchNormalization, keras.layers.BatchNormalization
    for number, (source, target) in enumerate([(first, second), (second, first)]):
        saved = small_model(source)
        for layer in ("bn_1", "bn_2"):
            weights = saved.get_layer(layer).get_weights()
            saved.get_layer(layer).set_weights(random_weights(len(weights), 5))
        path = str(tmp_path / f"{number}{suffix}")
        saved.save_weights(path) if suffix == ".weights.h5" else saved.save(path)
        loaded = small_model(target)
        loaded.load_weights(path)
        for expected, weight in zip(saved.weights, loaded.weights, strict=True):
            assert weight.name == expected.name
            np.testing.assert_array_equal(weight, expected)


def test_saved_model_loads(tmp_path):
    model = small_model(BatchNormalization)
    x = random_inputs((2, 8, 8, 3))
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("bn_2")) is BatchNormalization
    assert loaded.get_layer("bn_2").get_config() == model.get_layer("bn_2").get_config()
    np.testing.assert_array_equal(loaded(x), model(x))


def test_exported_saved_model_gives_the_same(tmp_path):
    model = small_model(BatchNormalization)
    x = random_inputs((2, 8, 8, 3))
    model(x, training=True)
    model.export(str(tmp_path / "exported"), verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(x), model(x), rtol=1e-5, atol=1e-6)


def test_stateless_call_leaves_the_variables_alone():
    ours, theirs = pair()
    x = random_inputs()
    before = ours.get_weights()
    updated = []
    for layer in (ours, theirs):
        trainable, state = layer.trainable_variables, layer.non_trainable_variables
        updated.append(layer.stateless_call(trainable, state, x, training=True)[1])
    np.testing.assert_allclose(updated[0], updated[1], rtol=2e-6)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_config_is_that_of_the_keras_layer():
    ours, theirs = BatchNormalization(name="bn", axis=3), keras.layers.BatchNormalization(name="bn")
    assert ours.get_config() == theirs.get_config() | {"axis": 3}
    serialized = keras.saving.serialize_keras_object(ours)
    assert serialized["registered_name"] == "keras_mnv2>BatchNormalization"

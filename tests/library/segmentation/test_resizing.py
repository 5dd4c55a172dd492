import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.segmentation.resizing import AlignCornersResizing, interpolate

SIZES = [
    ((33, 33), (513, 513)),
    ((5, 7), (13, 10)),
    ((4, 3), (4, 3)),
    ((1, 1), (6, 5)),
    ((6, 5), (1, 1)),
    ((1, 4), (3, 1)),
    ((9, 12), (5, 4)),
]


def features(size, channels=3):
    return np.random.default_rng(0).normal(size=(2, *size, channels)).astype("float32")


def original(x, size):
    return tf.compat.v1.image.resize(
        x, size, tf.compat.v1.image.ResizeMethod.BILINEAR, align_corners=True
    )


def by_interpolation(x, size):
    """What backends other than TensorFlow run."""
    return interpolate(interpolate(x, size[1], axis=2), size[0], axis=1)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_tensorflow_with_aligned_corners(source, target):
    x = features(source)
    expected = original(x, target)
    np.testing.assert_array_equal(AlignCornersResizing(target)(x), expected)
    np.testing.assert_allclose(by_interpolation(x, target), expected, atol=1e-6)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_gradient_equals_tensorflow(source, target):
    x = tf.constant(features(source))
    upstream = features(target)

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, upstream)

    expected = gradient(lambda x: original(x, target))
    np.testing.assert_allclose(gradient(AlignCornersResizing(target)), expected, atol=1e-6)
    actual = gradient(lambda x: by_interpolation(x, target))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_corners_and_linear_ramps_stay_exact():
    ramp = np.linspace(0, 1, 5, dtype="float32")
    x = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)[None]
    y = keras.ops.convert_to_numpy(AlignCornersResizing((17, 9))(x))[0]
    np.testing.assert_allclose(y[:, 0, 0], np.linspace(0, 1, 17), atol=1e-6)
    np.testing.assert_allclose(y[0, :, 1], np.linspace(0, 1, 9), atol=1e-6)


@pytest.mark.parametrize("side", [None, 11])
def test_takes_the_size_of_a_reference(side):
    image = keras.Input((side, side, 3))
    small = keras.Input((None, None, 2))
    output = AlignCornersResizing()(small, image)
    assert output.shape == (None, side, side, 2)
    x = features((4, 4), 2)
    y = keras.Model([small, image], output).predict([x, features((11, 11))], verbose=0)
    np.testing.assert_array_equal(y, original(x, (11, 11)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_interpolates_in_float32_and_returns_the_compute_dtype(policy):
    layer = AlignCornersResizing((9, 9), dtype=policy)
    x = tf.cast(features((4, 4)), layer.compute_dtype)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    expected = tf.cast(original(tf.cast(x, tf.float32), (9, 9)), layer.compute_dtype)
    np.testing.assert_array_equal(tf.cast(y, tf.float32), tf.cast(expected, tf.float32))


@pytest.mark.parametrize("size", [None, (4, 6)])
def test_round_trip(size):
    layer = AlignCornersResizing(size, name="resize")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(again, AlignCornersResizing)
    assert again.size == size


def test_lite_runtime_gets_one_builtin_operation():
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    image = keras.Input((13, 13, 3), batch_size=1)
    features_in = keras.Input((5, 5, 3), batch_size=1)
    model = keras.Model([features_in, image], AlignCornersResizing()(features_in, image))
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    assert [op["op_name"] for op in interpreter._get_ops_details()] == ["RESIZE_BILINEAR"]
    x = features((5, 5))[:1]
    for detail in interpreter.get_input_details():
        is_features = detail["shape"][1] == 5
        interpreter.set_tensor(
            detail["index"], x if is_features else np.zeros(detail["shape"], "float32")
        )
    interpreter.invoke()
    actual = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(actual, original(x, (13, 13)), atol=1e-6)


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4.5), "ab"])
def test_refuses_bad_sizes(size):
    with pytest.raises(ValueError, match="positive whole numbers"):
        AlignCornersResizing(size)


def test_refuses_both_and_neither_size():
    x = features((4, 4))
    with pytest.raises(ValueError, match="give either"):
        AlignCornersResizing()(x)
    with pytest.raises(ValueError, match="give either"):
        AlignCornersResizing((3, 3))(x, x)

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.segmentation import PixelwiseCrossEntropy


def batch(seed=0, shape=(2, 5, 7), classes=4, void=0.3):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=shape).astype("uint8")
    labels[random.random(shape) < void] = 255
    return labels, random.normal(scale=2, size=(*shape, classes)).astype("float32")


def pixel_losses(labels, logits):
    """Plain softmax cross-entropy, 0 at void pixels."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    valid = labels != 255
    chosen = np.take_along_axis(
        log_probabilities, np.where(valid, labels, 0)[..., None].astype(int), axis=-1
    )[..., 0]
    return np.where(valid, -chosen, 0)


def test_is_the_mean_over_the_valid_pixels_of_the_batch():
    labels, logits = batch()
    # Very different numbers of valid pixels: the mean of per-image means would be another.
    labels[0, 1:] = 255
    expected = pixel_losses(labels, logits).sum() / (labels != 255).sum()
    loss = PixelwiseCrossEntropy()
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-6)
    assert float(loss(labels[..., None], logits)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.25, 0.5, 0.99])
def test_top_k_is_the_mean_of_the_hardest_pixels(share):
    labels, logits = batch(seed=1)
    ordered = np.sort(pixel_losses(labels, logits).ravel())[::-1]
    hardest = ordered[: max(int(share * ordered.size), 1)]
    expected = hardest.sum() / np.count_nonzero(hardest)
    loss = PixelwiseCrossEntropy(top_k_percent_pixels=share)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_gradient_is_that_of_the_definition(share):
    labels, logits = batch(seed=2)
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = PixelwiseCrossEntropy(top_k_percent_pixels=share)(labels, x)
    actual = tape.gradient(value, x).numpy()
    losses = pixel_losses(labels, logits)
    k = int(share * losses.size)
    counts = (losses >= np.sort(losses.ravel())[-k]) & (labels != 255)
    target = np.eye(4)[np.where(labels == 255, 0, labels)]
    expected = (tf.nn.softmax(logits).numpy() - target) * counts[..., None] / counts.sum()
    np.testing.assert_allclose(actual, expected, atol=1e-7)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_batch_without_valid_pixels_gives_zero(share):
    labels, logits = batch()
    labels[:] = 255
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = PixelwiseCrossEntropy(top_k_percent_pixels=share)(labels, x)
    assert float(value) == 0
    np.testing.assert_array_equal(tape.gradient(value, x), np.zeros_like(logits))


def test_equal_losses_all_count():
    labels = np.zeros((1, 4, 4), "uint8")
    loss = PixelwiseCrossEntropy(top_k_percent_pixels=0.25)
    value = loss(labels, np.zeros((1, 4, 4, 21), "float32"))
    assert float(value) == pytest.approx(np.log(21), rel=1e-6)


def test_sample_weight_weighs_pixels():
    labels, logits = batch()
    weights = np.random.default_rng(3).random(labels.shape).astype("float32")
    expected = (weights * pixel_losses(labels, logits)).sum() / (labels != 255).sum()
    value = PixelwiseCrossEntropy()(labels, logits, sample_weight=weights)
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_counts_and_sums_in_float32(dtype):
    # 90,000 valid pixels are infinity in float16.
    labels = np.zeros((1, 300, 300), "uint8")
    logits = tf.zeros((1, 300, 300, 4), dtype)
    value = PixelwiseCrossEntropy()(labels, logits)
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(np.log(4), rel=1e-5)


def test_open_shapes_in_a_graph():
    labels, logits = batch()
    loss = PixelwiseCrossEntropy(top_k_percent_pixels=0.3)
    function = tf.function(
        loss,
        input_signature=[
            tf.TensorSpec((None, None, None), tf.uint8),
            tf.TensorSpec((None, None, None, 4), tf.float32),
        ],
    )
    assert float(function(labels, logits)) == pytest.approx(float(loss(labels, logits)), rel=1e-6)


def test_replicas_share_the_number_of_valid_pixels(tmp_path):
    # A process of its own: virtual devices must exist before TensorFlow starts.
    script = """
import sys, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_mnv2.segmentation import PixelwiseCrossEntropy
data = np.load(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
split = lambda x: strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(x[context.replica_id_in_sync_group :][:1]))
run = tf.function(lambda y, x: strategy.run(PixelwiseCrossEntropy(), (y, x)))
values = strategy.experimental_local_results(run(split(data["labels"]), split(data["logits"])))
print(sum(float(value) for value in values))
"""
    labels, logits = batch()
    labels[0, 1:] = 255
    np.savez(tmp_path / "batch.npz", labels=labels, logits=logits)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "batch.npz")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = float(PixelwiseCrossEntropy()(labels, logits))
    # Keras scales the loss of each of n replicas by 1 / n, and the gradients are summed.
    assert float(done.stdout) == pytest.approx(expected, rel=1e-5)


def test_other_ignore_class_and_round_trip():
    labels, logits = batch(classes=4)
    loss = PixelwiseCrossEntropy(ignore_class=11, top_k_percent_pixels=0.5, name="pixels")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, PixelwiseCrossEntropy)
    assert again.get_config() == loss.get_config()
    expected = PixelwiseCrossEntropy(top_k_percent_pixels=0.5)(labels, logits)
    relabelled = np.where(labels == 255, 11, labels)
    assert float(again(relabelled, logits)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("share", [0, 1.5, -0.1])
def test_refuses_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="top_k_percent_pixels"):
        PixelwiseCrossEntropy(top_k_percent_pixels=share)


def test_refuses_labels_of_another_size():
    labels, logits = batch()
    with pytest.raises(ValueError, match="shape"):
        PixelwiseCrossEntropy()(labels[:, 1:], logits)

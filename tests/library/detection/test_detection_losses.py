from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_mnv2.detection.losses import (
    BoxLoss,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
)

BATCH, NUM_ANCHORS, NUM_CLASSES = 3, 40, 4


def example(seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.zeros((BATCH, NUM_ANCHORS), np.int32)
    labels[0, :6] = rng.integers(1, NUM_CLASSES + 1, 6)
    labels[0, 6:12] = -1
    labels[1, 5] = 2  # image 2 has no object
    logits = rng.normal(0, 3, (BATCH, NUM_ANCHORS, 1 + NUM_CLASSES)).astype(np.float32)
    return labels, logits


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[..., C] from its definition, in double precision."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    target = np.eye(logits.shape[-1])[np.maximum(labels, 0)]
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


def naive_hard_negative(labels, logits, ratio=3, least=3) -> float:
    losses = cross_entropy(logits, labels).sum(axis=-1)
    total = 0.0
    for row_labels, row in zip(labels, losses, strict=True):
        positives = np.flatnonzero(row_labels > 0)
        negatives = sorted(np.flatnonzero(row_labels == 0), key=lambda i: -row[i])
        count = max(int(ratio * len(positives)), least)
        total += row[positives].sum() + row[negatives[:count]].sum()
    return total / max((labels > 0).sum(), 1)


def naive_focal(labels, logits, alpha, gamma) -> float:
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    target = np.eye(logits.shape[-1])[np.maximum(labels, 0)] * (labels > 0)[..., None]
    p_t = np.where(target > 0, probability, 1 - probability)
    alpha_t = np.where(target > 0, alpha, 1 - alpha)
    losses = -alpha_t * (1 - p_t) ** gamma * np.log(p_t)
    return (losses.sum(axis=-1) * (labels >= 0)).sum() / max((labels > 0).sum(), 1)


def gradient(loss, y_true, y_pred) -> np.ndarray:
    y_pred = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(y_true, y_pred)
    return tape.gradient(value, y_pred).numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio, least", [(3, 3), (1.5, 0), (0, 2), (100, 100)])
def test_hard_negatives_against_the_definition(seed, ratio, least):
    labels, logits = example(seed)
    value = HardNegativeClassificationLoss(ratio, least)(labels, logits)
    assert float(value) == pytest.approx(
        naive_hard_negative(labels, logits, ratio, least), rel=1e-5
    )


@pytest.mark.parametrize("alpha, gamma", [(0.75, 2.0), (0.25, 2.0), (0.5, 0.0), (0.25, 1.5)])
def test_focal_against_the_definition(alpha, gamma):
    labels, logits = example()
    value = FocalClassificationLoss(alpha, gamma)(labels, logits)
    assert float(value) == pytest.approx(naive_focal(labels, logits, alpha, gamma), rel=1e-5)


@pytest.mark.parametrize("delta", [1.0, 0.1])
def test_box_loss_against_the_definition(delta):
    rng = np.random.default_rng(0)
    y_true = rng.normal(0, 1, (BATCH, NUM_ANCHORS, 5))
    y_true[..., 4] = rng.uniform(size=(BATCH, NUM_ANCHORS)) < 0.2
    y_pred = rng.normal(0, 1, (BATCH, NUM_ANCHORS, 4)).astype(np.float32)
    error = np.abs(y_pred - y_true[..., :4])
    smooth = np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).sum(axis=-1)
    expected = (smooth * y_true[..., 4]).sum() / y_true[..., 4].sum()
    assert float(BoxLoss(delta)(y_true, y_pred)) == pytest.approx(expected, rel=1e-5)


def test_exactly_the_wanted_number_of_equal_negatives_counts_the_first_ones():
    labels = np.zeros((1, 10), np.int32)
    labels[0, 4] = 1
    logits = np.zeros((1, 10, 2), np.float32)
    trained = gradient(HardNegativeClassificationLoss(), labels, logits).any(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(trained[0]), [0, 1, 2, 4])


def test_ignored_anchors_and_easy_negatives_have_no_gradient():
    labels, logits = example()
    for loss, expected in [
        (HardNegativeClassificationLoss(), [6 + 18, 1 + 3, 3]),
        (FocalClassificationLoss(), [NUM_ANCHORS - 6, NUM_ANCHORS, NUM_ANCHORS]),
    ]:
        trained = gradient(loss, labels, logits).any(axis=-1)
        assert not trained[labels == -1].any()
        np.testing.assert_array_equal(trained.sum(axis=-1), expected)


@pytest.mark.parametrize(
    "loss", [HardNegativeClassificationLoss(), FocalClassificationLoss(), BoxLoss()]
)
def test_gradients_are_those_of_the_values(loss):
    labels, y_pred = example(1)
    y_true = labels
    if isinstance(loss, BoxLoss):
        y_true = np.concatenate([y_pred[..., :4] / 2, (labels > 0)[..., None]], axis=-1)
        y_pred = y_pred[..., 1:]
    analytic = gradient(loss, y_true, y_pred)
    step = 1e-2
    for index in [(0, 0, 1), (0, 3, 2), (1, 5, 0), (1, 5, 2)]:
        shift = np.zeros_like(y_pred)
        shift[index] = step
        rise = float(loss(y_true, y_pred + shift)) - float(loss(y_true, y_pred - shift))
        assert analytic[index] == pytest.approx(rise / (2 * step), abs=2e-3, rel=1e-2)


@pytest.mark.parametrize(
    "loss",
    [
        HardNegativeClassificationLoss(),
        FocalClassificationLoss(),
        FocalClassificationLoss(0.25, 0.5),
    ],
)
def test_extreme_logits_give_finite_values_and_gradients(loss):
    labels, logits = example()
    logits = 50 * np.sign(logits)
    assert np.isfinite(float(loss(labels, logits)))
    assert np.isfinite(gradient(loss, labels, logits)).all()
    confident = np.where(np.arange(1 + NUM_CLASSES) == labels[..., None], 50, -50)
    if isinstance(loss, FocalClassificationLoss):
        confident[..., 0] = -50
    assert float(loss(labels, confident.astype(np.float32))) == pytest.approx(0, abs=1e-4)


def test_a_batch_without_positives_is_divided_by_one():
    labels, logits = example()
    labels[:] = 0
    value = HardNegativeClassificationLoss()(labels, logits)
    assert float(value) == pytest.approx(naive_hard_negative(labels, logits), rel=1e-5)
    labels[:] = -1
    for loss in (HardNegativeClassificationLoss(), FocalClassificationLoss()):
        assert float(loss(labels, logits)) == 0
        assert not gradient(loss, labels, logits).any()
    assert float(BoxLoss()(np.zeros((2, 5, 5)), np.ones((2, 5, 4)))) == 0


def test_call_gives_one_value_an_image():
    labels, logits = example()
    loss = HardNegativeClassificationLoss()
    values = loss.call(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits))
    assert values.shape == (BATCH,)
    assert float(ops.mean(values)) == pytest.approx(float(loss(labels, logits)))


@pytest.mark.parametrize(
    "loss",
    [
        BoxLoss(0.2, name="b"),
        HardNegativeClassificationLoss(2, 5, name="h"),
        FocalClassificationLoss(0.3, 1.5, name="f"),
    ],
)
def test_configuration_round_trip(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize(
    "make",
    [
        lambda: BoxLoss(0),
        lambda: HardNegativeClassificationLoss(-1),
        lambda: FocalClassificationLoss(alpha=2),
        lambda: BoxLoss()(np.zeros((1, 2, 4)), np.zeros((1, 2, 4))),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(ValueError, match="delta|negative|alpha|y_true"):
        make()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_compile_and_fit_train_on_these_losses(policy):
    labels, _ = example()
    boxes = np.concatenate([np.ones((BATCH, NUM_ANCHORS, 4)), (labels > 0)[..., None]], axis=-1)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    outputs = {}
    for name, values in [("box_encodings", 4), ("class_logits", 1 + NUM_CLASSES)]:
        x = keras.layers.Dense(NUM_ANCHORS * values, dtype=policy)(inputs)
        outputs[name] = keras.layers.Reshape((NUM_ANCHORS, values), name=name, dtype=policy)(x)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(0.05),
        loss={"box_encodings": BoxLoss(), "class_logits": HardNegativeClassificationLoss()},
        jit_compile=False,
    )
    features = np.random.default_rng(0).normal(size=(BATCH, 8)).astype(np.float32)
    before = model.predict(features, verbose=0)
    expected = naive_hard_negative(labels, before["class_logits"])
    expected += float(BoxLoss()(boxes, before["box_encodings"]))
    targets = {"box_encodings": boxes, "class_logits": labels}
    losses = model.fit(features, targets, batch_size=BATCH, epochs=10, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(expected, rel=1e-5 if policy == "float32" else 1e-2)
    assert losses[-1] < 0.5 * losses[0]

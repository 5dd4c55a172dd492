from __future__ import annotations

import numpy as np
import pytest

from tasks.segmentation.mean_iou import ConfusionMatrix

NAMES = ("background", "square", "circle", "triangle")


def plain_metrics(truths, predictions):
    """The definition, class by class, over the pixels of all images together."""
    truth = np.concatenate([t.ravel() for t in truths])
    prediction = np.concatenate([p.ravel() for p in predictions])
    truth, prediction = truth[truth != 255], prediction[truth != 255]
    iou, accuracy, per_class = [], [], {}
    iou_with_predicted = []
    for c, name in enumerate(NAMES):
        is_class, taken_for = truth == c, prediction == c
        union = np.sum(is_class | taken_for)
        per_class[name] = np.sum(is_class & taken_for) / union if union else None
        if union:
            iou_with_predicted.append(per_class[name])
        if is_class.any():
            iou.append(per_class[name])
            accuracy.append(np.sum(is_class & taken_for) / np.sum(is_class))
    return {
        "mIOU": np.mean(iou),
        "mIOU_present_or_predicted": np.mean(iou_with_predicted),
        "pixel_accuracy": np.mean(truth == prediction),
        "mean_accuracy": np.mean(accuracy),
        "IoU_per_class": per_class,
        "classes_present": len(iou),
        "classes_present_or_predicted": len(iou_with_predicted),
    }


@pytest.mark.parametrize(
    ("in_truth", "in_prediction"),
    [
        ((0, 1, 2, 3, 255), (0, 1, 2, 3)),
        ((0, 1), (0, 1, 2, 3)),
        ((0, 1, 255), (0, 2)),
        ((3, 255), (3,)),
        ((1,), (0,)),
    ],
)
def test_equals_the_definition_exactly(in_truth, in_prediction):
    random = np.random.default_rng(0)
    matrix = ConfusionMatrix(NAMES)
    truths, predictions = [], []
    for height, width in ((7, 9), (1, 1), (30, 20)):
        truths.append(random.choice(in_truth, (height, width)).astype(np.uint8))
        predictions.append(random.choice(in_prediction, (height, width)).astype(np.int32))
        matrix.add(truths[-1], predictions[-1])
    assert matrix.metrics() == plain_metrics(truths, predictions)


def test_by_hand():
    matrix = ConfusionMatrix(NAMES)
    matrix.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 3]], np.uint8))
    matrix.add(np.array([[0], [1]], np.uint8), np.array([[2], [1]], np.int64))
    assert matrix.matrix.tolist() == [[1, 1, 1, 0], [0, 2, 0, 0], [0] * 4, [0] * 4]
    metrics = matrix.metrics()
    assert metrics["IoU_per_class"] == {
        "background": 1 / 3,
        "square": 2 / 3,
        "circle": 0.0,
        "triangle": None,
    }
    assert (metrics["mIOU"], metrics["mIOU_present_or_predicted"]) == (1 / 2, 1 / 3)
    assert metrics["pixel_accuracy"] == 3 / 5
    assert metrics["mean_accuracy"] == (1 / 3 + 1) / 2
    values = [value for value in metrics.values() if not isinstance(value, dict)]
    assert {type(value) for value in values} == {int, float}


def test_counts_beyond_32_bits():
    matrix = ConfusionMatrix(NAMES)
    matrix.matrix[1, 1] = 2**40
    matrix.add(np.array([[1, 1]], np.uint8), np.array([[1, 0]], np.uint8))
    assert matrix.metrics()["pixel_accuracy"] == (2**40 + 1) / (2**40 + 2)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "2 x 3"),
        (np.zeros((2, 3), np.int32), np.zeros((2, 3), np.uint8), "int32"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32), "float32"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8), r"\[2, 3, 3\]"),
        (np.full((2, 3), 4, np.uint8), np.zeros((2, 3), np.uint8), "ground truth has class 4"),
        (np.zeros((2, 3), np.uint8), np.full((2, 3), 4, np.uint8), "prediction has class 4"),
        (np.zeros((2, 3), np.uint8), np.full((2, 3), -1, np.int32), "prediction has class -1"),
        (np.full((2, 3), 255, np.uint8), np.full((2, 3), 255, np.uint8), "class 255"),
    ],
)
def test_refuses_what_is_no_mask(truth, prediction, message):
    matrix = ConfusionMatrix(NAMES)
    with pytest.raises(ValueError, match=message):
        matrix.add(truth, prediction)
    assert not matrix.matrix.any()


def test_nothing_to_measure():
    matrix = ConfusionMatrix(NAMES)
    with pytest.raises(ValueError, match="no pixel to measure"):
        matrix.metrics()
    matrix.add(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="no pixel to measure"):
        matrix.metrics()


def test_label_names():
    with pytest.raises(ValueError, match="repeated: .'cat'"):
        ConfusionMatrix(["cat", "dog", "cat"])
    for count in (0, 256):
        with pytest.raises(ValueError, match=f"{count} label names"):
            ConfusionMatrix([str(i) for i in range(count)])

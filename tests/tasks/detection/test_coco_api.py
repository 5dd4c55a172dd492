"""The fast implementation of the COCO API gives the figures of pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.detection.coco_evaluation import METRICS, CocoEvaluator

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is absent")
cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is absent")
PYCOCOTOOLS = (coco.COCO, cocoeval.COCOeval)

CATEGORY_IDS = [1, 5, 6, 7, 40, 90]
# On and beside the bounds between small, medium and large.
AREAS = [1.0, 1024.0, 1024.0000001, 1023.9999999, 5000.0, 9216.0, 9216.0000001, 9215.9999999, 4e5]


def awkward_set(seed: int, images: int = 25, detections: int = 130) -> CocoEvaluator:
    """Everything on which implementations might differ.

    Equal scores in and across images, equal boxes, boxes without area, crowds, areas on the bounds,
    more than 100 detections, images without objects or without detections, a category without
    objects (40), one without detections (6), one with neither (90), objects of one category that
    are all crowds (7).
    """
    rng = np.random.default_rng(seed)
    evaluator = CocoEvaluator(CATEGORY_IDS, [f"category {number}" for number in CATEGORY_IDS])
    for number in rng.permutation(images):
        count = 0 if number % 5 == 0 else int(rng.integers(1, 12))
        # A coarse grid, so that boxes repeat and overlaps come out at the thresholds exactly.
        corner = rng.integers(0, 12, (count, 2)) / 20
        boxes = np.concatenate([corner, corner + rng.integers(1, 8, (count, 2)) / 20], axis=-1)
        labels = rng.integers(0, 4, count)
        evaluator.add_ground_truth(
            image_id=10 + 3 * number,
            height=400,
            width=400,
            boxes=boxes,
            labels=labels,
            areas=rng.choice(AREAS, count),
            is_crowd=(labels == 3) | (rng.uniform(size=count) < 0.15),
        )
        if number % 7 == 1:
            continue
        corner = rng.integers(0, 12, (detections, 2)) / 20
        found = np.concatenate([corner, corner + rng.integers(0, 8, (detections, 2)) / 20], axis=-1)
        found_labels = rng.choice([0, 1, 3, 4], detections)
        if count:
            same = rng.integers(0, count, detections // 2)
            found[: detections // 2] = boxes[same]
            found_labels[: detections // 2] = np.where(labels[same] == 2, 1, labels[same])
        evaluator.add_detections(
            image_ids=[10 + 3 * number],
            boxes=found[None],
            scores=np.round(rng.uniform(size=(1, detections)), 1 + seed % 2),
            classes=found_labels[None],
            num_detections=[detections if number % 4 else 3],
        )
    return evaluator


def assert_equals_pycocotools(evaluator: CocoEvaluator) -> dict:
    found, expected = evaluator.evaluate(), evaluator.evaluate(PYCOCOTOOLS)
    figures = [[result[name] for name in METRICS] for result in (found, expected)]
    np.testing.assert_allclose(*figures, rtol=0, atol=1e-9)
    # Without objects of a class there is None in place of its AP.
    per_class = [np.array(list(x["AP_per_class"].values()), float) for x in (found, expected)]
    np.testing.assert_allclose(*per_class, rtol=0, atol=1e-9)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_it_equals_pycocotools(seed):
    metrics = assert_equals_pycocotools(awkward_set(seed))
    assert 0.01 < metrics["AP"] < 0.95
    assert len({metrics[name] for name in METRICS}) > 8
    per_class = metrics["AP_per_class"]
    assert [ap is None for ap in per_class.values()] == [False, False, False, True, True, True]
    assert per_class["category 6"] == 0


def test_it_equals_pycocotools_where_a_size_is_missing():
    evaluator = CocoEvaluator([3], ["one"])
    evaluator.add_ground_truth(1, 100, 100, [[0, 0, 0.5, 0.5]], [0], [2500.0], [False])
    assert assert_equals_pycocotools(evaluator)["AP"] == 0
    # Of IoU 0.8, which is seven of the ten thresholds.
    evaluator.add_detections([1], np.array([[[0, 0, 0.5, 0.4]]]), np.ones((1, 1)), [[0]], [1])
    metrics = assert_equals_pycocotools(evaluator)
    assert metrics["AP"] == pytest.approx(0.7)
    assert metrics["AP_small"] == metrics["AP_large"] == metrics["AR_small"] == -1

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.detection.anchors import feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.iou import pairwise_iou
from keras_mnv2.detection.matching import IGNORED, UNMATCHED, match_anchors

ANCHORS = ssd_anchors(feature_grid_sizes((128, 96)), (128, 96))

# Four unit squares side by side.
SQUARES = np.array([[0, x, 1, x + 1] for x in range(4)], np.float32)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sizes = rng.uniform(0.02, 0.8, (count, 2))
    starts = rng.uniform(0, 1 - sizes)
    return np.concatenate([starts, starts + sizes], axis=-1).astype(np.float32)


def naive_iou(a: np.ndarray, b: np.ndarray) -> float:
    height = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    width = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union


def test_iou_against_the_definition():
    rng = np.random.default_rng(0)
    boxes, others = random_boxes(rng, 5), random_boxes(rng, 7)
    expected = [[naive_iou(a, b) for b in others] for a in boxes]
    np.testing.assert_allclose(pairwise_iou(boxes, others), expected, atol=1e-6)
    empty = np.zeros((1, 4), np.float32)
    np.testing.assert_array_equal(pairwise_iou(empty, empty), [[0.0]])


def test_threshold_and_force_match_by_hand():
    boxes = np.array([[0, 0.2, 1, 1.2], [0, 3.9, 1, 4.9]], np.float32)
    # IoU of box 0: 2/3 and 1/9; of box 1: 1/19 with the last square, its best.
    np.testing.assert_array_equal(match_anchors(SQUARES, boxes), [0, UNMATCHED, UNMATCHED, 1])


def test_an_anchor_goes_to_the_object_it_overlaps_most():
    boxes = np.array([[0, 0.3, 1, 1.3], [0, 0.1, 1, 1.1], [0, 0.2, 1, 1.2]], np.float32)
    # All want square 0; it goes to box 1. Box 0 beats box 2 on square 1, box 2 finds none.
    np.testing.assert_array_equal(match_anchors(SQUARES, boxes), [1, 0, UNMATCHED, UNMATCHED])


def test_equal_boxes_share_the_anchors_there_are():
    boxes = np.array([[0, 0.5, 1, 2.5]] * 3, np.float32)
    matches = match_anchors(SQUARES, boxes).numpy()
    assert matches[1] == 0
    assert set(matches[:3]) == {0, 1, 2}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 6, 40])
def test_invariants_on_random_objects(seed, count):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count)
    boxes[count // 2 :] = boxes[: count - count // 2]  # duplicates contest every anchor
    matches = match_anchors(ANCHORS, boxes).numpy()
    iou = pairwise_iou(boxes, ANCHORS).numpy()
    assert set(matches[matches >= 0]) == set(range(count)), "an object has no anchor"
    assert not (matches == IGNORED).any()
    assert (matches[iou.max(axis=0) >= 0.5] >= 0).all()
    # Whoever is matched is the best of its anchor at IoU >= .5, or holds one anchor by force.
    by_force = (matches >= 0) & (
        (iou.max(axis=0) < 0.5) | (iou[matches, np.arange(len(ANCHORS))] < iou.max(axis=0))
    )
    assert np.bincount(matches[by_force], minlength=count).max(initial=0) <= 1
    # Among distinct boxes an object whose best anchor nobody else wants has it.
    best = iou.argmax(axis=1)
    for index in range(count):
        if (best == best[index]).sum() == 1:
            assert matches[best[index]] == index


def test_between_the_thresholds_is_ignored():
    boxes = np.array([[0, 0.2, 1, 1.2], [0, 3, 1, 4]], np.float32)
    matches = match_anchors(SQUARES, boxes, unmatched_threshold=0.1)
    np.testing.assert_array_equal(matches, [0, IGNORED, UNMATCHED, 1])


def test_no_objects_and_padding():
    none = match_anchors(ANCHORS, np.zeros((0, 4), np.float32))
    np.testing.assert_array_equal(none, np.full(len(ANCHORS), UNMATCHED))
    boxes = random_boxes(np.random.default_rng(0), 3)
    line, inverted, nan = [0.2, 0.2, 0.2, 0.9], [0.6, 0.6, 0.1, 0.1], [np.nan] * 4
    padded = np.concatenate([boxes, np.array([[0] * 4, line, inverted, nan], np.float32)])
    expected = match_anchors(ANCHORS, boxes).numpy()
    np.testing.assert_array_equal(match_anchors(ANCHORS, padded), expected)
    np.testing.assert_array_equal(match_anchors(ANCHORS, padded[3:]), none)


def test_crowd_regions_are_no_objects_and_no_background():
    boxes = np.array([[0, 0.1, 1, 1.1], [0, 0, 1, 2.4]], np.float32)
    matches = match_anchors(SQUARES, boxes, is_crowd=[False, True])
    # Square 0 is matched, 1 lies in the crowd, 2 only by 40 %.
    np.testing.assert_array_equal(matches, [0, IGNORED, UNMATCHED, UNMATCHED])
    matches = match_anchors(SQUARES, boxes, is_crowd=[False, True], crowd_threshold=0.3)
    np.testing.assert_array_equal(matches, [0, IGNORED, IGNORED, UNMATCHED])
    only_crowd = match_anchors(SQUARES, boxes[1:], is_crowd=[True])
    np.testing.assert_array_equal(only_crowd, [IGNORED, IGNORED, UNMATCHED, UNMATCHED])


def test_an_object_inside_a_crowd_keeps_all_its_anchors():
    anchors = np.array([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 0.8, 1, 1.8]], np.float32)
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 2]], np.float32)
    matches = match_anchors(anchors, boxes, is_crowd=[False, True])
    np.testing.assert_array_equal(matches, [0, 0, IGNORED])


def test_runs_in_tf_data_with_any_number_of_boxes():
    boxes = random_boxes(np.random.default_rng(5), 3)
    dataset = tf.data.Dataset.from_tensor_slices([0, 1, 3])
    matches = list(dataset.map(lambda n: match_anchors(ANCHORS, tf.constant(boxes)[:n])))
    for count, found in zip([0, 1, 3], matches, strict=True):
        np.testing.assert_array_equal(found, match_anchors(ANCHORS, boxes[:count]))


@pytest.mark.parametrize("matched, unmatched", [(0.5, 0.6), (1.2, None), (0.0, None)])
def test_bad_thresholds(matched, unmatched):
    with pytest.raises(ValueError, match="unmatched_threshold"):
        match_anchors(SQUARES, SQUARES, None, matched, unmatched)

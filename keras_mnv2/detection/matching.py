"""Which anchor is trained on which object: the argmax matcher of SSD.

Source: Liu et al., SSD (arXiv 1512.02325), section 2.2 ("matching strategy"), in the form of the
Object Detection API's `argmax_matcher` with `force_match_for_each_row`.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mnv2.detection.iou import area, pairwise_intersection

UNMATCHED = -1
IGNORED = -2


def match_anchors(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    is_crowd: tf.Tensor | None = None,
    matched_threshold: float = 0.5,
    unmatched_threshold: float | None = None,
    crowd_threshold: float = 0.5,
) -> tf.Tensor:
    """Matches every anchor with an object, the background or neither.

    An anchor goes to the object it overlaps most if their IoU is at least `matched_threshold`. In
    addition each object gets the anchor that overlaps it most, whatever the IoU. Where several
    objects want the same anchor, the Object Detection API gives it to the first in the list and the
    others may end with none; here the one of the highest IoU gets it (the first among equals) and
    the others the best anchor left, so an object loses only when no overlapping anchor is left.

    A crowd region is no object. Anchors that are not matched and of whose area at least
    `crowd_threshold` lies in a crowd region are ignored.

    TensorFlow operations; runs inside tf.data.

    Args:
        anchors: float32 [A, 4], [ymin, xmin, ymax, xmax].
        boxes: float32 [n, 4], in the same units; n may be 0. Boxes without area are padding.
        is_crowd: bool [n], or None if there is no crowd region.
        matched_threshold: least IoU of a match.
        unmatched_threshold: anchors with an IoU from here to `matched_threshold` are ignored;
            None for `matched_threshold`, that is no such anchors.
        crowd_threshold: least part of an anchor inside a crowd region to be ignored.

    Returns:
        int32 [A]: index of the object, `UNMATCHED` (-1) for background or `IGNORED` (-2).

    Raises:
        ValueError: if the thresholds are not 0 < unmatched <= matched <= 1.
    """
    if unmatched_threshold is None:
        unmatched_threshold = matched_threshold
    if not 0 < unmatched_threshold <= matched_threshold <= 1:
        raise ValueError(
            "Thresholds must satisfy 0 < unmatched_threshold <= matched_threshold <= 1, got "
            f"{unmatched_threshold} and {matched_threshold}."
        )
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    # One row of padding keeps every reduction over the objects defined when there are none.
    boxes = tf.pad(boxes, [[0, 1], [0, 0]])
    box_areas = area(boxes)
    is_object = box_areas > 0
    intersection = pairwise_intersection(boxes, anchors)
    anchor_areas = area(anchors)
    if is_crowd is not None:
        is_crowd = tf.pad(tf.reshape(tf.cast(is_crowd, tf.bool), [-1]), [[0, 1]])
        is_object &= ~is_crowd
    iou = intersection / (box_areas[:, None] + anchor_areas[None] - intersection)
    iou = tf.where(is_object[:, None], iou, 0.0)

    best_iou = tf.reduce_max(iou, axis=0)
    matches = tf.argmax(iou, axis=0, output_type=tf.int32)
    matches = tf.where(best_iou < matched_threshold, IGNORED, matches)
    matches = tf.where(best_iou < unmatched_threshold, UNMATCHED, matches)
    if is_crowd is not None:
        crowd_part = tf.where(is_crowd[:, None], intersection / anchor_areas, 0.0)
        in_crowd = tf.reduce_max(crowd_part, axis=0) >= crowd_threshold
        matches = tf.where(in_crowd & (matches == UNMATCHED), IGNORED, matches)
    forced = _one_anchor_each(iou)
    return tf.where(forced == UNMATCHED, matches, forced)


def _one_anchor_each(iou: tf.Tensor) -> tf.Tensor:
    """Gives each object an anchor of its own, the best that is free.

    Args:
        iou: float32 [n, A].

    Returns:
        int32 [A]: index of the object that owns the anchor, or `UNMATCHED`.
    """
    rows = tf.range(tf.shape(iou)[0])
    earlier = rows[None] < rows[:, None]

    def someone_waits(owner, waiting):
        return tf.reduce_any(waiting)

    def settle(owner, waiting):
        # Every object asks for its best free anchor; the strongest of those that ask for the same
        # gets it, so each round serves at least one object. Without contests one round is all.
        free = tf.where(owner == UNMATCHED, iou, 0.0)
        anchor = tf.argmax(free, axis=1, output_type=tf.int32)
        best = tf.where(waiting, tf.reduce_max(free, axis=1), 0.0)
        asks = best > 0
        stronger = (best[None] > best[:, None]) | ((best[None] == best[:, None]) & earlier)
        outbid = tf.reduce_any((anchor[None] == anchor[:, None]) & stronger, axis=1)
        served = asks & ~outbid
        owner = tf.tensor_scatter_nd_update(
            owner, tf.boolean_mask(anchor, served)[:, None], tf.boolean_mask(rows, served)
        )
        return owner, asks & ~served

    nobody = tf.fill([tf.shape(iou)[1]], UNMATCHED)
    owner, _ = tf.while_loop(someone_waits, settle, (nobody, tf.ones_like(rows, tf.bool)))
    return owner

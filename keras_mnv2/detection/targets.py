"""What the network is trained to output for one image."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_mnv2.detection.box_coder import SCALE_FACTORS, encode
from keras_mnv2.detection.matching import IGNORED, match_anchors


def encode_targets(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    is_crowd: tf.Tensor | None = None,
    matched_threshold: float = 0.5,
    unmatched_threshold: float | None = None,
    crowd_threshold: float = 0.5,
    scale_factors: Sequence[float] = SCALE_FACTORS,
) -> dict[str, tf.Tensor]:
    """Targets of every anchor for the objects of one image, named like the model's outputs.

    TensorFlow operations; runs inside tf.data, before batching.

    Args:
        anchors: float32 [A, 4], normalised [ymin, xmin, ymax, xmax].
        boxes: float32 [n, 4], normalised; n may be 0. Rows without area are padding.
        labels: integer [n], 0-based. Rows with a negative label are padding.
        is_crowd: bool [n], or None. Crowd regions are never a target, see `match_anchors`.
        matched_threshold, unmatched_threshold, crowd_threshold: see `match_anchors`.
        scale_factors: see `encode`.

    Returns:
        `box_encodings`: float32 [A, 5], codes [ty, tx, th, tw] and weight, 1 for an anchor matched
            with an object; all zero otherwise.
        `class_logits`: int32 [A], 0 for background, label + 1 for an object, -1 to be ignored.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    boxes = tf.where(labels[:, None] >= 0, boxes, 0.0)
    matches = match_anchors(
        anchors, boxes, is_crowd, matched_threshold, unmatched_threshold, crowd_threshold
    )
    positive = matches >= 0
    # The row of padding gives unmatched anchors something to gather when there are no objects.
    index = tf.maximum(matches, 0)
    matched_boxes = tf.gather(tf.pad(boxes, [[0, 1], [0, 0]]), index)
    matched_labels = tf.gather(tf.pad(labels, [[0, 1]]), index)
    weights = tf.cast(positive, tf.float32)[:, None]
    codes = encode(matched_boxes, anchors, scale_factors)
    background = tf.where(matches == IGNORED, -1, 0)
    return {
        "box_encodings": tf.concat([tf.where(positive[:, None], codes, 0.0), weights], axis=-1),
        "class_logits": tf.where(positive, matched_labels + 1, background),
    }

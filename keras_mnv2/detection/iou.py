"""Overlap of sets of boxes, as TensorFlow operations (it runs inside tf.data)."""

from __future__ import annotations

import tensorflow as tf


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Areas [N] of boxes [N, 4] of [ymin, xmin, ymax, xmax]; 0 for inverted boxes."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, num=4, axis=-1)
    return tf.maximum(ymax - ymin, 0.0) * tf.maximum(xmax - xmin, 0.0)


def pairwise_intersection(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Areas [N, M] of the intersections of boxes [N, 4] and others [M, 4]."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes[:, None, :], num=4, axis=-1)
    other_ymin, other_xmin, other_ymax, other_xmax = tf.unstack(others[None], num=4, axis=-1)
    height = tf.minimum(ymax, other_ymax) - tf.maximum(ymin, other_ymin)
    width = tf.minimum(xmax, other_xmax) - tf.maximum(xmin, other_xmin)
    return tf.maximum(height, 0.0) * tf.maximum(width, 0.0)


def pairwise_iou(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Intersection over union [N, M] of boxes [N, 4] and others [M, 4]; 0 where both are empty."""
    intersection = pairwise_intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)[None] - intersection
    return tf.math.divide_no_nan(intersection, union)

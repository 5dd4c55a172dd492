"""Squares around objects, which turn a detection data set into one for classification."""

from __future__ import annotations

import tensorflow as tf


def square_windows(boxes: tf.Tensor, size: tf.Tensor, context: float) -> tf.Tensor:
    """Where to cut out objects: squares around their boxes, shifted to lie inside the image.

    Args:
        boxes: float32 [n, 4], normalised yxyx.
        size: int32 [2], height and width of the image in pixels.
        context: added to the longer side of the box, as a fraction of it: 0.25 gives squares
            1.25 times as long as the object.

    Returns:
        int32 [n, 4]: top, left, height, width in pixels. A square larger than the image loses
        what does not fit, so all of the object stays inside.
    """
    size = tf.convert_to_tensor(size, tf.int32)
    extent = tf.cast(size, tf.float32)
    corners = tf.reshape(boxes, [-1, 2, 2]) * extent
    centers = tf.reduce_mean(corners, axis=1)
    longer = tf.reduce_max(corners[:, 1] - corners[:, 0], axis=-1, keepdims=True)
    side = tf.cast(tf.round(longer * (1.0 + context)), tf.int32)
    sides = tf.clip_by_value(tf.tile(side, [1, 2]), 1, size)
    corner = tf.cast(tf.round(centers - tf.cast(sides, tf.float32) / 2), tf.int32)
    return tf.concat([tf.clip_by_value(corner, 0, size - sides), sides], axis=-1)

"""Boxes as offsets from anchors: codes [ty, tx, th, tw].

Source: Ren et al., "Faster R-CNN" (arXiv 1506.01497), equation 2, with the factors of the
Object Detection API's `faster_rcnn_box_coder` (10, 10, 5, 5: SSD's "variances" .1, .1, .2, .2).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from keras import ops

SCALE_FACTORS = (10.0, 10.0, 5.0, 5.0)

# Sides are kept above this so that a degenerate box has a finite code.
EPSILON = 1e-8


def encode(
    boxes: tf.Tensor, anchors: tf.Tensor, scale_factors: Sequence[float] = SCALE_FACTORS
) -> tf.Tensor:
    """Codes of boxes relative to anchors, box by box.

    TensorFlow operations, so that it runs inside tf.data whatever the Keras backend is.

    Args:
        boxes: float32 [..., 4], [ymin, xmin, ymax, xmax]. Sides of zero or less are taken as 1e-8.
        anchors: float32 [..., 4], in the same units; broadcast against `boxes`.
        scale_factors: factors of ty, tx, th, tw.

    Returns:
        float32 [..., 4], [ty, tx, th, tw].
    """
    centre_factors, size_factors = _split_factors(scale_factors)
    boxes = tf.cast(boxes, tf.float32)
    anchors = tf.cast(anchors, tf.float32)
    sizes = tf.maximum(boxes[..., 2:] - boxes[..., :2], EPSILON)
    anchor_sizes = tf.maximum(anchors[..., 2:] - anchors[..., :2], EPSILON)
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2.0
    return tf.concat(
        [shift / anchor_sizes * centre_factors, tf.math.log(sizes / anchor_sizes) * size_factors],
        axis=-1,
    )


def decode(encodings, anchors, scale_factors: Sequence[float] = SCALE_FACTORS):
    """Boxes of codes: the inverse of `encode`, as Keras operations (it runs inside models).

    Args:
        encodings: float [..., 4], [ty, tx, th, tw]. Not capped: exp(th / 5) may overflow.
        anchors: float [..., 4], [ymin, xmin, ymax, xmax]; broadcast against `encodings`.
        scale_factors: factors of ty, tx, th, tw.

    Returns:
        float32 [..., 4], [ymin, xmin, ymax, xmax], not clipped.
    """
    centre_factors, size_factors = _split_factors(scale_factors)
    encodings = ops.cast(encodings, "float32")
    anchors = ops.convert_to_tensor(anchors, dtype="float32")
    anchor_sizes = anchors[..., 2:] - anchors[..., :2]
    anchor_centres = (anchors[..., :2] + anchors[..., 2:]) / 2.0
    centres = encodings[..., :2] / centre_factors * anchor_sizes + anchor_centres
    halves = ops.exp(encodings[..., 2:] / size_factors) * anchor_sizes / 2.0
    return ops.concatenate([centres - halves, centres + halves], axis=-1)


def _split_factors(scale_factors: Sequence[float]) -> tuple[list[float], list[float]]:
    factors = [float(factor) for factor in scale_factors]
    if len(factors) != 4 or min(factors) <= 0:
        raise ValueError(
            f"scale_factors must be four positive numbers (ty, tx, th, tw), got {scale_factors!r}."
        )
    return factors[:2], factors[2:]

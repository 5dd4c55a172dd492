"""Detection post-processing inside of LiteRT files, in two ways.

Both take the network's outputs for one image and do what `DetectionPostprocessing` does.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.description import Description
from keras_mnv2.detection.box_coder import decode

POSTPROCESS_OP = "TFLite_Detection_PostProcess"

# The converter does not hand over any other number.
POSTPROCESS_OP_DETECTIONS_PER_CLASS = 100

# Pairs of an anchor and a class that take part in the suppression, for each row of the output and
# at least. On photos the 100th survivor of a trained detector was among the best 450 pairs.
CANDIDATES_PER_DETECTION = 16
MIN_CANDIDATES = 1024

_NEVER = -1e9
_ANCHOR_UNIT = 2.0**24


def builtin_nms(outputs: dict[str, tf.Tensor], description: Description) -> dict[str, tf.Tensor]:
    """Per-class suppression by LiteRT's builtin operations.

    Of all pairs of an anchor and a class only the best k take part, 1,600 for 100 detections: to
    choose more of them would cost more than the suppression. The detections are those of
    `DetectionPostprocessing` where `max_detections` of them survive among these; else they are
    the first of those. The latter takes an image in which neither objects nor background have
    boxes in 100 places among the best 1,600 pairs.

    Args:
        outputs: `box_encodings` [1, A, 4] and `class_logits` [1, A, 1 + classes].
        description: of the detector: anchors, thresholds and numbers.

    Returns:
        `boxes` [1, N, 4], `scores` [1, N], `classes` int32 [1, N] and `num_detections` int32 [1].
    """
    with tf.name_scope("postprocessing"):
        boxes, scores, labels = _candidates(outputs, description)
        survivors, survived = _suppress(boxes, scores, labels, outputs, description)
        return _best(boxes, scores, labels, survivors, survived, description)


def _candidates(outputs, description: Description):
    """Decoded boxes [k, 4], scores [k] and labels [k] of the best pairs, best first."""
    num_anchors, columns = outputs["class_logits"].shape[1:]
    # LiteRT's slicing would take longer than all of the suppression: hence squeezing in place of
    # [0], and a sum in place of cutting off the background's column.
    background = np.zeros(columns, np.float32)
    background[0] = _NEVER
    logits = tf.squeeze(outputs["class_logits"], 0) + background
    count = max(MIN_CANDIDATES, CANDIDATES_PER_DETECTION * description.max_detections)
    count = min(count, num_anchors * (columns - 1))
    # The best k pairs are of the best k anchors. Those first, and choosing pairs is faster.
    _, rows = tf.math.top_k(tf.reduce_max(logits, axis=1), min(count, num_anchors))
    best, pairs = tf.math.top_k(tf.reshape(tf.gather(logits, rows), [-1]), count)
    places = pairs // columns
    labels = pairs - places * columns - 1
    rows = tf.gather(rows, places)
    # Integers, since float constants become halves by "float16", and bytes by "dynamic".
    anchors = np.rint(np.asarray(description.anchors) * _ANCHOR_UNIT).astype(np.int32)
    boxes = decode(
        tf.gather(tf.squeeze(outputs["box_encodings"], 0), rows),
        tf.cast(tf.gather(anchors, rows), tf.float32) / _ANCHOR_UNIT,
        description.scale_factors,
    )
    return boxes, tf.sigmoid(best), labels


def _suppress(boxes, scores, labels, outputs, description: Description):
    """Indices [classes, n] of the candidates that survive in each class, and which are valid."""
    count, num_classes = scores.shape[0], outputs["class_logits"].shape[2] - 1
    # In place of its score a candidate has its rank from behind, so that there are no ties.
    ranks = tf.where(scores > description.score_threshold, _ranks(count), 0)
    in_class = tf.one_hot(labels, num_classes, axis=0) * tf.cast(ranks, tf.float32)
    limit = min(description.max_detections_per_class, count)
    # LiteRT suppresses from the threshold on, TensorFlow above it.
    iou_threshold = np.nextafter(np.float32(description.iou_threshold), np.float32(2))
    results = [
        tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes,
            scores=ranks_in_class,
            max_output_size=limit,
            iou_threshold=iou_threshold,
            score_threshold=0.5,
            pad_to_max_output_size=True,
        )
        for ranks_in_class in tf.unstack(in_class)
    ]
    survivors = tf.stack([result.selected_indices for result in results])
    numbers = tf.stack([result.valid_outputs for result in results])
    return survivors, tf.range(limit)[None] < numbers[:, None]


def _best(boxes, scores, labels, survivors, survived, description: Description):
    """The detections: of the survivors with an area inside of the image, those of highest rank."""
    count, rows = scores.shape[0], description.max_detections
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    ranks = tf.where(sides[:, 0] * sides[:, 1] > 0, _ranks(count), 0)
    ranks = tf.gather(ranks, survivors) * tf.cast(survived, tf.int32)
    ranks = tf.reshape(ranks, [-1])
    if rows > ranks.shape[0]:
        ranks = tf.pad(ranks, [[0, rows - ranks.shape[0]]])
    ranks, _ = tf.math.top_k(ranks, rows)
    index = tf.minimum(count - ranks, count - 1)
    kept = tf.minimum(ranks, 1)
    mask = tf.cast(kept, tf.float32)
    return {
        "boxes": (tf.gather(boxes, index) * mask[:, None])[None],
        "scores": (tf.gather(scores, index) * mask)[None],
        "classes": (tf.gather(labels, index) * kept)[None],
        "num_detections": tf.reduce_sum(kept, keepdims=True),
    }


def _ranks(count: int) -> np.ndarray:
    """count, ..., 2, 1."""
    return np.arange(count, 0, -1, dtype=np.int32)


def custom_op(outputs: dict[str, tf.Tensor], description: Description) -> dict[str, tf.Tensor]:
    """The custom operation TFLite_Detection_PostProcess, which mobile runtimes have.

    It suppresses class by class as `DetectionPostprocessing` does, but neither clips boxes nor
    drops those without area inside of the image, returns classes and their number as floats, and
    says nothing of rows that are padding. `keras_mnv2.deployment.load` makes up for all of that,
    with fewer than `max_detections` detections where some are dropped.

    LiteRT's kernel loses all detections of class n when it runs on n > 1 threads
    (github.com/tensorflow/tensorflow/issues/56058; so does ai-edge-litert 2.3): set one thread.

    Args and returns as `builtin_nms`.
    """
    num_classes = outputs["class_logits"].shape[2] - 1
    rows = description.max_detections
    factors = zip("yxhw", description.scale_factors, strict=True)
    attributes = {
        "max_detections": f"i: {rows}",
        "max_classes_per_detection": "i: 1",
        "use_regular_nms": "b: true",
        "nms_score_threshold": f"f: {description.score_threshold:.9g}",
        "nms_iou_threshold": f"f: {description.iou_threshold:.9g}",
        "num_classes": f"i: {num_classes}",
        **{f"{side}_scale": f"f: {factor:.9g}" for side, factor in factors},
        "tfl_fusable_op": "b: true",
    }
    implements = f'name: "{POSTPROCESS_OP}" ' + " ".join(
        f'attr {{ key: "{name}" value {{ {value} }} }}' for name, value in attributes.items()
    )

    # The converter replaces the whole function by the operation; its body gives shapes only.
    @tf.function(experimental_implements=implements)
    def postprocess(box_encodings, scores, anchors):
        return (
            tf.zeros((1, rows, 4)),
            tf.zeros((1, rows)),
            tf.zeros((1, rows)),
            tf.zeros((1,)),
        )

    anchors = np.float32(description.anchors)
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    boxes, classes, scores, number = postprocess(
        outputs["box_encodings"],
        tf.sigmoid(outputs["class_logits"]),
        tf.constant(np.concatenate([centres, sides], axis=1)),
    )
    return {"boxes": boxes, "scores": scores, "classes": classes, "num_detections": number}

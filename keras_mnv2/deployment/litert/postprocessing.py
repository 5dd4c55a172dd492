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

# Anchors whose best class is in any case among what is suppressed, for each row of the output and
# at least: one large object alone may have hundreds of anchors. On photos the 100th survivor of a
# trained detector was among the best 450 pairs of anchor and class.
ANCHORS_PER_DETECTION = 10
MIN_ANCHORS = 1000

_NEVER = -1e9
_ANCHOR_UNIT = 2.0**24
# Of logits. Float constants become halves by "float16", and so may be off by that much.
_MARGIN = 0.05


def builtin_nms(outputs: dict[str, tf.Tensor], description: Description) -> dict[str, tf.Tensor]:
    """Per-class suppression by LiteRT's builtin operations.

    What takes part are the pairs of an anchor and a class that score as well as the best class of
    the k-th best anchor, k being 1,000 for up to 100 detections: at least k pairs, while all would
    take several times as long. The detections are those of `DetectionPostprocessing` where
    `max_detections` survive among these; else they are the first of those. The latter takes an
    image in which neither objects nor background have boxes in 100 places among 1,000 pairs.

    Args:
        outputs: `box_encodings` [1, A, 4] and `class_logits` [1, A, 1 + classes].
        description: of the detector: anchors, thresholds and numbers.

    Returns:
        `boxes` [1, N, 4], `scores` [1, N], `classes` int32 [1, N] and `num_detections` int32 [1].
    """
    with tf.name_scope("postprocessing"):
        # Here and below: LiteRT's slicing would take longer than all of the suppression. Hence
        # squeezing in place of [0], and a sum in place of cutting off the background's column.
        logits = tf.squeeze(outputs["class_logits"], 0)
        least = _least_logit(logits, description)
        boxes = _decoded(tf.squeeze(outputs["box_encodings"], 0), description)
        by_class = tf.transpose(logits)
        survivors, survived = _suppress(boxes, by_class, least, description)
        return _best(boxes, by_class, survivors, survived, description)


def _least_logit(logits, description: Description):
    """Scalar, what a pair must exceed to take part; logits are [A, 1 + classes]."""
    num_anchors, columns = logits.shape
    background = np.zeros(columns, np.float32)
    background[0] = _NEVER
    count = max(MIN_ANCHORS, ANCHORS_PER_DETECTION * description.max_detections)
    count = min(count, num_anchors)
    best, _ = tf.math.top_k(tf.reduce_max(logits + background, axis=1), count)
    # With the margin those that are equal take part as well.
    least = tf.reduce_min(best) - _MARGIN
    threshold = description.score_threshold
    if not threshold:
        return least
    return tf.maximum(least, np.float32(np.log(threshold / (1 - threshold)) - _MARGIN))


def _decoded(encodings, description: Description):
    """Boxes [A, 4] of all anchors."""
    # Integers, since float constants become halves by "float16", and bytes by "dynamic".
    anchors = np.rint(np.asarray(description.anchors) * _ANCHOR_UNIT).astype(np.int32)
    anchors = tf.cast(anchors, tf.float32) / _ANCHOR_UNIT
    return decode(encodings, anchors, description.scale_factors)


def _suppress(boxes, by_class, least, description: Description):
    """Anchors [classes, n] that survive in each class, and which of them are valid."""
    limit = min(description.max_detections_per_class, boxes.shape[0])
    # LiteRT suppresses from the threshold on, TensorFlow above it.
    iou_threshold = np.nextafter(np.float32(description.iou_threshold), np.float32(2))
    results = [
        tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes,
            scores=logits_of_class,
            max_output_size=limit,
            iou_threshold=iou_threshold,
            score_threshold=least,
            pad_to_max_output_size=True,
        )
        for logits_of_class in tf.unstack(by_class)[1:]
    ]
    survivors = tf.stack([result.selected_indices for result in results])
    numbers = tf.stack([result.valid_outputs for result in results])
    return survivors, tf.range(limit)[None] < numbers[:, None]


def _best(boxes, by_class, survivors, survived, description: Description):
    """The detections: of the survivors with an area inside of the image those of highest score."""
    columns, num_anchors = by_class.shape
    rows, limit = description.max_detections, survivors.shape[1]
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    has_area = tf.gather(sides[:, 0] * sides[:, 1] > 0, survivors)
    begin_of_class = num_anchors * np.arange(1, columns, dtype=np.int32)[:, None]
    logits = tf.gather(tf.reshape(by_class, [-1]), survivors + begin_of_class)
    is_detection = survived & has_area & (tf.sigmoid(logits) > description.score_threshold)
    logits = tf.reshape(tf.where(is_detection, logits, _NEVER), [-1])
    best, places = tf.math.top_k(logits, min(rows, logits.shape[0]))
    found = {
        "boxes": tf.gather(boxes, tf.gather(tf.reshape(survivors, [-1]), places)),
        "scores": tf.sigmoid(best),
        "classes": places // limit,
    }
    kept = best > _NEVER / 2
    missing = rows - best.shape[0]
    if missing > 0:
        found = {
            name: tf.pad(x, [[0, missing], *[[0, 0]] * (len(x.shape) - 1)])
            for name, x in found.items()
        }
        kept = tf.pad(kept, [[0, missing]])
    number = tf.cast(kept, tf.int32)
    mask = tf.cast(kept, tf.float32)
    return {
        "boxes": (found["boxes"] * mask[:, None])[None],
        "scores": (found["scores"] * mask)[None],
        "classes": (found["classes"] * number)[None],
        "num_detections": tf.reduce_sum(number, keepdims=True),
    }


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

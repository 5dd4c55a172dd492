"""From the network's outputs to detections: decoding, non-maximum suppression, clipping."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.detection.box_coder import SCALE_FACTORS, decode


@keras.saving.register_keras_serializable(package="keras_mnv2")
class DetectionPostprocessing(keras.layers.Layer):
    """Detections of each image, best first, in the steps of the Object Detection API.

    1. Boxes are decoded; scores are the sigmoid of the logits without the background column.
    2. Non-maximum suppression class by class on boxes that are not clipped.
    3. Survivors of all classes are sorted by score.
    4. Boxes are clipped to the image, and those without area are dropped.
    5. The best `max_detections` are kept; missing rows are zero.

    Input: {"box_encodings": float [B, A, 4], "class_logits": float [B, A, 1 + K]}.
    Output, float32 and int32 under any dtype policy:
        `boxes` [B, N, 4]: normalised [ymin, xmin, ymax, xmax] in [0, 1];
        `scores` [B, N]; `classes` int32 [B, N]: 0-based labels;
        `num_detections` int32 [B]: the rows that are not padding.

    Needs the TensorFlow backend. Not compilable by XLA. Converts to LiteRT's builtin operations
    with `nms="class_agnostic"` and a batch size of 1 that is part of the input's shape.

    Args:
        anchors: float32 [A, 4], as `ssd_anchors` gives them. They are part of the layer's
            configuration, so that a saved model needs nothing else.
        score_threshold: detections must score more.
        iou_threshold: a box is suppressed by a better one that it overlaps by more.
        max_detections: N, rows of the output.
        max_detections_per_class: most survivors of one suppression, before step 4.
        nms: "per_class", or "class_agnostic": each anchor stands for its best class only and one
            suppression runs over all classes. Faster, and the same for one class.
        scale_factors: of the box codes, see `decode`.

    Raises:
        ValueError: for an argument out of range, or inputs that do not fit the anchors.
        RuntimeError: on another Keras backend than TensorFlow.
    """

    def __init__(
        self,
        anchors: np.ndarray | Sequence[Sequence[float]],
        score_threshold: float = 1e-8,
        iou_threshold: float = 0.6,
        max_detections: int = 100,
        max_detections_per_class: int = 100,
        nms: str = "per_class",
        scale_factors: Sequence[float] = SCALE_FACTORS,
        **kwargs,
    ):
        # Not autocast: under mixed precision float16 codes would move the boxes.
        super().__init__(autocast=False, **kwargs)
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(
                "DetectionPostprocessing needs the TensorFlow backend (Keras has no non-maximum "
                f"suppression), but the Keras backend is {keras.backend.backend()!r}."
            )
        self.anchors = np.asarray(anchors, np.float32)
        if self.anchors.ndim != 2 or self.anchors.shape[-1] != 4 or not len(self.anchors):
            raise ValueError(f"anchors must have shape [A, 4], got {self.anchors.shape}.")
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold must lie in [0, 1], got {iou_threshold!r}.")
        if not 0 <= score_threshold < 1:
            raise ValueError(f"score_threshold must lie in [0, 1), got {score_threshold!r}.")
        if min(max_detections, max_detections_per_class) < 1:
            raise ValueError(
                "max_detections and max_detections_per_class must be positive, got "
                f"{max_detections!r} and {max_detections_per_class!r}."
            )
        if nms not in ("per_class", "class_agnostic"):
            raise ValueError(f"nms must be 'per_class' or 'class_agnostic', got {nms!r}.")
        self.score_threshold = float(score_threshold)
        self.iou_threshold = float(iou_threshold)
        self.max_detections = int(max_detections)
        self.max_detections_per_class = int(max_detections_per_class)
        self.nms = nms
        self.scale_factors = tuple(scale_factors)
        self.supports_jit = False

    def build(self, input_shape):
        num_anchors = len(self.anchors)
        boxes, logits = input_shape["box_encodings"], input_shape["class_logits"]
        if boxes[1] not in (None, num_anchors) or logits[1] not in (None, num_anchors):
            raise ValueError(
                f"There are {num_anchors} anchors, but box_encodings has shape {boxes} and "
                f"class_logits {logits}: were the anchors made for another input size?"
            )
        if logits[2] is None or logits[2] < 2:
            raise ValueError(
                f"class_logits must have the background and at least 1 class, got {logits}."
            )
        super().build(input_shape)

    def call(self, inputs):
        boxes = decode(inputs["box_encodings"], self.anchors, self.scale_factors)
        logits = tf.cast(inputs["class_logits"], tf.float32)[..., 1:]
        suppress = self._per_class if self.nms == "per_class" else self._class_agnostic
        boxes, scores, classes, survived = suppress(boxes, logits)

        boxes = tf.clip_by_value(boxes, 0.0, 1.0)
        sides = boxes[..., 2:] - boxes[..., :2]
        kept = survived & (sides[..., 0] * sides[..., 1] > 0)
        # Survivors are in order of score, and so remain: top_k prefers the first among equals.
        rows = tf.shape(scores)[1]
        missing = tf.maximum(self.max_detections - rows, 0)
        kept = tf.pad(kept, [[0, 0], [0, missing]])
        kept, index = tf.math.top_k(tf.cast(kept, tf.int32), self.max_detections)
        index = tf.minimum(index, rows - 1)

        def pick(values):
            return tf.gather(values, index, batch_dims=1)

        return {
            "boxes": tf.where(kept[..., None] > 0, pick(boxes), 0.0),
            "scores": tf.where(kept > 0, pick(scores), 0.0),
            "classes": tf.where(kept > 0, pick(classes), 0),
            "num_detections": tf.reduce_sum(kept, axis=1),
        }

    def _per_class(self, boxes, logits):
        """All survivors [B, M, ...] of suppression class by class, best first, padded."""
        num_classes = logits.shape[-1]
        # Room for every survivor: boxes without area must not take the place of others.
        result = tf.image.combined_non_max_suppression(
            boxes[:, :, None],
            tf.sigmoid(logits),
            max_output_size_per_class=self.max_detections_per_class,
            max_total_size=self.max_detections_per_class * num_classes,
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            clip_boxes=False,
        )
        rows = tf.range(tf.shape(result.nmsed_scores)[1])
        survived = rows[None] < result.valid_detections[:, None]
        classes = tf.cast(result.nmsed_classes, tf.int32)
        return result.nmsed_boxes, result.nmsed_scores, classes, survived

    def _class_agnostic(self, boxes, logits):
        """All survivors [B, M, ...] of one suppression over the best class of each anchor."""
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
        scores = tf.sigmoid(tf.reduce_max(logits, axis=-1))

        def suppress(image):
            index, valid = tf.raw_ops.NonMaxSuppressionV4(
                boxes=image[0],
                scores=image[1],
                max_output_size=self.max_detections_per_class,
                iou_threshold=self.iou_threshold,
                score_threshold=self.score_threshold,
                pad_to_max_output_size=True,
            )
            return index, valid

        if boxes.shape[0] == 1:
            # Without a loop this converts to LiteRT's builtin operations.
            index, valid = (result[None] for result in suppress((boxes[0], scores[0])))
        else:
            index, valid = tf.map_fn(suppress, (boxes, scores), fn_output_signature=(tf.int32,) * 2)
        index = tf.ensure_shape(index, [None, self.max_detections_per_class])
        survived = tf.range(self.max_detections_per_class)[None] < valid[:, None]
        boxes, scores, classes = (
            tf.gather(values, index, batch_dims=1) for values in (boxes, scores, classes)
        )
        return boxes, scores, classes, survived

    def get_config(self):
        return {
            **super().get_config(),
            "anchors": self.anchors.tolist(),
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": self.max_detections,
            "max_detections_per_class": self.max_detections_per_class,
            "nms": self.nms,
            "scale_factors": list(self.scale_factors),
        }

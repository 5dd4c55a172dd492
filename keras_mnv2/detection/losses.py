"""Losses of single-shot detection over targets made by `encode_targets`.

Each loss is the sum over all anchors of the batch divided by the number of positive anchors in the
batch, at least 1 (`normalize_loss_by_num_matches` of the Object Detection API). `call` returns one
value an image, scaled so that the mean over the batch, Keras's default reduction, is that quotient.
Under `tf.distribute` the batch is that of all replicas together, so that the gradient is the one
that a single device would compute; the original counts the positives of each replica. Computation
is float32, or float64 for predictions in that.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_mnv2.distribution import mean_over_replicas, num_replicas
from keras_mnv2.precision import at_least_float32

register = keras.saving.register_keras_serializable(package="keras_mnv2")


@register
class BoxLoss(keras.losses.Loss):
    """Smooth L1 loss of the box codes of positive anchors, summed over the four codes.

    `y_true` is float [B, A, 5], codes and weight; `y_pred` float [B, A, 4]. The original is
    `weighted_smooth_l1`: d^2 / 2 up to `delta`, then delta (|d| - delta / 2).
    """

    def __init__(self, delta: float = 1.0, name: str = "box_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if delta <= 0:
            raise ValueError(f"delta must be positive, got {delta!r}.")
        self.delta = float(delta)

    def call(self, y_true, y_pred):
        _check_last(y_true, 5, "BoxLoss: y_true (4 codes and weight)")
        _check_last(y_pred, 4, "BoxLoss: y_pred (4 codes)")
        y_pred = at_least_float32(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        weights = y_true[..., 4]
        error = ops.abs(y_pred - y_true[..., :4])
        inner = ops.minimum(error, self.delta)
        per_anchor = ops.sum(inner * (error - 0.5 * inner), axis=-1)
        return _per_image(per_anchor * weights, ops.sum(weights))

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


@register
class HardNegativeClassificationLoss(keras.losses.Loss):
    """Sigmoid cross-entropy over positive anchors and the hardest negatives of each image.

    `y_true` is integer [B, A]: 0 for background, 1..K for an object, -1 for an ignored anchor;
    `y_pred` float [B, A, 1 + K], logits. An anchor's loss is summed over the 1 + K columns against
    a one-hot target in which the background is column 0. Of an image's negatives those of the
    highest loss count, `negatives_per_positive` for each of its positives and at least
    `min_negatives_per_image`; among equals the first.

    Source: SSD (arXiv 1512.02325), section 2.2, with the numbers of
    `ssdlite_mobilenet_v2_coco.config`. The original's miner first drops anchors whose predicted
    boxes overlap a harder one by an IoU above 0.99; this, close to no effect, is left out.
    """

    def __init__(
        self,
        negatives_per_positive: float = 3.0,
        min_negatives_per_image: int = 3,
        name: str = "hard_negative_classification_loss",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if negatives_per_positive < 0 or min_negatives_per_image < 0:
            raise ValueError(
                "negatives_per_positive and min_negatives_per_image must not be negative, got "
                f"{negatives_per_positive!r} and {min_negatives_per_image!r}."
            )
        self.negatives_per_positive = float(negatives_per_positive)
        self.min_negatives_per_image = int(min_negatives_per_image)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        logits = at_least_float32(y_pred)
        # softplus(x) - x t is the cross-entropy of sigmoid(x) with t; t is 1 in one column only.
        target_logits = _gather_columns(logits, ops.maximum(labels, 0))
        losses = ops.sum(ops.softplus(logits), axis=-1) - target_logits
        positive = labels > 0
        num_positives = ops.sum(ops.cast(positive, "int32"), axis=-1, keepdims=True)
        num_negatives = ops.maximum(
            ops.cast(self.negatives_per_positive * ops.cast(num_positives, "float32"), "int32"),
            self.min_negatives_per_image,
        )
        chosen = positive | hardest(ops.stop_gradient(losses), labels == 0, num_negatives)
        return _per_image(losses * ops.cast(chosen, losses.dtype), ops.sum(num_positives))

    def get_config(self):
        return {
            **super().get_config(),
            "negatives_per_positive": self.negatives_per_positive,
            "min_negatives_per_image": self.min_negatives_per_image,
        }


@register
class FocalClassificationLoss(keras.losses.Loss):
    """Sigmoid focal loss over all anchors that are not ignored.

    `y_true` is integer [B, A]: 0 for background, 1..K for an object, -1 for an ignored anchor;
    `y_pred` float [B, A, 1 + K], logits. The background is encoded as zeros: the target of its
    anchors is 0 in all columns, and column 0, which no score is read from, is always trained
    towards 0.

    Source: Lin et al. (arXiv 1708.02002), equation 5, as in the 320x320 SSDLite configurations
    (alpha 0.75, gamma 2).
    """

    def __init__(
        self,
        alpha: float = 0.75,
        gamma: float = 2.0,
        name: str = "focal_classification_loss",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not 0 <= alpha <= 1 or gamma < 0:
            raise ValueError(
                f"alpha must lie in [0, 1] and gamma be at least 0, got {alpha!r} and {gamma!r}."
            )
        self.alpha = float(alpha)
        self.gamma = float(gamma)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        logits = at_least_float32(y_pred)
        positive = labels > 0
        # Nearly all targets are 0: take all of them as such, then correct the positives' column.
        target_logits = _gather_columns(logits, ops.maximum(labels, 0))
        wrong = (1.0 - self.alpha) * self._focal(target_logits)
        right = self.alpha * self._focal(-target_logits)
        losses = (1.0 - self.alpha) * ops.sum(self._focal(logits), axis=-1)
        losses = losses + ops.where(positive, right - wrong, 0.0)
        losses = losses * ops.cast(labels >= 0, losses.dtype)
        return _per_image(losses, ops.sum(ops.cast(positive, "int32")))

    def _focal(self, logits):
        """p^gamma (-log(1 - p)) for p = sigmoid(logits), finite with finite gradients."""
        cross_entropy = ops.softplus(logits)
        return ops.exp(self.gamma * (logits - cross_entropy)) * cross_entropy

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


def _per_image(per_anchor, num_positives):
    """Losses [B] whose mean is the sum over [B, A] divided by the number of positives."""
    batch_size = ops.cast(ops.shape(per_anchor)[0], per_anchor.dtype)
    # One positive among all replicas is at least assumed, not one on each.
    positives = mean_over_replicas(ops.cast(num_positives, per_anchor.dtype))
    normaliser = ops.maximum(positives, 1.0 / num_replicas())
    return ops.sum(per_anchor, axis=-1) * (batch_size / normaliser)


def _gather_columns(logits, columns):
    """Of logits [B, A, C] the column that columns [B, A] names: [B, A]."""
    # By flat index: take_along_axis is several times as slow, and a one-hot copy is [B, A, C].
    columns_of_rows = ops.reshape(columns, (-1,))
    rows = ops.arange(ops.shape(columns_of_rows)[0], dtype="int32")
    index = logits.shape[-1] * rows + columns_of_rows
    return ops.reshape(ops.take(ops.reshape(logits, (-1,)), index), ops.shape(columns))


def hardest(losses, candidates, count):
    """Mask [B, A] of the `count` [B, 1] candidates of the highest loss in each row."""
    count = ops.minimum(count, ops.sum(ops.cast(candidates, "int32"), axis=-1, keepdims=True))
    losses = ops.where(candidates, losses, float("-inf"))
    ascending = ops.sort(losses, axis=-1)
    # The last of the chosen; with none to choose, the highest loss, of which zero are taken below.
    place = ops.shape(losses)[-1] - ops.maximum(count, 1)
    threshold = ops.take_along_axis(ascending, place, axis=-1)
    above = candidates & (losses > threshold)
    equal = candidates & (losses == threshold)
    room = count - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
    return above | (equal & (ops.cumsum(ops.cast(equal, "int32"), axis=-1) <= room))


def _check_last(tensor, size: int, what: str) -> None:
    if tensor.shape[-1] != size:
        raise ValueError(f"{what} must have {size} values in its last axis, got {tensor.shape}.")

"""Loss of semantic segmentation."""

from __future__ import annotations

import keras
from keras import ops

from keras_mnv2.distribution import mean_over_replicas
from keras_mnv2.precision import at_least_float32


@keras.saving.register_keras_serializable(package="keras_mnv2")
class PixelwiseCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of every pixel, averaged over the valid pixels of the whole batch.

    `y_true` is integer [B, H, W] or [B, H, W, 1] with class ids 0..K-1 and `ignore_class`;
    `y_pred` holds logits [B, H, W, K]; the computation is float32, or float64 for logits in that.
    `call` returns [B, H, W], scaled so that the mean, Keras's default reduction, is the sum over
    the pixels that count divided by their number; 0 for a batch in which none does. Under
    `tf.distribute` the number is that of all replicas together, so that the gradient is the one
    that a single device would compute.

    Source: `add_softmax_cross_entropy_loss_for_each_scale`, research/deeplab/utils/train_utils.py.

    Args:
        ignore_class: label of pixels that do not count ("void").
        top_k_percent_pixels: share, above 0 and at most 1, of the pixels of a batch (of a replica)
            that count: those of the highest loss. Ignored pixels add to the number that the share
            is taken of, but never count. Pixels as hard as the easiest one that counts count too.

    Raises:
        ValueError: if `top_k_percent_pixels` is out of range.
    """

    def __init__(
        self,
        ignore_class: int = 255,
        top_k_percent_pixels: float = 1.0,
        name: str = "pixelwise_cross_entropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not 0 < top_k_percent_pixels <= 1:
            raise ValueError(
                f"top_k_percent_pixels={top_k_percent_pixels!r} must be above 0 and at most 1 "
                "(0.25 is a quarter of the pixels)"
            )
        self.ignore_class = int(ignore_class)
        self.top_k_percent_pixels = float(top_k_percent_pixels)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == 4:
            labels = ops.squeeze(labels, axis=-1)
        counts = ops.not_equal(labels, self.ignore_class)
        # The label of an ignored pixel may be no class at all, which TensorFlow refuses.
        losses = ops.sparse_categorical_crossentropy(
            ops.where(counts, labels, 0), at_least_float32(y_pred), from_logits=True
        )
        losses = ops.where(counts, losses, 0.0)
        if self.top_k_percent_pixels < 1:
            hardest = losses >= _smallest_of_top(losses, self.top_k_percent_pixels)
            counts = ops.logical_and(counts, hardest)
            losses = ops.where(hardest, losses, 0.0)
        number = mean_over_replicas(ops.sum(ops.cast(counts, losses.dtype)))
        return losses * ops.divide_no_nan(ops.cast(_size(losses), losses.dtype), number)

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_class": self.ignore_class,
            "top_k_percent_pixels": self.top_k_percent_pixels,
        }


def _smallest_of_top(losses, share: float):
    """The k-th largest of `losses`, k being `share` of their number, rounded down, at least 1."""
    number = _size(losses)
    if isinstance(number, int):
        k = max(int(share * number), 1)
    else:
        k = ops.maximum(ops.cast(share * ops.cast(number, "float32"), "int32"), 1)
    flat = ops.reshape(ops.stop_gradient(losses), [-1])
    return ops.min(ops.top_k(flat, k, sorted=False)[0])


def _size(x):
    """Number of elements: an int, or a tensor where TensorFlow leaves the shape open."""
    number = 1
    for side in ops.shape(x):
        number *= side
    return number

"""Bilinear resizing in which the corner pixels keep their places."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_mnv2")
class AlignCornersResizing(keras.layers.Layer):
    """Bilinear resizing of [B, h, w, C] to [B, H, W, C] with aligned corners.

    Row i of the output is read at row i * (h - 1) / (H - 1) of the input, columns likewise.
    `keras.layers.Resizing` and `UpSampling2D` align half-pixel centres instead; with the DeepLab
    weights that changes one to two percent of the pixels.

    On TensorFlow this is the one operation ResizeBilinear, which LiteRT has as a builtin; other
    backends gather and interpolate. Computation is float32 whatever the dtype of the inputs, the
    result has the layer's compute dtype.

    Args:
        size: (height, width) of the output, or None to take those of the second argument of the
            call, a tensor [B, H, W, ...] of which nothing but the shape is used.

    Raises:
        ValueError: if `size` is not two positive whole numbers, or if both or neither of `size`
            and the second argument are given.
    """

    def __init__(self, size: tuple[int, int] | None = None, **kwargs):
        super().__init__(**kwargs)
        if size is not None:
            size = tuple(size)
            if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
                raise ValueError(f"size={size!r} must be (height, width), positive whole numbers")
        self.size = size

    def call(self, inputs, reference=None):
        self._check_reference(reference)
        height, width = self.size or ops.shape(reference)[1:3]
        x = ops.cast(inputs, "float32")
        if keras.backend.backend() == "tensorflow":
            x = tf.raw_ops.ResizeBilinear(images=x, size=[height, width], align_corners=True)
        else:
            x = interpolate(interpolate(x, width, axis=2), height, axis=1)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, inputs_shape, reference_shape=None):
        self._check_reference(reference_shape)
        height, width = self.size or reference_shape[1:3]
        return (inputs_shape[0], height, width, inputs_shape[3])

    def _check_reference(self, reference) -> None:
        if (self.size is None) == (reference is None):
            raise ValueError(
                f"{self.name}: give either size=(height, width) or, as second argument of the "
                "call, a tensor of the size wanted"
            )

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def interpolate(x, size: int, axis: int):
    """Linear interpolation of float32 [B, h, w, C] to `size` positions along axis 1 or 2."""
    length = x.shape[axis]
    # float32 as in TensorFlow's kernel, so that both read the same two neighbours.
    scale = np.float32(length - 1) / np.float32(max(size - 1, 1))
    position = np.arange(size, dtype="float32") * (scale if size > 1 else np.float32(0))
    before = np.minimum(position.astype("int32"), length - 1)
    after = np.minimum(before + 1, length - 1)
    fraction = (position - before).reshape((size, 1, 1) if axis == 1 else (size, 1))
    fraction = ops.convert_to_tensor(fraction, dtype="float32")
    first = ops.take(x, before, axis=axis)
    return first + (ops.take(x, after, axis=axis) - first) * fraction

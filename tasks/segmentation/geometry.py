"""Pictures of any size at the network's input size, as research/deeplab evaluates them.

Larger ones are resized until they fit, smaller ones keep their size; what is missing at the
bottom and at the right is padded with the grey that the network sees as zero.
"""

from __future__ import annotations

import tensorflow as tf

from tasks.common.images import whole_grey_levels

# The image mean of the original, 127.5, in whole grey levels.
MEAN_GREY = 128


def fit_within(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes an image that is larger than `size`, keeping its aspect; bilinear with antialias.

    Args:
        image: uint8 [h, w, 3], not empty.
        size: (height, width) of the network's input.

    Returns:
        uint8 [h', w', 3] with h' <= height and w' <= width, sides rounded down but at least 1;
        `image` itself where it fits already.
    """
    height, width = size
    shape = tf.shape(image)
    fitting = fitting_size(shape[:2], size)

    def smaller() -> tf.Tensor:
        resized = tf.image.resize(image, fitting, method="bilinear", antialias=True)
        return whole_grey_levels(resized)

    is_larger = (shape[0] > height) | (shape[1] > width)
    return tf.ensure_shape(tf.cond(is_larger, smaller, lambda: image), (None, None, 3))


def fitting_size(image_size: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Size that an image gets by `fit_within`.

    Args:
        image_size: int32 [2], (h, w).
        size: (height, width) to fit into.

    Returns:
        int32 [2], (h', w').
    """
    # Whole numbers: 640 * (513 / 640) need not be 513 in floating point.
    h, w = tf.unstack(tf.cast(image_size, tf.int64))
    height, width = size
    by_height = tf.stack([height, tf.maximum(w * height // h, 1)])
    by_width = tf.stack([tf.maximum(h * width // w, 1), width])
    smaller = tf.where(h * width >= w * height, by_height, by_width)
    is_larger = (h > height) | (w > width)
    return tf.cast(tf.where(is_larger, smaller, tf.stack([h, w])), tf.int32)


def fit(image: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """`fit_within`, then padding with `MEAN_GREY` at the bottom and at the right.

    Args:
        image: uint8 [h, w, 3], not empty.
        size: (height, width) of the network's input.

    Returns:
        uint8 [height, width, 3], and int32 [2]: height and width of its part that is picture.
    """
    fitted = fit_within(image, size)
    valid = tf.shape(fitted)[:2]
    missing = tf.stack([size[0] - valid[0], size[1] - valid[1], 0])
    paddings = tf.stack([tf.zeros_like(missing), missing], axis=1)
    padded = tf.pad(fitted, paddings, constant_values=MEAN_GREY)
    return tf.ensure_shape(padded, (*size, 3)), valid

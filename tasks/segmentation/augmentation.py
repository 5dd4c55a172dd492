"""Random geometry of training images and their masks, as research/deeplab trains.

`image` is uint8 [h, w, 3]; `mask` uint8 [h, w, 1], class ids and 255 for void; `seed` int32 [2].
"""

from __future__ import annotations

import tensorflow as tf

from tasks.common.chance import apply_if, coin
from tasks.common.images import whole_grey_levels
from tasks.segmentation.geometry import MEAN_GREY, fitting_size
from tasks.segmentation.mean_iou import VOID


def random_scale(
    image: tf.Tensor,
    mask: tf.Tensor,
    seed: tf.Tensor,
    size: tuple[int, int],
    low: float = 0.5,
    high: float = 2.0,
    step: float = 0.25,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits into `size` what is larger, as in evaluation, then scales by a random factor.

    Images of PASCAL VOC are not larger; research/deeplab leaves larger ones as they are in
    training, and shrinks them without low-pass filter.

    Args:
        image, mask, seed: one example.
        size: (height, width) of the network's input.
        low, high: range of the factor.
        step: between two factors, which are equally probable; any factor in the range for 0.

    Returns:
        image [h', w', 3] (bilinear, with antialias) and mask [h', w', 1] (nearest neighbour).
    """
    draw = tf.random.stateless_uniform([], seed)
    if step:
        count = int((high - low) / step + 1e-6) + 1
        factor = low + tf.floor(draw * count) * step
    else:
        factor = low + draw * (high - low)
    old_size = tf.shape(image)[:2]
    fitted = tf.cast(fitting_size(old_size, size), tf.float32)
    new_size = tf.maximum(tf.cast(tf.round(fitted * factor), tf.int32), 1)
    changes = tf.reduce_any(new_size != old_size)

    def resized(x: tf.Tensor) -> tf.Tensor:
        x = tf.image.resize(x, new_size, method="bilinear", antialias=True)
        return whole_grey_levels(x)

    image = apply_if(changes, resized, image)
    mask = apply_if(changes, lambda x: tf.image.resize(x, new_size, method="nearest"), mask)
    return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(mask, [None, None, 1])


def random_crop(
    image: tf.Tensor,
    mask: tf.Tensor,
    seed: tf.Tensor,
    size: tuple[int, int],
    foreground: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random part of `size`; smaller pictures are padded at the bottom and at the right first.

    Padding is the image mean in the image and void in the mask.

    Args:
        image, mask, seed: one example.
        size: (height, width) of the crop.
        foreground: probability that the crop is one of those that contain a certain pixel, drawn
            among the pixels of classes other than 0; any crop where there is none.

    Returns:
        image [*size, 3] and mask [*size, 1].
    """
    missing = tf.maximum(tf.stack([*size]) - tf.shape(image)[:2], 0)
    paddings = tf.stack([tf.zeros([3], tf.int32), tf.concat([missing, [0]], axis=0)], axis=1)
    image = tf.pad(image, paddings, constant_values=MEAN_GREY)
    mask = tf.pad(mask, paddings, constant_values=VOID)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    draws = tf.random.stateless_uniform([2], seeds[0])
    first, last = tf.zeros([2], tf.int32), tf.shape(image)[:2] - size
    if foreground:
        low, high = tf.cond(
            coin(seeds[1], foreground),
            lambda: _corners_around_foreground(mask, seeds[2], size, last),
            lambda: (first, last),
        )
    else:
        low, high = first, last
    corner = low + tf.cast(draws * tf.cast(high - low + 1, tf.float32), tf.int32)
    image, mask = (
        tf.ensure_shape(tf.slice(x, tf.concat([corner, [0]], axis=0), [*size, -1]), [*size, depth])
        for x, depth in ((image, 3), (mask, 1))
    )
    return image, mask


def _corners_around_foreground(
    mask: tf.Tensor, seed: tf.Tensor, size: tuple[int, int], last: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last corner, int32 [2] each, of the crops that contain one foreground pixel."""
    pixels = tf.cast(tf.where((mask[..., 0] > 0) & (mask[..., 0] != VOID)), tf.int32)
    count = tf.shape(pixels)[0]
    draw = tf.random.stateless_uniform([], seed)

    def around() -> tuple[tf.Tensor, tf.Tensor]:
        pixel = pixels[tf.cast(draw * tf.cast(count, tf.float32), tf.int32)]
        return tf.maximum(pixel - size + 1, 0), tf.minimum(pixel, last)

    return tf.cond(count > 0, around, lambda: (tf.zeros([2], tf.int32), last))


def random_flip(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors both left to right, with even odds."""
    flip = coin(seed, 0.5)
    image, mask = (apply_if(flip, lambda x: tf.reverse(x, axis=[1]), x) for x in (image, mask))
    return image, mask

"""Random augmentation for detection: TensorFlow functions on one example, to be mapped by tf.data.

Conventions of all functions:

- `image` is uint8 or float32 [height, width, 3] with values in 0..255,
- `boxes` is float32 [n, 4], normalised [ymin, xmin, ymax, xmax]; n may be 0,
- `labels` is an integer [n], `is_crowd` a bool [n],
- `seed` is an int32 [2]. The same seed gives the same result. Give every function (and every
  example) a seed of its own, for instance from `tf.random.split`; with a shared one the draws of
  the functions are correlated.

A pipeline is fastest with the geometry first, on uint8, then one `resize`, and then the colours of
the small picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tasks.common.chance import apply_if, coin

# A crop that leaves less than this of a box (pixels, either side) leaves no object to learn from,
# and the logarithm in its box encoding would dominate the loss.
MIN_SIDE = 0.5


def random_horizontal_flip(
    image: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor, probability: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors the image and its boxes left to right, with the given probability.

    Returns:
        image and boxes, shapes and dtypes unchanged.
    """
    flip = coin(seed, probability)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)
    return apply_if(flip, lambda x: tf.reverse(x, axis=[1]), image), tf.where(flip, mirrored, boxes)


def ssd_random_crop(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    is_crowd: tf.Tensor,
    seed: tf.Tensor,
    **options,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Crops as `ssd_random_window` says.

    Args:
        image, boxes, labels, is_crowd: one example; crowd boxes are treated as any other box.
        seed: int32 [2].
        **options: of `ssd_random_window`.

    Returns:
        image [crop height, crop width, 3], boxes [m, 4] normalised to the crop, labels [m] and
        is_crowd [m], m <= n.
    """
    window, boxes, labels, is_crowd = ssd_random_window(
        tf.shape(image)[:2], boxes, labels, is_crowd, seed, **options
    )
    begin, size = tf.concat([window[:2], [0]], axis=0), tf.concat([window[2:], [-1]], axis=0)
    cropped = tf.slice(image, begin, size)
    cropped.set_shape([None, None, image.shape[-1]])
    return cropped, boxes, labels, is_crowd


def ssd_random_window(
    image_size: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    is_crowd: tf.Tensor,
    seed: tf.Tensor,
    min_object_covered: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    aspect_ratio_range: tuple[float, float] = (0.5, 2.0),
    area_range: tuple[float, float] = (0.1, 1.0),
    random_coef: float = 0.15,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where to crop as `ssd_random_crop` of the TensorFlow Object Detection API, by its defaults.

    One of `min_object_covered` is drawn uniformly. The crop contains at least that fraction of at
    least one box, and a box stays if at least that fraction of it lies inside (for 0: if any of it
    does); it is clipped to the crop. Boxes that end up thinner than half a pixel are dropped. The
    image stays whole where 100 trials find no crop. A crop may be left with no box.

    Args:
        image_size: int32 [2], height and width of the image in pixels.
        boxes, labels, is_crowd: its objects; crowd boxes are treated as any other box.
        seed: int32 [2].
        min_object_covered: the alternatives, fractions in 0..1.
        aspect_ratio_range: width / height of the crop, in pixels.
        area_range: area of the crop as a fraction of the image's.
        random_coef: probability of leaving the image alone.

    Returns:
        window int32 [4], top, left, height and width in pixels, boxes [m, 4] normalised to it,
        labels [m] and is_crowd [m], m <= n.
    """
    draw_seed, crop_seed = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([2], draw_seed)
    alternative = tf.cast(draws[0] * len(min_object_covered), tf.int32)
    fraction = tf.gather(tf.constant(min_object_covered, tf.float32), alternative)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([image_size, [3]], axis=0),
        tf.clip_by_value(boxes, 0.0, 1.0)[tf.newaxis],
        crop_seed,
        min_object_covered=fraction,
        aspect_ratio_range=aspect_ratio_range,
        area_range=area_range,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    # The whole image is a crop too, so that both cases go through the same code.
    do_crop = draws[1] >= random_coef
    begin = tf.where(do_crop, begin[:2], 0)
    size = tf.where(do_crop, size[:2], image_size)

    boxes, keep = _boxes_in_window(boxes, image_size, begin, size, fraction)
    return (
        tf.concat([begin, size], axis=0),
        tf.boolean_mask(boxes, keep),
        tf.boolean_mask(labels, keep),
        tf.boolean_mask(is_crowd, keep),
    )


def _boxes_in_window(
    boxes: tf.Tensor, image_size: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, fraction: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes [n, 4] clipped and normalised to the window, and which of them [n] stay."""
    image_size, begin, size = (tf.cast(x, tf.float32) for x in (image_size, begin, size))
    low, high = begin / image_size, (begin + size) / image_size
    # Clipping before any other arithmetic keeps the inside fraction of an untouched box exactly 1.
    clipped = tf.clip_by_value(boxes, tf.tile(low, [2]), tf.tile(high, [2]))
    sides = clipped[:, 2:] - clipped[:, :2]
    area = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    inside = tf.math.divide_no_nan(tf.reduce_prod(sides, axis=-1), area)
    keep = (inside >= fraction) & tf.reduce_all(sides * image_size >= MIN_SIDE, axis=-1)
    normalised = (clipped - tf.tile(low, [2])) / tf.tile(high - low, [2])
    return tf.clip_by_value(normalised, 0.0, 1.0), keep


def random_expand(
    image: tf.Tensor,
    boxes: tf.Tensor,
    seed: tf.Tensor,
    max_ratio: float = 4.0,
    probability: float = 0.5,
    fill: tuple[int, int, int] = (124, 116, 104),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Zooms out: puts the image at a random place of a larger canvas (SSD, section 3.6).

    Args:
        image, boxes: one example.
        seed: int32 [2].
        max_ratio: side of the canvas over the side of the image is uniform in 1..max_ratio.
        probability: of doing so; otherwise both are returned as they are.
        fill: RGB colour of the canvas, 0..255; the default is the mean of ImageNet.

    Returns:
        image [canvas height, canvas width, 3] of the same dtype, boxes [n, 4] normalised to the
        canvas.
    """
    draws = tf.random.stateless_uniform([4], seed)
    image_size = tf.shape(image)[:2]
    ratio = tf.where(draws[0] < probability, 1.0 + draws[1] * (max_ratio - 1.0), 1.0)
    canvas_size = tf.cast(tf.round(tf.cast(image_size, tf.float32) * ratio), tf.int32)
    margin = canvas_size - image_size
    before = tf.cast(draws[2:] * tf.cast(margin + 1, tf.float32), tf.int32)
    after = margin - before
    color = tf.constant(fill, image.dtype)

    def band(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(color, tf.stack([height, width, 3]))

    def expand(image: tf.Tensor) -> tf.Tensor:
        left, right = band(image_size[0], before[1]), band(image_size[0], after[1])
        top, bottom = band(before[0], canvas_size[1]), band(after[0], canvas_size[1])
        return tf.concat([top, tf.concat([left, image, right], axis=1), bottom], axis=0)

    expanded = apply_if(tf.reduce_any(margin > 0), expand, image)
    expanded.set_shape([None, None, 3])
    offset, scale = (
        tf.tile(tf.cast(x, tf.float32), [2]) / tf.tile(tf.cast(canvas_size, tf.float32), [2])
        for x in (before, image_size)
    )
    return expanded, boxes * scale + offset


def resize(image: tf.Tensor, size: tuple[int, int], antialias: bool = False) -> tf.Tensor:
    """Resizes bilinearly, not keeping the aspect ratio; normalised boxes stay as they are.

    Args:
        image: uint8 or float32 [height, width, 3].
        size: (height, width) of the result.
        antialias: whether to low-pass filter when shrinking. The original SSD recipes do not.

    Returns:
        float32 [size[0], size[1], 3], 0..255 like the input.
    """
    return tf.image.resize(image, size, method="bilinear", antialias=antialias)

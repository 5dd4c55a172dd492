"""Random colours of training images, as the original SSD training has them."""

from __future__ import annotations

import tensorflow as tf

from tasks.common.chance import apply_if


def photometric_distortion(
    image: tf.Tensor,
    seed: tf.Tensor,
    brightness: float = 32 / 255,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    probability: float = 0.5,
) -> tf.Tensor:
    """Distorts the colours as the training of SSD does.

    Brightness, then contrast, saturation and hue or saturation, hue and contrast (even odds), each
    with the given probability. Contrast is a gain on the pixel values as in the SSD code, not a
    stretch about their mean; values saturate at 0 and 255 after each step.

    Args:
        image: uint8 or float32 [height, width, 3], 0..255.
        seed: int32 [2].
        brightness: largest shift either way, as a fraction of 255.
        contrast, saturation: ranges of the factors.
        hue: largest rotation of the hue either way, degrees.
        probability: of each of the four.

    Returns:
        image of the same shape and dtype, values in 0..255.
    """
    draws = tf.random.stateless_uniform([9], seed)

    def between(draw: tf.Tensor, low: float, high: float) -> tf.Tensor:
        return low + draw * (high - low)

    shift = between(draws[0], -255.0 * brightness, 255.0 * brightness)
    gain = between(draws[1], *contrast)
    saturation_factor = between(draws[2], *saturation)
    turn = between(draws[3], -hue / 360.0, hue / 360.0)
    use = draws[4:8] < probability
    contrast_first = draws[8] < 0.5

    # tf.image's hue and saturation do not depend on the scale of the values: 0..255 is fine.
    x = tf.cast(image, tf.float32)
    x = apply_if(use[0], lambda x: _saturate(x + shift), x)
    x = apply_if(use[1] & contrast_first, lambda x: _saturate(x * gain), x)
    x = apply_if(use[2], lambda x: tf.image.adjust_saturation(x, saturation_factor), x)
    x = apply_if(use[3], lambda x: tf.image.adjust_hue(x, turn), x)
    x = apply_if(use[1] & ~contrast_first, lambda x: x * gain, x)
    x = _saturate(x)
    return tf.cast(tf.round(x), tf.uint8) if image.dtype == tf.uint8 else x


def _saturate(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(x, 0.0, 255.0)

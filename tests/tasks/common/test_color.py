from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from tasks.common.color import photometric_distortion

NEUTRAL = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0}


def random_image(dtype):
    values = np.random.default_rng(0).integers(0, 256, [16, 17, 3])
    return tf.constant(values.astype(dtype))


def seeds(count):
    return [tf.constant([i, 77], tf.int32) for i in range(count)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_photometric_distortion_keeps_dtype_shape_and_range(dtype):
    image = random_image(dtype)
    distort = tf.function(lambda seed: photometric_distortion(image, seed))
    changed = 0
    for seed in seeds(30):
        result = distort(seed)
        assert result.dtype == image.dtype and result.shape == image.shape
        assert np.min(result) >= 0 and np.max(result) <= 255
        changed += not np.array_equal(result, image)
    assert 22 <= changed <= 30  # all four stay away once in sixteen times


def test_photometric_distortion_at_probability_zero_is_the_identity():
    for dtype in (np.uint8, np.float32):
        image = random_image(dtype)
        result = photometric_distortion(image, [1, 2], probability=0.0)
        np.testing.assert_array_equal(result, image)


def distort_one(color, **arguments):
    """Distorted values of a one-colour picture under 25 seeds, [25, 3], each step applied."""
    image = tf.constant(np.tile(np.float32(color), [2, 2, 1]))
    distort = tf.function(
        lambda seed: photometric_distortion(image, seed, probability=1.0, **(NEUTRAL | arguments))
    )
    return np.array([distort(seed)[0, 0] for seed in seeds(25)])


def test_brightness_shifts_all_channels_alike():
    shifts = distort_one((100, 120, 140), brightness=0.1) - (100, 120, 140)
    np.testing.assert_allclose(shifts, shifts[:, :1] * np.ones(3), atol=1e-3)
    assert np.abs(shifts).max() <= 25.5 + 1e-3
    assert shifts.min() < -10 and shifts.max() > 10


def test_contrast_scales_all_channels_alike():
    gains = distort_one((40, 80, 120), contrast=(0.5, 1.5)) / (40, 80, 120)
    np.testing.assert_allclose(gains, gains[:, :1] * np.ones(3), atol=1e-5)
    assert 0.5 <= gains.min() < 0.75 and 1.25 < gains.max() <= 1.5


@pytest.mark.parametrize(
    ("arguments", "channel", "low", "high"),
    [({"hue": 18.0}, 0, -0.05, 0.05), ({"saturation": (0.5, 1.5)}, 1, 0.5, 1.5)],
)
def test_hue_and_saturation_move_only_their_own_channel(arguments, channel, low, high):
    color = np.array([180.0, 120.0, 100.0])
    before = np.array(colorsys.rgb_to_hsv(*(color / 255)))
    after = np.array([colorsys.rgb_to_hsv(*c) for c in distort_one(color, **arguments) / 255])
    others = [i for i in range(3) if i != channel]
    np.testing.assert_allclose(after[:, others], np.tile(before[others], [25, 1]), atol=1e-3)
    moved = after[:, channel]
    # Hue is an angle (as a fraction of a turn), saturation a factor.
    moved = (moved - before[0] + 0.5) % 1.0 - 0.5 if channel == 0 else moved / before[1]
    assert low - 1e-3 <= moved.min() and moved.max() <= high + 1e-3
    assert moved.max() - moved.min() > 0.6 * (high - low)


def test_contrast_comes_first_or_last():
    # Twice (200, 100, 100) saturates to (255, 200, 200), of which half the saturation is
    # (255, 227.5, 227.5); halved first, (200, 150, 150), doubling saturates all channels.
    results = distort_one((200, 100, 100), contrast=(2.0, 2.0), saturation=(0.5, 0.5))
    first = np.all(np.abs(results - (255.0, 227.5, 227.5)) < 0.1, axis=-1)
    last = np.all(results == 255.0, axis=-1)
    assert np.all(first | last)
    assert 5 <= first.sum() <= 20

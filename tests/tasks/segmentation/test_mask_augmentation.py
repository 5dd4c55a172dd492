"""Random scale, crop and flip of images with their masks."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

from tasks.segmentation.augmentation import random_crop, random_flip, random_scale
from tasks.segmentation.geometry import MEAN_GREY
from tasks.segmentation.mean_iou import VOID


def seeds(count):
    return [tf.constant([i, 7], tf.int32) for i in range(count)]


def painted(height, width):
    """A picture whose grey level is ten times the class of the pixel, in four quarters."""
    rows, columns = np.mgrid[:height, :width]
    mask = 2 * (rows >= height // 2) + (columns >= width // 2)
    mask = mask.astype(np.uint8)[..., np.newaxis]
    return tf.constant(np.tile(10 * mask, 3)), tf.constant(mask)


def test_factors_are_those_of_the_steps_and_equally_frequent():
    image, mask = painted(40, 60)
    scale = tf.function(lambda seed: random_scale(image, mask, seed, (100, 100), 0.5, 2.0, 0.25))
    found = collections.Counter()
    for seed in seeds(210):
        scaled, scaled_mask = scale(seed)
        assert scaled.shape[:2] == scaled_mask.shape[:2] and scaled.dtype == tf.uint8
        found[scaled.shape[0] / 40] += 1
    assert sorted(found) == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert min(found.values()) >= 15


def test_any_factor_in_the_range_without_a_step():
    image, mask = painted(400, 40)
    heights = [
        random_scale(image, mask, seed, (400, 400), 0.8, 1.2, 0)[0].shape[0] for seed in seeds(40)
    ]
    assert 320 <= min(heights) < 340 and 460 < max(heights) <= 480 and len(set(heights)) > 30


def test_mask_and_picture_stay_together_and_no_class_is_invented():
    image, mask = painted(40, 60)
    for seed in seeds(12):
        scaled, scaled_mask = random_scale(image, mask, seed, (100, 100))
        assert set(np.unique(scaled_mask)) == {0, 1, 2, 3}
        agree = np.abs(scaled[..., :1].numpy().astype(int) - 10 * scaled_mask.numpy()) <= 1
        assert agree.mean() > 0.85  # all but the pixels on borders


def test_what_is_larger_than_the_input_is_fitted_into_it_first():
    image, mask = painted(200, 400)
    scaled, scaled_mask = random_scale(image, mask, [0, 0], (100, 100), 1.0, 1.0)
    assert scaled.shape == (50, 100, 3) and scaled_mask.shape == (50, 100, 1)


def test_a_picture_of_the_right_size_is_left_alone():
    image, mask = painted(50, 70)
    scaled, scaled_mask = random_scale(image, mask, [0, 0], (65, 70), 1.0, 1.0)
    np.testing.assert_array_equal(scaled, image)
    np.testing.assert_array_equal(scaled_mask, mask)


def test_crops_are_windows_of_the_picture():
    rng = np.random.default_rng(0)
    image = tf.constant(rng.integers(0, 255, (20, 30, 3), np.uint8))
    mask = tf.reduce_max(image, axis=-1, keepdims=True)
    corners = set()
    for seed in seeds(60):
        crop, crop_mask = random_crop(image, mask, seed, (9, 17))
        assert crop.shape == (9, 17, 3) and crop_mask.shape == (9, 17, 1)
        np.testing.assert_array_equal(np.max(crop, axis=-1, keepdims=True), crop_mask)
        windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (9, 17))
        (corner,) = np.argwhere(np.all(windows == crop[..., 0], axis=(2, 3)))
        corners.add(tuple(corner))
    assert len(corners) > 30


@pytest.mark.parametrize("size", [(5, 7), (5, 40), (30, 7)])
def test_small_pictures_are_padded_with_the_mean_and_void(size):
    image, mask = painted(*size)
    crop, crop_mask = random_crop(image, mask, [3, 4], (17, 17))
    height, width = min(size[0], 17), min(size[1], 17)
    picture = np.zeros((17, 17), bool)
    picture[:height, :width] = True
    assert np.all(crop_mask[~picture] == VOID) and np.all(crop_mask[picture] != VOID)
    assert np.all(crop[~picture] == MEAN_GREY) and np.all(crop[picture] != MEAN_GREY)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_share_of_the_crops_contains_foreground(share):
    mask = np.zeros((60, 80, 1), np.uint8)
    mask[41, 67] = 3  # the only pixel that is neither background nor void
    mask[:5] = VOID
    image = tf.zeros((60, 80, 3), tf.uint8)
    crop = tf.function(lambda seed: random_crop(image, mask, seed, (9, 9), share)[1])
    crops = np.array([crop(seed) for seed in seeds(200)])
    contains = np.any(crops == 3, axis=(1, 2, 3))
    assert abs(contains.mean() - share) < 0.12
    # It may lie anywhere in the crop.
    rows, columns = np.argwhere(crops == 3)[:, 1:3].T
    assert len(set(rows)) == len(set(columns)) == 9


def test_foreground_crops_of_a_picture_without_any():
    image, mask = painted(20, 20)
    crop, _ = random_crop(image, tf.zeros_like(mask), [1, 2], (9, 9), foreground=1.0)
    assert crop.shape == (9, 9, 3)


def test_flip_mirrors_both_half_of_the_time():
    image, mask = painted(10, 12)
    flips = 0
    for seed in seeds(100):
        flipped, flipped_mask = random_flip(image, mask, seed)
        np.testing.assert_array_equal(flipped[..., :1], 10 * flipped_mask)
        flips += int(flipped_mask[0, 0, 0] == 1)
    assert 35 <= flips <= 65

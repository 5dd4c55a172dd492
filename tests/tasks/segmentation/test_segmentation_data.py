"""Batches for training and evaluation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tasks.datasets.masks import decode_mask
from tasks.segmentation.data import evaluation_dataset, open_source, training_dataset
from tasks.segmentation.mean_iou import VOID


@pytest.fixture(scope="module")
def source(tiny_recipe):
    return open_source(tiny_recipe)


def batches(source, recipe, count=2, first_step=0):
    dataset = training_dataset(source, recipe, first_step).take(count)
    return [(images.numpy(), masks.numpy()) for images, masks in dataset]


def test_training_batches_repeat_with_the_seed(source, tiny_recipe):
    recipe = dataclasses.replace(tiny_recipe, min_scale=0.5, max_scale=2.0, photometric=True)
    first, second = batches(source, recipe), batches(source, recipe)
    other = batches(source, dataclasses.replace(recipe, seed=1))
    for (images, masks), (same_images, same_masks) in zip(first, second, strict=True):
        assert images.shape == (4, 49, 33, 3) and images.dtype == np.uint8
        assert masks.shape == (4, 49, 33, 1) and masks.dtype == np.uint8
        assert set(np.unique(masks)) <= {*range(11), VOID}
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(masks, same_masks)
    assert not np.array_equal(first[0][0], other[0][0])
    resumed = batches(source, recipe, 1, first_step=1)
    np.testing.assert_array_equal(resumed[0][0], first[1][0])


def test_evaluation_shows_every_image_once_and_whole(source, tiny_recipe):
    seen = 0
    for images, truth in evaluation_dataset(source, tiny_recipe, "validation[:8]"):
        assert images.shape[1:] == (65, 65, 3)
        assert np.all(truth["valid"].numpy() == 65)
        for encoded in truth["mask"]:
            assert decode_mask(encoded).shape == (96, 96, 1)
            seen += 1
    assert seen == 8

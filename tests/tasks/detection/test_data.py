"""The pipeline between a detection source and the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_mnv2.detection import feature_grid_sizes, ssd_anchors
from tasks.detection.data import (
    check_has_objects,
    evaluation_dataset,
    open_source,
    training_dataset,
)
from tasks.detection.recipes import RECIPES, DetectionRecipe

ANCHORS = ssd_anchors(feature_grid_sizes((96, 96)), (96, 96))


@pytest.fixture(scope="module")
def source(tiny_recipe):
    return open_source(tiny_recipe)


def first_batches(source, recipe, count=2):
    batches = training_dataset(source, recipe, ANCHORS).take(count).as_numpy_iterator()
    return [
        (images, targets["box_encodings"], targets["class_logits"]) for images, targets in batches
    ]


def test_training_batches(source, tiny_recipe):
    images, boxes, classes = first_batches(source, tiny_recipe, 1)[0]
    assert images.shape == (4, 96, 96, 3) and images.dtype == np.uint8
    assert boxes.shape == (4, len(ANCHORS), 5) and boxes.dtype == np.float32
    assert classes.shape == (4, len(ANCHORS)) and classes.dtype == np.int32
    assert np.array_equal(boxes[..., 4] > 0, classes > 0)
    assert ((classes > 0).sum(axis=1) > 0).all() and classes.max() <= 10


def test_the_seed_decides_order_and_augmentation(source, tiny_recipe):
    recipe = dataclasses.replace(
        tiny_recipe, random_crop=True, expand_probability=0.5, photometric=True
    )
    once, again = first_batches(source, recipe), first_batches(source, recipe)
    other = first_batches(source, dataclasses.replace(recipe, seed=1))
    for a, b, c in zip(once, again, other, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            np.testing.assert_array_equal(x, y)
            assert not np.array_equal(x, z)


def test_evaluation_visits_each_image_once_in_order(source, tiny_recipe):
    batches = list(evaluation_dataset(source, tiny_recipe, "validation").as_numpy_iterator())
    ids = np.concatenate([truth["image_id"] for _, truth in batches])
    assert len(ids) == source.num_examples("validation") == len(set(ids))
    for images, truth in batches:
        assert images.shape[1:] == (96, 96, 3)
        for row, count in enumerate(truth["num_objects"]):
            assert (truth["areas"][row][:count] > 0).all()
            assert not truth["boxes"][row][count:].any()


def test_a_split_without_objects_is_refused_before_training(source):
    empty = dataclasses.replace(
        source, read=lambda *_: source.read("train", False, None).map(_without_objects)
    )
    with pytest.raises(ValueError, match="no image has an annotated object"):
        check_has_objects(empty, "train")


def _without_objects(example):
    keys = ("boxes", "labels", "areas", "is_crowd")
    return {**example, **{key: example[key][:0] for key in keys}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init_weights": "a"}, "zero_init_residual"),
        ({"classification_loss": "softmax"}, "classification_loss='softmax'"),
        ({"expand_probability": 1.5}, "expand_probability=1.5"),
        ({"init_weights": "a", "backbone_weights": "b"}, "not both"),
        ({"shuffle_buffer": 0}, "shuffle_buffer"),
    ],
)
def test_recipe_values_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPES["shapes"], **fields)


def test_coco_320_is_the_published_recipe():
    """The numbers of the 320x320 SSDLite family of the Object Detection API."""
    recipe: DetectionRecipe = RECIPES["coco_320"]
    assert (recipe.height, recipe.width, recipe.alpha) == (320, 320, 1.0)
    assert (recipe.batch_size, recipe.train_steps) == (512, 400_000)
    assert (recipe.warmup_steps, recipe.warmup_learning_rate) == (2000, 0.13333)
    assert (recipe.focal_alpha, recipe.focal_gamma, recipe.bn_momentum) == (0.75, 2.0, 0.97)
    assert recipe.random_crop and recipe.flip and recipe.weight_decay == 4e-5

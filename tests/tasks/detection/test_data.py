"""The pipeline between a detection source and the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.detection import feature_grid_sizes, ssd_anchors
from tasks.common.images import decode
from tasks.detection.augmentation import resize, ssd_random_crop
from tasks.detection.data import (
    augment,
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


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
def test_only_the_crop_is_decoded(encode, antialias):
    """What comes out is what decoding all and cropping then gives."""
    y, x = np.mgrid[:150, :200].astype(np.uint8)
    boxes = tf.constant([[0.1, 0.2, 0.6, 0.7], [0.5, 0.0, 0.9, 0.3]])
    example = {
        "image": encode(np.stack([y, x, y // 2 + x // 2], axis=-1)),
        "boxes": boxes,
        "labels": tf.constant([3, 8]),
        "is_crowd": tf.constant([False, True]),
    }
    recipe = dataclasses.replace(RECIPES["coco_320"], height=64, width=64, flip=False)
    recipe = dataclasses.replace(recipe, antialias=antialias)
    sizes = set()
    for number in range(12):
        seed = tf.constant([number, 5])
        crop_seed = tf.random.experimental.stateless_split(seed, 4)[1]
        whole = [decode(example["image"]), *(example[key] for key in example if key != "image")]
        image, *objects = ssd_random_crop(*whole, crop_seed)
        sizes.add(tuple(image.shape))
        got = augment(example, recipe, seed)
        assert got["image"].shape == (64, 64, 3) and got["image"].dtype == tf.uint8
        # Colour has half the resolution, so at the edge of a crop it is another by some levels.
        difference = tf.abs(tf.cast(got["image"], tf.float32) - resize(image, (64, 64), antialias))
        assert tf.reduce_max(difference) <= (6 if encode is tf.io.encode_jpeg else 0.5)
        for key, expected in zip(("boxes", "labels", "is_crowd"), objects, strict=True):
            np.testing.assert_array_equal(got[key], expected)
    assert len(sizes) > 4


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

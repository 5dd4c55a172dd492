"""Batches for training and evaluation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tasks.classification.data import (
    balanced_weights,
    central_view,
    evaluation_dataset,
    open_source,
    random_view,
    training_dataset,
)
from tasks.datasets.classification_source import ClassificationSource


@pytest.fixture(scope="module")
def source(tiny_recipe):
    return open_source(tiny_recipe)


def batches(source, recipe, count=2, first_step=0):
    dataset = training_dataset(source, recipe, first_step).take(count)
    return [tuple(part.numpy() for part in batch) for batch in dataset]


def test_training_batches_repeat_with_the_seed(source, tiny_recipe):
    recipe = dataclasses.replace(tiny_recipe, color_distortion="full", mixup_alpha=0.4)
    once, again = batches(source, recipe), batches(source, recipe)
    other = batches(source, dataclasses.replace(recipe, seed=1))
    for (images, labels), (same_images, same_labels) in zip(once, again, strict=True):
        assert images.shape == (4, 32, 32, 3) and images.dtype == np.uint8
        assert labels.shape == (4, 10) and labels.dtype == np.float32
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-6)
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    assert (once[0][1].max(axis=1) < 1).any()
    assert not np.array_equal(once[0][0], other[0][0])
    resumed = batches(source, recipe, 1, first_step=1)
    np.testing.assert_array_equal(resumed[0][0], once[1][0])


def test_a_policy_keeps_order_and_labels(source, tiny_recipe):
    plain = batches(source, tiny_recipe)
    policy = batches(source, dataclasses.replace(tiny_recipe, policy="randaugment"))
    for (images, labels), (distorted, same_labels) in zip(plain, policy, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        assert distorted.shape == images.shape and distorted.dtype == np.uint8
    assert any(not np.array_equal(x[0], y[0]) for x, y in zip(plain, policy, strict=True))


def test_a_random_view_is_a_part_of_the_picture(tiny_recipe):
    """Red counts rows and green columns, so that a view tells its place."""
    rows, columns = np.mgrid[0:100, 0:200].astype(np.uint8)
    picture = np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    recipe = dataclasses.replace(tiny_recipe, min_area=0.3, flip=True)
    encoded = {
        "png": tf.io.encode_png(picture),
        "jpeg": tf.io.encode_jpeg(picture, quality=100, chroma_downsampling=False),
    }
    mirrored = 0
    for number in range(20):
        seed = tf.constant([0, number])
        view = random_view(encoded["png"], recipe, seed).numpy().astype(int)
        assert view.shape == (32, 32, 3)
        assert (np.diff(view[:, 0, 0]) >= 0).all() and np.ptp(view[..., 0], axis=1).max() == 0
        steps = np.diff(view[0, :, 1])
        assert (steps >= 0).all() or (steps <= 0).all()
        mirrored += steps.sum() < 0
        area = np.ptp(view[:, 0, 0]) / 100 * np.ptp(view[0, :, 1]) / 200
        assert 0.25 < area <= 1
        # A JPEG, of which only the window is decoded, shows the same.
        from_jpeg = random_view(encoded["jpeg"], recipe, seed).numpy().astype(int)
        assert np.abs(from_jpeg - view).mean() < 1.5
    assert 4 <= mirrored <= 16


@pytest.mark.parametrize("aspect_ratio", [1.0, 2.0])
def test_a_random_view_has_the_aspect_ratio_of_the_recipe(aspect_ratio, tiny_recipe):
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    encoded = tf.io.encode_png(np.stack([rows, columns, columns], axis=-1))
    recipe = dataclasses.replace(tiny_recipe, min_area=0.3, aspect_ratio=aspect_ratio)
    views = [random_view(encoded, recipe, tf.constant([0, number])) for number in range(20)]
    sides = np.array([np.ptp(view, axis=(0, 1)) for view in views])
    ratios = sides[:, 1] / sides[:, 0]
    assert max(ratios.max(), 1 / ratios.min()) == pytest.approx(aspect_ratio, rel=0.15)


def test_colours_are_distorted_as_the_recipe_says(tiny_recipe):
    encoded = tf.io.encode_png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))

    def view(**fields):
        recipe = dataclasses.replace(tiny_recipe, min_area=1.0, flip=False, **fields)
        return random_view(encoded, recipe, tf.constant([0, 1])).numpy()

    plain = view(color_distortion="none")
    np.testing.assert_array_equal(plain, view())
    fast, full = (view(color_distortion=kind) for kind in ("fast", "full"))
    assert not np.array_equal(plain, fast) and not np.array_equal(fast, full)


def test_evaluation_shows_the_middle_of_every_image_once(source, tiny_recipe):
    found = list(evaluation_dataset(source, tiny_recipe, "validation[:8]").as_numpy_iterator())
    examples = list(source.examples("validation[:8]"))
    labels = np.concatenate([labels for _, labels in found])
    np.testing.assert_array_equal(labels, [example["label"] for example in examples])
    images = np.concatenate([images for images, _ in found])
    for image, example in zip(images, examples, strict=True):
        np.testing.assert_array_equal(image, central_view(example["image"], tiny_recipe))
    assert images.shape[1:] == (32, 32, 3)


def test_the_central_view(tiny_recipe):
    picture = np.zeros((64, 80, 3), np.uint8)
    picture[16:48, 24:56] = 100  # more than half of the height, less of the width
    recipe = dataclasses.replace(tiny_recipe, central_crop=0.5)
    encoded = tf.io.encode_png(picture)
    view = central_view(encoded, recipe).numpy()
    assert (view[:, 8:24] == 100).all() and (view[:, 0] == 0).all() and (view[:, -1] == 0).all()
    whole = dataclasses.replace(tiny_recipe, central_crop=1.0, height=64, width=80)
    np.testing.assert_array_equal(central_view(encoded, whole), picture)


def of_labels(labels, num_classes=3):
    """A source of one grey picture, again and again."""
    picture = tf.io.encode_png(np.full((40, 40, 3), 128, np.uint8))

    def read_labels(*_):
        return tf.data.Dataset.from_tensor_slices(tf.constant(labels, tf.int32))

    def read(*_):
        return read_labels().map(
            lambda label: {"image": picture, "label": label, "filename": "pictures/a.png"}
        )

    return ClassificationSource(
        name="grey",
        label_names=tuple(f"c{i}" for i in range(num_classes)),
        splits=("train",),
        count=lambda split: len(labels),
        read=read,
        read_labels=read_labels,
    )


def test_class_weights_balance_the_classes(tiny_recipe):
    source = of_labels([0] * 6 + [1] * 2)
    np.testing.assert_allclose(balanced_weights(source, "train"), [8 / 12, 2.0, 0.0])
    recipe = dataclasses.replace(tiny_recipe, class_weights="balanced", batch_size=8)
    ((_, labels, weights),) = batches(source, recipe, 1)
    assert weights.shape == (8,) and weights.dtype == np.float32
    np.testing.assert_allclose(weights, labels @ [8 / 12, 2.0, 0.0], rtol=1e-6)
    assert weights.mean() == pytest.approx(1.0)
    mixed = dataclasses.replace(recipe, mixup_alpha=1.0)
    ((_, labels, weights),) = batches(source, mixed, 1)
    np.testing.assert_allclose(weights, labels @ [8 / 12, 2.0, 0.0], rtol=1e-5)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_beyond_the_classes_is_named_with_its_file(label, tiny_recipe):
    source = of_labels([0, label])
    for dataset in (
        training_dataset(source, tiny_recipe),
        evaluation_dataset(source, tiny_recipe, "train"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as raised:
            next(iter(dataset))
        message = str(raised.value)
        assert f"[{label}]" in message and "there are 3 classes" in message
        assert "pictures/a.png" in message

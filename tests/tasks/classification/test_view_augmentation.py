"""Random views: windows, colours, learned policies, mixup."""

from __future__ import annotations

import colorsys
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tasks.classification.augmentation import (
    color_distortion,
    learned_policy,
    mixup,
    random_window,
)
from tasks.classification.recipes import RECIPES

RNG = np.random.default_rng(0)


def seeds(count):
    return [tf.constant([3, number]) for number in range(count)]


def test_windows_have_the_area_and_the_aspect_ratio_asked_for():
    size = (90, 160)
    windows = np.array([random_window(tf.constant(size), seed, 0.2, 1.5) for seed in seeds(300)])
    top, left, height, width = windows.T
    assert windows.min() >= 0
    assert (top + height <= 90).all() and (left + width <= 160).all()
    area, ratio = height * width / (90 * 160), width / height
    assert 0.19 < area.min() < 0.25 and area.max() > 0.75
    # Whole pixels, hence some room.
    assert 1 / 1.55 < ratio.min() < 0.75 and 1.35 < ratio.max() < 1.55
    assert len(np.unique(windows, axis=0)) > 250
    again = random_window(tf.constant(size), seeds(1)[0], 0.2, 1.5)
    np.testing.assert_array_equal(again, windows[0])


def test_a_window_that_cannot_be_is_the_whole_image():
    """All of the area of a long picture is no window of a square shape."""
    window = random_window(tf.constant((10, 200)), seeds(1)[0], 1.0, 1.0)
    np.testing.assert_array_equal(window, [0, 0, 10, 200])


@pytest.mark.parametrize("kind", ["fast", "full"])
def test_colours_change_by_what_slim_allows(kind):
    """What one operation changes, the others leave alone in these pictures."""

    def distorted(*pixels):
        image = np.array([pixels] * 4, np.uint8)
        return np.array([color_distortion(image, seed, kind).numpy()[0] for seed in seeds(200)])

    # Of a grey picture saturation and hue change nothing, contrast (about the mean) the difference.
    grey = distorted([110] * 3, [150] * 3).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1
    brightness = grey.mean(axis=(1, 2)) - 130
    assert -33 <= brightness.min() < -28 and 28 < brightness.max() <= 33
    contrast = (grey[:, 1] - grey[:, 0]).mean(axis=1) / 40
    if kind == "fast":
        np.testing.assert_allclose(contrast, 1.0, atol=0.03)
    else:
        assert 0.45 <= contrast.min() < 0.6 and 1.4 < contrast.max() <= 1.55

    # A single colour has no contrast, and brightness leaves the distance of its channels alone.
    red = distorted([200, 100, 100])[:, 0].astype(int)
    saturation = np.ptp(red, axis=1) / 100
    assert 0.48 <= saturation.min() < 0.6 and 1.4 < saturation.max() <= 1.52
    hues = np.array([(colorsys.rgb_to_hsv(*color / 255)[0] + 0.5) % 1 - 0.5 for color in red])
    if kind == "fast":
        np.testing.assert_allclose(hues, 0.0, atol=0.01)
    else:
        assert -0.22 < hues.min() < -0.15 and 0.15 < hues.max() < 0.22


def test_distorted_colours_repeat_with_the_seed():
    image = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    once, again, other = (
        color_distortion(image, seed, "full") for seed in (seeds(1)[0], seeds(1)[0], seeds(2)[1])
    )
    assert once.dtype == tf.uint8 and once.shape == (6, 5, 3)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
def test_learned_policies_follow_the_seed_of_each_example(policy):
    recipe = dataclasses.replace(RECIPES["imagenet_modern"], policy=policy, height=32, width=32)
    image = tf.constant(RNG.integers(0, 256, (32, 32, 3), np.uint8))
    distort = learned_policy(recipe)
    seeds = tf.data.Dataset.range(24).map(lambda number: tf.cast(tf.stack([7, number]), tf.int32))
    distorted = seeds.map(lambda seed: distort(image, seed), num_parallel_calls=4)
    images = [image.numpy() for image in distorted]
    assert all(x.shape == image.shape and x.dtype == np.uint8 for x in images)
    assert len(np.unique(images, axis=0)) > 6
    # In another order and by another graph, as after an interruption.
    for number in (20, 3):
        again = seeds.skip(number).take(1).map(lambda seed: distort(image, seed))
        np.testing.assert_array_equal(next(iter(again)), images[number])


def test_learned_policies_are_those_of_the_recipe(monkeypatch):
    """Lengths in pixels shrink with the image."""
    from official.vision.ops import augment

    made = []
    nothing = SimpleNamespace(distort=None)
    for name in ("RandAugment", "AutoAugment"):
        monkeypatch.setattr(augment, name, lambda **fields: made.append(fields) or nothing)
    recipe = dataclasses.replace(RECIPES["imagenet_modern"], height=112, width=140)
    recipe = dataclasses.replace(recipe, policy_layers=3, policy_magnitude=7.0)
    learned_policy(recipe)
    learned_policy(dataclasses.replace(recipe, policy="autoaugment"))
    lengths = {"cutout_const": 20.0, "translate_const": 50.0}
    assert made == [
        {"num_layers": 3, "magnitude": 7.0, **lengths},
        {"augmentation_name": "v0"},
    ]


def test_mixup_blends_images_as_labels():
    images = np.zeros((64, 2, 3, 3), np.uint8)
    images[:32] = 200
    labels = tf.one_hot([0] * 32 + [1] * 32, 3)
    mixed, shares = mixup(tf.constant(images), labels, 0.4, tf.constant([1, 2]))
    assert mixed.dtype == tf.uint8 and shares.dtype == tf.float32
    shares = shares.numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)
    expected = np.broadcast_to(200 * shares[:, 0, None, None, None], images.shape)
    np.testing.assert_allclose(mixed.numpy(), expected, atol=0.5 + 1e-3)
    first = np.concatenate([shares[:32, 0], shares[32:, 1]])  # that of the example itself
    # Beta(0.4, 0.4): mean 1/2, variance 1/4/1.8, most of it at the ends.
    assert abs(first.mean() - 0.5) < 0.15 and abs(first.var() - 0.25 / 1.8) < 0.05
    again = mixup(tf.constant(images), labels, 0.4, tf.constant([1, 2]))[0]
    np.testing.assert_array_equal(mixed, again)


def test_mixup_of_the_smallest_alpha_takes_one_or_the_other():
    labels = tf.one_hot(tf.range(400) % 2, 2)
    images = tf.zeros([400, 1, 1, 3], tf.uint8)
    shares = mixup(images, labels, 0.01, tf.constant([0, 0]))[1].numpy()
    assert (np.abs(shares - shares.round()) < 0.01).mean() > 0.9
    assert 150 < (shares[:, 0] < 0.5).sum() < 250

"""The drawn scenes keep the promises of their docstring."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.datasets.shapes_scene import LABEL_NAMES, draw_scene


def scenes(count=40, size=96, **options):
    return [draw_scene(np.random.default_rng((7, n)), size, **options) for n in range(count)]


def test_shapes_and_dtypes():
    scene = draw_scene(np.random.default_rng(0), 64)
    n = len(scene.labels)
    assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
    assert scene.instance_mask.shape == (64, 64) and scene.instance_mask.dtype == np.uint8
    assert scene.labels.shape == (n,) and scene.labels.dtype == np.int32
    assert scene.boxes.shape == (n, 4) and scene.boxes.dtype == np.float32
    assert scene.areas.shape == (n,) and scene.areas.dtype == np.float32


def test_boxes_are_tight_around_the_visible_pixels():
    for scene in scenes(size=96):
        assert scene.instance_mask.max() == len(scene.labels)
        for k, (box, area) in enumerate(zip(scene.boxes, scene.areas, strict=True), start=1):
            rows, columns = np.nonzero(scene.instance_mask == k)
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(box * 96, tight, atol=1e-4)
            assert area == len(rows)


def test_number_and_size_of_objects():
    counts = set()
    for scene in scenes(150):
        sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=-1)
        assert sides.min() >= 0.08 and sides.max() <= 0.60 + 1e-6
        counts.add(len(scene.labels))
    assert min(counts) == 1 and max(counts) == 8


def test_single_objects_and_all_labels():
    labels = [scene.labels for scene in scenes(150, max_objects=1)]
    assert {len(label) for label in labels} == {1}
    assert {int(label[0]) for label in labels} == set(range(len(LABEL_NAMES)))


def test_same_seed_same_scene_and_other_seed_other_scene():
    first, again, other = (draw_scene(np.random.default_rng(seed), 96) for seed in (3, 3, 4))
    for name in ("image", "instance_mask", "labels", "boxes", "areas"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).any()


def test_noise_changes_pixels_only():
    plain, noisy = (draw_scene(np.random.default_rng(1), 96, noise=s) for s in (0.0, 0.1))
    np.testing.assert_array_equal(plain.instance_mask, noisy.instance_mask)
    difference = noisy.image.astype(int) - plain.image
    assert 15 < difference.std() < 30  # 25.5 less what is clipped


def test_colour_does_not_tell_the_class():
    """The mean colours of the classes differ by far less than the colours of one class."""
    colours = [[] for _ in LABEL_NAMES]
    for scene in scenes(300, size=64, max_objects=1):
        colours[scene.labels[0]].append(scene.image[scene.instance_mask == 1].mean(axis=0))
    means = np.array([np.mean(c, axis=0) for c in colours])
    spread = np.mean([np.std(c, axis=0) for c in colours])
    assert means.std(axis=0).max() < 0.5 * spread


def test_objects_stand_out_from_their_surroundings():
    for scene in scenes(60, max_objects=1):
        inside = scene.image[scene.instance_mask == 1].mean(axis=0)
        top, left, bottom, right = np.round(scene.boxes[0] * 96).astype(int)
        window = (slice(max(top - 3, 0), bottom + 3), slice(max(left - 3, 0), right + 3))
        around = scene.image[window][scene.instance_mask[window] == 0].mean(axis=0)
        assert np.linalg.norm(inside - around) > 30


@pytest.mark.parametrize("bad", [{"size": 20}, {"max_objects": 0}, {"noise": -0.1}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match="size must be >= 48"):
        draw_scene(np.random.default_rng(0), **{"size": 96, **bad})

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tasks.common.color import photometric_distortion
from tasks.detection import augmentation

HEIGHT, WIDTH = 90, 120
# Pixel extents [ymin, xmin, ymax, xmax) of the painted objects, their colours, which is a crowd.
OBJECTS = np.array([[10, 20, 40, 50], [50, 70, 85, 118], [0, 0, 9, 30]])
COLORS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]])
LABELS = np.array([7, 3, 5], np.int32)
IS_CROWD = np.array([False, True, False])
SCALE = np.array([HEIGHT, WIDTH, HEIGHT, WIDTH])


def painted_example(dtype=np.uint8):
    image = np.full([HEIGHT, WIDTH, 3], 100, dtype)
    for (ymin, xmin, ymax, xmax), color in zip(OBJECTS, COLORS, strict=True):
        image[ymin:ymax, xmin:xmax] = color
    return tf.constant(image), tf.constant(OBJECTS / SCALE, tf.float32)


def extents(image, color):
    """Pixel extents [ymin, xmin, ymax, xmax) of a colour, None where it does not occur."""
    rows, columns = np.nonzero(np.all(np.abs(np.asarray(image, float) - color) < 1, axis=-1))
    if rows.size == 0:
        return None
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def assert_frames(image, boxes, labels):
    """Every box frames, within a pixel, what is visible of the object of its label."""
    pixels = np.asarray(boxes) * np.tile(np.shape(image)[:2], 2)
    for box, label in zip(pixels, np.asarray(labels), strict=True):
        color = COLORS[list(LABELS).index(label)]
        np.testing.assert_allclose(box, extents(image, color), atol=1.0)


def seeds(count):
    return [tf.constant([i, 77], tf.int32) for i in range(count)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flip_moves_boxes_with_their_pixels(dtype):
    image, boxes = painted_example(dtype)
    flipped, flipped_boxes = augmentation.random_horizontal_flip(image, boxes, [1, 2], 1.0)
    assert flipped.dtype == image.dtype
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    assert_frames(flipped, flipped_boxes, LABELS)
    twice = augmentation.random_horizontal_flip(flipped, flipped_boxes, [1, 2], 1.0)
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_allclose(twice[1], boxes, atol=1e-6)


def test_flip_never_happens_at_probability_zero_and_about_half_of_the_time_by_default():
    image, boxes = painted_example()
    same = augmentation.random_horizontal_flip(image, boxes, [1, 2], 0.0)
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], boxes)
    flip = tf.function(augmentation.random_horizontal_flip)
    flips = sum(not np.array_equal(flip(image, boxes, seed)[1], boxes) for seed in seeds(100))
    assert 30 <= flips <= 70


def make_crop(**arguments):
    return tf.function(
        lambda image, boxes, labels, is_crowd, seed: augmentation.ssd_random_crop(
            image, boxes, labels, is_crowd, seed, **arguments
        )
    )


def visible_fractions(image):
    """Fraction of each painted object that is left in a crop, by counting its pixels."""
    pixels = np.asarray(image)[:, :, np.newaxis]
    counts = np.all(pixels == COLORS, axis=-1).sum(axis=(0, 1))
    sides = OBJECTS[:, 2:] - OBJECTS[:, :2]
    return counts / sides.prod(axis=1)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
def test_crop_keeps_the_boxes_that_lie_inside_far_enough(fraction):
    image, boxes = painted_example()
    crop = make_crop(min_object_covered=(fraction,), random_coef=0.0)
    dropped = changed = 0
    for seed in seeds(40):
        cropped, new_boxes, labels, is_crowd = crop(image, boxes, LABELS, IS_CROWD, seed)
        visible = visible_fractions(cropped)
        # Counts are whole pixels of rectangles on whole pixels, so this is exact.
        expected = (visible >= fraction) & (visible > 0)
        np.testing.assert_array_equal(labels, LABELS[expected])
        np.testing.assert_array_equal(is_crowd, IS_CROWD[expected])
        assert_frames(cropped, new_boxes, labels)
        assert np.all((np.asarray(new_boxes) >= 0) & (np.asarray(new_boxes) <= 1))
        assert fraction == 0 or visible.max() >= fraction
        dropped += np.sum(~expected)
        changed += cropped.shape != image.shape
    assert dropped > 0 and changed > 20


def test_crop_respects_area_and_aspect_ratio():
    image, boxes = painted_example()
    crop = make_crop(
        min_object_covered=(0.0,),
        area_range=(0.2, 0.4),
        aspect_ratio_range=(1.5, 2.0),
        random_coef=0.0,
    )
    for seed in seeds(20):
        height, width, _ = crop(image, boxes, LABELS, IS_CROWD, seed)[0].shape
        # One pixel of rounding on either side.
        assert (height - 1) * (width - 1) <= 0.4 * HEIGHT * WIDTH
        assert (height + 1) * (width + 1) >= 0.2 * HEIGHT * WIDTH
        assert (width + 1) / (height - 1) >= 1.5
        assert (width - 1) / (height + 1) <= 2.0


def test_crop_leaves_the_image_alone_with_probability_random_coef():
    image, boxes = painted_example()
    always = make_crop(random_coef=1.0)
    for seed in seeds(5):
        outputs = always(image, boxes, LABELS, IS_CROWD, seed)
        for output, given in zip(outputs, (image, boxes, LABELS, IS_CROWD), strict=True):
            np.testing.assert_array_equal(output, given)
    sometimes = make_crop(min_object_covered=(0.0,), area_range=(0.1, 0.5), random_coef=0.5)
    whole = sum(
        sometimes(image, boxes, LABELS, IS_CROWD, seed)[0].shape == image.shape
        for seed in seeds(100)
    )
    assert 30 <= whole <= 70


def test_crop_draws_every_alternative():
    # An object that fills the image is covered by a crop exactly as far as the crop's area, and
    # no crop above 30 % is allowed: the alternatives 0, .1 and .3 can crop, the others cannot.
    image, _ = painted_example()
    crop = make_crop(area_range=(0.1, 0.3), random_coef=0.0)
    whole_box = tf.constant([[0.0, 0.0, 1.0, 1.0]])
    whole = sum(
        crop(image, whole_box, LABELS[:1], IS_CROWD[:1], seed)[0].shape == image.shape
        for seed in seeds(140)
    )
    assert 60 <= whole <= 120  # four or five of seven of them: 80 to 100 expected


def test_crop_without_boxes():
    image, _ = painted_example()
    crop = make_crop(random_coef=0.0)
    nothing = tf.zeros([0, 4]), tf.zeros([0], tf.int32), tf.zeros([0], tf.bool)
    shapes = set()
    for seed in seeds(10):
        cropped, boxes, labels, is_crowd = crop(image, *nothing, seed)
        assert boxes.shape == (0, 4) and labels.shape == (0,) and is_crowd.shape == (0,)
        shapes.add(tuple(cropped.shape))
    assert len(shapes) > 1


def test_crop_drops_degenerate_boxes():
    image, _ = painted_example()
    thin = tf.constant([[0.2, 0.2, 0.2, 0.8], [0.1, 0.1, 0.9, 0.9]])
    crop = make_crop(random_coef=1.0)
    _, boxes, labels, _ = crop(image, thin, LABELS[:2], IS_CROWD[:2], [1, 2])
    np.testing.assert_array_equal(boxes, thin[1:])
    np.testing.assert_array_equal(labels, LABELS[1:2])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_expand_moves_boxes_with_their_pixels(dtype):
    image, boxes = painted_example(dtype)
    expand = tf.function(
        lambda image, boxes, seed: augmentation.random_expand(
            image, boxes, seed, max_ratio=3.0, probability=1.0, fill=(1, 2, 3)
        )
    )
    offsets = set()
    for seed in seeds(20):
        expanded, new_boxes = expand(image, boxes, seed)
        assert expanded.dtype == image.dtype
        height, width, _ = expanded.shape
        assert HEIGHT <= height <= 3 * HEIGHT
        assert abs(height / HEIGHT - width / WIDTH) < 1.0 / HEIGHT + 1.0 / WIDTH
        assert_frames(expanded, new_boxes, LABELS)
        background = np.all(np.asarray(expanded) == (1, 2, 3), axis=-1)
        assert background.sum() == height * width - HEIGHT * WIDTH
        # The image itself lies in the canvas unchanged.
        ymin, xmin, ymax, xmax = extents(~background[..., np.newaxis] * np.ones(3), (1, 1, 1))
        np.testing.assert_array_equal(expanded[ymin:ymax, xmin:xmax], image)
        offsets.add((ymin / max(height - HEIGHT, 1) > 0.5, xmin / max(width - WIDTH, 1) > 0.5))
    assert len(offsets) == 4


def test_expand_leaves_the_image_alone_at_probability_zero_and_without_boxes():
    image, boxes = painted_example()
    same = augmentation.random_expand(image, boxes, [3, 4], probability=0.0)
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], boxes)
    _, no_boxes = augmentation.random_expand(image, tf.zeros([0, 4]), [3, 4], probability=1.0)
    assert no_boxes.shape == (0, 4)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_keeps_boxes_and_range(antialias, dtype):
    image, boxes = painted_example(dtype)
    resized = augmentation.resize(image, (45, 45), antialias)
    assert resized.shape == (45, 45, 3) and resized.dtype == tf.float32
    assert np.min(resized) >= 0 and np.max(resized) <= 250.001
    for box, color in zip(np.asarray(boxes) * 45, COLORS, strict=True):
        # Pixels that are nearer to the object's colour than to the background's.
        mask = np.linalg.norm(resized - color, axis=-1) < np.linalg.norm(resized - 100.0, axis=-1)
        rows, columns = np.nonzero(mask)
        found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(box, found, atol=1.0)


def test_resize_antialias_filters():
    stripes = tf.constant(np.tile(np.float32([0, 255]), 32)[np.newaxis, :, np.newaxis], tf.float32)
    stripes = tf.tile(stripes, [64, 1, 3])
    filtered = augmentation.resize(stripes, (16, 16), antialias=True)
    np.testing.assert_allclose(filtered[:, 2:-2], 127.5, atol=1.0)


def augment_all(image, boxes, seed):
    expand_seed, crop_seed, flip_seed, color_seed = tf.unstack(tf.random.split(seed, 4))
    image, boxes = augmentation.random_expand(image, boxes, expand_seed)
    image, boxes, labels, is_crowd = augmentation.ssd_random_crop(
        image, boxes, tf.constant(LABELS), tf.constant(IS_CROWD), crop_seed
    )
    image, boxes = augmentation.random_horizontal_flip(image, boxes, flip_seed)
    image = augmentation.resize(image, (32, 32))
    return photometric_distortion(image, color_seed), boxes, labels, is_crowd


def test_a_pipeline_of_all_is_deterministic_in_its_seeds():
    image, boxes = painted_example()

    def run(seeds, workers):
        examples = tf.data.Dataset.from_tensor_slices(seeds).map(
            lambda seed: augment_all(image, boxes, seed), num_parallel_calls=workers
        )
        return [[np.asarray(x) for x in example] for example in examples]

    given = np.array([[i, 5] for i in range(8)], np.int32)
    first, again, other = run(given, 1), run(given, 2), run(given + 100, 1)
    for example, repeated in zip(first, again, strict=True):
        for x, y in zip(example, repeated, strict=True):
            np.testing.assert_array_equal(x, y)
    assert not any(np.array_equal(x[0], y[0]) for x, y in zip(first, other, strict=True))
    assert not np.array_equal(first[0][0], first[1][0])

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tasks.segmentation.geometry import fit, fit_within, fitting_size


def picture(height, width):
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [
        ((480, 640), (513, 513), (384, 513)),
        ((640, 480), (513, 513), (513, 384)),
        ((375, 500), (513, 513), (375, 500)),
        ((513, 513), (513, 513), (513, 513)),
        ((514, 513), (513, 513), (513, 512)),
        ((100, 700), (513, 513), (73, 513)),
        ((300, 300), (100, 200), (100, 100)),
        ((90, 300), (100, 200), (60, 200)),
        ((1, 9999), (100, 200), (1, 200)),
        ((9999, 1), (100, 200), (100, 1)),
    ],
)
def test_sizes(image, size, expected):
    assert tuple(fitting_size(tf.constant(image), size).numpy()) == expected
    assert fit_within(picture(*image), size).shape == (*expected, 3)


def test_the_long_side_is_filled_whatever_it_was():
    for side in range(514, 3000):
        assert tuple(fitting_size(tf.constant((side, 7)), (513, 513)).numpy())[0] == 513


def test_small_pictures_are_padded_and_otherwise_left_alone():
    image = picture(20, 30)
    padded, valid = fit(image, (33, 49))
    assert padded.dtype == tf.uint8 and valid.numpy().tolist() == [20, 30]
    expected = np.full((33, 49, 3), 128, np.uint8)
    expected[:20, :30] = image
    np.testing.assert_array_equal(padded, expected)


def test_larger_pictures_are_averaged_not_sampled():
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2] = 201
    fitted, valid = fit(image, (16, 32))
    assert valid.numpy().tolist() == [16, 16]
    inner = fitted.numpy()[2:-2, 2:14].astype(int)
    assert np.abs(inner - 100.5).max() <= 1
    flat = fit_within(np.full((50, 40, 3), 77, np.uint8), (9, 9))
    np.testing.assert_array_equal(flat, np.full((9, 7, 3), 77))


def test_in_a_data_pipeline():
    images = [picture(40, 50), picture(20, 90), picture(8, 9)]
    signature = tf.TensorSpec((None, None, 3), tf.uint8)
    dataset = tf.data.Dataset.from_generator(lambda: iter(images), output_signature=signature)
    dataset = dataset.map(lambda image: fit(image, (33, 45))).batch(3)
    assert dataset.element_spec[0].shape == (None, 33, 45, 3)
    padded, valid = next(iter(dataset))
    assert valid.numpy().tolist() == [[33, 41], [10, 45], [8, 9]]
    for row, image in enumerate(images):
        np.testing.assert_array_equal(padded[row], fit(image, (33, 45))[0])

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_mnv2.detection.anchors import ssd_anchors
from keras_mnv2.detection.box_coder import decode, encode

ANCHORS = ssd_anchors([(4, 3), (2, 2)], (64, 48))


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1)
    return (corners.reshape(count, 4) + [0, 0, 0.01, 0.01]).astype(np.float32)


def test_codes_by_hand():
    anchor = np.array([[0.2, 0.2, 0.6, 0.4]], np.float32)
    box = np.array([[0.3, 0.2, 0.7, 0.6]], np.float32)
    expected = [[0.1 / 0.4 * 10, 0.1 / 0.2 * 10, 0.0, np.log(2.0) * 5]]
    np.testing.assert_allclose(encode(box, anchor), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factors", [(10, 10, 5, 5), (1, 2, 3, 4)])
def test_decode_inverts_encode(factors):
    boxes = random_boxes(len(ANCHORS))
    decoded = decode(encode(boxes, ANCHORS, factors).numpy(), ANCHORS, factors)
    np.testing.assert_allclose(ops.convert_to_numpy(decoded), boxes, atol=1e-6)


def test_encode_inverts_decode_with_a_batch_axis():
    codes = np.random.default_rng(1).normal(0, 2, (2, len(ANCHORS), 4)).astype(np.float32)
    boxes = ops.convert_to_numpy(decode(codes, ANCHORS))
    np.testing.assert_allclose(encode(boxes, ANCHORS), codes, atol=1e-3)


def test_zero_codes_are_the_anchors_and_half_precision_is_decoded_in_single():
    boxes = decode(ops.zeros((2, len(ANCHORS), 4), "float16"), ANCHORS)
    assert ops.dtype(boxes) == "float32"
    np.testing.assert_allclose(boxes[1], ANCHORS, atol=1e-6)


def test_degenerate_boxes_have_finite_codes_also_inside_tf_data():
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.6, 0.6, 0.2, 0.2], [0, 0, 0, 1]], np.float32)
    dataset = tf.data.Dataset.from_tensors(boxes).map(lambda b: encode(b, ANCHORS[:3]))
    codes = next(iter(dataset)).numpy()
    assert np.isfinite(codes).all()
    assert np.isfinite(encode(boxes, np.zeros_like(boxes))).all()


@pytest.mark.parametrize("factors", [(10, 10, 5), (10, 10, 5, 0)])
def test_bad_scale_factors(factors):
    with pytest.raises(ValueError, match="scale_factors"):
        encode(ANCHORS, ANCHORS, factors)

"""Squares around objects lie inside the image and hold the object."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.datasets.object_crops import square_windows


def windows(boxes, size, context):
    return square_windows(np.array(boxes, np.float32), size, context).numpy().tolist()


@pytest.mark.parametrize(
    ("box", "context", "expected"),
    [
        ([0.4, 0.4, 0.6, 0.6], 0.0, [30, 80, 40, 40]),  # 20 x 40 pixels: the longer side counts
        ([0.4, 0.4, 0.6, 0.6], 0.25, [25, 75, 50, 50]),
        ([0.4, 0.45, 0.6, 0.55], 0.0, [40, 90, 20, 20]),
        ([0.0, 0.0, 0.2, 0.1], 0.5, [0, 0, 30, 30]),  # shifted to the right and down
        ([0.8, 0.9, 1.0, 1.0], 0.5, [70, 170, 30, 30]),  # and to the left and up
        ([0.5, 0.1, 0.6, 0.9], 0.0, [0, 20, 100, 160]),  # wider than the image is high
        ([0.0, 0.0, 1.0, 1.0], 0.25, [0, 0, 100, 200]),
        ([0.5, 0.5, 0.5001, 0.5001], 0.0, [50, 100, 1, 1]),
    ],
)
def test_windows(box, context, expected):
    assert windows([box], (100, 200), context) == [expected]


def test_objects_stay_inside():
    generator = np.random.default_rng(0)
    corners = np.sort(generator.random((200, 2, 2), np.float32), axis=1)
    boxes = corners.reshape(200, 4)
    found = np.array(windows(boxes, (60, 90), 0.1))
    top, left, height, width = found.T
    assert (found >= 0).all() and (found[:, 2:] >= 1).all()
    assert (top + height <= 60).all() and (left + width <= 90).all()
    pixels = boxes * [60, 90, 60, 90]
    # Half a pixel, as windows have whole pixels.
    assert (top <= pixels[:, 0] + 0.51).all() and (left <= pixels[:, 1] + 0.51).all()
    assert (top + height >= pixels[:, 2] - 0.51).all()
    assert (left + width >= pixels[:, 3] - 0.51).all()
    whole = (height < 60) & (width < 90)
    assert whole.sum() > 50
    np.testing.assert_array_equal(height[whole], width[whole])


def test_no_objects():
    assert windows(np.zeros((0, 4)), (60, 90), 0.1) == []

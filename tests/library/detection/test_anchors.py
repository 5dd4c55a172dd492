from __future__ import annotations

import numpy as np
import pytest

from keras_mnv2.detection.anchors import anchors_per_cell, feature_grid_sizes, ssd_anchors


@pytest.mark.parametrize("side, total", [(300, 1917), (320, 2034)])
def test_number_of_anchors_is_that_of_the_original_networks(side, total):
    grids = feature_grid_sizes((side, side))
    assert ssd_anchors(grids, (side, side)).shape == (total, 4)
    assert sum(r * c * n for (r, c), n in zip(grids, anchors_per_cell(), strict=True)) == total


@pytest.mark.parametrize("side", [1, 16, 33, 96, 257, 300, 321, 513])
def test_grid_sizes_are_repeated_same_padded_halvings(side):
    expected = side
    for _ in range(4):
        expected = (expected + 1) // 2
    for rows, columns in feature_grid_sizes((side, 2 * side), num_levels=7):
        assert rows == expected
        assert columns in (2 * rows, 2 * rows - 1)
        expected = (expected + 1) // 2


def test_first_cells_by_hand():
    anchors = ssd_anchors([(2, 4), (1, 1)], (100, 100), aspect_ratios=(1.0, 4.0))
    assert anchors.dtype == np.float32
    centre_y, centre_x, root = 0.25, 0.375, np.sqrt(2.0)
    second_cell = [
        (0.1, 0.1),
        (0.2 / root, 0.2 * root),
        (0.2 * root, 0.2 / root),
    ]
    for row, (height, width) in zip(anchors[3:6], second_cell, strict=True):
        expected = [centre_y - height / 2, centre_x - width / 2]
        expected += [centre_y + height / 2, centre_x + width / 2]
        np.testing.assert_allclose(row, expected, rtol=1e-6)
    sizes = anchors[24:, 2:] - anchors[24:, :2]
    between = np.sqrt(0.95)
    np.testing.assert_allclose(sizes, [(0.95, 0.95), (0.475, 1.9), (between, between)], rtol=1e-6)


def test_index_runs_over_rows_then_columns_then_anchors():
    grids = [(3, 5), (2, 2)]
    anchors = ssd_anchors(grids, (60, 100))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    row, column, anchor = 2, 3, 1
    index = (row * 5 + column) * 3 + anchor
    np.testing.assert_allclose(centres[index], [(row + 0.5) / 3, (column + 0.5) / 5], rtol=1e-6)
    index = 3 * 5 * 3 + (1 * 2 + 0) * 6 + 5
    np.testing.assert_allclose(centres[index], [0.75, 0.25], rtol=1e-6)


def test_anchors_of_ratio_one_are_square_in_pixels_of_an_oblong_image():
    anchors = ssd_anchors([(2, 3)], (240, 320), reduce_boxes_in_lowest_layer=False)
    height, width = (anchors[0, 2:] - anchors[0, :2]) * [240, 320]
    assert height == pytest.approx(width) == pytest.approx(0.2 * 240)


def test_other_scales_ratios_and_first_level():
    grids = [(2, 2)] * 3
    anchors = ssd_anchors(
        grids,
        (64, 64),
        min_scale=0.3,
        max_scale=0.9,
        aspect_ratios=(1.0,),
        reduce_boxes_in_lowest_layer=False,
    )
    sides = (anchors[:, 2] - anchors[:, 0]).reshape(3, 4, 2)[:, 0]
    expected = [(0.3, np.sqrt(0.18)), (0.6, np.sqrt(0.54)), (0.9, np.sqrt(0.9))]
    np.testing.assert_allclose(sides, expected, rtol=1e-6)
    assert anchors_per_cell(3, (1.0,), reduce_boxes_in_lowest_layer=False) == [2, 2, 2]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: feature_grid_sizes((0, 300)), "image_size"),
        (lambda: feature_grid_sizes((300.5, 300)), "image_size"),
        (lambda: feature_grid_sizes((None, 300)), "image_size"),
        (lambda: feature_grid_sizes(300), "image_size"),
        (lambda: feature_grid_sizes((300, 300), 0), "num_levels"),
        (lambda: ssd_anchors([], (300, 300)), "feature map"),
        (lambda: ssd_anchors([(0, 3)], (300, 300)), "grid_sizes"),
        (lambda: ssd_anchors([(3, 3)], (300, 300), min_scale=0.9, max_scale=0.2), "min_scale"),
        (lambda: ssd_anchors([(3, 3)], (300, 300), aspect_ratios=(1, -2)), "aspect_ratios"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

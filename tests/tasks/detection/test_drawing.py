from __future__ import annotations

import numpy as np
import pytest

from tasks.common.pictures import class_color
from tasks.detection import drawing

NAMES = [f"object {i}" for i in range(90)]


def gray(height, width):
    return np.full([height, width, 3], 128, np.uint8)


def has_color(image, color):
    return np.all(image == color, axis=-1)


def test_box_outline_lies_on_the_outermost_pixels_of_the_box():
    image = gray(200, 300)
    boxes = np.array([[0.25, 0.2, 0.75, 0.9]])
    drawn = drawing.draw_ground_truth(image, boxes, np.array([5]), NAMES)
    color = has_color(drawn, class_color(5))
    rows, columns = np.nonzero(color[50:])  # below the name plate
    assert rows.min() == 0 and rows.max() == 149 - 50
    assert columns.min() == 60 and columns.max() == 269
    assert color[50, 60:270].all() and color[149, 60:270].all()
    assert color[50:150, 60].all() and color[50:150, 269].all()
    # Nothing is drawn inside the box, and the argument is left alone.
    np.testing.assert_array_equal(drawn[55:145, 70:260], image[55:145, 70:260])
    np.testing.assert_array_equal(image, gray(200, 300))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(16, 16), (64, 48), (300, 300), (1500, 2000)])
@pytest.mark.parametrize("box", [[-0.5, -0.4, 1.5, 1.4], [0, 0, 0.2, 0.2], [0.9, 0.9, 1e30, 1]])
def test_every_image_size_and_boxes_beyond_the_edges(size, box):
    image = gray(*size)
    drawn = drawing.draw_detections(image, [box], [0.5], [3], NAMES)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert has_color(drawn, class_color(3)).any()


def test_lines_and_names_grow_with_the_image():
    def plate_rows(size):
        drawn = drawing.draw_ground_truth(gray(size, size), [[0.5, 0.5, 0.9, 0.9]], [2], NAMES)
        return has_color(drawn[: size // 2], class_color(2)).any(axis=1).sum()

    assert 8 <= plate_rows(100) <= 20
    assert 3 * plate_rows(100) < plate_rows(2000) < 200


def test_better_detections_are_drawn_on_top_and_poor_ones_left_out():
    boxes = np.array([[0.2, 0.2, 0.9, 0.9]] * 3)
    for scores, top in (([0.9, 0.5, 0.1], 0), ([0.3, 0.5, 0.1], 1)):
        drawn = drawing.draw_detections(gray(100, 100), boxes, scores, [0, 1, 2], NAMES, 0.2)
        assert tuple(drawn[60, 20]) == class_color(top)
        assert not has_color(drawn, class_color(2)).any()


def test_score_and_crowd_are_part_of_the_label():
    box = np.array([[0.5, 0.1, 0.9, 0.3]])

    def plate_width(image):
        return has_color(image, class_color(0)).any(axis=0).sum()

    image = gray(300, 300)
    plain = plate_width(drawing.draw_ground_truth(image, box, [0], NAMES))
    crowd = plate_width(drawing.draw_ground_truth(image, box, [0], NAMES, [True]))
    scored = plate_width(drawing.draw_detections(image, box, [1.0], [0], NAMES))
    assert plain < scored and plain < crowd


def test_anchors_and_objects_have_their_colours():
    objects, anchors = [[0.1, 0.1, 0.4, 0.4]], [[0.5, 0.5, 0.8, 0.9], [-0.1, 0.6, 0.3, 1.2]]
    drawn = drawing.draw_anchors(gray(100, 100), objects, anchors)
    changed = np.any(drawn != 128, axis=-1)
    assert {tuple(c) for c in drawn[changed].tolist()} == {(0, 230, 60), (255, 220, 0)}
    assert tuple(drawn[10, 20]) == (0, 230, 60) and tuple(drawn[50, 60]) == (255, 220, 0)


def test_nothing_to_draw_gives_the_image_back():
    image = gray(20, 30)
    none = np.zeros([0, 4])
    for drawn in (
        drawing.draw_detections(image, none, np.zeros([0]), np.zeros([0], int), NAMES),
        drawing.draw_ground_truth(image, none, np.zeros([0], int), NAMES),
        drawing.draw_anchors(image, none, none),
    ):
        np.testing.assert_array_equal(drawn, image)
        assert drawn is not image and drawn.flags.writeable


def test_bad_input_is_named():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    with pytest.raises(ValueError, match=r"float32 \[4, 5, 3\]: needs uint8"):
        drawing.draw_anchors(np.zeros([4, 5, 3], np.float32), box, box)
    with pytest.raises(ValueError, match="no name for label 2: there are 2"):
        drawing.draw_ground_truth(gray(50, 50), box, [2], ["a", "b"])
    with pytest.raises(ValueError, match="not finite"):
        drawing.draw_anchors(gray(50, 50), box * np.nan, box)

"""Pictures of results."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.classification.drawing import captioned, draw_confusion, draw_examples

GREEN, RED = (96, 208, 96), (255, 112, 96)


def colors(picture):
    return {tuple(color) for color in picture.reshape(-1, 3).tolist()}


def test_right_is_green_and_wrong_is_red():
    names = [f"class {i}" for i in range(3)]
    perfect = draw_confusion(np.diag([5, 3, 9]), names)
    assert GREEN in colors(perfect) and RED not in colors(perfect)
    assert perfect.shape[0] == perfect.shape[1] and perfect.dtype == np.uint8
    wrong = draw_confusion(np.array([[0, 5, 0], [2, 0, 1], [0, 0, 0]]), names)
    assert RED in colors(wrong) and GREEN not in colors(wrong)
    # A class without examples has a row that is as empty as the background.
    assert np.ptp(wrong[-10:, -70:].reshape(-1, 3), axis=0).max() == 0


def test_classes_that_do_not_occur_are_left_out():
    confusion = np.array([[5, 0, 0, 1], [0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0]])
    expected = draw_confusion(confusion[[0, 2, 3]][:, [0, 2, 3]], ["a", "c", "d"])
    np.testing.assert_array_equal(draw_confusion(confusion, "abcd"), expected)


@pytest.mark.parametrize(("count", "side"), [(61, 976), (1000, 1000), (1500, 1500)])
def test_of_many_classes_each_is_a_line(count, side):
    """True classes downwards, predicted ones to the right; absent ones take no room."""
    confusion = np.zeros([2 * count] * 2, int)
    confusion[:count, :count] = np.eye(count)
    confusion[0] = 0
    confusion[0, count - 1] = 1
    picture = draw_confusion(confusion, [str(i) for i in range(2 * count)])
    assert side + 40 < picture.shape[0] == picture.shape[1] < side + 80
    cells = picture[-side - 1 : -1, -side - 1 : -1]
    np.testing.assert_array_equal(cells[0, -1], RED)
    np.testing.assert_array_equal(cells[-1, -1], GREEN)
    for row, column in ((0, 0), (-1, 0)):
        np.testing.assert_array_equal(cells[row, column], (32, 32, 32))


@pytest.mark.parametrize(("count", "every", "cell"), [(61, 2, 16), (100, 5, 10), (1000, 50, 1)])
def test_some_of_many_classes_have_their_index_beside_them(count, every, cell):
    """A mark at each of these; the digits are those of the class, not of its place."""
    side = count * cell
    confusion = np.zeros([2 * count] * 2, int)
    confusion[:count, :count] = np.eye(count)
    strips = []
    for matrix in (confusion, confusion[::-1, ::-1]):
        picture = draw_confusion(matrix, [str(i) for i in range(2 * count)])
        margin = len(picture) - side - 1
        for marks in (picture[margin:, margin - 1], picture[margin - 1, margin:]):
            found = np.flatnonzero((marks == 255).all(axis=-1))
            assert found.tolist() == list(range(cell // 2, side, every * cell))
        strips.append(picture[margin:, margin - 20 : margin - 3])
    assert not np.array_equal(*strips)


@pytest.mark.parametrize("count", [2, 10, 61])
def test_the_axes_have_titles(count):
    picture = draw_confusion(np.eye(count, dtype=int), [f"class {i}" for i in range(count)])
    left, top = np.rot90(picture[:, :18], -1), picture[:18]
    for title in (left, top):
        places = np.argwhere((title > 200).all(axis=-1))[:, 1]
        # All of the word, with a background around it.
        assert 50 < np.ptp(places) < 250
        assert places.min() > 4 and places.max() < title.shape[1] - 4
    assert not np.array_equal(left, top)


@pytest.mark.parametrize("shape", [(10, 200, 3), (300, 20, 3), (1, 1000, 3)])
def test_any_picture_fits_its_tile(shape):
    image = np.full(shape, 255, np.uint8)
    tile = captioned(image, [("a name that is longer than the tile is wide", RED)], side=64)
    assert tile.shape[1] == 64 and 64 < tile.shape[0] < 96
    drawn = np.argwhere((tile[:64] > 200).all(axis=-1))
    height, width = np.ptp(drawn, axis=0) + 1
    assert max(height, width) == 64
    assert (tile[64:, -2:] == (32, 32, 32)).all()  # the text ends before


def test_examples_lie_side_by_side():
    images = [np.full((20, 30, 3), 128, np.uint8)] * 7
    names = ["cat"] * 7
    sheet = draw_examples(images, names, [0.1] * 7, ["dog"] * 6 + ["cat"], [0.8] * 7)
    assert sheet.shape[1] == 6 * 180 + 4 and 2 * 176 < sheet.shape[0] < 500
    assert RED in colors(sheet) and GREEN in colors(sheet)

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tasks.segmentation.drawing import draw_overlay, palette, write_mask

NAMES = ["background", "square", "circle"]


def gray(height, width):
    return np.full([height, width, 3], 128, np.uint8)


def mask_with_a_square(height, width, label=1):
    mask = np.zeros([height, width], np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = label
    return mask


def test_palette_is_that_of_voc():
    colors = palette()
    assert colors.shape == (256, 3) and colors.dtype == np.uint8
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {i: tuple(colors[i].tolist()) for i in known} == known
    assert len(np.unique(colors, axis=0)) == 256


def test_mask_files_keep_class_ids_and_have_colours(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "new" / "mask.png"
    write_mask(path, mask)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), mask)
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[mask])
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"]


def test_masks_of_two_classes_are_read_back_as_indices(tmp_path):
    mask = mask_with_a_square(5, 7, label=1)
    write_mask(tmp_path / "mask.png", mask)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), mask)


def test_overlay_blends_classes_and_leaves_the_background():
    image, mask = gray(100, 100), mask_with_a_square(100, 100)
    drawn = draw_overlay(image, mask, NAMES, opacity=0.5)
    picture = drawn[:100, :100]
    np.testing.assert_array_equal(picture[mask == 0], image[mask == 0])
    np.testing.assert_array_equal(picture[mask == 1], np.tile((128, 64, 64), (625, 1)))
    np.testing.assert_array_equal(image, gray(100, 100))
    # Where class 0 is something, it is drawn.
    drawn = draw_overlay(image, mask, ["sky", "square"], opacity=0.5)
    assert tuple(drawn[0, 0]) == (64, 64, 64)


def test_regions_are_outlined_inside():
    image, mask = gray(400, 400), mask_with_a_square(400, 400)
    picture = draw_overlay(image, mask, NAMES, opacity=0)[:400, :400]
    changed = np.any(picture != image, axis=-1)
    expected = mask == 1
    expected[101:199, 101:199] = False
    np.testing.assert_array_equal(changed, expected)
    assert {tuple(color) for color in picture[changed].tolist()} == {(64 + 127, 127, 127)}
    light = draw_overlay(image, np.where(mask, 255, 0).astype(np.uint8), NAMES, opacity=0)
    assert tuple(light[100, 100]) == (112, 112, 96)


@pytest.mark.parametrize("size", [(1, 1), (32, 20), (20, 32), (300, 500), (1200, 1600)])
def test_legend_lies_below_and_names_what_occurs(size):
    mask = np.zeros(size, np.uint8)
    mask[0, 0], mask[-1, -1] = 2, 255
    drawn = draw_overlay(gray(*size), mask, NAMES)
    assert drawn.shape[0] > size[0] and drawn.shape[1] >= size[1]
    if size > (1, 1):
        np.testing.assert_array_equal(drawn[: size[0], : size[1]][mask == 0], 128)
    legend = drawn[size[0] :].reshape(-1, 3)
    found = {tuple(color) for color in legend.tolist()}
    colors = {tuple(palette()[i].tolist()) for i in (1, 2, 255)}
    wanted = {tuple(palette()[i].tolist()) for i in np.unique(mask) if i}
    assert found & colors == wanted


def test_no_legend_without_classes():
    image = gray(50, 60)
    drawn = draw_overlay(image, np.zeros((50, 60), np.uint8), NAMES)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image and drawn.flags.writeable


def test_many_classes_wrap_into_rows():
    names = ["background", *(f"class number {i}" for i in range(1, 150))]
    mask = np.repeat(np.arange(150, dtype=np.uint8)[:, np.newaxis], 400, axis=1)
    drawn = draw_overlay(gray(150, 400), mask, names)
    assert drawn.shape[1] == 400
    legend = {tuple(color) for color in drawn[150:].reshape(-1, 3).tolist()}
    assert {tuple(color) for color in palette()[1:150].tolist()} <= legend


def test_bad_input_is_named(tmp_path):
    image, mask = gray(10, 20), np.zeros((10, 20), np.uint8)
    with pytest.raises(ValueError, match="mask of 20 x 10 for a picture of 10 x 20"):
        draw_overlay(image, mask.T, NAMES)
    with pytest.raises(ValueError, match=r"not a mask: int64 \[10, 20\]"):
        draw_overlay(image, mask.astype(np.int64), NAMES)
    with pytest.raises(ValueError, match="cannot draw on float64"):
        draw_overlay(image / 255, mask, NAMES)
    with pytest.raises(ValueError, match="no name for class 3"):
        draw_overlay(image, mask + 3, NAMES)
    with pytest.raises(ValueError, match="opacity=1.5"):
        draw_overlay(image, mask, NAMES, opacity=1.5)
    with pytest.raises(ValueError, match="not a mask"):
        write_mask(tmp_path / "mask.png", image)
    with pytest.raises(ValueError, match="ends in .png"):
        write_mask(tmp_path / "mask.jpg", mask)
    assert not list(tmp_path.iterdir())

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tasks.common import pictures


def test_class_colors_are_distinct():
    colors = np.array([pictures.class_color(label) for label in range(91)])
    assert len(np.unique(colors, axis=0)) == 91
    neighbours = np.abs(np.diff(colors.astype(int), axis=0)).sum(axis=1)
    assert neighbours.min() > 60


def test_contact_sheet_holds_every_image():
    images = [np.full([10 + i, 20 - i, 3], 50 * i, np.uint8) for i in range(5)]
    sheet = pictures.contact_sheet(images, columns=2, gap=3)
    assert sheet.shape == (3 * (14 + 3) + 3, 2 * (20 + 3) + 3, 3)
    for i, image in enumerate(images):
        top, left = 3 + i // 2 * 17, 3 + i % 2 * 23
        height, width = image.shape[:2]
        np.testing.assert_array_equal(sheet[top : top + height, left : left + width], image)
    assert pictures.contact_sheet(images[:1], columns=4, gap=0).shape == (10, 20, 3)
    for bad_images, columns in (([], 2), (images, 0)):
        with pytest.raises(ValueError, match="needs an image and a column"):
            pictures.contact_sheet(bad_images, columns)


def test_write_picture_is_all_or_nothing(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, [8, 9, 3], np.uint8)
    path = tmp_path / "new" / "picture.PNG"
    pictures.write_picture(path, image)
    np.testing.assert_array_equal(Image.open(path), image)
    pictures.write_picture(path.with_suffix(".jpg"), image)
    assert Image.open(path.with_suffix(".jpg")).format == "JPEG"
    with pytest.raises(ValueError, match="no picture format '.txt'"):
        pictures.write_picture(path.with_suffix(".txt"), image)
    assert sorted(p.name for p in path.parent.iterdir()) == ["picture.PNG", "picture.jpg"]

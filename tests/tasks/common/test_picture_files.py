"""Files, folders and globs of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tasks.common.images import ImageError
from tasks.common.picture_files import find_pictures, readable_pictures


def test_files_folders_and_globs(tmp_path, monkeypatch):
    for name in ("b.png", "a.jpg", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    for name in ("notes.txt", "paper.pdf", "._a.jpg"):
        (tmp_path / name).write_text("no picture")
    monkeypatch.chdir(tmp_path)
    assert [str(p) for p in find_pictures(["."])] == ["a.jpg", "b.png"]
    assert [str(p) for p in find_pictures(["b.png", ".", "**/*.png"])] == [
        "b.png",
        "a.jpg",
        "deep/c.png",
    ]
    (tmp_path / "empty").mkdir()
    assert [str(p) for p in find_pictures(["[de]*"])] == ["deep/c.png"]
    for nothing in ("missing.jpg", "*.gif", "deep/*.jpg", "emp*"):
        with pytest.raises(ValueError, match="no pictures at"):
            find_pictures([nothing])


def test_a_broken_picture_is_found_before_any_work(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    assert readable_pictures([str(tmp_path)]) == [tmp_path / "a.png"]
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"b\.png"):
        readable_pictures([str(tmp_path)])

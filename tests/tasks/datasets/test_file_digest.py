"""Digests that name prepared copies."""

from __future__ import annotations

import hashlib

import pytest

from tasks.datasets.file_digest import file_digest, folder_digest


def test_file(tmp_path):
    content = b"x" * (1 << 20) + b"y"  # more than one block
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert file_digest(tmp_path / "file", "md5") == hashlib.md5(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "absent")


def test_folder_does_not_depend_on_its_place(tmp_path):
    (tmp_path / "here/more").mkdir(parents=True)
    (tmp_path / "here/more/file").write_text("x")
    before = folder_digest(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert folder_digest(tmp_path / "there") == before
    (tmp_path / "there/more").rename(tmp_path / "there/other")
    assert folder_digest(tmp_path / "there") != before


def test_broken_links_are_left_out(tmp_path):
    before = folder_digest(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    assert folder_digest(tmp_path) == before


def test_no_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match="absent"):
        folder_digest(tmp_path / "absent")

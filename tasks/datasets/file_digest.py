"""Digests of files and folders; they name prepared copies, so that changed data is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Digest of the content, in hex.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: str | os.PathLike) -> str:
    """Changes with the names, sizes and times of the files below the folder, not with its place.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise NotADirectoryError(folder)
    digest = hashlib.sha256()
    for name, size, modified in sorted(_list_files(os.fspath(folder))):
        digest.update(f"{name}\0{size}\0{modified}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _list_files(folder: str) -> Iterator[tuple[str, int, int]]:
    """(relative path, bytes, time of change in ns) of all files below the folder."""
    visited = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder above would be walked round and round.
        visited.add(os.path.realpath(root))
        folders[:] = [
            name for name in folders if os.path.realpath(os.path.join(root, name)) not in visited
        ]
        for name in files:
            path = os.path.join(root, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:  # a broken link: reported when the file is needed
                continue
            yield os.path.relpath(path, folder), status.st_size, status.st_mtime_ns

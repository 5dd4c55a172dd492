"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it; makes the folder.

    The temporary name keeps the extension, from which many writers choose the format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        to_disk(temporary)
        temporary.replace(path)
        folder_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Waits until the content of a file would survive a loss of power."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def folder_to_disk(folder: Path) -> None:
    """Waits until the names in a folder would survive a loss of power, where that can be told."""
    with contextlib.suppress(OSError):
        to_disk(folder)


def is_leftover(path: Path) -> bool:
    """Whether a file is one that `write_atomically` had begun when the process was killed."""
    return re.fullmatch(r"\..*\.\d+\.tmp(\..*)?", path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Removes such files from a folder, into which nothing else may be writing."""
    for path in filter(is_leftover, folder.glob(".*")):
        path.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file, all or nothing."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no links; all or nothing.

    Only for files that are replaced and never written into.
    """

    def write(temporary: Path) -> None:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

    write_atomically(target, write)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Writes a JSON file, all or nothing."""
    write_bytes(path, (json.dumps(content, indent=indent) + "\n").encode())

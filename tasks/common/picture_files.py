"""Picture files that a user names on a command line."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tasks.common.images import inspect


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """Files, folders (their pictures, not those of folders inside) and globs to a list of files.

    Of a glob that matches no picture but folders, these are taken.

    Returns:
        Paths in the order given, sorted within a folder or glob, each once.

    Raises:
        ValueError: if a pattern matches no picture.
    """
    # Pillow also registers formats that it only writes.
    formats = Image.registered_extensions()
    extensions = {extension for extension in formats if formats[extension] in Image.OPEN}
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            paths = _pictures_in(path, extensions)
        elif path.exists():
            paths = [path]
        else:
            matches = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
            paths = [p for p in matches if _is_picture(p, extensions)]
            if not paths:  # Maybe a glob of folders.
                folders = [p for p in matches if p.is_dir()]
                paths = [p for folder in folders for p in _pictures_in(folder, extensions)]
        if not paths:
            raise ValueError(f"no pictures at {pattern!r}: give picture files, folders or globs")
        found.update(dict.fromkeys(paths))
    return list(found)


def readable_pictures(patterns: Sequence[str]) -> list[Path]:
    """`find_pictures` that looks at all of them, so that a broken one is found before any work.

    Raises:
        ValueError: as `find_pictures`; an `ImageError` for the first unreadable file.
    """
    paths = find_pictures(patterns)
    for path in paths:
        inspect(path)
    return paths


def _pictures_in(folder: Path, extensions: set[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_picture(path, extensions))


def _is_picture(path: Path, extensions: set[str]) -> bool:
    return path.suffix.lower() in extensions and not path.name.startswith(".")

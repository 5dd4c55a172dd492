"""Picture files that a user names on a command line."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tasks.common.images import inspect


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """Files, folders (their pictures, not those of folders inside) and globs to a list of files.

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
            paths = sorted(p for p in path.iterdir() if _is_picture(p, extensions))
        elif path.exists():
            paths = [path]
        else:
            paths = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
            paths = [p for p in paths if _is_picture(p, extensions)]
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


def _is_picture(path: Path, extensions: set[str]) -> bool:
    return path.suffix.lower() in extensions and not path.name.startswith(".")

"""Which files belong to which class: told by a folder per class, or by a list file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.common.wording import SHOWN_PROBLEMS, first_of, problem_list


class ClassDirectoryError(ValueError):
    """Folders or lists of pictures are unusable; the message names the files and the remedies."""


class LabelledFile(NamedTuple):
    """A picture: `name` is its path relative to the folder of its split."""

    name: str
    label: int


def raise_any(headline: str, problems: Sequence[str]) -> None:
    """Raises one `ClassDirectoryError` with the first ten of the problems, if there are any."""
    if not problems:
        return
    raise ClassDirectoryError(problem_list(f"{headline} ({len(problems)}):", problems))


def find_classes(folder: str | os.PathLike) -> tuple[str, ...]:
    """Names of the folders in a folder, sorted; hidden ones are no classes.

    Raises:
        ClassDirectoryError: the folder cannot be read.
    """
    return tuple(sorted(entry.name for entry in _entries(folder) if entry.is_dir()))


def find_class_files(folder: str | os.PathLike) -> dict[str, list[str]]:
    """Class name -> its files, relative to the folder, both sorted; hidden files are left out.

    Files beside the class folders belong to no class and are left out, too.

    Raises:
        ClassDirectoryError: there are no class folders, some are empty or hold folders, or their
            names cannot be class names.
    """
    classes = find_classes(folder)
    if not classes:
        raise ClassDirectoryError(
            f"{folder}: there are no class folders; put the pictures of each class into a folder "
            "that is named after it, or give a list file with class indices"
        )
    found, problems = {}, []
    for name in classes:
        entries = list(_entries(os.path.join(folder, name)))
        folders = sorted(entry.name for entry in entries if entry.is_dir())
        found[name] = sorted(os.path.join(name, entry.name) for entry in entries)
        if name != name.strip() or not name.isprintable():
            problems.append(f"{name!r} cannot be the name of a class; rename the folder")
        elif not entries:
            problems.append(f"{name!r} is empty; add pictures or remove the folder")
        elif folders:
            problems.append(
                f"{name!r} holds the folder{'s' * (len(folders) > 1)} "
                f"{first_of([*map(repr, folders)])}; a class "
                "holds pictures only: move them up, or give the folder that holds the classes"
            )
    raise_any(f"{folder}: unusable class folders", problems)
    return found


def labelled_files(classes: dict[str, Iterable[str]]) -> list[LabelledFile]:
    """Files by class, as `find_class_files` gives -> files with labels in the order of classes."""
    return [
        LabelledFile(name, label) for label, names in enumerate(classes.values()) for name in names
    ]


def check_same_classes(classes: dict[str, Sequence[str]]) -> None:
    """Raises a `ClassDirectoryError` unless all folders (path -> class names) have the same."""
    everywhere = sorted(set().union(*classes.values()))
    problems = []
    for folder, names in classes.items():
        missing = [name for name in everywhere if name not in set(names)]
        if missing:
            shown = ", ".join(map(repr, missing[:SHOWN_PROBLEMS]))
            more = len(missing) - SHOWN_PROBLEMS
            problems.append(f"{folder} lacks {shown}{f' and {more} more' * (more > 0)}")
    raise_any(
        "train and validation must have the same classes, as folders give the labels their "
        "numbers; add pictures or remove the class from the other split",
        problems,
    )


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """One class name per line, or tab-separated "index, ..., name" with indices from 0 in order.

    A name that occurs more than once, as "crane" in ImageNet, is followed by the column before it
    (the WordNet id) in parentheses.

    Raises:
        ClassDirectoryError: the file is unreadable or empty, or names are missing or repeated.
    """
    lines = [line.strip() for line in _read_lines(path)]
    rows = [[field.strip() for field in line.split("\t")] for line in lines]
    problems = []
    for number, row in enumerate(rows):
        if not row[-1]:
            problems.append(f"line {number + 1} is empty; it must name class {number}")
        elif len(row) > 1 and row[0] != str(number):
            problems.append(f"line {number + 1} has index {row[0]!r}; it must be {number}")
    raise_any(f"{path}: unusable class names", problems)
    times = Counter(row[-1] for row in rows)
    names = [
        f"{row[-1]} ({row[-2]})" if times[row[-1]] > 1 and len(row) > 2 else row[-1] for row in rows
    ]
    times = Counter(names)
    raise_any(
        f"{path}: class names that occur more than once; make them unique",
        [repr(name) for name in times if times[name] > 1],
    )
    return tuple(names)


def read_list(
    path: str | os.PathLike, folder: str | os.PathLike, num_classes: int
) -> list[LabelledFile]:
    """Reads lines of a path and a class index, separated by a tab or by the last space.

    Columns after a second tab are left out, and so is a first line with titles.

    Args:
        path: of the list.
        folder: to which the paths in it are relative.
        num_classes: indices must be below it.

    Raises:
        ClassDirectoryError: the file is unreadable or empty, or lines are unusable.
    """
    files: dict[str, LabelledFile] = {}
    problems = []
    for number, line in enumerate(_read_lines(path), start=1):
        name, index = _split(line)
        if number == 1 and not _is_integer(index) and not Path(folder, name).exists():
            continue
        if not line.strip():
            problem = "is empty; remove it"
        elif not name or not _is_integer(index):
            problem = f"is {line!r}; it must be a path, a tab or space, and a class index"
        elif not 0 <= int(index) < num_classes:
            problem = (
                f"has class index {index}, but there are {num_classes} classes "
                f"(0..{num_classes - 1}); correct it or the class names"
            )
        elif os.path.isabs(name) or ".." in Path(name).parts:
            problem = f"has the path {name!r}; it must be relative to {folder} and lie inside"
        elif os.path.normpath(name) in files:
            problem = f"repeats {name!r}; list each picture once"
        else:
            files[os.path.normpath(name)] = LabelledFile(name, int(index))
            continue
        problems.append(f"line {number} {problem}")
    raise_any(f"{path}: unusable lines", problems)
    if not files:
        raise ClassDirectoryError(f"{path}: the list names no pictures; check the path")
    return list(files.values())


def _split(line: str) -> tuple[str, str]:
    fields = line.split("\t") if "\t" in line else line.strip().rsplit(None, 1)
    name, index, *_ = *fields, "", ""
    return name.strip(), index.strip()


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _read_lines(path: str | os.PathLike) -> list[str]:
    try:
        # Editors on Windows put a byte order mark before the first line.
        lines = Path(path).read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise ClassDirectoryError(
            f"{path}: cannot read the file ({error.strerror}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ClassDirectoryError(f"{path}: not a text in UTF-8 ({error}); convert it") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ClassDirectoryError(f"{path}: the file is empty; check the path")
    return lines


def _entries(folder: str | os.PathLike) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise ClassDirectoryError(
            f"{folder}: cannot read the folder ({error.strerror}); check the path"
        ) from error

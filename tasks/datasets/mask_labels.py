"""What the values of label masks mean: class names, and the value of pixels without a label."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from tasks.datasets.masks import VOID

_NUMBERED = re.compile(r"(\d+)\s+(\S.*)")


class LabelsError(ValueError):
    """A file of class names is unusable; the message names it and the remedy."""


@dataclass(frozen=True)
class MaskLabels:
    """Classes of a data set and the mask values that stand for them.

    Attributes:
        names: one for each class id from 0.
        values: the mask value of each class; the same as its class id unless `ignore_label` is
            in between.
        ignore_label: mask value of pixels without a label, stored as 255.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore_label: int = VOID

    def class_ids(self, mask: np.ndarray) -> np.ndarray:
        """uint8 [h, w] with mask values -> uint8 [h, w] with class ids and 255 for void.

        Raises:
            ValueError: names values that are neither a class nor the ignore label.
        """
        counts = np.bincount(mask.ravel(), minlength=256)
        counts[[*self.values, self.ignore_label]] = 0
        unknown = np.flatnonzero(counts)
        if unknown.size:
            shown = ", ".join(map(str, unknown[:5])) + ", ..." * (unknown.size > 5)
            raise ValueError(
                f"value{'s' * (unknown.size > 1)} {shown} ({counts.sum()} pixels): neither one of "
                f"the {len(self.names)} classes ({self.values[0]} to {self.values[-1]}) nor the "
                f"ignore label {self.ignore_label}"
            )
        table = np.full(256, VOID, np.uint8)
        table[list(self.values)] = range(len(self.values))
        return table[mask]


def read_mask_labels(path: str | os.PathLike, ignore_label: int = VOID) -> MaskLabels:
    """Reads a text file with one class name a line; the first is that of mask value 0.

    If all lines begin with a number ("0 Sky"), it is the mask value; the numbers must count up
    from 0. A name whose value is `ignore_label` is not a class. If classes follow it, their ids
    are one less than their values, so that ids have no gap.

    Raises:
        LabelsError: the file is missing, empty, or has repeated names or odd numbers.
        ValueError: the ignore label is not a pixel value.
    """
    if not 0 <= ignore_label <= 255:
        raise ValueError(f"ignore_label must be a pixel value from 0 to 255, not {ignore_label}")
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file.read().rstrip().splitlines()]
    except OSError as error:
        raise LabelsError(
            f"{path}: cannot read the class names ({error.strerror}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise LabelsError(
            f"{path}: not a text file in UTF-8 ({error.reason}); write one class name a line"
        ) from error
    names = _names_by_value(path, lines, ignore_label)
    names.pop(ignore_label, None)
    _check_names(path, list(names.values()))
    return MaskLabels(tuple(names.values()), tuple(names), ignore_label)


def _names_by_value(path: str | os.PathLike, lines: list[str], ignore_label: int) -> dict[int, str]:
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if not all(numbered):
        if "" in lines:
            raise LabelsError(
                f"{path}: line {lines.index('') + 1} is empty, but each line is the name of a "
                "mask value; name the class or remove the line"
            )
        return dict(enumerate(lines))
    values = [int(match[1]) for match in numbered]
    classes = [value for value in values if value != ignore_label]
    expected = [value for value in range(len(classes) + 1) if value != ignore_label]
    for value, wanted in zip(classes, expected, strict=False):
        if value != wanted:
            raise LabelsError(
                f"{path}: the numbers must count up from 0, but {value} stands where {wanted} "
                f"should; number masks and names 0, 1, 2, ... (ignore label: {ignore_label})"
            )
    return {value: match[2] for value, match in zip(values, numbered, strict=True)}


def _check_names(path: str | os.PathLike, names: list[str]) -> None:
    if not names or len(names) > 255:
        raise LabelsError(
            f"{path}: {len(names)} class names; a mask can tell 1 to 255 classes apart"
        )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise LabelsError(f"{path}: class name {name!r} occurs {times} times; rename one of them")

"""Opens a JSON file in COCO format and collects what is wrong with its records."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass, field

from tasks.common.wording import SHOWN_PROBLEMS, problem_list


class AnnotationError(ValueError):
    """A data set in COCO format is unusable; the message lists the records and the remedies."""


def read_categories(annotations: str | os.PathLike) -> dict[int, str]:
    """Category id -> name in ascending id order.

    Raises:
        AnnotationError: the file is missing, is no COCO JSON or has duplicate or no categories.
    """
    return check_categories(annotations, load_json(annotations)["categories"])


@dataclass
class Problems:
    """Collects problems, so that one message tells of many.

    Attributes:
        source: the JSON file, named in the message.
        found: the first ten problems.
        count: of all problems.
    """

    source: str | os.PathLike
    found: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= SHOWN_PROBLEMS:
            self.found.append(problem)

    def raise_any(self) -> None:
        if not self.count:
            return
        headline = f"{self.source}: {self.count} problem{'s' * (self.count > 1)} in this data set"
        raise AnnotationError(problem_list(headline, self.found, self.count))


def load_json(path: str | os.PathLike) -> dict:
    """The content of an instances file; its three lists are there and hold JSON objects.

    Raises:
        AnnotationError: the file is missing, no JSON or not in COCO format.
    """
    try:
        with open(path, "rb") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise AnnotationError(
            f"{path}: there is no such annotations file; check the path"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f"{path}: cannot read the annotations ({reason})") from error
    except ValueError as error:  # JSON and encoding errors; the message tells the position
        raise AnnotationError(
            f"{path}: not valid JSON ({error}); export or download it again"
        ) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise AnnotationError(
                f"{path}: no list {key!r} at the top level; a COCO instances file "
                "(object detection) has the lists 'images', 'annotations' and 'categories'"
            )
        if not all(isinstance(record, dict) for record in content[key]):
            raise AnnotationError(f"{path}: all elements of {key!r} must be JSON objects")
    return content


def is_id(value: object) -> bool:
    """Whether the JSON value is a 64-bit integer (and not `true`, which Python takes for 1)."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: object) -> bool:
    """Whether the JSON value is a finite number; Python reads NaN and Infinity, too."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floating-point numbers
        return False


def unique_ids(records: list[dict], kind: str, problems: Problems) -> dict[int, dict]:
    """The records by id; those with a missing, odd or repeated id are problems."""
    by_id = {}
    for position, record in enumerate(records):
        identity = record.get("id")
        if not is_id(identity):
            problems.add(
                f"{kind} number {position}: 'id' must be an integer of at most 64 bits, "
                f"not {identity!r}"
            )
        elif identity in by_id:
            problems.add(f"{kind} id {identity} occurs more than once; number them uniquely")
        else:
            by_id[identity] = record
    return by_id


def check_categories(path: str | os.PathLike, records: list[dict]) -> dict[int, str]:
    """Category id -> name in ascending id order.

    Raises:
        AnnotationError: there is none, or ids or names are missing or repeated.
    """
    problems = Problems(path)
    by_id = unique_ids(records, "category", problems)
    if not records:
        problems.add("'categories' is empty; list at least one category with 'id' and 'name'")
    for category_id, record in by_id.items():
        name = record.get("name")
        if not isinstance(name, str) or not name.strip():
            problems.add(f"category id {category_id}: 'name' must be a text, not {name!r}")
    names = Counter(str(record.get("name")).strip() for record in by_id.values())
    for name, times in names.items():
        if times > 1:
            problems.add(f"category name {name!r} occurs {times} times; rename or merge them")
    problems.raise_any()
    return {category_id: by_id[category_id]["name"].strip() for category_id in sorted(by_id)}


def check_same_categories(categories: dict[str, dict[int, str]]) -> None:
    """Raises an AnnotationError unless all files (path -> categories) have the same ones."""
    for path, found in categories.items():
        first, expected = next(iter(categories.items()))
        differing = sorted(set(expected.items()) ^ set(found.items()))
        if differing:
            raise AnnotationError(
                f"{first} and {path} list different categories, so labels would not agree: "
                f"{differing[:10]}; list the same ids and names in both"
            )

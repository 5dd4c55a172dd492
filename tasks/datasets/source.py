"""What data sets of all tasks have in common: name, labels, splits to count and to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds


class UnknownSplit(Exception):
    """There is no such split; the message may tell more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A data set with encoded images. Each task has a subclass that reads its elements.

    Attributes:
        name: of the data set.
        label_names: one for each contiguous label from 0.
        splits: names of the splits.
        count: examples of a split; raises `UnknownSplit`. Use `num_examples`.
        read: (split, whether to shuffle files, seed) -> elements. Use `examples`.
        parts: (split, n) -> n parts of it, as equal as may be, which `num_examples` and `examples`
            take like splits; each is read without the files of the others.
    """

    name: str
    label_names: tuple[str, ...]
    splits: tuple[str, ...]
    count: Callable[[str], int] = dataclasses.field(repr=False)
    read: Callable[[str, bool, int | None], tf.data.Dataset] = dataclasses.field(repr=False)
    parts: Callable[[str, int], Sequence[Any]] = dataclasses.field(
        default=lambda split, count: tfds.even_splits(split, count), repr=False
    )

    def num_examples(self, split: str) -> int:
        """Examples of the split, e.g. "train", or for TFDS data sets of a slice: "train[:100]".

        Raises:
            ValueError: the split does not exist or is empty, or its files are unusable.
        """
        try:
            count = self.count(split)
        except UnknownSplit as error:
            raise ValueError(
                f"data set {self.name!r} has no split {split!r}; it has {list(self.splits)} "
                f"({str(error).strip()})"
            ) from error
        if count <= 0:  # TFDS counts -2 images in [5:3]
            raise ValueError(
                f"split {split!r} of data set {self.name!r} is empty; it has {list(self.splits)}"
            )
        return count

    def examples(
        self, split: str, *, shuffle_files: bool = False, seed: int | None = None
    ) -> tf.data.Dataset:
        """The elements of a split, dicts whose keys the subclass names.

        Args:
            split: as for `num_examples`.
            shuffle_files: read the files in random order, several at a time (training).
            seed: makes that order reproducible.

        Raises:
            ValueError: as `num_examples`.
        """
        self.num_examples(split)
        return self.read(split, shuffle_files, seed)


def split_counter(builder: tfds.core.DatasetBuilder) -> Callable[[str], int]:
    """`Source.count` for a prepared TFDS data set; reads no file."""

    def count(split: str) -> int:
        try:
            return builder.info.splits[split].num_examples
        except (KeyError, ValueError, AssertionError) as error:
            raise UnknownSplit(error) from error

    return count


def refuse(dataset: str, arguments: dict[str, Any]) -> None:
    """Raises ValueError if one of the arguments, which mean nothing for the data set, is given."""
    # A label 0 is given; a missing path, an empty one and an unset switch are not.
    given = [
        name
        for name, value in arguments.items()
        if value is not None and value is not False and value != ""
    ]
    if given:
        raise ValueError(
            f"{', '.join(given)}: does not apply to data set {dataset!r}; leave it out"
        )

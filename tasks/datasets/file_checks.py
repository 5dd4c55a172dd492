"""Looks at all files of a data set before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from tqdm.auto import tqdm

Item, Look = TypeVar("Item"), TypeVar("Look")
Problem = TypeVar("Problem", bound=Exception)


def look_at_all(
    look: Callable[[Item], Look],
    items: Sequence[Item],
    title: str,
    problems: type[Problem] | tuple[type[Problem], ...],
) -> Iterator[tuple[Item, Look | Problem]]:
    """Each item with look(item), in their order, or with the error of `problems` that it raised.

    In threads, as Pillow decodes without holding the interpreter lock.

    Args:
        look: reads one file or a few.
        items: to look at.
        title: of the progress bar on a terminal.
        problems: errors to hand on; others end the iteration.
    """

    def attempt(item: Item) -> Look | Problem:
        try:
            return look(item)
        except problems as error:
            return error

    with ThreadPool(os.cpu_count()) as pool:
        # In chunks, as a million single tasks would take gigabytes.
        looks = pool.imap(attempt, items, chunksize=16)
        # disable=None: a bar on a terminal only.
        yield from zip(items, tqdm(looks, title, len(items), disable=None), strict=True)

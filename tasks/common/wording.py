"""Lists of names and of problems in messages: the first ones, and how many there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

SHOWN_PROBLEMS = 10


def first_of(names: Sequence[str], shown: int = 3) -> str:
    """ "a, b, c, ..." """
    return ", ".join(names[:shown]) + ", ..." * (len(names) > shown)


def first_of_all(names: Collection[str]) -> str:
    """ "a, b, c, d, e, ... (17)" """
    more = f" ({len(names)})" if len(names) > 5 else ""
    return first_of(list(names), 5) + more


def problem_list(headline: str, problems: Sequence[str], count: int | None = None) -> str:
    """A headline, the first ten problems, a line each, and how many others there are.

    Args:
        headline: first line.
        problems: all of them, or the first ones.
        count: of all problems; their number if None.
    """
    more = (len(problems) if count is None else count) - SHOWN_PROBLEMS
    lines = [headline, *problems[:SHOWN_PROBLEMS]]
    return "\n  ".join(lines + [f"... and {more} more"] * (more > 0))

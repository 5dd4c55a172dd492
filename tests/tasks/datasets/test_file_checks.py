"""Looking at all files of a data set."""

from __future__ import annotations

import pytest

from tasks.datasets.file_checks import look_at_all


def look(number: int) -> int:
    if number % 3 == 0:
        raise ValueError(f"{number} is bad")
    return 10 * number


def test_each_item_comes_with_its_look_or_its_problem_in_order():
    found = list(look_at_all(look, range(40), "looking", ValueError))
    assert [item for item, _ in found] == list(range(40))
    for item, result in found:
        if item % 3 == 0:
            assert isinstance(result, ValueError) and str(result) == f"{item} is bad"
        else:
            assert result == 10 * item


def test_other_errors_are_not_hidden():
    with pytest.raises(ValueError, match="3 is bad"):
        list(look_at_all(look, [1, 2, 3], "looking", KeyError))

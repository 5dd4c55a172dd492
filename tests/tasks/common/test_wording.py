"""Lists of names and of problems in messages."""

from __future__ import annotations

import pytest

from tasks.common.wording import first_of, first_of_all, problem_list


@pytest.mark.parametrize(
    ("names", "said"), [(["a"], "a"), (list("abc"), "a, b, c"), (list("abcd"), "a, b, c, ...")]
)
def test_the_first_names_are_given(names, said):
    assert first_of(names) == said


def test_the_number_of_names_is_given_where_some_are_left_out():
    assert first_of_all(("a", "b", "c", "d", "e")) == "a, b, c, d, e"
    assert first_of_all(tuple("abcdef")) == "a, b, c, d, e, ... (6)"


def test_ten_problems_are_listed_and_the_others_counted():
    problems = [f"problem {i}" for i in range(12)]
    lines = problem_list("headline", problems).splitlines()
    assert lines == ["headline", *(f"  problem {i}" for i in range(10)), "  ... and 2 more"]
    assert problem_list("headline", problems[:10]).splitlines() == lines[:-1]
    assert problem_list("headline", problems[:10], count=30).endswith("... and 20 more")

"""Recipes as command lines."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.common.command_line import option, parse_recipe


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: int = option(10, "how long")
    rate: float = option(0.5, "how fast, 100% sure")
    flip: bool = option(True, "whether to mirror")
    rates: tuple[int, ...] | None = option(None, "of the branches")
    weights: str | None = option("a.h5", "where to start")

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")


RECIPES = {"short": Recipe(), "long": Recipe(steps=1000, flip=False)}


def parse(*argv: str) -> Recipe:
    return parse_recipe("Test.", RECIPES, argv, default="short")[0]


def test_the_named_recipe_is_the_default_of_every_field():
    assert parse() == RECIPES["short"]
    assert parse("--recipe", "long") == RECIPES["long"]
    assert parse("--recipe=long", "--rate", "0.25") == dataclasses.replace(
        RECIPES["long"], rate=0.25
    )


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--steps", "7"], "steps", 7),
        (["--no-flip"], "flip", False),
        (["--rates", "6", "12"], "rates", (6, 12)),
        (["--weights", "none"], "weights", None),
        (["--weights=b_c.h5"], "weights", "b_c.h5"),
    ],
)
def test_every_field_is_an_option(argv, field, value):
    assert parse(*argv) == dataclasses.replace(RECIPES["short"], **{field: value})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--recipe", "medium"], "'medium', choose from: short, long"),
        (["--steps", "many"], "invalid int value: 'many'"),
        (["--steps", "0"], "steps=0 must be at least 1"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_input_ends_in_one_message(argv, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(*argv)
    assert ended.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: ") and "--help" in usage
    assert message in error


def test_help_shows_the_values_of_the_recipe(capsys):
    with pytest.raises(SystemExit):
        parse("--recipe", "long", "--help")
    shown = capsys.readouterr().out
    assert "how long [1000]" in shown and "100% sure" in shown


def test_underscores_are_hyphens():
    @dataclasses.dataclass(frozen=True)
    class Two:
        batch_size: int = option(1, "images")

    found, _ = parse_recipe("Test.", {"a": Two()}, ["--batch_size", "3"], default="a")
    assert found.batch_size == 3

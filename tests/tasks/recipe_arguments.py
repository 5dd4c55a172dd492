"""Recipes as command lines, for tests that go through the commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tasks.common.recipe import TrainingRecipe


def as_arguments(recipe: TrainingRecipe, name: str, base: TrainingRecipe) -> list[str]:
    """The options that turn the recipe `base`, called `name`, into `recipe`."""
    words = ["--recipe", name]
    for field in dataclasses.fields(recipe):
        value, option = getattr(recipe, field.name), field.name.replace("_", "-")
        if value == getattr(base, field.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words


def finished_run(train: Callable[[list[str]], None], recipe: TrainingRecipe, base, folder: Path):
    """`folder`, in which the command `train` has trained `recipe`, a variant of shapes (`base`)."""
    train([*as_arguments(recipe, "shapes", base), "--run-dir", str(folder)])
    return folder

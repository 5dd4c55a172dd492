"""Recipes as command lines, for tests that go through the commands."""

from __future__ import annotations

import dataclasses

from tasks.detection.recipes import RECIPES, DetectionRecipe


def as_arguments(recipe: DetectionRecipe, base: str = "shapes") -> list[str]:
    """The options that turn the recipe named `base` into `recipe`."""
    words = ["--recipe", base]
    for field in dataclasses.fields(recipe):
        value, name = getattr(recipe, field.name), field.name.replace("_", "-")
        if value == getattr(RECIPES[base], field.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words

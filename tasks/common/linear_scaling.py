"""What changes in a recipe when a step sees the batches of several replicas."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

from tasks.common.recipe import TrainingRecipe

Recipe = TypeVar("Recipe", bound=TrainingRecipe)

# Where the recipe itself has no warm-up: 5 epochs, of a training of 90.
_WARMUP_EPOCHS = 5
_WARMUP_SHARE = 5 / 90


def for_replicas(recipe: Recipe, replicas: int) -> Recipe:
    """The recipe of one replica for N of them, by linear scaling with gradual warm-up.

    However many devices it is then trained on, they share that batch.

    The batch and every learning rate are N times as large, every number of steps is an N-th, so
    that the number of examples stays. The warm-up rises linearly; a recipe without one gets one
    that begins at the learning rate of one replica. It takes 5 of 90 parts of the training, and
    at most 5 epochs where an exponential schedule tells them (its `decay_steps`). Source: Goyal et
    al., arXiv 1706.02677, sections 2.1 and 2.2.

    The decay of a moving average of the weights, which counts steps, stays as it is.

    Args:
        recipe: of a single replica.
        replicas: N.

    Raises:
        ValueError: if N is not at least 1.
    """
    if replicas < 1:
        raise ValueError(f"replicas={replicas!r} must be at least 1")
    if replicas == 1:
        return recipe
    changed = {"batch_size": recipe.batch_size * replicas}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name.endswith("learning_rate") and value is not None:
            changed[field.name] = value * replicas
        elif field.name.endswith(("_steps", "_every")) and value is not None:
            changed[field.name] = math.ceil(value / replicas)
    if not recipe.warmup_steps:
        steps = int(changed["train_steps"] * _WARMUP_SHARE)
        if recipe.schedule == "exponential":
            steps = min(steps, _WARMUP_EPOCHS * changed["decay_steps"])
        changed["warmup_steps"] = steps
        changed["warmup_learning_rate"] = recipe.learning_rate
    # Of a few steps the last one is no warm-up.
    changed["warmup_steps"] = min(changed["warmup_steps"], changed["train_steps"] - 1)
    return dataclasses.replace(recipe, warmup="linear", **changed)

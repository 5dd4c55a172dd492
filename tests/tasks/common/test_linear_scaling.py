"""Recipes for several replicas."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.common.command_line import option
from tasks.common.linear_scaling import for_replicas
from tasks.common.optimization import learning_rate_schedule
from tasks.common.recipe import TrainingRecipe


@dataclasses.dataclass(frozen=True)
class TwoPhases(TrainingRecipe):
    first_steps: int = option(7, "of the first phase")
    first_learning_rate: float | None = option(None, "of the first phase")


RECIPE = TrainingRecipe(
    batch_size=96,
    learning_rate=0.1,
    train_steps=1800,
    evaluate_every=300,
    schedule="exponential",
    decay_steps=200,
    decay_rate=0.5,
)


def test_one_replica_changes_nothing():
    assert for_replicas(RECIPE, 1) is RECIPE


def test_the_same_examples_at_the_linear_rate():
    recipe = for_replicas(RECIPE, 4)
    assert (recipe.batch_size, recipe.train_steps, recipe.evaluate_every) == (384, 450, 75)
    assert (recipe.learning_rate, recipe.decay_steps) == (0.4, 50)
    untouched = ("evaluation_batch_size", "momentum", "weight_decay", "decay_rate", "seed")
    for name in untouched:
        assert getattr(recipe, name) == getattr(RECIPE, name)


def test_the_warm_up_rises_from_the_rate_of_one_replica():
    schedule = learning_rate_schedule(for_replicas(RECIPE, 4))
    rates = [float(schedule(step)) for step in (0, 5, 10, 15, 20, 24, 25)]
    expected = [0.1, 0.16, 0.22, 0.28, 0.34, 0.388, 0.4]
    assert rates == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"), [("exponential", 150), ("cosine", 1000), ("constant", 1000)]
)
def test_the_warm_up_is_no_longer_than_five_epochs(schedule, expected):
    fields = {"train_steps": 36_000, "decay_steps": 60, "schedule": schedule}
    assert for_replicas(dataclasses.replace(RECIPE, **fields), 2).warmup_steps == expected


@pytest.mark.parametrize("warmup", ["linear", "constant"])
def test_a_warm_up_of_its_own_is_kept_and_gradual(warmup):
    recipe = dataclasses.replace(RECIPE, warmup=warmup, warmup_steps=30, warmup_learning_rate=0.01)
    scaled = for_replicas(recipe, 3)
    assert (scaled.warmup, scaled.warmup_steps) == ("linear", 10)
    assert scaled.warmup_learning_rate == pytest.approx(0.03)


def test_fields_of_a_task_are_scaled_by_what_they_are():
    scaled = for_replicas(TwoPhases(train_steps=10), 4)
    assert (scaled.first_steps, scaled.first_learning_rate, scaled.train_steps) == (2, None, 3)
    scaled = for_replicas(TwoPhases(first_learning_rate=0.5), 4)
    assert scaled.first_learning_rate == 2.0


def test_very_short_runs_stay_runs():
    recipe = TrainingRecipe(train_steps=2, warmup_steps=1)
    scaled = for_replicas(recipe, 8)
    assert (scaled.train_steps, scaled.warmup_steps) == (1, 0)


@pytest.mark.parametrize("replicas", [0, -1])
def test_less_than_one_replica_is_refused(replicas):
    with pytest.raises(ValueError, match=f"replicas={replicas} must be at least 1"):
        for_replicas(RECIPE, replicas)

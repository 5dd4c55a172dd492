"""Schedules and optimizers from recipes."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tasks.common.optimization import learning_rate_schedule, make_optimizer
from tasks.common.recipe import TrainingRecipe

RECIPE = TrainingRecipe(train_steps=100, learning_rate=0.4)


def rates(steps, **fields) -> list[float]:
    schedule = learning_rate_schedule(dataclasses.replace(RECIPE, **fields))
    restored = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    found = [float(schedule(step)) for step in steps]
    assert found == [float(restored(step)) for step in steps]
    return found


def test_cosine_with_warm_up():
    found = rates([0, 10, 20, 60, 100], warmup_steps=20, warmup_learning_rate=0.1)
    np.testing.assert_allclose(found, [0.1, 0.25, 0.4, 0.2, 0.0], atol=1e-6)


def test_other_schedules():
    np.testing.assert_allclose(rates([0, 99], schedule="constant"), [0.4, 0.4])
    np.testing.assert_allclose(
        rates([0, 9, 10, 25], schedule="exponential", decay_steps=10, decay_rate=0.5),
        [0.4, 0.4, 0.2, 0.1],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        rates([0, 50, 100], schedule="polynomial", decay_power=0.9),
        [0.4, 0.4 * 0.5**0.9, 0.0],
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_optimizers_carry_no_weight_decay_of_their_own(name):
    optimizer = make_optimizer(dataclasses.replace(RECIPE, optimizer=name, gradient_clip_norm=3.0))
    assert optimizer.weight_decay is None and optimizer.global_clipnorm == 3.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("schedule", "step"),
        ("precision", "float64"),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("bn_momentum", 1.0),
        ("warmup_steps", 100),
        ("weight_decay", -1e-5),
    ],
)
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        dataclasses.replace(RECIPE, **{field: value})

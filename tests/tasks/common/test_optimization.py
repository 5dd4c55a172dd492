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


def test_the_exponential_schedule_counts_the_warm_up():
    """The warm-up takes the place of its first steps; the rest is where it were without."""
    fields = {"schedule": "exponential", "decay_steps": 10, "decay_rate": 0.5}
    found = rates([0, 10, 19, 20, 29, 30, 99], warmup_steps=20, **fields)
    np.testing.assert_allclose(found[:3], [0.0, 0.2, 0.38], atol=1e-6)
    np.testing.assert_allclose(found[3:], rates([20, 29, 30, 99], **fields), rtol=1e-6)
    np.testing.assert_allclose(found[3], 0.1, rtol=1e-6)


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


def test_a_constant_warm_up_is_deeplabs_slow_start():
    found = rates(
        [0, 19, 20, 60, 100],
        warmup="constant",
        warmup_steps=20,
        warmup_learning_rate=0.1,
        schedule="polynomial",
        decay_power=1.0,
    )
    np.testing.assert_allclose(found, [0.1, 0.1, 0.4, 0.2, 0.0], atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_variables_have_rates_of_their_own(name):
    """One step with factor 3 is the step of three times the rate, for every optimizer."""
    gradient = np.float32([0.5, -2.0])

    def step(learning_rate, factor):
        recipe = dataclasses.replace(
            RECIPE, optimizer=name, schedule="constant", learning_rate=learning_rate
        )
        slow, fast = keras.Variable([1.0, 1.0]), keras.Variable([1.0, 1.0])
        optimizer = make_optimizer(recipe, lambda v: factor if v is fast else 1.0)
        optimizer.apply([keras.ops.array(gradient)] * 2, [slow, fast])
        return slow.numpy() - 1.0, fast.numpy() - 1.0

    slow, fast = step(0.01, 3.0)
    np.testing.assert_allclose(slow, step(0.01, 1.0)[1], rtol=1e-5)
    np.testing.assert_allclose(fast, step(0.03, 1.0)[1], rtol=1e-5)
    np.testing.assert_allclose(fast, 3.0 * slow, rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_optimizers_carry_no_weight_decay_of_their_own(name):
    optimizer = make_optimizer(dataclasses.replace(RECIPE, optimizer=name, gradient_clip_norm=3.0))
    assert optimizer.weight_decay is None and optimizer.global_clipnorm == 3.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("schedule", "step"),
        ("precision", "float8"),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("bn_momentum", 1.0),
        ("warmup", "cosine"),
        ("warmup_steps", 100),
        ("height", 0),
        ("alpha", 0.0),
        ("moving_average_decay", 1.0),
        ("weight_decay", -1e-5),
    ],
)
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        dataclasses.replace(RECIPE, **{field: value})


def test_initial_weights_that_exclude_each_other():
    with pytest.raises(ValueError, match="either init_weights or backbone_weights"):
        dataclasses.replace(RECIPE, init_weights="a", backbone_weights="b")
    with pytest.raises(ValueError, match="zero_init_residual"):
        dataclasses.replace(RECIPE, init_weights="a", zero_init_residual=True)

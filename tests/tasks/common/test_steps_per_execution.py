"""Several steps in one execution are the same training."""

from __future__ import annotations

import dataclasses
import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.common.callbacks import EvaluateAndSave
from tasks.common.checkpoints import Checkpoints
from tasks.common.recipe import TrainingRecipe

TASKS = ("classification", "detection", "segmentation")


def trained(folder, steps_per_execution: int):
    """A model after 10 steps, its rows of history and where callbacks were called."""
    recipe = TrainingRecipe(
        train_steps=10,
        evaluate_every=6,
        checkpoint_every=None,
        steps_per_execution=steps_per_execution,
    )
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Dropout(0.5)(x)))
    model.compile("adam", "mse", jit_compile=False, steps_per_execution=steps_per_execution)
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(12, 2, 4)), rng.normal(size=(12, 2, 3))
    dataset = tf.data.Dataset.from_tensor_slices(batches).repeat()
    checkpoints = Checkpoints(folder, model)
    saver = EvaluateAndSave(folder, model, lambda: {"score": 0.0}, "score", recipe, checkpoints)
    ends = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(batch)
    )
    model.fit(dataset, steps_per_epoch=10, shuffle=False, verbose=0, callbacks=[saver, record])
    return model, saver.history, ends


def test_the_same_training_in_fewer_executions(tmp_path):
    one, history, ends = trained(tmp_path / "one", 1)
    two, history_of_two, ends_of_two = trained(tmp_path / "two", 2)
    assert ends == [*range(10)] and ends_of_two == [1, 3, 5, 7, 9]
    assert [row["step"] for row in history] == [row["step"] for row in history_of_two] == [6, 10]
    assert int(one.optimizer.iterations) == int(two.optimizer.iterations) == 10
    for row, other in zip(history, history_of_two, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
    for value, other in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_it_reaches_the_model(task):
    recipe = importlib.import_module(f"tasks.{task}.recipes").RECIPES["shapes"]
    recipe = dataclasses.replace(
        recipe,
        steps_per_execution=5,
        train_steps=10,
        evaluate_every=5,
        warmup_steps=1,
        moving_average_decay=None,
    )
    image = keras.Input((4, 4, 3))
    outputs = keras.layers.Conv2D(2, 1, name="logits")(image)
    if task == "detection":
        outputs = {name: keras.layers.Identity(name=name)(outputs)
                   for name in ("box_encodings", "class_logits")}  # fmt: skip
    model = keras.Model(image, outputs)
    importlib.import_module(f"tasks.{task}.model").compile_model(model, recipe)
    assert model.steps_per_execution == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps_per_execution": 0}, "steps_per_execution=0 must be at least 1"),
        ({"train_steps": 1003}, "train_steps=1003 must be a multiple of steps_per_execution=4"),
        ({"evaluate_every": 10}, "evaluate_every=10 must be a multiple of steps_per_execution=4"),
        ({"moving_average_decay": 0.9}, "moves the average after every step: give one of them"),
    ],
)
def test_what_needs_every_step_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        TrainingRecipe(**{"steps_per_execution": 4} | changed)

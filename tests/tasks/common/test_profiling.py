"""Where the time of a step goes. No time is asserted, but what adds up to what is."""

from __future__ import annotations

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.common.moving_average import MovingAverage
from tasks.common.profiling import PARTS, print_profile, profile_training
from tasks.common.recipe import TrainingRecipe
from tasks.common.training_command import train_command

SLOW = 0.05


def compiled(steps_per_execution: int = 1) -> keras.Model:
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.BatchNormalization()(image)))
    model.compile("adam", "mse", jit_compile=False, steps_per_execution=steps_per_execution)
    return model


def batches(delay: float = 0.0) -> tf.data.Dataset:
    def wait(x):
        time.sleep(delay)
        return x

    def slow(x, y):
        x = tf.numpy_function(wait, [x], tf.float32)
        return tf.ensure_shape(x, (2, 4)), y

    data = np.ones((6, 2, 4), np.float32), np.ones((6, 2, 3), np.float32)
    return tf.data.Dataset.from_tensor_slices(data).repeat().map(slow)


def profile(tmp_path, recipe=None, delay=0.0, steps=6):
    recipe = recipe or TrainingRecipe(train_steps=7, evaluate_every=7)
    model = compiled(recipe.steps_per_execution)

    def evaluate():
        raise AssertionError("evaluation is not part of a step")

    return profile_training(model, batches(delay), recipe, tmp_path, evaluate, "score", steps=steps)


@pytest.mark.parametrize(
    "recipe",
    [
        TrainingRecipe(train_steps=7, evaluate_every=2, checkpoint_every=1, init_weights="x.keras"),
        TrainingRecipe(train_steps=8, evaluate_every=4, steps_per_execution=4),
        TrainingRecipe(train_steps=7, evaluate_every=7, moving_average_decay=0.5),
    ],
)
def test_the_parts_add_up_and_nothing_is_saved(recipe, tmp_path, capsys):
    result = profile(tmp_path, recipe)
    assert sum(result[part] for part in PARTS) == pytest.approx(result["whole"])
    assert min(result[x] for x in ("whole", "forward", "callbacks", "input_alone")) > 0
    written = json.loads((tmp_path / "profile.json").read_text())
    assert result == {"folder": str(tmp_path), **written}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.json", "tensorboard"]
    assert list(tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb"))
    print_profile(result)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [*PARTS]


def test_a_slow_pipeline_is_input(tmp_path):
    result = profile(tmp_path, delay=SLOW)
    # All but the step of a tiny network; the first batches may have been there before.
    assert min(result["input_alone"], result["input"]) >= 1e3 * SLOW / 2


def test_slow_callbacks_are_callbacks(tmp_path, monkeypatch):
    end = MovingAverage.on_train_batch_end

    def slow_end(self, batch, logs=None):
        time.sleep(SLOW)
        end(self, batch, logs)

    monkeypatch.setattr(MovingAverage, "on_train_batch_end", slow_end)
    recipe = TrainingRecipe(train_steps=7, evaluate_every=7, moving_average_decay=0.5)
    result = profile(tmp_path, recipe)
    assert result["callbacks"] >= 1e3 * SLOW


def test_the_command_hands_it_to_the_task(tmp_path, capsys):
    calls = []

    def run(recipe, folder, train):
        calls.append((folder, train.func, train.keywords))
        return {"folder": str(folder), "whole": 2.0, "input_alone": 1.0} | dict.fromkeys(PARTS, 0.4)

    def command(*words):
        recipes = {"shapes": TrainingRecipe()}
        train_command("task", "it", recipes, run, None, ["--run-dir", str(tmp_path), *words])

    command("--profile")
    command("--profile", "5")
    assert calls == [(tmp_path, profile_training, {"steps": steps}) for steps in (20, 5)]
    assert "forward         0.4 ms   20.0%" in capsys.readouterr().out
    for words in (("0",), ("3", "--strategy", "mirrored")):
        with pytest.raises(ValueError, match="at least 1 step and one device"):
            command("--profile", *words)

"""What is written at the end of an epoch, and where training stops."""

from __future__ import annotations

import json
import math
import signal

import keras
import numpy as np
import pytest

from tasks.common.callbacks import EvaluateAndSave, NotFiniteError
from tasks.common.checkpoints import Checkpoints
from tasks.common.interruption import Interrupted, Signals
from tasks.common.moving_average import MovingAverage
from tasks.common.recipe import TrainingRecipe


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    output = keras.layers.BatchNormalization()(keras.layers.Dense(3)(image))
    model = keras.Model(image, output)
    model.compile("adam", "mse", jit_compile=False)
    return model


def recipe(train_steps, evaluate_every, **changes) -> TrainingRecipe:
    return TrainingRecipe(train_steps=train_steps, evaluate_every=evaluate_every, **changes)


def fit(model, callbacks, first=0, last=18):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(80, size))[4 * first : 4 * last] for size in (4, 3))
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("averaged", [False, True])
def test_what_is_saved_is_what_was_measured(averaged, tmp_path):
    model = small_model()
    average = MovingAverage(model, decay=0.9) if averaged else None
    seen = []

    def evaluate():
        seen.append(model.get_weights())
        return {"score": (1.0, 3.0, 2.0)[len(seen) - 1]}

    checkpoints = Checkpoints(tmp_path, model)
    saver = EvaluateAndSave(tmp_path, model, evaluate, "score", recipe(18, 6), checkpoints, average)
    fit(model, [*([average] if average else []), saver])
    for name, epoch in (("best", 1), ("last", 2)):
        saved = keras.saving.load_model(tmp_path / f"{name}.keras").get_weights()
        for found, expected in zip(saved, seen[epoch], strict=True):
            np.testing.assert_array_equal(found, expected)
    trained = model.get_weights()
    differ = [not np.array_equal(a, b) for a, b in zip(seen[2], trained, strict=True)]
    assert all(differ) if averaged else not any(differ)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [(row["step"], row["score"]) for row in history] == [(6, 1.0), (12, 3.0), (18, 2.0)]


def test_the_last_step_is_evaluated_too(tmp_path):
    model = small_model()
    checkpoints = Checkpoints(tmp_path, model)
    saver = EvaluateAndSave(
        tmp_path, model, lambda: {"score": 0.0}, "score", recipe(10, 6), checkpoints
    )
    fit(model, [saver], last=10)
    saver.evaluate_if_due()
    history = json.loads((tmp_path / "history.json").read_text())
    assert [row["step"] for row in history] == [6, 10]


def test_initial_weights_are_judged_too(tmp_path):
    model = small_model()
    start = model.get_weights()
    scores = iter([0.9, 0.5])
    saver = EvaluateAndSave(
        tmp_path,
        model,
        lambda: {"score": next(scores)},
        "score",
        recipe(6, 6, init_weights="some.keras"),
        Checkpoints(tmp_path, model),
    )
    fit(model, [saver], last=6)
    assert [(row["step"], row["score"]) for row in saver.history] == [(0, 0.9), (6, 0.5)]
    assert saver.history[0]["loss"] is None
    saved = keras.saving.load_model(tmp_path / "best.keras").get_weights()
    for found, expected in zip(saved, start, strict=True):
        np.testing.assert_array_equal(found, expected)


def run(folder, last=18, evaluate=lambda: {"score": 0.0}, signals=None, **changes):
    """A training in `folder`, from where it stands to step `last`."""
    model = small_model()
    average = MovingAverage(model, decay=0.9)
    given = recipe(18, 7, **{"checkpoint_every": 4, "keep_checkpoints": 9, **changes})
    checkpoints = Checkpoints(folder, model, given.keep_checkpoints)
    saver = EvaluateAndSave(folder, model, evaluate, "score", given, checkpoints, average, signals)
    if saver.step < last:
        fit(model, [average, saver], saver.step, last)
    saver.evaluate_if_due()
    return model, saver


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_checkpoints_lie_between_evaluations(tmp_path):
    run(tmp_path)
    assert [int(name.split("_")[1]) for name in names(tmp_path)] == [4, 7, 8, 12, 14, 16, 18]
    evaluated = [name for name in names(tmp_path) if name.endswith("evaluated")]
    assert [int(name.split("_")[1]) for name in evaluated] == [7, 14, 18]


@pytest.mark.parametrize("last", [3, 4, 5, 7, 8, 13, 17])
def test_a_run_goes_on_from_any_step_bit_for_bit(tmp_path, last):
    whole, undisturbed = run(tmp_path / "whole")
    run(tmp_path / "killed", last)
    resumed, saver = run(tmp_path / "killed")
    assert saver.first_step == (last if last == 7 else last - last % 4)
    assert saver.history == undisturbed.history
    assert [row["step"] for row in saver.history] == [7, 14, 18]
    state = [(*x.weights, *x.optimizer.variables) for x in (resumed, whole)]
    for found, expected in zip(*state, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_signal_during_a_step_leaves_a_checkpoint_of_it(tmp_path):
    with Signals() as signals:

        class SendSignal(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                if batch == 4:
                    signal.raise_signal(signal.SIGTERM)

        model = small_model()
        saver = EvaluateAndSave(
            tmp_path,
            model,
            lambda: {"score": 0.0},
            "score",
            recipe(18, 9, checkpoint_every=None),
            Checkpoints(tmp_path, model),
            signals=signals,
        )
        with pytest.raises(Interrupted) as interrupted:
            fit(model, [SendSignal(), saver])
    assert interrupted.value.status == 143
    assert names(tmp_path) == ["step_000000005"]
    assert run(tmp_path / "whole")[0].get_weights()  # the handlers are as before


def test_a_signal_to_one_worker_ends_all_of_them_at_the_same_step(tmp_path, monkeypatch):
    """This is the chief; the other worker gets SIGTERM in step 13 and tells it after step 20."""
    talks = []

    def gather(value):
        talks.append(value)
        return [value, signal.SIGTERM if len(talks) >= 2 else None]

    model = small_model()
    given = recipe(30, 30, checkpoint_every=None)
    with Signals() as signals, monkeypatch.context() as two:
        two.setattr("tasks.common.callbacks.num_workers", lambda: 2)
        two.setattr("tasks.common.callbacks.gather", gather)
        saver = EvaluateAndSave(
            tmp_path,
            model,
            lambda: {"score": 0.0},
            "score",
            given,
            Checkpoints(tmp_path, model),
            signals=signals,
        )
        with pytest.raises(Interrupted) as interrupted:
            for batch in range(30):
                saver.on_train_batch_end(batch, {"loss": 1.0})
    assert interrupted.value.status == 143
    assert names(tmp_path) == ["step_000000020"]
    # After steps 10 and 20, and when the checkpoint is there.
    assert talks == [None, None, None]


@pytest.mark.parametrize("last", [14, 18])
def test_a_signal_during_an_evaluation_ends_it_and_it_is_made_up_for(tmp_path, last):
    calls = []
    whole, undisturbed = run(tmp_path / "whole")

    def evaluate():
        calls.append(None)
        if len(calls) == (2 if last == 14 else 3):
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it does not wait for the end of the evaluation")
        return {"score": 0.0}

    with Signals() as signals, pytest.raises(Interrupted) as interrupted:
        run(tmp_path / "run", evaluate=evaluate, signals=signals)
    assert interrupted.value.status == 130
    assert names(tmp_path / "run")[-1] == f"step_{last:09d}"
    resumed, saver = run(tmp_path / "run", evaluate=evaluate)
    assert saver.first_step == last and saver.history == undisturbed.history
    for found, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_numbers_that_are_none_are_not_saved(tmp_path):
    model = small_model()
    checkpoints = Checkpoints(tmp_path, model)
    saver = EvaluateAndSave(
        tmp_path, model, lambda: {"score": 0.0}, "score", recipe(18, 9), checkpoints
    )
    saver.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(NotFiniteError, match="loss of step 2 is nan"):
        saver.on_train_batch_end(1, {"loss": math.nan})
    # As after a step whose loss was finite and whose gradient was not.
    model.optimizer.variables[-1].assign(np.full(model.optimizer.variables[-1].shape, np.nan))
    with pytest.raises(NotFiniteError, match="after step 9 a weight"):
        saver.on_train_batch_end(8, {"loss": 1.0})
    assert not (tmp_path / "checkpoints").exists()

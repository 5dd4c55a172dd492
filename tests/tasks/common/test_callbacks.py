"""What is written at the end of an epoch, and where training stops."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from tasks.common.callbacks import EvaluateAndSave, StopAtStep
from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    output = keras.layers.BatchNormalization()(keras.layers.Dense(3)(image))
    model = keras.Model(image, output)
    model.compile("adam", "mse", jit_compile=False)
    return model


def fit(model, callbacks, epochs):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)), rng.normal(size=(24, 3))
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("averaged", [False, True])
def test_what_is_saved_is_what_was_measured(averaged, tmp_path):
    model = small_model()
    average = MovingAverage(model, decay=0.9) if averaged else None
    seen = []

    def evaluate():
        seen.append(model.get_weights())
        return {"score": (1.0, 3.0, 2.0)[len(seen) - 1]}

    checkpoints = Checkpoints(tmp_path, model)
    saver = EvaluateAndSave(tmp_path, model, evaluate, "score", 6, checkpoints, average)
    fit(model, [*([average] if average else []), saver], epochs=3)
    for name, epoch in (("best", 1), ("last", 2)):
        saved = keras.saving.load_model(tmp_path / f"{name}.keras").get_weights()
        for found, expected in zip(saved, seen[epoch], strict=True):
            np.testing.assert_array_equal(found, expected)
    trained = model.get_weights()
    differ = [not np.array_equal(a, b) for a, b in zip(seen[2], trained, strict=True)]
    assert all(differ) if averaged else not any(differ)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [(row["step"], row["score"]) for row in history] == [(6, 1.0), (12, 3.0), (18, 2.0)]


def test_training_ends_within_an_epoch(tmp_path):
    model = small_model()
    checkpoints = Checkpoints(tmp_path, model)
    saver = EvaluateAndSave(tmp_path, model, lambda: {"score": 0.0}, "score", 6, checkpoints)
    fit(model, [StopAtStep(10, 6), saver], epochs=5)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [row["step"] for row in history] == [6, 10]
    assert int(model.optimizer.iterations) == 10


def test_initial_weights_are_judged_too(tmp_path):
    model = small_model()
    start = model.get_weights()
    scores = iter([0.9, 0.5])
    saver = EvaluateAndSave(
        tmp_path,
        model,
        lambda: {"score": next(scores)},
        "score",
        6,
        Checkpoints(tmp_path, model),
        from_start=True,
    )
    fit(model, [saver], epochs=1)
    assert [(row["step"], row["score"]) for row in saver.history] == [(0, 0.9), (6, 0.5)]
    saved = keras.saving.load_model(tmp_path / "best.keras").get_weights()
    for found, expected in zip(saved, start, strict=True):
        np.testing.assert_array_equal(found, expected)

"""Callbacks of `fit` that all tasks share."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_atomically, write_json
from tasks.common.moving_average import MovingAverage


class EvaluateAndSave(keras.callbacks.Callback):
    """At the end of each epoch evaluates, saves `last.keras`, and `best.keras` if it is best.

    The files hold the bare model, without the optimizer, so that they load wherever keras_mnv2
    is imported. All scalar metrics go to TensorBoard, the deciding one to the progress bar as
    well, and `history.json` gets a row an epoch.

    Args:
        folder: of the run.
        model: as it is to be saved, of the variables that are trained.
        evaluate: returns a dict of metrics of the model as it is now.
        monitor: name of the metric that decides on the best, higher being better.
        first_step: steps that the run had finished before; later rows of the history belong to
            work that was lost.
        steps_per_epoch: of all epochs but perhaps the last.
        average: its weights are what is evaluated and saved; those of the model if None.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        evaluate: Callable[[], dict[str, Any]],
        monitor: str,
        first_step: int,
        steps_per_epoch: int,
        average: MovingAverage | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.evaluate, self.monitor = folder, evaluate, monitor
        self.average = average
        self.steps_per_epoch = steps_per_epoch
        self.batches = 0
        # A model that was never compiled saves without optimizer and losses.
        self.bare_model = keras.Model(model.inputs, model.output, name=model.name)
        self.history = [row for row in _rows(folder) if row["step"] <= first_step]
        self.writer = tf.summary.create_file_writer(str(folder / "tensorboard" / "evaluation"))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.batches = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            return
        # Not the optimizer's count, which leaves out the steps that loss scaling skips.
        step = epoch * self.steps_per_epoch + self.batches
        with self.average.applied() if self.average else contextlib.nullcontext():
            write_atomically(self.folder / "last.keras", self.bare_model.save)
            metrics = self.evaluate()
            before = [row[self.monitor] for row in self.history]
            if metrics[self.monitor] > max(before, default=-math.inf):
                write_atomically(self.folder / "best.keras", self.bare_model.save)
        self.history.append({"step": step, "loss": float(logs["loss"]), **metrics})
        write_json(self.folder / "history.json", self.history)
        logs[self.monitor] = metrics[self.monitor]
        with self.writer.as_default(step):
            for name, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "history.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


class StopAtStep(keras.callbacks.Callback):
    """Ends training after exactly `steps` steps, also within an epoch."""

    def __init__(self, steps: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.steps, self.steps_per_epoch = steps, steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.before = epoch * self.steps_per_epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.before + batch + 1 >= self.steps:
            self.model.stop_training = True

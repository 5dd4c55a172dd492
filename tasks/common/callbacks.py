"""Callbacks of `fit` that all tasks share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_atomically, write_json
from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage


class EvaluateAndSave(keras.callbacks.Callback):
    """At the end of each epoch evaluates, saves `last.keras`, and `best.keras` if it is best.

    A checkpoint follows. The `.keras` files hold the bare model, without the optimizer, so that
    they load wherever keras_mnv2 is imported. All scalar metrics go to TensorBoard, the deciding
    one to the progress bar as well, and `history.json` gets a row an epoch.

    Args:
        folder: of the run.
        model: as it is to be saved, of the variables that are trained.
        evaluate: returns a dict of metrics of the model as it is now.
        monitor: name of the metric that decides on the best, higher being better.
        steps_per_epoch: of all epochs but perhaps the last.
        checkpoints: of the run; it goes on from the last of them.
        average: its weights are what is evaluated and saved; those of the model if None. Comes
            before this callback.
        from_start: whether a new run is evaluated before its first step, too: initial weights
            may be better than what becomes of them.

    Attributes:
        history: a row for each evaluation, {"step": ..., "loss": ..., metrics}.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        evaluate: Callable[[], dict[str, Any]],
        monitor: str,
        steps_per_epoch: int,
        checkpoints: Checkpoints,
        average: MovingAverage | None = None,
        from_start: bool = False,
    ) -> None:
        super().__init__()
        self.folder, self.evaluate, self.monitor = folder, evaluate, monitor
        self.average, self.checkpoints = average, checkpoints
        self.steps_per_epoch, self.from_start = steps_per_epoch, from_start
        self.batches = 0
        # A model that was never compiled saves without optimizer and losses.
        self.bare_model = keras.Model(model.inputs, model.output, name=model.name)
        self.history = checkpoints.restore()
        self.writer = tf.summary.create_file_writer(str(folder / "tensorboard" / "evaluation"))

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.from_start and not self.history:
            metrics = self._evaluate_and_save(0, None)
            print(f"before the first step: {self.monitor} {metrics[self.monitor]:.4f}", flush=True)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.batches = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            return
        # Not the optimizer's count, which leaves out the steps that loss scaling skips.
        step = epoch * self.steps_per_epoch + self.batches
        metrics = self._evaluate_and_save(step, float(logs["loss"]))
        logs[self.monitor] = metrics[self.monitor]

    def _evaluate_and_save(self, step: int, loss: float | None) -> dict[str, Any]:
        with self.average.applied() if self.average else contextlib.nullcontext():
            write_atomically(self.folder / "last.keras", self.bare_model.save)
            metrics = self.evaluate()
            before = [row[self.monitor] for row in self.history]
            if metrics[self.monitor] > max(before, default=-math.inf):
                write_atomically(self.folder / "best.keras", self.bare_model.save)
        self.history.append({"step": step, "loss": loss, **metrics})
        self.checkpoints.save(step, self.history)
        write_json(self.folder / "history.json", self.history)
        with self.writer.as_default(step):
            for name, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)
        return metrics


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

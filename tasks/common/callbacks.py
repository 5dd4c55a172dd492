"""Callbacks of `fit` that all tasks share."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_atomically, write_json
from tasks.common.checkpoints import Checkpoints
from tasks.common.interruption import Interrupted, Signals
from tasks.common.moving_average import MovingAverage
from tasks.common.recipe import TrainingRecipe
from tasks.common.workers import gather, is_chief, num_workers

# Steps between two moments at which several workers tell each other whether one is to end.
_STEPS_BETWEEN_TALKS = 10


class NotFiniteError(ValueError):
    """The loss or a weight is no number any more."""


class EvaluateAndSave(keras.callbacks.Callback):
    """Evaluates and writes checkpoints at the steps that the recipe says, and at the last step.

    `fit` knows nothing of that: it makes all steps in one epoch, so that a run can go on from any
    step. An evaluation saves `last.keras`, and `best.keras` if it is best: the bare model, without
    the optimizer, which loads wherever keras_mnv2 is imported. `history.json` gets a row and
    TensorBoard its scalars. A checkpoint follows; there are others between evaluations, and one
    before the process ends by a signal. Of several workers all evaluate, and the chief writes.

    Args:
        folder: of the run.
        model: as it is to be saved, of the variables that are trained.
        evaluate: returns a dict of metrics of the model as it is now.
        monitor: name of the metric that decides on the best, higher being better.
        recipe: tells the steps. With `init_weights` a new run is evaluated before its first step,
            too: initial weights may be better than what becomes of them.
        checkpoints: of the run; it goes on from the last of them.
        average: its weights are what is evaluated and saved; those of the model if None. Comes
            before this callback.
        signals: are postponed to the end of a step, and then raise; those of several workers to
            that of a tenth step, and then with all of them.
        settle: called before the state is evaluated or saved.

    Attributes:
        history: a row for each evaluation, {"step": ..., "loss": mean since the one before,
            metrics}.
        first_step: steps that an interrupted run had behind it.
        step: steps made.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        evaluate: Callable[[], dict[str, Any]],
        monitor: str,
        recipe: TrainingRecipe,
        checkpoints: Checkpoints,
        average: MovingAverage | None = None,
        signals: Signals | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.folder, self.evaluate, self.monitor = folder, evaluate, monitor
        self.recipe, self.checkpoints, self.average = recipe, checkpoints, average
        self.signals = signals or Signals()
        self.settle, self.is_chief = settle, is_chief()
        # What is saved is told by all workers together, so that one cannot save for itself.
        self._is_alone = num_workers() == 1
        # A model that was never compiled saves without optimizer and losses.
        self.bare_model = keras.Model(model.input, model.output, name=model.name)
        self.first_step, self.history = checkpoints.restore()
        self.step = self.first_step
        self.mean_loss = checkpoints.mean_loss
        self._mean_loss_then = [variable.numpy() for variable in self.mean_loss.variables]
        self._saved = (self.step, len(self.history))
        self._started = time.monotonic()
        self.writer = (
            tf.summary.create_file_writer(str(folder / "tensorboard")) if self.is_chief else None
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # `fit` has reset it just now.
        for variable, value in zip(self.mean_loss.variables, self._mean_loss_then, strict=True):
            variable.assign(value)
        self.evaluate_if_due()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Not the optimizer's count, which leaves out the steps that loss scaling skips.
        before, self.step = self.step, self.first_step + batch + 1
        # From here on the state is that after a step until the next one begins.
        self.signals.postponed = True
        if not math.isfinite(logs["loss"]):
            raise NotFiniteError(f"the loss of step {self.step} is {logs['loss']}")
        self.evaluate_if_due(before)
        every = self.recipe.checkpoint_every
        is_asked = self._is_asked_to_end(before)
        is_due = is_asked or (every and self._passes(every, before))
        if is_due and not self._is_saved():
            self._settle()
            self._write_checkpoint()
        if is_asked:
            # Nobody leaves before the checkpoint is there.
            gather(None)
            self.signals.check()

    def evaluate_if_due(self, before: int | None = None) -> None:
        """Evaluates unless that is done, or not to be done at this step.

        Args:
            before: steps made one execution of `fit` ago; one less than now if None.
        """
        before = self.step - 1 if before is None else before
        if self.step == 0:
            is_due = bool(self.recipe.init_weights)
        else:
            is_last = self.step >= self.recipe.train_steps
            is_due = is_last or self._passes(self.recipe.evaluate_every, before)
        if is_due and (not self.history or self.history[-1]["step"] < self.step):
            self._evaluate()

    def _is_asked_to_end(self, before: int) -> bool:
        """Whether a signal is waiting, with any of the workers; the same for all of them."""
        if not self._is_alone:
            if not self._passes(_STEPS_BETWEEN_TALKS, before):
                return False
            numbers = gather(self.signals.pending)
            self.signals.pending = next((number for number in numbers if number is not None), None)
        return self.signals.pending is not None

    def _passes(self, every: int, before: int) -> bool:
        return self.step // every > before // every

    def _evaluate(self) -> None:
        seconds = time.monotonic() - self._started
        loss = float(self.mean_loss.result()) if self.step else None
        # Else `last.keras` and `best.keras` might be replaced by what is of no use.
        self._settle()
        try:
            with self.average.applied() if self.average else contextlib.nullcontext():
                self._write_model("last.keras")
                # It may take long, and changes nothing; but others may be waiting for this part.
                with self.signals.at_once() if self._is_alone else contextlib.nullcontext():
                    metrics = self.evaluate()
                before = [row[self.monitor] for row in self.history]
                if metrics[self.monitor] > max(before, default=-math.inf):
                    self._write_model("best.keras")
        except Interrupted:
            if self._is_alone and not self._is_saved():
                self._write_checkpoint()
            raise
        self.history.append({"step": self.step, "loss": loss, **metrics})
        self.checkpoints.mean_loss.reset_state()
        # Before the checkpoint: who is killed in between evaluates again and writes the same.
        if self.is_chief:
            write_json(self.folder / "history.json", self.history)
            self._report(seconds)
        self._write_checkpoint()
        self._started = time.monotonic()

    def _write_model(self, name: str) -> None:
        if self.is_chief:
            write_atomically(self.folder / name, self.bare_model.save)

    def _settle(self) -> None:
        """Makes the state one that can be saved, or raises NotFiniteError."""
        self.settle()
        if not self.checkpoints.is_finite():
            raise NotFiniteError(f"after step {self.step} a weight is not finite")

    def _is_saved(self) -> bool:
        return self._saved == (self.step, len(self.history))

    def _write_checkpoint(self) -> None:
        self.checkpoints.save(self.step, self.history)
        self._saved = (self.step, len(self.history))

    def _report(self, seconds: float) -> None:
        row = self.history[-1]
        with self.writer.as_default(self.step):
            for name, value in row.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)
            tf.summary.scalar("learning_rate", self.checkpoints.model.optimizer.learning_rate)
        # TensorFlow would write it when it has more, or at the end.
        self.writer.flush()
        value = f"{self.monitor} {row[self.monitor]:.4f}"
        if self.step == 0:
            print(f"before the first step: {value}", flush=True)
            return
        steps = self.step - max([self.first_step, *(row["step"] for row in self.history[:-1])])
        pace = f", {1e3 * seconds / steps:.0f} ms a step" if steps else ""
        if sys.stdout.isatty():
            print()  # after the progress bar
        of = f"step {self.step} of {self.recipe.train_steps}"
        print(f"{of}: loss {row['loss']:.4f}, {value}{pace}", flush=True)

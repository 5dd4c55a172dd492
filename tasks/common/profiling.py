"""Where the time of a training step goes."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_json
from tasks.common.callbacks import EvaluateAndSave
from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage
from tasks.common.recipe import TrainingRecipe

PARTS = ("input", "forward", "backward", "optimizer", "callbacks")

# Executions of a block of `fit`: as many are left out first, which the pipeline has made ready
# while other programs were timed.
_BLOCK = 4


def profile_training(
    model: keras.Model,
    dataset: tf.data.Dataset,
    recipe: TrainingRecipe,
    folder: Path,
    evaluate: Callable[[], dict[str, Any]],
    monitor: str,
    saved: keras.Model | None = None,
    *,
    steps: int,
) -> dict[str, Any]:
    """Takes the place of `training.train`, measures some of its steps and saves no weights.

    A step is one program, of which the parts cannot be timed by themselves. So these are timed, in
    turn and each by its median, and the parts are their differences; a small one may come out
    below 0, by so much as the times vary.

    - `fit` as it trains, from step to step: the whole. The time within its callbacks (moving
      average, checks; evaluations and checkpoints are not due) is that of `callbacks`.
    - the same step on one batch that stays in memory. What the whole takes longer, callbacks
      apart, is `input`: waiting for the pipeline, and, where both share a processor, its work.
    - loss and gradients of that batch: what the step takes longer is `optimizer`, with what Keras
      does around it.
    - the loss alone, as in training: `forward`; what that with gradients takes longer is
      `backward`.

    How fast the pipeline is while nothing else runs is `input_alone`. A few more steps are traced
    for TensorBoard.

    Args:
        model, dataset, recipe, folder, evaluate, monitor, saved: see `training.train`.
        steps: to time.

    Returns:
        Milliseconds a step: "whole", `PARTS` and "input_alone", which `profile.json` holds too, and
        "folder", where that is.
    """
    decay = recipe.moving_average_decay
    average = MovingAverage(model, decay) if decay else None
    never = 10**6 * recipe.steps_per_execution
    without_events = dataclasses.replace(
        recipe, train_steps=never, evaluate_every=never, checkpoint_every=None
    )
    checkpoints = Checkpoints(folder, model)
    saver = EvaluateAndSave(
        folder, saved or model, evaluate, monitor, without_events, checkpoints, average
    )
    # As if initial weights had been evaluated.
    saver.history = [{"step": 0}]
    callbacks = [*([average] if average else []), saver]

    # The first block is that of compilation.
    blocks = 1 + math.ceil(steps / recipe.steps_per_execution / _BLOCK)
    programs = _InMemory(model, next(iter(dataset)), recipe.steps_per_execution)
    watch = _Stopwatch(callbacks, model, programs)
    length = 2 * _BLOCK * recipe.steps_per_execution
    fit_options = {"verbose": 0, "shuffle": False}
    model.fit(dataset, steps_per_epoch=blocks * length, callbacks=watch, **fit_options)
    whole, within = watch.milliseconds(recipe.steps_per_execution)
    times = programs.milliseconds()
    trace = folder / "tensorboard"
    tf.profiler.experimental.start(str(trace))
    model.fit(dataset, steps_per_epoch=length, callbacks=callbacks, **fit_options)
    tf.profiler.experimental.stop()
    result = {
        "whole": whole,
        "input": whole - within - times["step"],
        "forward": times["forward"],
        "backward": times["gradients"] - times["forward"],
        "optimizer": times["step"] - times["gradients"],
        "callbacks": within,
        "input_alone": _pace(dataset, steps),
    }
    write_json(folder / "profile.json", result)
    return {"folder": str(folder), **result}


def print_profile(result: dict[str, Any]) -> None:
    """The parts of a step as a table."""
    whole = result["whole"]
    print(f"a training step: {whole:.1f} ms")
    for part in PARTS:
        print(f"  {part:<10} {result[part]:8.1f} ms {result[part] / whole:7.1%}")
    if min(result[part] for part in PARTS) < 0:
        print("(parts are differences of times that were taken apart: below 0 is next to nothing)")
    print(f"the input pipeline alone needs {result['input_alone']:.1f} ms a batch")
    print(f"nothing was trained; {result['folder']} holds profile.json and a trace for TensorBoard")
    print("(to see the trace: pip install tensorboard-plugin-profile)")


class _InMemory:
    """Forward pass, loss with gradients and whole step on one batch, in turn."""

    def __init__(self, model: keras.Model, batch: Any, per_execution: int) -> None:
        images, targets = batch
        batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        self._per_execution = per_execution
        self._times: dict[str, list[float]] = {"forward": [], "gradients": [], "step": []}

        def scaled_loss() -> tf.Tensor:
            loss = model.compute_loss(images, targets, model(images, training=True), training=True)
            return model.optimizer.scale_loss(loss)

        @tf.function(jit_compile=model.jit_compile)
        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = scaled_loss()
            # All are returned, since TensorFlow leaves out what nobody takes.
            return tape.gradient(loss, model.trainable_variables)

        self._programs = {
            "forward": tf.function(scaled_loss, jit_compile=model.jit_compile),
            "gradients": gradients,
            "step": lambda: model.train_function(batches),
        }

    def run(self) -> None:
        """Times each of them twice, after once."""
        for number in range(3):
            for name, program in self._programs.items():
                milliseconds = _milliseconds(program)
                if number:
                    self._times[name].append(milliseconds)

    def forget(self) -> None:
        """Leaves out what has been measured until now."""
        for times in self._times.values():
            times.clear()

    def milliseconds(self) -> dict[str, float]:
        """Medians, of the step that of one step."""
        medians = {name: statistics.median(times) for name, times in self._times.items()}
        return medians | {"step": medians["step"] / self._per_execution}


class _Stopwatch(keras.callbacks.CallbackList):
    """Callbacks of `fit` that are timed, and `fit` from one execution to the next.

    Before each block of executions the other programs run.
    """

    def __init__(
        self,
        callbacks: list[keras.callbacks.Callback],
        model: keras.Model,
        programs: _InMemory,
    ) -> None:
        super().__init__(callbacks, add_history=True, model=model, epochs=1)
        self._programs = programs
        self._executions = 0
        self._whole: list[float] = []
        self._within: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._last = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        start = time.perf_counter()
        super().on_train_batch_begin(batch, logs)
        self._begin = time.perf_counter() - start

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Where a device works by itself, callbacks would wait for it in the name of the step.
        tf.test.experimental.sync_devices()
        start = time.perf_counter()
        super().on_train_batch_end(batch, logs)
        now = time.perf_counter()
        block, number = divmod(self._executions, 2 * _BLOCK)
        self._executions += 1
        if block and number >= _BLOCK:
            self._whole.append(now - self._last)
            self._within.append(self._begin + now - start)
        if number == 2 * _BLOCK - 1:
            self._programs.run()
            if not block:
                self._programs.forget()
            now = time.perf_counter()
        self._last = now

    def milliseconds(self, per_execution: int) -> tuple[float, float]:
        """Medians of a step and of the callbacks in it."""
        return tuple(
            1e3 * statistics.median(times) / per_execution for times in (self._whole, self._within)
        )


def _pace(dataset: tf.data.Dataset, batches: int) -> float:
    """Milliseconds a batch of the pipeline while nothing else runs."""
    iterator = iter(dataset)
    # Shuffle buffer, threads and what is kept ready.
    for _ in range(2 * _BLOCK):
        next(iterator)
    return _milliseconds(lambda: [next(iterator) for _ in range(batches)]) / batches


def _milliseconds(program: Callable[[], Any]) -> float:
    start = time.perf_counter()
    program()
    tf.test.experimental.sync_devices()
    return 1e3 * (time.perf_counter() - start)

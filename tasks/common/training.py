"""The training loop of all tasks: `fit`, with an evaluation and a checkpoint now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_json
from tasks.common.callbacks import EvaluateAndSave
from tasks.common.checkpoints import Checkpoints, remove_checkpoints
from tasks.common.interruption import Signals
from tasks.common.moving_average import MovingAverage
from tasks.common.recipe import TrainingRecipe
from tasks.common.replica_statistics import statistics_averager
from tasks.common.stopped import explained
from tasks.common.workers import is_chief


def train(
    model: keras.Model,
    dataset: tf.data.Dataset,
    recipe: TrainingRecipe,
    folder: Path,
    evaluate: Callable[[], dict[str, Any]],
    monitor: str,
    saved: keras.Model | None = None,
) -> dict[str, Any]:
    """Trains a compiled model and writes checkpoints, logs and metrics into the run folder.

    An interrupted run of the same configuration goes on after its last checkpoint, with model,
    optimizer, moving average, schedule, random layers, mean loss and history as they were then.
    Of several workers, the chief alone reads and writes the run folder; all return the same.

    Args:
        model: compiled.
        dataset: endless batches, from step `checkpoints.finished_steps` on.
        recipe: length of the run, and when to evaluate.
        folder: the run folder.
        evaluate: returns metrics of the model as it is.
        monitor: metric that decides on `best.keras`, higher being better.
        saved: what `best.keras` and `last.keras` hold, of the same variables as `model`; that
            itself if None.

    Returns:
        The metrics of the best checkpoint, which `metrics.json` holds too.

    Raises:
        StoppedError: if training cannot go on; says why, what is safe and how to go on.
        Interrupted: by SIGINT or SIGTERM, with the same.
    """
    decay = recipe.moving_average_decay
    average = MovingAverage(model, decay) if decay else None
    # After the average, whose variables belong to it.
    checkpoints = Checkpoints(folder, model, recipe.keep_checkpoints)
    with Signals() as signals:
        saver = EvaluateAndSave(
            folder,
            saved or model,
            evaluate,
            monitor,
            recipe,
            checkpoints,
            average,
            signals,
            settle=statistics_averager(model, average),
        )
        if saver.first_step and is_chief():
            print(f"going on after step {saver.first_step} of {recipe.train_steps}", flush=True)
        with explained(folder, recipe, saver):
            if saver.step < recipe.train_steps:
                model.fit(
                    dataset,
                    steps_per_epoch=recipe.train_steps - saver.step,
                    verbose=1 if sys.stdout.isatty() and is_chief() else 0,
                    shuffle=False,  # the data set is shuffled already
                    callbacks=[*([average] if average else []), saver],
                )
                if saver.step < recipe.train_steps:
                    # `fit` takes some errors of a pipeline for its end, which it has not.
                    raise OSError("the input pipeline ended, as if files of the data had vanished")
            # It is where the process ended in the last evaluation.
            saver.evaluate_if_due()
            best = max(saver.history, key=lambda row: row[monitor])
            if is_chief():
                write_json(folder / "metrics.json", best)
    if is_chief():
        remove_checkpoints(folder)
    return best

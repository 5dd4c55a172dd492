"""The training loop of all tasks: `fit`, cut into epochs that end in an evaluation."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import write_json
from tasks.common.callbacks import EvaluateAndSave, StopAtStep
from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage
from tasks.common.recipe import TrainingRecipe


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

    An interrupted run of the same configuration goes on after its last evaluation, with model,
    optimizer, moving average, schedule, random layers and history as they were then.

    Args:
        model: compiled.
        dataset: endless batches, from step `checkpoints.finished_steps` on.
        recipe: length of the run.
        folder: the run folder.
        evaluate: returns metrics of the model as it is; called every `recipe.evaluate_every`
            steps.
        monitor: metric that decides on `best.keras`, higher being better.
        saved: what the checkpoints hold, of the same variables as `model`; that itself if None.

    Returns:
        The metrics of the best checkpoint, which `metrics.json` holds too.

    Raises:
        ValueError: if the loss stops being a number.
    """
    decay = recipe.moving_average_decay
    average = MovingAverage(model, decay) if decay else None
    # After the average, whose variables belong to it.
    checkpoints = Checkpoints(folder, model)
    steps_per_epoch = min(recipe.evaluate_every, recipe.train_steps)
    saver = EvaluateAndSave(
        folder,
        saved or model,
        evaluate,
        monitor,
        steps_per_epoch,
        checkpoints,
        average,
        from_start=bool(recipe.init_weights),
    )
    first_step = saver.history[-1]["step"] if saver.history else 0
    history = model.fit(
        dataset,
        initial_epoch=math.ceil(first_step / steps_per_epoch),
        epochs=math.ceil(recipe.train_steps / steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        verbose=1 if sys.stdout.isatty() else 2,
        shuffle=False,  # the data set is shuffled already
        callbacks=[
            *([average] if average else []),
            StopAtStep(recipe.train_steps, steps_per_epoch),
            keras.callbacks.TerminateOnNaN(),
            saver,
            keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
        ],
    )
    if not saver.history or not all(map(math.isfinite, history.history.get("loss", []))):
        raise ValueError(
            f"the loss stopped being a number: lower learning_rate={recipe.learning_rate} or set "
            "gradient_clip_norm, and train with another --run-dir; the last good checkpoint, if "
            f"any, is {folder / 'last.keras'}"
        )
    best = max(saver.history, key=lambda row: row[monitor])
    write_json(folder / "metrics.json", best)
    checkpoints.remove_all()
    return best

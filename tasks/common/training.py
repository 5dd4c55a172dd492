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
from tasks.common.recipe import TrainingRecipe


def train(
    model: keras.Model,
    dataset: tf.data.Dataset,
    recipe: TrainingRecipe,
    folder: Path,
    evaluate: Callable[[], dict[str, Any]],
    monitor: str,
) -> dict[str, Any]:
    """Trains a compiled model and writes checkpoints, logs and metrics into the run folder.

    An interrupted run of the same configuration goes on after its last finished epoch.

    Args:
        model: compiled.
        dataset: endless batches.
        recipe: length of the run.
        folder: the run folder.
        evaluate: returns metrics of the model as it is; called every `recipe.evaluate_every`
            steps.
        monitor: metric that decides on `best.keras`, higher being better.

    Returns:
        The metrics of the best checkpoint, which `metrics.json` holds too.

    Raises:
        ValueError: if the loss stops being a number.
    """
    saver = EvaluateAndSave(folder, evaluate, monitor)
    history = model.fit(
        dataset,
        epochs=math.ceil(recipe.train_steps / recipe.evaluate_every),
        steps_per_epoch=min(recipe.evaluate_every, recipe.train_steps),
        verbose=1 if sys.stdout.isatty() else 2,
        shuffle=False,  # the data set is shuffled already
        callbacks=[
            StopAtStep(recipe.train_steps),
            keras.callbacks.TerminateOnNaN(),
            saver,
            keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
            keras.callbacks.BackupAndRestore(folder / "backup"),
        ],
    )
    if not saver.history or not all(map(math.isfinite, history.history["loss"])):
        raise ValueError(
            f"the loss stopped being a number: lower learning_rate={recipe.learning_rate} or set "
            f"gradient_clip_norm; the last good checkpoint, if any, is {folder / 'last.keras'}"
        )
    best = max(saver.history, key=lambda row: row[monitor])
    write_json(folder / "metrics.json", best)
    return best

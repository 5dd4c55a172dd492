"""Checkpoints of a training: all that it needs to go on as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tasks.common.atomic_write import folder_to_disk, link_or_copy, to_disk, write_json
from tasks.common.run_folder import read_json
from tasks.common.workers import gather, is_chief, num_workers, on_chief
from tasks.datasets.file_digest import file_digest

_FOLDER = "checkpoints"
# Of the files that TensorFlow has not written, which have no checksums inside.
_DIGESTS = "digests.json"
# That of a step at which an evaluation is due may be written before and after it.
_NAME = re.compile(r"step_(\d+)(_evaluated)?")


class Checkpoints:
    """The last checkpoints of a run, of which each is a folder in `folder`/checkpoints.

    A checkpoint holds the variables of model (the states of its random layers among them) and
    optimizer (moving averages among them), the mean loss since the last evaluation, the history of
    the run, and `best.keras` as it was at that time. It is complete or absent, whenever the process
    is killed: it is written under another name and then renamed. TensorFlow writes the variables
    with checksums, those of the other files are in `digests.json`. Of several workers the chief
    writes, but all must call.

    Args:
        folder: of the run.
        model: compiled, and complete: variables that are added later are not saved.
        keep: checkpoints to keep, the last ones; the one before the last is there for the case
            that the last is found damaged.

    Attributes:
        mean_loss: the metric that `fit` shows as "loss".
    """

    def __init__(self, folder: Path, model: keras.Model, keep: int = 2) -> None:
        self.folder, self.model, self.keep = folder, model, keep
        model.optimizer.build(model.trainable_variables)
        self.mean_loss = next(metric for metric in model.metrics if metric.name == "loss")
        # Of a metric each replica has variables of its own; what is saved is their sum.
        self._sums = [tf.Variable(variable.numpy()) for variable in self.mean_loss.variables]
        self._state = [*(variable.value for variable in _state_of(model)), *self._sums]
        self._checkpoint = tf.train.Checkpoint(variables=self._state)

    def is_finite(self) -> bool:
        """Whether there is neither infinity nor NaN in what would be saved."""
        self._add_up()
        arrays = [variable.numpy() for variable in self._state]
        return all(
            np.isfinite(array).all() for array in arrays if np.issubdtype(array.dtype, np.floating)
        )

    def save(self, step: int, history: list[dict[str, Any]]) -> None:
        """Writes a checkpoint, then removes those that are too old.

        Args:
            step: number of steps made.
            history: rows of the evaluations until now, see `EvaluateAndSave`.

        Raises:
            OSError: if it cannot be written; there is nothing of it then.
        """
        self._add_up()
        if not is_chief():
            return
        is_evaluated = bool(history) and history[-1]["step"] == step
        target = self.folder / _FOLDER / f"step_{step:09d}{'_evaluated' * is_evaluated}"
        temporary = target.with_name(f".{target.name}.tmp")
        # Of processes that were killed.
        for path in target.parent.glob(".*.tmp"):
            shutil.rmtree(path)
        try:
            try:
                self._checkpoint.write(str(temporary / "variables"))
            except tf.errors.OpError as error:
                # Some of them mean to `fit` that its data have ended.
                raise OSError(f"checkpoint {target} cannot be written: {error.message}") from error
            if (self.folder / "best.keras").exists():
                link_or_copy(self.folder / "best.keras", temporary / "best.keras")
            write_json(temporary / "history.json", history)
            write_json(temporary / _DIGESTS, _digests(temporary))
            # What the others have waited for already.
            for path in temporary.glob("variables*"):
                to_disk(path)
            os.replace(temporary, target)
            folder_to_disk(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in _all(self.folder)[: -self.keep]:
            shutil.rmtree(path)

    def restore(self) -> tuple[int, list[dict[str, Any]]]:
        """Goes back to the last whole checkpoint, if there is one; all workers to the chief's.

        Returns:
            The steps made and the history of the run until then.

        Raises:
            ValueError: if it is of another model or optimizer.
        """
        made = on_chief(self._restore)
        if num_workers() > 1:
            values = [variable.numpy() for variable in self._state] if is_chief() else None
            for variable, value in zip(self._state, gather(values)[0], strict=True):
                variable.assign(value)
        for variable, value in zip(self.mean_loss.variables, self._sums, strict=True):
            variable.assign(value)
        return made

    def _restore(self) -> tuple[int, list[dict[str, Any]]]:
        path = last_checkpoint(self.folder)
        if path is None:
            return 0, []
        try:
            self._checkpoint.read(str(path / "variables")).assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"checkpoint {path} does not fit this model, as if another version of this program "
                "or of Keras had written it: go on with that version, or give another --run-dir"
            ) from error
        if (path / "best.keras").exists():
            # What was saved after the checkpoint belongs to steps that will be made again.
            link_or_copy(path / "best.keras", self.folder / "best.keras")
        return _step(path), read_json(path / "history.json")

    def _add_up(self) -> None:
        for total, variable in zip(self._sums, self.mean_loss.variables, strict=True):
            total.assign(variable.numpy())
            # As `restore` does, so that a run that goes on from here rounds its sums alike.
            variable.assign(total)


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of the run in `folder`, which has ended."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has ended; removes what a process killed at its end has left."""
    if not (folder / "metrics.json").exists():
        return False
    remove_checkpoints(folder)
    return True


def has_checkpoints(folder: Path) -> bool:
    """Whether there is anything that `remove_checkpoints` would remove."""
    return (folder / _FOLDER).exists()


def finished_steps(folder: Path) -> int:
    """Steps that an interrupted run in `folder` has behind it; 0 for a new one."""
    path = last_checkpoint(folder)
    return _step(path) if path else 0


def checkpointed_steps(folder: Path) -> list[int]:
    """Steps of which `folder` has checkpoints, in order; they are not read."""
    return [_step(path) for path in _all(folder)]


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of the run in `folder`; damaged ones are put aside and named.

    Raises:
        OSError: if a checkpoint is there and cannot be read, which says nothing about its content.
    """
    for path in reversed(_all(folder)):
        problem = _problem(path)
        if problem is None:
            return path
        aside = path.with_name(f"damaged_{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        print(
            f"checkpoint {path} is damaged ({problem}) and is now {aside.name}: going on from the "
            "one before, if any",
            flush=True,
        )
    return None


def _all(folder: Path) -> list[Path]:
    """Complete checkpoints, the last one last."""
    paths = [path for path in (folder / _FOLDER).glob("*") if _NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: path.name)


def _step(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def _problem(path: Path) -> str | None:
    """Why a checkpoint cannot be used; reads all of it, so that checksums are verified."""
    try:
        reader = tf.train.load_checkpoint(str(path / "variables"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
        if read_json(path / _DIGESTS) != _digests(path):
            return f"its other files are not those of {_DIGESTS}"
    except (tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError) as error:
        raise OSError(f"checkpoint {path} cannot be read: {error.message}") from error
    except (
        tf.errors.OpError,
        ValueError,
        RuntimeError,
        IndexError,
    ) as error:
        return str(error).splitlines()[0]
    return None


def _digests(path: Path) -> dict[str, str]:
    files = (path / name for name in ("history.json", "best.keras"))
    return {file.name: file_digest(file) for file in files if file.exists()}


def _state_of(model: keras.Model) -> list[keras.Variable]:
    variables = [*model.weights]
    for layer in model.layers:
        # States of random layers are variables, but no weights.
        variables += layer.variables
    variables += model.optimizer.variables
    return list({id(variable): variable for variable in variables}.values())

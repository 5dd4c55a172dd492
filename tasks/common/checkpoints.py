"""Checkpoints of a training: all that it needs to go on as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.common.atomic_write import link_or_copy, write_json
from tasks.common.run_folder import read_json

_FOLDER = "checkpoints"
_NAME = re.compile(r"step_(\d+)")


class Checkpoints:
    """The last checkpoints of a run, of which each is a folder in `folder`/checkpoints.

    A checkpoint holds the variables of model (the states of its random layers among them) and
    optimizer (moving averages among them), the history of the run, and `best.keras` as it was at
    that time. It is complete or absent, whenever the process is killed: it is written under
    another name and then renamed. TensorFlow writes the variables with checksums.

    Args:
        folder: of the run.
        model: compiled, and complete: variables that are added later are not saved.
        keep: checkpoints to keep, the last ones; the one before the last is there for the case
            that the last is found damaged.
    """

    def __init__(self, folder: Path, model: keras.Model, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        model.optimizer.build(model.trainable_variables)
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in _state_of(model)]
        )

    def save(self, step: int, history: list[dict[str, Any]]) -> None:
        """Writes a checkpoint, then removes those that are too old."""
        target = self.folder / _FOLDER / f"step_{step:09d}"
        temporary = target.with_name(f".{target.name}.tmp")
        # Of a process that was killed.
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self._checkpoint.write(str(temporary / "variables"))
            if (self.folder / "best.keras").exists():
                link_or_copy(self.folder / "best.keras", temporary / "best.keras")
            write_json(temporary / "history.json", history)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in _all(self.folder)[: -self.keep]:
            shutil.rmtree(path)

    def restore(self) -> list[dict[str, Any]]:
        """Goes back to the last whole checkpoint, if there is one.

        Returns:
            The history of the run until then.
        """
        path = last_checkpoint(self.folder)
        if path is None:
            return []
        self._checkpoint.read(str(path / "variables")).assert_consumed()
        if (path / "best.keras").exists():
            # What was saved after the checkpoint belongs to steps that will be made again.
            link_or_copy(path / "best.keras", self.folder / "best.keras")
        return read_json(path / "history.json")

    def remove_all(self) -> None:
        """Removes the checkpoints of a run that has ended."""
        shutil.rmtree(self.folder / _FOLDER, ignore_errors=True)


def finished_steps(folder: Path) -> int:
    """Steps that an interrupted run in `folder` has behind it; 0 for a new one."""
    path = last_checkpoint(folder)
    return _step(path) if path else 0


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of the run in `folder`; damaged ones are removed and named."""
    for path in reversed(_all(folder)):
        problem = _problem(path)
        if problem is None:
            return path
        shutil.rmtree(path)
        print(
            f"checkpoint {path} is damaged ({problem}) and was removed: going on from the one "
            "before, if any",
            flush=True,
        )
    return None


def _all(folder: Path) -> list[Path]:
    """Complete checkpoints, the last one last."""
    paths = [path for path in (folder / _FOLDER).glob("*") if _NAME.fullmatch(path.name)]
    return sorted(paths, key=_step)


def _step(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def _problem(path: Path) -> str | None:
    """Why a checkpoint cannot be used; reads all of it, so that checksums are verified."""
    try:
        reader = tf.train.load_checkpoint(str(path / "variables"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
        read_json(path / "history.json")
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        return str(error).splitlines()[0]
    return None


def _state_of(model: keras.Model) -> list[keras.Variable]:
    variables = [*model.weights]
    for layer in model.layers:
        # States of random layers are variables, but no weights.
        variables += layer.variables
    variables += model.optimizer.variables
    return list({id(variable): variable for variable in variables}.values())

"""What a training that cannot go on tells: what happened, what is safe, how to go on."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tasks.common.callbacks import EvaluateAndSave, NotFiniteError
from tasks.common.checkpoints import checkpointed_steps
from tasks.common.console import StoppedError
from tasks.common.interruption import Interrupted
from tasks.common.recipe import TrainingRecipe
from tasks.common.workers import is_chief, lost_worker

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SPACE_WORDS = ("No space left", "quota exceeded", "File too large")


@contextlib.contextmanager
def explained(folder: Path, recipe: TrainingRecipe, saver: EvaluateAndSave) -> Iterator[None]:
    """Turns what ends a training within it into a message that names cause, rest and remedy.

    Args:
        folder: of the run.
        recipe: of the run.
        saver: knows the step.

    Raises:
        StoppedError: for errors of files, data and numbers.
        Interrupted: for signals.
    """
    try:
        yield
    except Interrupted as interrupted:
        where = f"after step {saver.step} of {recipe.train_steps}"
        message = f"interrupted ({interrupted.number.name}) {where}: {_how_to_go_on(folder)}"
        raise Interrupted(interrupted.number, message) from None
    except NotFiniteError as error:
        raise StoppedError(
            f"{error}, training cannot go on: lower learning_rate={recipe.learning_rate} or set "
            "gradient_clip_norm, and train with another --run-dir"
            + (
                f"; {folder / 'last.keras'} is the model of the last evaluation, which "
                "--init-weights takes"
                if (folder / "last.keras").exists()
                else ""
            )
        ) from error
    except (OSError, tf.errors.OpError) as error:
        raise StoppedError(
            f"training stopped after step {saver.step} of {recipe.train_steps}: "
            f"{_cause(error, folder)}. Then {_how_to_go_on(folder)}"
        ) from error


def _how_to_go_on(folder: Path) -> str:
    if not is_chief():
        return "the same command on all workers goes on after the last checkpoint of the chief"
    steps = checkpointed_steps(folder)
    if not steps:
        return "the same command again begins anew, as there is no checkpoint yet"
    return (
        f"the same command again goes on after step {steps[-1]}, of which there is a checkpoint "
        f"in {folder}"
    )


def _cause(error: Exception, folder: Path) -> str:
    """What happened, and what to do about it."""
    text = str(error)
    if getattr(error, "errno", None) in _NO_SPACE or any(word in text for word in _NO_SPACE_WORDS):
        return f"there is no space left to write in {folder} ({first_line(text)}). Make space"
    if told := lost_worker(error):
        return told
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return (
            f"out of memory ({first_line(text)}). End other programs, or give a smaller "
            "--evaluation-batch-size; a smaller --batch-size makes another training, and needs "
            "another --run-dir"
        )
    if isinstance(error, tf.errors.NotFoundError | FileNotFoundError):
        return (
            f"a file has vanished ({first_line(text)}). Put it back, or remove the prepared data "
            "set that it belongs to, so that it is prepared again, or give the --data-dir to which "
            "it has moved"
        )
    if isinstance(error, tf.errors.UnimplementedError):
        return f"{first_line(text)}. With --deterministic, train without it"
    return f"{first_line(text)}. Repair that"


def first_line(text: str) -> str:
    """The line of an error's text that tells what happened.

    TensorFlow puts it in front of a line with the operation, "[[{{node ...", and an error inside
    `fit` begins with where in the program the operation was made.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    operations = (i for i, line in enumerate(lines) if line.startswith("[["))
    told = lines[max(next(operations, 0) - 1, 0)] if lines else ""
    return re.sub(
        r"^\(\d+\) |\{\{function_node [^}]*\}\}\s*|\s*\[\[\{\{node.*|\s*\[Op:\w+\].*", "", told
    )

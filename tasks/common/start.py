"""What can be known of a training before its data are prepared, which may take hours."""

from __future__ import annotations

from pathlib import Path

from tasks.common.network import check_initial_weights
from tasks.common.recipe import TrainingRecipe
from tasks.common.run_folder import check_run_folder


def check_start(folder: Path, task: str, recipe: TrainingRecipe) -> None:
    """Raises ValueError if the run cannot begin in this folder, or not from these weights.

    Args:
        folder: path of the run folder; may be absent.
        task: name of the task, such as "detection".
        recipe: of the run.
    """
    check_run_folder(folder, task, recipe)
    # A run that goes on has its data, and may have got past its initial weights.
    if not (folder / "config.json").exists():
        check_initial_weights(recipe)

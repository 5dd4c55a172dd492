"""The folder of one training run: configuration, checkpoints, metrics, pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tasks.common.atomic_write import write_json


class RunFolderError(ValueError):
    """The run folder cannot be used as asked; the message says why and what to do."""


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run folder; the error names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(
            f"{path} is missing: {path.parent} is not a run folder, or its training never started"
        ) from None
    except ValueError as error:
        raise RunFolderError(f"{path} is not valid JSON ({error}): restore or delete it") from None


def open_run_folder(folder: Path, task: str, recipe: Any) -> bool:
    """Creates `folder` for a run of `recipe`, or takes up a run of the same configuration.

    Args:
        folder: path of the run folder; created where absent.
        task: name of the task, such as "detection".
        recipe: frozen dataclass with JSON-able fields.

    Returns:
        Whether a run of this configuration was begun here before.

    Raises:
        RunFolderError: if the folder holds a run of another configuration, or other files.
    """
    configuration = {"task": task, **_as_json(recipe)}
    path = folder / "config.json"
    if path.exists():
        _check_same(read_json(path), configuration, folder)
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise RunFolderError(
            f"{folder} is not empty and holds no run (no config.json): give another --run-dir"
        )
    write_json(path, configuration)
    return False


def load_recipe(folder: Path, task: str, recipe_class: type) -> Any:
    """The recipe that the run in `folder` was started with."""
    configuration = read_json(folder / "config.json")
    found = configuration.pop("task", None)
    if found != task:
        raise RunFolderError(f"{folder} is a run of task {found!r}, not of {task!r}")
    names = {field.name for field in dataclasses.fields(recipe_class)}
    if unknown := sorted(set(configuration) - names):
        raise RunFolderError(
            f"{folder / 'config.json'} has fields that this version does not know: "
            f"{', '.join(unknown)}"
        )
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in configuration.items()
    }
    return recipe_class(**values)


def _as_json(recipe: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _check_same(found: dict, wanted: dict, folder: Path) -> None:
    absent = object()
    different = [
        f"{key}: {found.get(key, 'absent')!r} there, {wanted.get(key, 'absent')!r} asked for"
        for key in sorted({*found, *wanted})
        if found.get(key, absent) != wanted.get(key, absent)
    ]
    if different:
        raise RunFolderError(
            f"run folder {folder} belongs to another configuration ({'; '.join(different)}): "
            "give another --run-dir, or the same configuration to go on with that run"
        )

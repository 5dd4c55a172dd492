"""The folder of one training run: configuration, checkpoints, metrics, pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tasks.common.atomic_write import is_leftover, remove_leftovers, write_json
from tasks.common.workers import num_workers

LOCK_NAME = ".lock"
# In config.json: into how many parts the workers of a run with `shard_files` share the data.
_PARTS = "parts_of_data"


class RunFolderError(ValueError):
    """The run folder cannot be used as asked; the message says why and what to do."""


def read_json(path: Path) -> Any:
    """Reads a JSON file; the error names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{path} is missing: check the path") from None
    except ValueError as error:
        raise RunFolderError(f"{path} is not valid JSON ({error}): restore or delete it") from None


def check_run_folder(folder: Path, task: str, recipe: Any) -> None:
    """Raises RunFolderError unless a run of `recipe` may begin or go on in `folder`.

    Args:
        folder: path of the run folder; may be absent.
        task: name of the task, such as "detection".
        recipe: frozen dataclass with JSON-able fields.
    """
    path = folder / "config.json"
    if path.exists():
        found, wanted = _read_configuration(path), _configuration(task, recipe)
        for field in dataclasses.fields(recipe):
            if not field.metadata.get("decides", True):
                found.pop(field.name, None)
                wanted.pop(field.name)
        _check_same(found, wanted, folder)
    elif folder.exists() and not (folder.is_dir() and all(map(_is_ours, folder.iterdir()))):
        raise RunFolderError(
            f"{folder} is no empty folder and holds no run (no config.json): give another --run-dir"
        )


def open_run_folder(folder: Path, task: str, recipe: Any) -> None:
    """Creates `folder` for a run of `recipe`, or takes up a run of the same configuration.

    Raises:
        RunFolderError: as `check_run_folder`.
    """
    check_run_folder(folder, task, recipe)
    remove_leftovers(folder)
    write_json(folder / "config.json", _configuration(task, recipe))


def load_recipe(folder: Path, task: str, recipe_class: type) -> Any:
    """The recipe that the run in `folder` was started with.

    Raises:
        RunFolderError: if the folder holds no run of this task, or one of another version.
    """
    path = folder / "config.json"
    if not path.exists():
        raise RunFolderError(f"{path} is missing: {folder} is not the folder of a training run")
    configuration = _read_configuration(path)
    found = configuration.pop("task", None)
    if found != task:
        raise RunFolderError(f"{folder} is a run of task {found!r}, not of {task!r}")
    configuration.pop(_PARTS, None)
    names = {field.name for field in dataclasses.fields(recipe_class)}
    if unknown := sorted(set(configuration) - names):
        raise RunFolderError(
            f"{path} has fields that this version does not know: {', '.join(unknown)}"
        )
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in configuration.items()
    }
    try:
        return recipe_class(**values)
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{path} holds no valid recipe: {error}") from error


def _is_ours(path: Path) -> bool:
    """Whether a file may be left of a process that was killed before there was a run."""
    return path.name == LOCK_NAME or is_leftover(path)


def _read_configuration(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not the configuration of a run: restore or delete it")
    return content


def _configuration(task: str, recipe: Any) -> dict[str, Any]:
    # As it comes back from the file, with lists for tuples.
    configuration = {"task": task, **json.loads(json.dumps(dataclasses.asdict(recipe)))}
    if getattr(recipe, "shard_files", False):
        # Its place in the data would be another one with another number of workers.
        configuration[_PARTS] = num_workers()
    return configuration


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

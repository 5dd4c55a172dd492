"""Finds and loads what a training run or an import has left: model file, recipe, label map."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

import keras_mnv2  # noqa: F401  (registers the layers that saved models name)
from tasks.common.atomic_write import write_json
from tasks.common.exported import is_exported
from tasks.common.recipe import TrainingRecipe
from tasks.common.run_folder import RunFolderError, load_recipe, read_json

CHECKPOINTS = ("best", "last")
# A minus is one in front of a bound only; names of splits may have hyphens.
_SIGNS_OF_SPLITS = {r"(?<=[\[:])-": "minus", ":": " to ", "%": "pct", r"\+": " and "}


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A trained model on disk.

    Attributes:
        path: of the `.keras` file, or of an exported file or folder.
        labels: path of its label map; exported files have their own.
        folder: where results go.
        recipe: that it was trained by; the defaults for a model that was not trained here.
    """

    path: Path
    labels: Path
    folder: Path
    recipe: TrainingRecipe


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a trained model and the place for results."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run-dir", help="folder of a training run")
    which.add_argument(
        "--model",
        metavar="FILE",
        help="a .keras file with FILE.labels.json beside it (scripts/import_weights.py), or an "
        "exported .tflite, .onnx or SavedModel folder (scripts/export.py)",
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="which of the run's [best]")
    parser.add_argument(
        "--output",
        help="folder for results [the run folder, FILE without .keras, or FILE.results]",
    )


def find_model(
    arguments: argparse.Namespace, task: str, recipe_class: type[TrainingRecipe]
) -> ModelFile:
    """What the options of `add_model_arguments` name.

    Raises:
        ValueError: if there is no such run or file.
    """
    output = Path(arguments.output) if arguments.output else None
    if arguments.model:
        if arguments.checkpoint:
            raise ValueError("--checkpoint goes with --run-dir, a --model is one file")
        path = Path(arguments.model)
        labels = path.with_name(f"{path.name}.labels.json")
        # One network may have exported files of several formats.
        results = path.with_name(f"{path.name}.results" if is_exported(path) else path.stem)
        return ModelFile(path, labels, output or results, recipe_class())
    folder = Path(arguments.run_dir)
    recipe = load_recipe(folder, task, recipe_class)
    path = folder / f"{arguments.checkpoint or 'best'}.keras"
    return ModelFile(path, folder / "labels.json", output or folder, recipe)


def load_model(path: Path) -> keras.Model:
    """Loads a `.keras` file.

    Raises:
        ValueError: if it is missing or damaged, or the model was never built.
    """
    if not path.exists():
        raise RunFolderError(
            f"{path} is missing: give another path, or train on with the same command where the "
            "run has not reached its first evaluation"
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON and HDF5 errors of many types
        raise ValueError(f"{path} is not a readable .keras file: {error}") from error
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{path} holds a model that was never built, its input is unknown: call "
            "model.build(input_shape) and save it again"
        )
    return model


def result_name(model_path: Path, data: str, split: str, *words: str) -> str:
    """What tells the results of several evaluations apart that lie in one folder.

    Args:
        model_path: of the model.
        data: name of the data set, and what else tells it from others.
        split: of the data, where `test[:100]` becomes `test_to_100` and `test[-100:]`
            `test_minus100_to`.
        words: how it was evaluated.
    """
    model = model_path.name if is_exported(model_path) else model_path.stem
    for sign, word in _SIGNS_OF_SPLITS.items():
        split = re.sub(sign, word, split)
    return "_".join(re.findall(r"\w+", " ".join((model, data, split, *words))))


def data_name(name: str, *paths: str | None) -> str:
    """What tells results on data from those on other data, for `result_name`.

    Args:
        name: of the data set.
        paths: that were given for it, or None; the first is its folder.
    """
    given = [Path(path).resolve() for path in paths if path]
    if not given:
        return name
    # The folder alone is called "val" too often, and so may be the one that it is in.
    readable = [*given[0].parts[-2:], *(path.stem for path in given[1:])]
    digest = hashlib.sha256("\0".join(map(str, given)).encode(errors="surrogateescape"))
    return " ".join((name, *readable, digest.hexdigest()[:6]))


def write_labels(path: Path, **columns: Sequence[Any]) -> None:
    """Writes the label map of a model: lists in the order of its labels, by name."""
    write_json(path, _label_map(columns))


def check_labels(path: Path, **columns: Sequence[Any]) -> None:
    """Raises ValueError if the run at `path` was begun with other labels."""
    if path.exists() and read_json(path) != _label_map(columns):
        raise ValueError(
            f"the categories of the data set are not those of {path}, with which this run began: "
            "give another --run-dir"
        )


def read_labels(path: Path, names: Sequence[str], count: int) -> tuple[tuple, ...]:
    """The named lists of a label map.

    Args:
        path: of the file.
        names: of the lists.
        count: classes of the model beside it.

    Raises:
        ValueError: if the file is missing or does not hold them.
    """
    wanted = " and ".join(repr(name) for name in names)
    if not path.exists():
        raise ValueError(
            f"{path} is missing: it holds the label map of the model beside it, a JSON object with "
            f"{wanted}, a list each, for its {count} classes"
        )
    content = read_json(path)
    try:
        columns = tuple(tuple(content[name]) for name in names)
        lengths = {len(column) for column in columns}
    except (KeyError, TypeError):
        lengths = set()
    if lengths != {count}:
        raise ValueError(f"{path} must hold {wanted} for the {count} classes of the model")
    return columns


def _label_map(columns: dict[str, Sequence[Any]]) -> dict[str, list]:
    return {name: list(column) for name, column in columns.items()}

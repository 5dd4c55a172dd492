"""A trained detector, as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import keras

import keras_mnv2  # noqa: F401  (registers the layers that saved models name)
from tasks.common.atomic_write import write_json
from tasks.common.run_folder import RunFolderError, load_recipe, read_json
from tasks.datasets.category_selection import select_categories
from tasks.datasets.detection_source import DetectionSource
from tasks.detection.recipes import DetectionRecipe

CHECKPOINTS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """A model with all that is needed to use it.

    Attributes:
        path: of the model file.
        folder: where its results go.
        model: an `SSDLite` model.
        recipe: that it was trained by; for a model file the defaults.
        label_names: one for each label.
        category_ids: one for each label, for results in the COCO format.
    """

    path: Path
    folder: Path
    model: keras.Model
    recipe: DetectionRecipe
    label_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    def view(self, source: DetectionSource) -> DetectionSource:
        """The part of a data set that the model knows.

        Raises:
            ValueError: if the model has labels that the data set has not.
        """
        if unknown := [name for name in self.label_names if name not in source.label_names]:
            raise ValueError(
                f"{self.path} was trained for labels that data set {source.name} has not: "
                f"{_shorten(unknown)} (it has {_shorten(source.label_names)}): evaluate on a data "
                "set of the same categories"
            )
        if left_out := len(source.label_names) - len(self.label_names):
            print(f"not evaluated: {left_out} categories of the data that the model does not know")
        return select_categories(source, self.label_names)


def write_labels(path: Path, label_names, category_ids) -> None:
    """Writes the label map of a model: names and category ids in the order of its labels."""
    write_json(path, _label_map(label_names, category_ids))


def check_labels(path: Path, label_names, category_ids) -> None:
    """Raises ValueError if the run at `path` was begun with other labels."""
    if path.exists() and read_json(path) != _label_map(label_names, category_ids):
        raise ValueError(
            f"the categories of the data set are not those of {path}, with which this run began: "
            "give another --run-dir"
        )


def _label_map(label_names, category_ids) -> dict[str, list]:
    return {"labels": list(label_names), "category_ids": [int(i) for i in category_ids]}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a trained model and the place for results."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run-dir", help="folder of a training run")
    which.add_argument(
        "--model", help="a .keras file with FILE.labels.json beside it (scripts/import_weights.py)"
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="which of the run's [best]")
    parser.add_argument(
        "--output", help="folder for results [the run folder, or FILE without .keras]"
    )


def load_trained(arguments: argparse.Namespace) -> TrainedDetector:
    """The model that the options of `add_model_arguments` name."""
    if arguments.model:
        if arguments.checkpoint:
            raise ValueError("--checkpoint goes with --run-dir, a --model is one file")
        path = Path(arguments.model)
        folder, labels = path.with_suffix(""), path.with_name(f"{path.name}.labels.json")
        recipe = DetectionRecipe()
    else:
        folder = Path(arguments.run_dir)
        recipe = load_recipe(folder, "detection", DetectionRecipe)
        path = folder / f"{arguments.checkpoint or 'best'}.keras"
        labels = folder / "labels.json"
    model = _load_model(path)
    height, width = model.input_shape[1:3]
    label_names, category_ids = _read_labels(labels, model)
    return TrainedDetector(
        path=path,
        folder=Path(arguments.output) if arguments.output else folder,
        model=model,
        recipe=dataclasses.replace(
            recipe, height=height or recipe.height, width=width or recipe.width
        ),
        label_names=label_names,
        category_ids=category_ids,
    )


def _read_labels(path: Path, model: keras.Model) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not path.exists():
        raise ValueError(
            f"{path} is missing: it holds the label map, {{'labels': [names], 'category_ids': "
            "[ids]}, of the model beside it"
        )
    content = read_json(path)
    classes = model.output["class_logits"].shape[-1] - 1
    try:
        names, ids = content["labels"], content["category_ids"]
        lengths = {len(names), len(ids)}
    except (KeyError, TypeError):
        lengths = set()
    if lengths != {classes}:
        raise ValueError(
            f"{path} must hold 'labels' and 'category_ids' for the {classes} classes of the model"
        )
    return tuple(names), tuple(ids)


def _load_model(path: Path) -> keras.Model:
    if not path.exists():
        raise RunFolderError(
            f"{path} is missing: give another path, or train on with the same command where the "
            "run has not reached its first evaluation"
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON and HDF5 errors of many types
        raise ValueError(f"{path} is not a readable .keras file: {error}") from error
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, dict) or set(outputs) != {"box_encodings", "class_logits"}:
        raise ValueError(f"{path} is no SSDLite model: box_encodings and class_logits are expected")
    return model


def _shorten(names) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")

"""A trained detector as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import keras

import keras_mnv2  # noqa: F401  (registers the layers that saved models name)
from tasks.common.atomic_write import write_json
from tasks.common.run_folder import RunFolderError, load_recipe, read_json
from tasks.datasets.detection_source import DetectionSource
from tasks.detection.recipes import DetectionRecipe

CHECKPOINTS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """A model with all that is needed to use it."""

    path: Path
    folder: Path
    model: keras.Model
    recipe: DetectionRecipe
    label_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    def check_labels(self, source: DetectionSource) -> None:
        """Raises ValueError unless the data set has the labels that the model was trained for."""
        if tuple(source.label_names) != self.label_names:
            raise ValueError(
                f"data set {source.name} has labels {_shorten(source.label_names)}, but {self.path}"
                f" was trained for {_shorten(self.label_names)}: evaluate on its own data set"
            )


def write_labels(folder: Path, label_names, category_ids) -> None:
    """Writes the label map of a run: names and category ids in the order of the model's labels."""
    labels = [
        {"name": str(name), "category_id": int(category_id)}
        for name, category_id in zip(label_names, category_ids, strict=True)
    ]
    write_json(folder / "labels.json", labels)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a trained model and the place for results."""
    parser.add_argument("--run-dir", required=True, help="folder of the training run")
    parser.add_argument(
        "--checkpoint", choices=CHECKPOINTS, default="best", help="which checkpoint [best]"
    )
    parser.add_argument("--data-dir", help="where prepared data sets are kept")
    parser.add_argument("--output", help="folder for results [the run folder]")


def load_trained(arguments: argparse.Namespace) -> TrainedDetector:
    """The model that `add_run_arguments`'s options name."""
    folder = Path(arguments.run_dir)
    recipe = load_recipe(folder, "detection", DetectionRecipe)
    if arguments.data_dir:
        recipe = dataclasses.replace(recipe, data_dir=arguments.data_dir)
    path = folder / f"{arguments.checkpoint}.keras"
    if not path.exists():
        raise RunFolderError(
            f"{path} is missing: the run has not reached its first evaluation; train on with the "
            "same command"
        )
    labels = read_json(folder / "labels.json")
    return TrainedDetector(
        path=path,
        folder=folder,
        model=keras.saving.load_model(path, compile=False),
        recipe=recipe,
        label_names=tuple(label["name"] for label in labels),
        category_ids=tuple(label["category_id"] for label in labels),
    )


def _shorten(names) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")

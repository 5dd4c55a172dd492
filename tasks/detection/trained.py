"""A trained detector, as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import keras

from keras_mnv2.deployment.running import DeployedModel
from tasks.common.exported import is_exported, known_labels, load_exported, recipe_of
from tasks.common.trained import ModelFile, find_model, load_model, read_labels
from tasks.common.wording import first_of_all
from tasks.datasets.category_selection import select_categories
from tasks.datasets.detection_source import DetectionSource
from tasks.detection.recipes import DetectionRecipe


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """A model with all that is needed to use it.

    Attributes:
        path: of the model file.
        folder: where its results go.
        model: an `SSDLite` model, or an exported detector.
        recipe: that it was trained by; for a model file the defaults.
        label_names: one for each label.
        category_ids: one for each label, for results in the COCO format.
    """

    path: Path
    folder: Path
    model: keras.Model | DeployedModel
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
                f"{first_of_all(unknown)} (it has {first_of_all(source.label_names)}): evaluate on "
                "a data set of the same categories"
            )
        if left_out := len(source.label_names) - len(self.label_names):
            print(f"not evaluated: {left_out} categories of the data that the model does not know")
        return select_categories(source, self.label_names)


def load_trained(arguments: argparse.Namespace) -> TrainedDetector:
    """The model that the options of `add_model_arguments` name."""
    file = find_model(arguments, "detection", DetectionRecipe)
    if is_exported(file.path):
        return _exported(file)
    model = load_model(file.path)
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, dict) or set(outputs) != {"box_encodings", "class_logits"}:
        raise ValueError(
            f"{file.path} is no SSDLite model: box_encodings and class_logits are expected"
        )
    height, width = model.input_shape[1:3]
    classes = outputs["class_logits"].shape[-1] - 1
    label_names, category_ids = read_labels(file.labels, ("labels", "category_ids"), classes)
    return TrainedDetector(
        path=file.path,
        folder=file.folder,
        model=model,
        recipe=dataclasses.replace(
            file.recipe, height=height or file.recipe.height, width=width or file.recipe.width
        ),
        label_names=label_names,
        category_ids=category_ids,
    )


def _exported(file: ModelFile) -> TrainedDetector:
    model = load_exported(file.path, "detection")
    label_names, category_ids = known_labels(model, "label_names", "category_ids")
    return TrainedDetector(
        path=file.path,
        folder=file.folder,
        model=model,
        recipe=recipe_of(model, file.recipe),
        label_names=label_names,
        category_ids=category_ids,
    )

"""A trained classifier, as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mnv2.deployment.classifiers import ends_in_softmax, taking_rgb
from keras_mnv2.deployment.running import DeployedModel
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.exported import is_exported, load_exported, recipe_of
from tasks.common.run_folder import read_json
from tasks.common.trained import ModelFile, find_model, load_model, read_labels
from tasks.common.wording import first_of_all
from tasks.datasets.classification_source import ClassificationSource


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A model with all that is needed to use it.

    Attributes:
        path: of the model file.
        folder: where its results go.
        model: from RGB values 0..255 to class probabilities, see `make_predictor`.
        recipe: that it was trained by, for a model file the defaults; the size is the model's.
        label_names: one for each class, or None where only their number is known.
        num_classes: outputs of the model.
    """

    path: Path
    folder: Path
    model: keras.Model | DeployedModel
    recipe: ClassificationRecipe
    label_names: tuple[str, ...] | None
    num_classes: int

    def shown_names(self) -> tuple[str, ...]:
        """A name for each class, "class 7" where there are none."""
        return self.label_names or tuple(f"class {i}" for i in range(self.num_classes))

    def names_by_index(self, names: Sequence[str], owner: str) -> tuple[str, ...]:
        """A name for each class of the model, given those of a list or a data set in their order.

        The 1001 classes of slim's ImageNet networks, which have no names of their own, are a
        background and the 1000 names; a line on the console says so.

        Args:
            names: to be given.
            owner: of the names, for the error.

        Raises:
            ValueError: if there are more or fewer.
        """
        if self.label_names is None and (self.num_classes, len(names)) == (1001, 1000):
            print(f"class 0 of {self.path} is taken for a background, as slim's networks have one")
            return ("background", *names)
        if self.num_classes != len(names):
            raise ValueError(
                f"{self.path} has {self.num_classes} classes, {owner} has {len(names)}: by index "
                "they correspond only if there are as many"
            )
        return tuple(names)

    def match(
        self, source: ClassificationSource, by_index: bool = False
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Which of the model's classes those of a data set are.

        Classes correspond by name, so that the data may have fewer or another order. Those of a
        model without names, as imported ImageNet weights are, correspond by index, see
        `names_by_index`.

        Args:
            source: opened data set.
            by_index: whether to go by index although there are names.

        Returns:
            int [classes of the data], the class of the model for each; and a name for each class
            of the model.

        Raises:
            ValueError: if a class of the data is not among those of the model.
        """
        data = source.label_names
        if self.label_names and not by_index:
            index = {name: i for i, name in enumerate(self.label_names)}
            if unknown := [name for name in data if name not in index]:
                raise ValueError(
                    f"{self.path} does not know the classes {first_of_all(unknown)} of data set "
                    f"{source.name}; it has {first_of_all(self.label_names)}: evaluate on a data "
                    "set of its classes, or say with --by-index that class i of the one is class i "
                    "of the other"
                )
            return np.array([index[name] for name in data]), self.label_names
        names = self.names_by_index(data, f"data set {source.name}")
        return np.arange(len(names) - len(data), len(names)), names


def load_trained(arguments: argparse.Namespace) -> TrainedClassifier:
    """The model that the options of `add_model_arguments` name."""
    file = find_model(arguments, "classification", ClassificationRecipe)
    if is_exported(file.path):
        return _exported(file)
    model = load_model(file.path)
    _check_is_classifier(model, file.path)
    height, width = model.input_shape[1:3]
    recipe = dataclasses.replace(
        file.recipe, height=height or file.recipe.height, width=width or file.recipe.width
    )
    num_classes = model.output_shape[-1]
    label_names = _label_names(file.labels, num_classes)
    return TrainedClassifier(
        file.path, file.folder, taking_rgb(model), recipe, label_names, num_classes
    )


def _exported(file: ModelFile) -> TrainedClassifier:
    model = load_exported(file.path, "classification")
    recipe = recipe_of(model, file.recipe, "central_crop")
    black = np.zeros((1, recipe.height, recipe.width, 3), np.uint8)
    num_classes = model(black)["probabilities"].shape[-1]
    return TrainedClassifier(
        file.path, file.folder, model, recipe, model.description.label_names, num_classes
    )


def _check_is_classifier(model: keras.Model, path: Path) -> None:
    shapes = (getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    is_one = [isinstance(shape, tuple) and len(shape) for shape in shapes] == [4, 2]
    if not is_one or shapes[0][-1] != 3 or not ends_in_softmax(model):
        raise ValueError(
            f"{path} is no image classifier: expected are pictures [batch, height, width, 3] to "
            "class probabilities [batch, classes], the result of a softmax"
        )


def _label_names(path: Path, count: int) -> tuple[str, ...] | None:
    content = read_json(path) if path.exists() else None
    # As scripts/import_weights.py leaves it, unless it is given names.
    if isinstance(content, dict) and content.get("labels", ()) is None:
        return None
    (names,) = read_labels(path, ("labels",), count)
    return names

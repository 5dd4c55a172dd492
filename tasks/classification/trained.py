"""A trained classifier, as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mnv2.mobilenet_v2 import scale_image
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.run_folder import read_json
from tasks.common.trained import find_model, load_model, read_labels
from tasks.common.wording import first_of_all
from tasks.datasets.classification_source import ClassificationSource


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A model with all that is needed to use it.

    Attributes:
        path: of the model file.
        folder: where its results go.
        model: from RGB values 0..255 to class probabilities.
        recipe: that it was trained by, for a model file the defaults; the size is the model's.
        label_names: one for each class, or None where only their number is known.
    """

    path: Path
    folder: Path
    model: keras.Model
    recipe: ClassificationRecipe
    label_names: tuple[str, ...] | None

    @property
    def num_classes(self) -> int:
        """Outputs of the model."""
        return self.model.output_shape[-1]

    def shown_names(self) -> tuple[str, ...]:
        """A name for each class, "class 7" where there are none."""
        return self.label_names or tuple(f"class {i}" for i in range(self.num_classes))

    def names_by_index(self, names: Sequence[str], owner: str) -> tuple[str, ...]:
        """A name for each class of the model, given those of a list or a data set in their order.

        If the model has one class more, its class 0 is a background, as in slim.

        Args:
            names: to be given.
            owner: of the names, for the error.

        Raises:
            ValueError: if there are more or fewer.
        """
        background = self.num_classes - len(names)
        if background not in (0, 1):
            raise ValueError(
                f"{self.path} has {self.num_classes} classes, {owner} has {len(names)}: by index "
                "they correspond only if there are as many, or one more in the model, the "
                "background, as class 0"
            )
        return ("background",) * background + tuple(names)

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
    model = load_model(file.path)
    _check_is_classifier(model, file.path)
    height, width = model.input_shape[1:3]
    recipe = dataclasses.replace(
        file.recipe, height=height or file.recipe.height, width=width or file.recipe.width
    )
    label_names = _label_names(file.labels, model.output_shape[-1])
    return TrainedClassifier(file.path, file.folder, _taking_rgb(model), recipe, label_names)


def _check_is_classifier(model: keras.Model, path: Path) -> None:
    shapes = (getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    is_one = [isinstance(shape, tuple) and len(shape) for shape in shapes] == [4, 2]
    last = getattr(model.layers[-1], "activation", None)
    if not is_one or shapes[0][-1] != 3 or last is not keras.activations.softmax:
        raise ValueError(
            f"{path} is no image classifier: expected are pictures [batch, height, width, 3] to "
            "class probabilities [batch, classes], the result of a softmax"
        )


def _taking_rgb(model: keras.Model) -> keras.Model:
    """The model itself, or one that scales 0..255 for it where it does not do so itself.

    Those that tasks train have the layer; imported ones and those of keras.applications do not.
    """
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        return model
    image = keras.Input(model.input_shape[1:])
    return keras.Model(image, model(scale_image(image)))


def _label_names(path: Path, count: int) -> tuple[str, ...] | None:
    content = read_json(path) if path.exists() else None
    # As scripts/import_weights.py leaves it, unless it is given names.
    if isinstance(content, dict) and content.get("labels", ()) is None:
        return None
    (names,) = read_labels(path, ("labels",), count)
    return names

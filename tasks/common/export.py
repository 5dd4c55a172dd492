"""What the export of a trained model takes from its task: data, pictures, figures."""

from __future__ import annotations

import abc
import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.description import Description
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.quantization.representative import evenly_spread
from keras_mnv2.deployment.running import DeployedModel
from keras_mnv2.weights.download import sha256
from tasks.common.images import encode_upright
from tasks.common.recipe import TrainingRecipe
from tasks.datasets.source import Source

# Options of which one must be given for a model file, whose recipe says nothing of its data.
_DATA_OPTIONS = ("dataset", "images", "annotations", "records", "list", "masks", "voc_root")


class TaskExport(abc.ABC):
    """A trained model that is to be exported; each task has a subclass.

    Args:
        arguments: parsed options, those of `add_arguments`, `add_data_arguments` and
            `add_model_arguments` among them.

    Attributes:
        trained: what the task's `load_trained` returns.
        model: to be exported, a Keras model; may be replaced by another one of its kind.
        pictures: how pictures get the network's input size, for the people who use the file.
    """

    trained: Any
    model: keras.Model
    pictures: str

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments

    @staticmethod
    @abc.abstractmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options that only an export of this task has."""

    @staticmethod
    @abc.abstractmethod
    def add_data_arguments(parser: argparse.ArgumentParser) -> None:
        """The options that name a data set of this task."""

    @staticmethod
    @abc.abstractmethod
    def options_of(description: Description) -> dict[str, Any]:
        """By which options a file was exported, as far as they change its answers."""

    @abc.abstractmethod
    def program(self) -> Program:
        """What is exported."""

    @abc.abstractmethod
    def decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """An encoded picture as evaluation shows it to the network.

        Args:
            encoded: scalar string, JPEG or PNG.

        Returns:
            uint8 [height, width, 3], and what else must be known of it, by name.
        """

    @abc.abstractmethod
    def measure(
        self, model: keras.Model | DeployedModel, source: Source, split: str
    ) -> dict[str, float]:
        """Figures of the task's own evaluation."""

    @abc.abstractmethod
    def data_recipe(self) -> TrainingRecipe:
        """The recipe of the training, with the data that the options name."""

    @abc.abstractmethod
    def open_source(self, recipe: TrainingRecipe) -> Source:
        """The recipe's data set, as far as the model knows it."""

    def variant(self) -> list[str]:
        """Words for the name of the file, one for each option that changes its answers."""
        return []

    def facts(self) -> dict[str, Any]:
        """Fields of the recipe that an evaluation of the exported file must know."""
        return {}

    @functools.cached_property
    def data(self) -> tuple[Source, TrainingRecipe]:
        """The data set that the options or the training run name, and its recipe.

        Raises:
            ValueError: if neither names one.
        """
        options = self.arguments
        if not options.run_dir and not any(getattr(options, x, None) for x in _DATA_OPTIONS):
            raise ValueError(
                f"{self.trained.path} does not say what data it is for: name a data set, as for "
                "the evaluation (--dataset, --images ...; --help shows all)"
            )
        recipe = self.data_recipe()
        return self.open_source(recipe), recipe

    def images(self, encoded: Sequence[bytes] | tf.data.Dataset) -> Iterator[np.ndarray]:
        """Pictures as evaluation shows them to the network, uint8 [1, height, width, 3] each."""
        if not isinstance(encoded, tf.data.Dataset):
            encoded = tf.data.Dataset.from_tensor_slices(list(encoded))
        for image in encoded.map(lambda picture: self.decode(picture)[0]).batch(1):
            yield image.numpy()

    def source(self) -> dict[str, Any]:
        """Where the exported weights are from, for the file's description."""
        path = self.trained.path
        about = {"file": path.name, "sha256": sha256(path), "pictures": self.pictures}
        return {**about, **self.facts(), **_import_record(path)}


def spread(source: Source, split: str, count: int) -> Source:
    """A data set with `count` examples of a split, evenly spread over it; all if it has no more.

    Data sets are often in the order of their classes.
    """
    total = source.num_examples(split)
    indices = evenly_spread(total, count)
    chosen = np.zeros(total, bool)
    chosen[indices] = True

    def read(*arguments) -> tf.data.Dataset:
        numbered = source.read(*arguments).enumerate()
        wanted = numbered.filter(lambda number, _: tf.gather(chosen, number))
        return wanted.map(lambda _, example: example).take(len(indices))

    return dataclasses.replace(source, read=read)


def read_pictures(paths: Sequence[Path], count: int) -> list[bytes]:
    """`count` pictures, evenly spread over the files, encoded as `TaskExport.decode` takes them."""
    return [encode_upright(paths[index]) for index in evenly_spread(len(paths), count)]


def _import_record(path: Path) -> dict[str, Mapping]:
    """What scripts/import_weights.py noted beside a model, if it is from there."""
    labels = path.with_name(f"{path.name}.labels.json")
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        record = {key: content[key] for key in ("source", "sha256", "published")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"imported_from": record}

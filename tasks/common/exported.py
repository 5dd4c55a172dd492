"""Exported files in place of Keras models: .tflite, .onnx and SavedModel folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.file_format import format_of
from keras_mnv2.deployment.running import DeployedModel, load
from tasks.common.recipe import TrainingRecipe

_EXTENSIONS = (".tflite", ".onnx")

Recipe = TypeVar("Recipe", bound=TrainingRecipe)


def is_exported(path: Path) -> bool:
    """Whether a model file is an exported one, by its content.

    What is no model file is judged by its name, so that who loads it says what is wrong with it.

    Raises:
        ValueError: for the folder of a training run.
    """
    if path.is_dir() and (path / "config.json").is_file():
        raise ValueError(
            f"{path} is the folder of a training run: give it as --run-dir {path}, not as a model"
        )
    try:
        return format_of(path) != "keras"
    except ValueError:
        return path.suffix in _EXTENSIONS or path.is_dir()


def load_exported(path: Path, task: str) -> DeployedModel:
    """Opens an exported file.

    Raises:
        ValueError: if it is missing or damaged, of another origin or of another task, or if the
            package that runs it is not installed.
    """
    try:
        model = load(path)
    except ImportError as error:
        raise ValueError(f"{path} cannot be run: {error}") from error
    if model.description.task != task:
        raise ValueError(
            f"{path} is a file for {model.description.task}, not for {task}: use the commands of "
            f"tasks.{model.description.task}"
        )
    return model


def known_labels(model: DeployedModel, *names: str) -> tuple[tuple, ...]:
    """The named lists of an exported file's description, of which each has an entry a class.

    Args:
        names: "label_names" or "category_ids".

    Raises:
        ValueError: if the description lacks one.
    """
    columns = tuple(getattr(model.description, name) for name in names)
    if None in columns:
        raise ValueError(
            f"{model.path} was exported without {' and '.join(names)}, which this needs: export "
            "it by scripts/export.py from a model with a label map"
        )
    return columns


def recipe_of(model: DeployedModel, recipe: Recipe, *fields: str) -> Recipe:
    """`recipe` with an exported file's input size, and the fields that `TaskExport.facts` noted."""
    height, width = model.description.input_size
    source = model.description.source or {}
    known = {name: source[name] for name in fields if name in source}
    return dataclasses.replace(recipe, height=height, width=width, **known)


def output_of(model: DeployedModel, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """From images to one of an exported file's outputs, as a Keras model would give it."""
    return lambda images: tf.constant(model(np.asarray(images))[name])

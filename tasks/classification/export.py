"""How a classifier is exported, see scripts/export.py."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import keras
import tensorflow as tf

from keras_mnv2.deployment.description import Description
from keras_mnv2.deployment.programs import Program, classification_program
from keras_mnv2.deployment.running import DeployedModel
from tasks.classification.data import central_view, open_source
from tasks.classification.evaluate import FIGURES, add_data_arguments, data_recipe, evaluate
from tasks.classification.inference import make_predictor
from tasks.classification.recipes import ClassificationRecipe
from tasks.classification.trained import load_trained
from tasks.common.export import TaskExport
from tasks.datasets.classification_source import ClassificationSource


class ClassifierExport(TaskExport):
    """A trained classifier that is to be exported."""

    def __init__(self, arguments: argparse.Namespace):
        super().__init__(arguments)
        trained = load_trained(arguments)
        if arguments.central_crop is not None:
            recipe = dataclasses.replace(trained.recipe, central_crop=arguments.central_crop)
            trained = dataclasses.replace(trained, recipe=recipe)
        self.trained, self.model = trained, trained.model
        self.pictures = (
            f"the middle, {trained.recipe.central_crop:g} of height and width, resized bilinearly "
            "(half-pixel centres, no antialias)"
        )

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """None."""

    add_data_arguments = staticmethod(add_data_arguments)

    @staticmethod
    def options_of(description: Description) -> dict[str, Any]:
        return {"central_crop": (description.source or {}).get("central_crop")}

    def program(self) -> Program:
        recipe = self.trained.recipe
        return classification_program(
            self.model, self.trained.label_names, input_size=(recipe.height, recipe.width)
        )

    def decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return central_view(encoded, self.trained.recipe), {}

    def data_recipe(self) -> ClassificationRecipe:
        return data_recipe(self.arguments, self.trained.recipe)

    def open_source(self, recipe: ClassificationRecipe) -> ClassificationSource:
        source = open_source(recipe)
        self.trained.match(source, self.arguments.by_index)
        return source

    def measure(
        self, model: keras.Model | DeployedModel, source: ClassificationSource, split: str
    ) -> dict[str, float]:
        matched = self.trained.match(source, self.arguments.by_index)
        results = evaluate(make_predictor(model), source, self.trained.recipe, split, *matched)
        metrics = results.metrics()
        return {name: metrics[name] for name in FIGURES}

    def facts(self) -> dict[str, Any]:
        return {"central_crop": self.trained.recipe.central_crop}

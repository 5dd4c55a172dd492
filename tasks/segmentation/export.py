"""How a segmenter is exported, see scripts/export.py."""

from __future__ import annotations

import argparse
from typing import Any

import keras
import tensorflow as tf

from keras_mnv2.deployment.description import Description
from keras_mnv2.deployment.programs import Program, segmentation_program
from keras_mnv2.deployment.running import DeployedModel
from tasks.common.export import TaskExport
from tasks.common.images import decode
from tasks.datasets.segmentation_source import SegmentationSource
from tasks.segmentation.data import open_source
from tasks.segmentation.evaluate import FIGURES, add_data_arguments, data_recipe, evaluate
from tasks.segmentation.geometry import MEAN_GREY, fit
from tasks.segmentation.inference import make_predictor
from tasks.segmentation.recipes import SegmentationRecipe
from tasks.segmentation.trained import add_network_arguments, load_trained


class SegmenterExport(TaskExport):
    """A trained segmenter that is to be exported."""

    pictures = (
        "larger ones are resized bilinearly with antialias until they fit, keeping their aspect "
        f"ratio, smaller ones are not; padded with grey {MEAN_GREY} at the bottom and at the right"
    )

    def __init__(self, arguments: argparse.Namespace):
        super().__init__(arguments)
        self.trained = load_trained(arguments)
        self.model = self.trained.model

    add_data_arguments = staticmethod(add_data_arguments)

    @staticmethod
    def options_of(description: Description) -> dict[str, Any]:
        return {
            "logits": "logits" in description.outputs,
            "size": list(description.input_size),
            "output_stride": (description.source or {}).get("output_stride"),
        }

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_network_arguments(parser)
        parser.add_argument(
            "--logits", action="store_true", help="class logits as output, not the class map"
        )

    def program(self) -> Program:
        return segmentation_program(
            self.model,
            self.trained.label_names,
            "logits" if self.arguments.logits else "class_map",
            input_size=self.trained.recipe.size,
        )

    def decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        image, valid = fit(decode(encoded), self.trained.recipe.size)
        return image, {"valid": valid}

    def data_recipe(self) -> SegmentationRecipe:
        return data_recipe(self.arguments, self.trained.recipe)

    def open_source(self, recipe: SegmentationRecipe) -> SegmentationSource:
        source = open_source(recipe)
        self.trained.check_labels(source)
        return source

    def measure(
        self, model: keras.Model | DeployedModel, source: SegmentationSource, split: str
    ) -> dict[str, float]:
        metrics = evaluate(make_predictor(model), source, self.trained.recipe, split)
        return {name: metrics[name] for name in FIGURES}

    def variant(self) -> list[str]:
        options = self.arguments
        return [
            *["logits"] * options.logits,
            *(["{}x{}".format(*options.size)] if options.size else []),
            *([f"stride{options.output_stride}"] if options.output_stride else []),
        ]

    def facts(self) -> dict[str, Any]:
        return {"output_stride": self.trained.output_stride}

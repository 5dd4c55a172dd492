"""How a detector is exported, see scripts/export.py."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import keras
import tensorflow as tf

from keras_mnv2.deployment.description import POSTPROCESSINGS, Description
from keras_mnv2.deployment.programs import Program, detection_program
from keras_mnv2.deployment.running import DeployedModel
from tasks.common.export import TaskExport
from tasks.common.images import decode
from tasks.datasets.detection_source import DetectionSource
from tasks.detection.coco_evaluation import METRICS
from tasks.detection.data import open_source, resized
from tasks.detection.evaluate import add_data_arguments, data_recipe, evaluate
from tasks.detection.model import make_detector
from tasks.detection.recipes import DetectionRecipe
from tasks.detection.trained import load_trained

_THRESHOLDS = ("score_threshold", "iou_threshold", "max_detections")
_IN_NAMES = {
    "none": "raw",
    "custom_op": "custom_op",
    "score_threshold": "score",
    "iou_threshold": "iou",
    "max_detections": "max",
}


class DetectorExport(TaskExport):
    """A trained detector that is to be exported."""

    pictures = "resized bilinearly with antialias, the aspect ratio not kept"

    def __init__(self, arguments: argparse.Namespace):
        super().__init__(arguments)
        self.trained = load_trained(arguments)
        self.model = self.trained.model

    add_data_arguments = staticmethod(add_data_arguments)

    @staticmethod
    def options_of(description: Description) -> dict[str, Any]:
        return {name: getattr(description, name) for name in ("postprocessing", *_THRESHOLDS)}

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("post-processing of a detector")
        group.add_argument(
            "--postprocessing",
            choices=POSTPROCESSINGS,
            default="nms",
            help="none: box encodings and class logits, the anchors are in the description; nms: "
            "detections, by the format's own operations; custom_op: by LiteRT's "
            "TFLite_Detection_PostProcess [nms]",
        )
        group.add_argument(
            "--score-threshold",
            type=float,
            help="detections score more [the recipe's]; 0.3 suits what people see, and is faster",
        )
        group.add_argument("--iou-threshold", type=float, help="of the suppression [the recipe's]")
        group.add_argument("--max-detections", type=int, help="for an image [the recipe's]")

    def program(self) -> Program:
        recipe, options = self.trained.recipe, self.arguments
        given = {name: getattr(options, name) for name in _THRESHOLDS}
        if options.postprocessing == "none" and any(x is not None for x in given.values()):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in _THRESHOLDS)
            raise ValueError(f"{names} go with --postprocessing nms or custom_op")
        known = {name: getattr(recipe, name) for name in _THRESHOLDS}
        return detection_program(
            self.model,
            self.trained.label_names,
            self.trained.category_ids,
            postprocessing=options.postprocessing,
            input_size=(recipe.height, recipe.width),
            **known | {name: value for name, value in given.items() if value is not None},
        )

    def variant(self) -> list[str]:
        options = self.arguments
        words = [_IN_NAMES[options.postprocessing]] if options.postprocessing != "nms" else []
        given = {name: getattr(options, name) for name in _THRESHOLDS}
        return words + [f"{_IN_NAMES[x]}{y:g}" for x, y in given.items() if y is not None]

    def decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return resized(decode(encoded), self.trained.recipe), {}

    def data_recipe(self) -> DetectionRecipe:
        return data_recipe(self.arguments, self.trained.recipe)

    def open_source(self, recipe: DetectionRecipe) -> DetectionSource:
        return self.trained.view(open_source(recipe))

    def measure(
        self, model: keras.Model | DeployedModel, source: DetectionSource, split: str
    ) -> dict[str, float]:
        # With the thresholds of the file, so that the figures differ by what the export costs.
        given = {name: getattr(self.arguments, name) for name in _THRESHOLDS}
        given = {name: value for name, value in given.items() if value is not None}
        recipe = dataclasses.replace(self.trained.recipe, **given)
        metrics, _ = evaluate(make_detector(model, recipe), source, recipe, split)
        return {name: metrics[name] for name in METRICS}

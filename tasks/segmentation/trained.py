"""A trained segmenter, as a run folder or a model file holds it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import keras

from keras_mnv2.deployment.running import DeployedModel
from keras_mnv2.segmentation import model_output_stride, with_output_stride
from tasks.common.exported import is_exported, known_labels, load_exported, recipe_of
from tasks.common.trained import ModelFile, find_model, load_model, read_labels
from tasks.datasets.segmentation_source import SegmentationSource
from tasks.segmentation.inference import Predictor, make_predictor
from tasks.segmentation.recipes import OUTPUT_STRIDES, SegmentationRecipe


@dataclasses.dataclass(frozen=True)
class TrainedSegmenter:
    """A model with all that is needed to use it.

    Attributes:
        path: of the model file.
        folder: where its results go.
        model: a `DeepLabV3` model, or an exported segmenter.
        recipe: that it was trained by, for a model file the defaults; size and output stride are
            those of the model.
        label_names: one for each class.
    """

    path: Path
    folder: Path
    model: keras.Model | DeployedModel
    recipe: SegmentationRecipe
    label_names: tuple[str, ...]

    @property
    def output_stride(self) -> int | None:
        """Output stride of the network; None for an exported file that does not tell it."""
        if isinstance(self.model, DeployedModel):
            return (self.model.description.source or {}).get("output_stride")
        return self.recipe.output_stride

    def check_labels(self, source: SegmentationSource) -> None:
        """Raises ValueError unless the classes of the data set are those of the model."""
        if self.label_names != tuple(source.label_names):
            raise ValueError(
                f"{self.path} has the classes {', '.join(self.label_names)}, but data set "
                f"{source.name} has {', '.join(source.label_names)}: evaluate on a data set of "
                "the same classes"
            )


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that change the network."""
    parser.add_argument(
        "--output-stride",
        type=int,
        choices=OUTPUT_STRIDES,
        help="run the network at another one; 8 is finer and slower [that of the recipe]",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="input size, n * output stride + 1 [that of the model]",
    )


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that decide how a model is applied to a picture."""
    add_network_arguments(parser)
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="SCALE",
        help="average over these scales of the image, e.g. 0.5 0.75 1 1.25 1.5 1.75 [1]",
    )
    parser.add_argument("--flip", action="store_true", help="average over the mirrored image too")


def load_trained(arguments: argparse.Namespace) -> TrainedSegmenter:
    """The model that the options of `add_model_arguments` and `add_network_arguments` name."""
    file = find_model(arguments, "segmentation", SegmentationRecipe)
    if is_exported(file.path):
        return _exported(file, arguments)
    model = load_model(file.path)
    try:
        trained_stride = model_output_stride(model)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
    stride = arguments.output_stride or file.recipe.evaluation_output_stride or trained_stride
    height, width = model.input_shape[1:3]
    height, width = arguments.size or (height or file.recipe.height, width or file.recipe.width)
    recipe = dataclasses.replace(
        file.recipe,
        height=height,
        width=width,
        crop_height=None,
        crop_width=None,
        output_stride=stride,
        evaluation_output_stride=None,
    )
    if stride != trained_stride or arguments.size:
        model = with_output_stride(model, stride, (height, width, 3))
    (label_names,) = read_labels(file.labels, ("labels",), model.output_shape[-1])
    return TrainedSegmenter(file.path, file.folder, model, recipe, label_names)


def _exported(file: ModelFile, arguments: argparse.Namespace) -> TrainedSegmenter:
    if arguments.output_stride or arguments.size:
        raise ValueError(
            f"{file.path} is an exported file, whose size and output stride are fixed: leave out "
            "--output-stride and --size, or give the .keras model"
        )
    model = load_exported(file.path, "segmentation")
    (label_names,) = known_labels(model, "label_names")
    # Where it does not tell its stride: the finest, which allows most sizes.
    recipe = dataclasses.replace(file.recipe, output_stride=min(OUTPUT_STRIDES))
    recipe = recipe_of(model, recipe, "output_stride")
    return TrainedSegmenter(file.path, file.folder, model, recipe, label_names)


def predictor_of(trained: TrainedSegmenter, arguments: argparse.Namespace) -> Predictor:
    """What segments pictures as the options of `add_inference_arguments` say."""
    return make_predictor(trained.model, arguments.scales, arguments.flip)

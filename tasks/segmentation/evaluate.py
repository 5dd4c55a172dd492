"""Mean intersection over union of a trained segmenter.

python -m tasks.segmentation.evaluate --run-dir runs/shapes_masks --split test
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.images import decode
from tasks.common.pictures import contact_sheet, write_picture
from tasks.common.trained import add_model_arguments, data_name, result_name
from tasks.common.workers import gather, share
from tasks.datasets.masks import decode_mask
from tasks.datasets.segmentation_source import SegmentationSource
from tasks.segmentation.data import evaluation_dataset, open_source
from tasks.segmentation.drawing import draw_overlay
from tasks.segmentation.inference import Predictor, at_original_size, segment
from tasks.segmentation.mean_iou import ConfusionMatrix
from tasks.segmentation.recipes import SegmentationRecipe
from tasks.segmentation.trained import (
    TrainedSegmenter,
    add_inference_arguments,
    load_trained,
    predictor_of,
)

FIGURES = ("mIOU", "mIOU_present_or_predicted", "pixel_accuracy", "mean_accuracy")


def evaluate(
    predictor: Predictor, source: SegmentationSource, recipe: SegmentationRecipe, split: str
) -> dict[str, Any]:
    """Runs a predictor over a split and compares at each image's original resolution.

    Workers that train together share the images, and all get the result.

    Args:
        predictor: of `make_predictor`, for images of the recipe's size.
        source: opened data set.
        split: of the source.

    Returns:
        Metrics as `ConfusionMatrix.metrics` names them.
    """
    confusion = ConfusionMatrix(source.label_names)
    for images, truth in evaluation_dataset(source, recipe, split, share()):
        class_maps = predictor(images).numpy()
        for class_map, mask, valid in zip(class_maps, truth["mask"], truth["valid"], strict=True):
            mask = decode_mask(mask).numpy()[..., 0]
            confusion.add(mask, at_original_size(class_map, valid.numpy(), mask.shape))
    confusion.matrix = sum(gather(confusion.matrix))
    return confusion.metrics()


def draw_split(
    trained: TrainedSegmenter,
    predictor: Predictor,
    source: SegmentationSource,
    split: str,
    count: int,
) -> np.ndarray:
    """The first images of a split, with annotations on the left and predictions on the right.

    Returns:
        uint8 [height, width, 3], a contact sheet.
    """
    pictures = []
    for example in source.examples(split).take(count):
        image = decode(example["image"]).numpy()
        masks = (
            decode_mask(example["mask"]).numpy()[..., 0],
            segment(predictor, image, trained.recipe.size),
        )
        pictures += [draw_overlay(image, mask, trained.label_names) for mask in masks]
    return contact_sheet(pictures, columns=4)


def print_metrics(metrics: dict[str, Any]) -> None:
    """The figures and IoU per class, as a table on the console."""
    over = {
        "mIOU": f" over the {metrics['classes_present']} classes in the ground truth",
        "mIOU_present_or_predicted": (
            f" over the {metrics['classes_present_or_predicted']} in ground truth or predictions"
        ),
    }
    for name in FIGURES:
        print(f"  {name:<26} {metrics[name]:.4f}{over.get(name, '')}")
    known = {name: iou for name, iou in metrics["IoU_per_class"].items() if iou is not None}
    for name, iou in sorted(known.items(), key=lambda item: -item[1]):
        print(f"    IoU {name:<20} {iou:.4f}")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name the data to evaluate on."""
    parser.add_argument("--split", help="split to evaluate [the recipe's validation split]")
    parser.add_argument("--data-dir", help="where prepared data sets are kept")
    other = parser.add_argument_group("other data than those of the training")
    other.add_argument("--dataset", help="shapes, voc_segmentation or mask_directory")
    other.add_argument("--voc-root", help="VOCdevkit folder")
    other.add_argument("--images", help="folder of images, with --masks and --labels")
    other.add_argument("--masks", help="folder of masks")
    other.add_argument("--labels", help="text file of class names, one a line")
    other.add_argument("--ignore-label", type=int, help="mask value that does not count [255]")


def data_recipe(arguments: argparse.Namespace, recipe: SegmentationRecipe) -> SegmentationRecipe:
    """The recipe of the training, with the data that the options name."""
    given = {"data_dir": arguments.data_dir or recipe.data_dir}
    if arguments.images or arguments.masks:
        if arguments.voc_root:
            raise ValueError("give either --voc-root, or --images and --masks")
        return SegmentationRecipe(
            dataset=arguments.dataset or "mask_directory",
            validation_images=arguments.images,
            validation_masks=arguments.masks,
            labels=arguments.labels,
            ignore_label=255 if arguments.ignore_label is None else arguments.ignore_label,
            **given,
        )
    if arguments.labels or arguments.ignore_label is not None:
        raise ValueError("--labels and --ignore-label go with --images and --masks")
    if arguments.voc_root or arguments.dataset == "voc_segmentation":
        return SegmentationRecipe(
            dataset=arguments.dataset or "voc_segmentation",
            voc_root=arguments.voc_root,
            validation_split="val",
            **given,
        )
    if arguments.dataset:
        return SegmentationRecipe(dataset=arguments.dataset, **given)
    return dataclasses.replace(recipe, **given)


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Mean intersection over union of a trained segmenter."
    )
    add_model_arguments(parser)
    add_inference_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="draw the first N images of the split"
    )
    arguments = parser.parse_args(argv)
    if arguments.draw < 0:
        parser.error(f"--draw {arguments.draw} must be at least 0")

    trained = load_trained(arguments)
    data = data_recipe(arguments, trained.recipe)
    source = open_source(data)
    trained.check_labels(source)
    split = arguments.split or data.validation_split
    predictor = predictor_of(trained, arguments)
    metrics = evaluate(predictor, source, trained.recipe, split)
    how = {
        "size": list(trained.recipe.size),
        "output_stride": trained.output_stride,
        "scales": arguments.scales,
        "flip": arguments.flip,
    }
    print(f"{trained.path} on {source.name}, split {split}:")
    print("  " + ", ".join(f"{name} {value}" for name, value in how.items()))
    print_metrics(metrics)

    height, width = trained.recipe.size
    words = [f"{height}x{width}"]
    words += [f"stride{trained.output_stride}"] * (trained.output_stride is not None)
    if arguments.scales != [1.0]:
        words.append("scales " + " ".join(f"{100 * scale:g}" for scale in arguments.scales))
    words += ["flip"] * arguments.flip
    files = (arguments.images, arguments.masks, arguments.voc_root)
    name = result_name(trained.path, data_name(source.name, *files), split, *words)
    about = {"model": str(trained.path), "dataset": source.name, "split": split}
    path = trained.folder / f"metrics_{name}.json"
    write_json(path, {**about, **how, **metrics})
    print(f"metrics: {path}")
    if arguments.draw:
        path = trained.folder / f"pictures_{name}.png"
        write_picture(path, draw_split(trained, predictor, source, split, arguments.draw))
        print(f"pictures, annotations left and predictions right: {path}")


if __name__ == "__main__":
    main()

"""COCO average precision of a trained detector.

python -m tasks.detection.evaluate --run-dir runs/shapes --split test
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.pictures import contact_sheet, write_picture
from tasks.common.trained import add_model_arguments, data_name, result_name
from tasks.common.workers import gather_in_order, share
from tasks.datasets.detection_source import DetectionSource
from tasks.detection.coco_evaluation import METRICS, CocoEvaluator
from tasks.detection.data import decoded, evaluation_dataset, open_source
from tasks.detection.drawing import draw_detections, draw_ground_truth
from tasks.detection.model import Detector, make_detector
from tasks.detection.predict import DRAWN_SCORE, detect
from tasks.detection.recipes import DetectionRecipe
from tasks.detection.trained import TrainedDetector, load_trained


def evaluate(
    detector: Detector, source: DetectionSource, recipe: DetectionRecipe, split: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs `detector` over a split and has the COCO API judge it.

    Workers that train together share the images, and all get the result.

    Args:
        detector: of `make_detector`, with the recipe's input size.
        source: opened data set.
        split: of the source.

    Returns:
        Metrics as `CocoEvaluator.evaluate` names them, and the detections as COCO results.
    """
    mine = []
    for images, truth in evaluation_dataset(source, recipe, split, share()):
        truth = {key: value.numpy() for key, value in truth.items()}
        found = detector(images)
        for row, count in enumerate(truth["num_objects"]):
            objects = (
                truth["image_id"][row],
                *truth["size"][row],
                *(truth[key][row][:count] for key in ("boxes", "labels", "areas", "is_crowd")),
            )
            detections = [
                found[key][row : row + 1]
                for key in ("boxes", "scores", "classes", "num_detections")
            ]
            mine.append((objects, detections))
    evaluator = CocoEvaluator(source.category_ids, source.label_names)
    for objects, detections in gather_in_order(mine):
        evaluator.add_ground_truth(*objects)
        evaluator.add_detections([objects[0]], *detections)
    return evaluator.evaluate(), evaluator.results()


def draw_split(
    trained: TrainedDetector,
    detector: Detector,
    source: DetectionSource,
    split: str,
    count: int,
) -> np.ndarray:
    """The first images of a split, with annotations on the left and detections on the right.

    Returns:
        uint8 [height, width, 3], a contact sheet.
    """
    pictures = []
    for example in source.examples(split).take(count).map(decoded):
        example = {key: value.numpy() for key, value in example.items()}
        image, names = example["image"], trained.label_names
        truth = draw_ground_truth(
            image, example["boxes"], example["labels"], names, example["is_crowd"]
        )
        found = draw_detections(
            image, **detect(trained, image, detector), label_names=names, min_score=DRAWN_SCORE
        )
        pictures.append(np.concatenate([truth, found], axis=1))
    return contact_sheet(pictures, columns=3)


def print_metrics(metrics: dict[str, Any]) -> None:
    """The twelve COCO figures and AP per class, as a table on the console."""
    for name in METRICS:
        value = metrics[name]
        print(f"  {name:<10} {'n/a' if value < 0 else f'{value:.4f}'}")
    known = {name: ap for name, ap in metrics["AP_per_class"].items() if ap is not None}
    for name, ap in sorted(known.items(), key=lambda item: -item[1]):
        print(f"    AP {name:<20} {ap:.4f}")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name the data to evaluate on."""
    parser.add_argument("--split", help="split to evaluate [the recipe's validation split]")
    parser.add_argument("--data-dir", help="where prepared data sets are kept")
    other = parser.add_argument_group("other data than those of the training")
    other.add_argument("--dataset", help="a data set by name, e.g. coco/2017")
    other.add_argument("--images", help="folder of images, with --annotations")
    other.add_argument("--annotations", help="COCO JSON")
    other.add_argument("--records", help="pattern of COCO TFRecords")


def data_recipe(arguments: argparse.Namespace, recipe: DetectionRecipe) -> DetectionRecipe:
    """The recipe of the training, with the data that the options name."""
    given = {"data_dir": arguments.data_dir or recipe.data_dir}
    if arguments.records:
        files = {
            "validation_records": arguments.records,
            "validation_annotations": arguments.annotations,
        }
        return DetectionRecipe(dataset=arguments.dataset or "coco_tfrecord", **files, **given)
    if arguments.images or arguments.annotations:
        files = {
            "validation_images": arguments.images,
            "validation_annotations": arguments.annotations,
        }
        return DetectionRecipe(dataset=arguments.dataset or "coco_directory", **files, **given)
    if arguments.dataset:
        return DetectionRecipe(dataset=arguments.dataset, **given)
    return dataclasses.replace(recipe, categories=None, **given)


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="COCO average precision of a trained detector.")
    add_model_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="draw the first N images of the split"
    )
    arguments = parser.parse_args(argv)
    if arguments.draw < 0:
        parser.error(f"--draw {arguments.draw} must be at least 0")

    trained = load_trained(arguments)
    data = data_recipe(arguments, trained.recipe)
    source = trained.view(open_source(data))
    split = arguments.split or data.validation_split
    detector = make_detector(trained.model, trained.recipe)
    metrics, results = evaluate(detector, source, trained.recipe, split)
    print(f"{trained.path} on {source.name}, split {split}:")
    print_metrics(metrics)

    files = (arguments.images, arguments.records, arguments.annotations)
    name = result_name(trained.path, data_name(source.name, *files), split)
    paths = {
        kind: trained.folder / f"{kind}_{name}.{extension}"
        for kind, extension in (("metrics", "json"), ("detections", "json"), ("pictures", "png"))
    }
    about = {"model": str(trained.path), "dataset": source.name, "split": split}
    write_json(paths["metrics"], {**about, **metrics})
    write_json(paths["detections"], results, indent=None)
    print(f"metrics: {paths['metrics']}")
    print(f"detections (COCO results): {paths['detections']}")
    if arguments.draw:
        picture = draw_split(trained, detector, source, split, arguments.draw)
        write_picture(paths["pictures"], picture)
        print(f"pictures, annotations left and detections right: {paths['pictures']}")


if __name__ == "__main__":
    main()

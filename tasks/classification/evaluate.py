"""Accuracy of a trained classifier.

    python -m tasks.classification.evaluate --run-dir runs/shapes_classes --split test --worst 24
    python -m tasks.classification.evaluate --model imagenet.keras --images photos \
        --list labels.txt --class-names imagenet1000_classes.txt
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.classification.data import evaluation_dataset, open_source
from tasks.classification.drawing import draw_confusion, draw_examples
from tasks.classification.inference import Predictor, make_predictor
from tasks.classification.recipes import ClassificationRecipe
from tasks.classification.results import Results, collect
from tasks.classification.trained import load_trained
from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.images import decode
from tasks.common.pictures import write_picture
from tasks.common.trained import add_model_arguments, result_name
from tasks.datasets.classification_source import ClassificationSource

FIGURES = ("top1", "top5", "balanced_accuracy", "cross_entropy")
_LISTED_CLASSES = 60


def evaluate(
    predictor: Predictor,
    source: ClassificationSource,
    recipe: ClassificationRecipe,
    split: str,
    classes: np.ndarray | None = None,
    label_names: Sequence[str] | None = None,
) -> Results:
    """Runs a predictor over a split.

    Args:
        predictor: of `make_predictor`, for images of the recipe's size.
        source: opened data set.
        split: of the source.
        classes: the predictor's class for each of the source, see `TrainedClassifier.match`; the
            same if None.
        label_names: of the predictor's classes; those of the source if None.
    """
    if classes is None:
        classes, label_names = np.arange(len(source.label_names)), source.label_names
    batches = evaluation_dataset(source, recipe, split)
    said = ((predictor(images).numpy(), classes[labels.numpy()]) for images, labels in batches)
    return collect(said, label_names)


def draw_worst(
    results: Results, source: ClassificationSource, split: str, count: int
) -> np.ndarray:
    """The images of highest loss, the worst first, with what they are and what was predicted.

    Returns:
        uint8 [height, width, 3], a contact sheet.
    """
    worst = np.argsort(-results.losses, kind="stable")[:count]
    wanted, images = set(worst.tolist()), {}
    for i, example in enumerate(source.examples(split)):
        if i in wanted:
            images[i] = decode(example["image"]).numpy()
        if len(images) == len(wanted):
            break
    names = np.array(results.label_names, object)
    return draw_examples(
        [images[i] for i in worst],
        names[results.labels[worst]],
        results.true_probability[worst],
        names[results.best[worst, 0]],
        results.best_probability[worst],
    )


def print_metrics(metrics: dict[str, Any]) -> None:
    """The figures and the accuracy per class, as a table on the console."""
    for name in FIGURES:
        print(f"  {name:<18} {metrics[name]:.4f}")
    if metrics.get("published_top1"):
        print(f"  published top1     {metrics['published_top1']:.4f} (slim, ImageNet 2012 val)")
    known = {name: x for name, x in metrics["accuracy_per_class"].items() if x is not None}
    if len(known) > _LISTED_CLASSES:
        print(f"    accuracy of each of {len(known)} classes: see the metrics file")
        return
    for name, accuracy in sorted(known.items(), key=lambda item: -item[1]):
        print(f"    accuracy {name:<20} {accuracy:.4f}")


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", help="split to evaluate [the recipe's validation split]")
    parser.add_argument("--data-dir", help="where prepared data sets are kept")
    other = parser.add_argument_group("other data than those of the training")
    other.add_argument("--dataset", help="a data set by name, e.g. imagenet_v2")
    other.add_argument("--images", help="folder with a folder of images per class, or with --list")
    other.add_argument("--list", help="file of paths in --images with class indices")
    other.add_argument("--class-names", help="text file of class names, one a line, with --list")
    other.add_argument(
        "--skip-broken", action="store_true", help="leave out unreadable images, and count them"
    )
    other.add_argument(
        "--by-index",
        action="store_true",
        help="class i of the data is class i of the model, whatever their names",
    )
    other.add_argument(
        "--central-crop", type=float, metavar="SHARE", help="part of each image that is shown"
    )


def _data_recipe(
    arguments: argparse.Namespace, recipe: ClassificationRecipe
) -> ClassificationRecipe:
    """The recipe of the training, with the data that the options name."""
    given = {"data_dir": arguments.data_dir or recipe.data_dir}
    if arguments.images:
        return ClassificationRecipe(
            dataset=arguments.dataset or "class_directory",
            validation_images=arguments.images,
            validation_list=arguments.list,
            class_names=arguments.class_names,
            skip_broken=arguments.skip_broken,
            **given,
        )
    if arguments.list or arguments.class_names:
        raise ValueError("--list and --class-names go with --images")
    if arguments.dataset:
        return ClassificationRecipe(
            dataset=arguments.dataset, skip_broken=arguments.skip_broken, **given
        )
    return dataclasses.replace(
        recipe, skip_broken=arguments.skip_broken or recipe.skip_broken, **given
    )


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a trained classifier.")
    add_model_arguments(parser)
    _add_data_arguments(parser)
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="draw the N images of highest loss"
    )
    arguments = parser.parse_args(argv)
    if arguments.worst < 0:
        parser.error(f"--worst {arguments.worst} must be at least 0")

    trained = load_trained(arguments)
    data = _data_recipe(arguments, trained.recipe)
    recipe = trained.recipe
    if arguments.central_crop is not None:
        recipe = dataclasses.replace(recipe, central_crop=arguments.central_crop)
    source = open_source(data)
    classes, label_names = trained.match(source, arguments.by_index)
    split = arguments.split or data.validation_split
    predictor = make_predictor(trained.model)
    results = evaluate(predictor, source, recipe, split, classes, label_names)
    metrics, confusion = results.metrics(), results.confusion()
    print(f"{trained.path} on {source.name}, split {split}, {len(results.labels)} images:")
    print_metrics(metrics)

    name = result_name(trained.path.stem, source.name, split)
    about = {
        "model": str(trained.path),
        "dataset": source.name,
        "split": split,
        "central_crop": recipe.central_crop,
        "skipped": {split: len(names) for split, names in source.skipped.items()},
    }
    path = trained.folder / f"metrics_{name}.json"
    write_json(path, {**about, **metrics})
    print(f"metrics: {path}")
    path = trained.folder / f"confusion_{name}.json"
    matrix = {"labels": label_names, "true_by_predicted": confusion.tolist()}
    write_json(path, {**about, **matrix}, indent=None)
    write_picture(path.with_suffix(".png"), draw_confusion(confusion, label_names))
    print(f"confusion matrix: {path} and .png")
    if arguments.worst:
        path = trained.folder / f"worst_{name}.png"
        write_picture(path, draw_worst(results, source, split, arguments.worst))
        print(f"images of highest loss, with true and predicted class: {path}")


if __name__ == "__main__":
    main()

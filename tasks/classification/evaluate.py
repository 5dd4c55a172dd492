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

from tasks.classification.data import (
    FILE_FIELDS,
    central_part,
    evaluation_dataset,
    open_source,
    skipped_files,
)
from tasks.classification.drawing import draw_confusion, draw_examples
from tasks.classification.inference import Predictor, make_predictor
from tasks.classification.recipes import ClassificationRecipe, published_top1
from tasks.classification.results import Results, collect
from tasks.classification.trained import load_trained
from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.pictures import write_picture
from tasks.common.trained import add_model_arguments, data_name, result_name
from tasks.common.workers import share
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
    """Runs a predictor over a split. Workers that train together share the images.

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
    batches = evaluation_dataset(source, recipe, split, share())
    said = ((predictor(images).numpy(), classes[labels.numpy()]) for images, labels in batches)
    return collect(said, label_names)


def find_worst(
    results: Results,
    source: ClassificationSource,
    recipe: ClassificationRecipe,
    split: str,
    count: int,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The images of highest loss, the worst first, with what they are and what was predicted.

    Of each image the part is drawn that the network was shown: what it missed may lie beyond.

    Returns:
        A row each: "filename", "loss", "true", "true_probability", "predicted" and
        "predicted_probability"; and a contact sheet, uint8 [height, width, 3].
    """
    worst = np.argsort(-results.losses, kind="stable")[:count].tolist()
    wanted, examples = set(worst), {}
    for i, example in enumerate(source.examples(split)):
        if i in wanted:
            examples[i] = example
        if len(examples) == len(wanted):
            break
    rows = [
        {
            "filename": examples[i]["filename"].numpy().decode(),
            "loss": float(results.losses[i]),
            "true": results.label_names[results.labels[i]],
            "true_probability": float(results.true_probability[i]),
            "predicted": results.label_names[results.best[i, 0]],
            "predicted_probability": float(results.best_probability[i]),
        }
        for i in worst
    ]
    images = [central_part(examples[i]["image"], recipe).numpy() for i in worst]
    shown = ("true", "true_probability", "predicted", "predicted_probability")
    return rows, draw_examples(images, *([row[key] for row in rows] for key in shown))


def print_metrics(metrics: dict[str, Any]) -> None:
    """The figures, as a table on the console."""
    for name in FIGURES:
        print(f"  {name:<18} {metrics[name]:.4f}")
    if metrics.get("published_top1"):
        print(f"  published top1     {metrics['published_top1']:.4f} (slim, ImageNet 2012 val)")


def _print_classes(results: Results) -> None:
    """The accuracy of each class and the largest confusions."""
    known = {name: x for name, x in results.accuracy_per_class().items() if x is not None}
    if len(known) > _LISTED_CLASSES:
        print(f"    accuracy of each of {len(known)} classes: see the metrics file")
    else:
        for name, accuracy in sorted(known.items(), key=lambda item: -item[1]):
            print(f"    accuracy {name:<20} {accuracy:.4f}")
    for true, predicted, count in results.largest_confusions():
        print(f"    {count} of {true} taken for {predicted}")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name the data to evaluate on."""
    parser.add_argument(
        "--split",
        help="split to evaluate [the recipe's validation split; test of a --dataset without one]",
    )
    parser.add_argument("--data-dir", help="where prepared data sets are kept")
    other = parser.add_argument_group("other data than those of the training")
    other.add_argument("--dataset", help="a data set by name, e.g. imagenet_v2")
    other.add_argument("--images", help="folder with a folder of images per class, or with --list")
    other.add_argument("--list", help="file of paths in --images with class indices")
    other.add_argument("--class-names", help="text file of class names, one a line, with --list")
    other.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out unreadable images; the metrics file names them",
    )
    other.add_argument(
        "--by-index",
        action="store_true",
        help="class i of the data is class i of the model, whatever their names",
    )
    other.add_argument(
        "--central-crop", type=float, metavar="SHARE", help="part of each image that is shown"
    )


def data_recipe(
    arguments: argparse.Namespace, recipe: ClassificationRecipe
) -> ClassificationRecipe:
    """The recipe of the training, with the data that the options name."""
    given = {"data_dir": arguments.data_dir or recipe.data_dir}
    if arguments.images:
        if arguments.dataset not in (None, "class_directory"):
            raise ValueError(
                f"--images and --dataset {arguments.dataset} are two data sets: give one of them"
            )
        return ClassificationRecipe(
            dataset="class_directory",
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


def _split_of(
    arguments: argparse.Namespace, data: ClassificationRecipe, source: ClassificationSource
) -> str:
    has_only_test = data.validation_split not in source.splits and "test" in source.splits
    default = "test" if arguments.dataset and has_only_test else data.validation_split
    return arguments.split or default


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a trained classifier.")
    add_model_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="draw the N images of highest loss"
    )
    arguments = parser.parse_args(argv)
    if arguments.worst < 0:
        parser.error(f"--worst {arguments.worst} must be at least 0")

    trained = load_trained(arguments)
    data = data_recipe(arguments, trained.recipe)
    recipe = trained.recipe
    if arguments.central_crop is not None:
        recipe = dataclasses.replace(recipe, central_crop=arguments.central_crop)
    source = open_source(data)
    classes, label_names = trained.match(source, arguments.by_index)
    split = _split_of(arguments, data, source)
    predictor = make_predictor(trained.model)
    results = evaluate(predictor, source, recipe, split, classes, label_names)
    metrics, confusion = results.metrics(), results.confusion()
    # Elsewhere than on the validation split of its own data there is nothing to compare with.
    is_own = (source.name, split) == (recipe.dataset, recipe.validation_split)
    if is_own and (published := published_top1(recipe)):
        metrics["published_top1"] = published
    print(f"{trained.path} on {source.name}, split {split}, {len(results.labels)} images:")
    print_metrics(metrics)
    _print_classes(results)

    crop = "" if arguments.central_crop is None else f"crop {recipe.central_crop:g}"
    on = data_name(source.name, arguments.images, arguments.list)
    name = result_name(trained.path, on, split, crop)
    about = {
        "model": str(trained.path),
        "dataset": source.name,
        **{field: path for field in FILE_FIELDS if (path := getattr(data, field))},
        "split": split,
        "central_crop": recipe.central_crop,
        "skipped": {split: len(names) for split, names in source.skipped.items()},
    }
    path = trained.folder / f"metrics_{name}.json"
    more = {
        "accuracy_per_class": results.accuracy_per_class(),
        "skipped_files": skipped_files(source, data),
    }
    write_json(path, {**about, **metrics, **more})
    print(f"metrics: {path}")
    path = trained.folder / f"confusion_{name}.json"
    matrix = {"labels": label_names, "true_by_predicted": confusion.tolist()}
    write_json(path, {**about, **matrix}, indent=None)
    write_picture(path.with_suffix(".png"), draw_confusion(confusion, label_names))
    print(f"confusion matrix: {path} and .png")
    if arguments.worst:
        rows, picture = find_worst(results, source, recipe, split, arguments.worst)
        path = trained.folder / f"worst_{name}.json"
        write_json(path, {**about, "worst": rows})
        write_picture(path.with_suffix(".png"), picture)
        print(f"images of highest loss, with true and predicted class: {path} and .png")


if __name__ == "__main__":
    main()

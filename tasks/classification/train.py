"""Trains MobileNetV2.

    python -m tasks.classification.train --recipe shapes --run-dir runs/shapes_classes
    python -m tasks.classification.train --recipe fine_tune --train-images photos/train \
        --validation-images photos/val --run-dir runs/mine
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from tasks.classification.data import open_source, skipped_files, training_dataset
from tasks.classification.evaluate import evaluate, print_metrics
from tasks.classification.inference import make_predictor
from tasks.classification.model import build_model, compile_model
from tasks.classification.recipes import (
    RECIPES,
    ClassificationRecipe,
    head_phase,
    monitored,
    published_top1,
)
from tasks.common.atomic_write import write_json
from tasks.common.checkpoints import finished_steps, is_finished
from tasks.common.console import exit_on_bad_input
from tasks.common.randomness import set_seed
from tasks.common.replicated_fit import for_fit
from tasks.common.run_folder import check_run_folder, open_run_folder
from tasks.common.start import check_start
from tasks.common.strategy import distributed
from tasks.common.trained import check_labels, write_labels
from tasks.common.training import train
from tasks.common.training_command import train_command
from tasks.common.workers import chief_first, is_chief, on_chief
from tasks.datasets.classification_source import ClassificationSource


def run(recipe: ClassificationRecipe, folder: Path, train: Callable = train) -> dict[str, Any]:
    """Trains as the recipe says, with everything that comes of it in `folder`.

    With `head_steps` there are two runs: that of the classifier alone, in the subfolder `head`,
    and the main one, which starts from the best checkpoint of the first.

    Args:
        train: as `training.train`, which it is unless the training is to be measured only.

    Returns:
        The metrics of the best checkpoint, see `Results.metrics`; also "published_top1" where
        there is a published figure.

    Raises:
        ValueError: for bad input. What can be known before training is, before the folder is made.
    """
    on_chief(lambda: check_start(folder, "classification", recipe))
    _check_folders(recipe)
    source = chief_first(lambda: open_source(recipe))
    for split in (recipe.train_split, recipe.validation_split):
        source.num_examples(split)
    if len(source.label_names) < 2:
        raise ValueError(
            f"data set {source.name} has no other class than {source.label_names[0]!r}: there is "
            "nothing to tell apart; add the pictures of another class"
        )
    on_chief(lambda: check_labels(folder / "labels.json", labels=source.label_names))
    start = recipe
    if recipe.head_steps:
        head = folder / "head"
        if not on_chief(lambda: is_finished(head)):
            first = head_phase(recipe)
            on_chief(lambda: check_run_folder(head, "classification", first))
            model = _built(first, source)
            on_chief(lambda: _open(folder, recipe, source))
            metrics = _fit(model, source, first, head, train)
            monitor = monitored(first)
            if monitor not in metrics:  # Nothing was trained that the other phase could start from.
                return metrics
            if is_chief():
                print(f"the classifier alone, in {head}: {monitor} {metrics[monitor]:.4f}")
        start = dataclasses.replace(
            recipe, init_weights=str(head / "best.keras"), backbone_weights=None
        )
    metrics = _fit(_built(start, source), source, recipe, folder, train)
    published = published_top1(recipe)
    return {**metrics, "published_top1": published} if published else metrics


def _check_folders(recipe: ClassificationRecipe) -> None:
    """Raises ValueError, before pictures are looked at, if a split has no folder."""
    splits = f"{recipe.train_split} {recipe.validation_split}"
    for split in ("train", "validation"):
        images = getattr(recipe, f"{split}_images")
        if recipe.dataset == "class_directory" and split in splits and not images:
            raise ValueError(
                f"there is no folder for split {split!r} of class_directory: give "
                f"--{split}-images, or splits of the other folder, such as 'train[:90%]'"
            )


def _built(recipe: ClassificationRecipe, source: ClassificationSource) -> keras.Model:
    set_seed(recipe)
    return build_model(recipe, len(source.label_names))


def _open(folder: Path, recipe: ClassificationRecipe, source: ClassificationSource) -> None:
    open_run_folder(folder, "classification", recipe)
    write_labels(folder / "labels.json", labels=source.label_names)
    skipped = skipped_files(source, recipe)
    if any(skipped.values()):
        write_json(folder / "skipped.json", skipped)


def _fit(
    model: keras.Model,
    source: ClassificationSource,
    recipe: ClassificationRecipe,
    folder: Path,
    train: Callable,
) -> dict[str, Any]:
    trainer = for_fit(model)
    compile_model(trainer, recipe)
    predictor = make_predictor(model)
    first_step = on_chief(lambda: finished_steps(folder))
    batches = distributed(lambda context: training_dataset(source, recipe, first_step, context))
    on_chief(lambda: _open(folder, recipe, source))
    return train(
        trainer,
        batches,
        recipe,
        folder,
        lambda: evaluate(predictor, source, recipe, recipe.validation_split).metrics(),
        monitor=monitored(recipe),
        saved=model,
    )


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    train_command("classification", "MobileNetV2", RECIPES, run, print_metrics, argv)


if __name__ == "__main__":
    main()

"""Trains SSDLite.

    python -m tasks.detection.train --recipe shapes --run-dir runs/shapes
    python -m tasks.detection.train --recipe coco_320 --dataset coco_directory \
        --train-images ... --train-annotations ... \
        --validation-images ... --validation-annotations ... --run-dir runs/mine
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from keras_mnv2.detection import anchors_for
from tasks.common.checkpoints import finished_steps
from tasks.common.console import exit_on_bad_input
from tasks.common.randomness import set_seed
from tasks.common.replicated_fit import for_fit
from tasks.common.run_folder import open_run_folder
from tasks.common.start import check_start
from tasks.common.strategy import distributed
from tasks.common.trained import check_labels, write_labels
from tasks.common.training import train
from tasks.common.training_command import train_command
from tasks.common.workers import chief_first, on_chief
from tasks.detection.data import check_has_objects, open_source, training_dataset
from tasks.detection.evaluate import evaluate, print_metrics
from tasks.detection.model import build_model, compile_model, make_detector
from tasks.detection.recipes import RECIPES, DetectionRecipe


def run(recipe: DetectionRecipe, folder: Path, train: Callable = train) -> dict:
    """Trains as the recipe says, with everything that comes of it in `folder`.

    Args:
        train: as `training.train`, which it is unless the training is to be measured only.

    Returns:
        The COCO metrics of the best checkpoint.

    Raises:
        ValueError: for bad input. What can be known before training is, before the folder is made.
    """
    on_chief(lambda: check_start(folder, "detection", recipe))
    source = chief_first(lambda: open_source(recipe))
    for split in (recipe.train_split, recipe.validation_split):
        check_has_objects(source, split)
    labels = {"labels": source.label_names, "category_ids": source.category_ids}
    on_chief(lambda: check_labels(folder / "labels.json", **labels))
    # After the data: preparing them draws random numbers, too.
    set_seed(recipe)
    model = build_model(recipe, source.label_names)
    trainer = for_fit(model)
    compile_model(trainer, recipe)
    detector = make_detector(model, recipe)
    first_step = on_chief(lambda: finished_steps(folder))
    batches = distributed(
        lambda context: training_dataset(source, recipe, anchors_for(model), first_step, context)
    )

    def open_folder() -> None:
        open_run_folder(folder, "detection", recipe)
        write_labels(folder / "labels.json", **labels)

    on_chief(open_folder)
    return train(
        trainer,
        batches,
        recipe,
        folder,
        lambda: evaluate(detector, source, recipe, recipe.validation_split)[0],
        monitor="AP",
        saved=model,
    )


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    train_command("detection", "SSDLite", RECIPES, run, print_metrics, argv)


if __name__ == "__main__":
    main()

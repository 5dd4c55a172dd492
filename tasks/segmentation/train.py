"""Trains Mobile DeepLabv3.

    python -m tasks.segmentation.train --recipe shapes --run-dir runs/shapes_masks
    python -m tasks.segmentation.train --recipe fine_tune --init-weights pascal_voc \
        --dataset mask_directory --train-images ... --train-masks ... \
        --validation-images ... --validation-masks ... --labels ... --run-dir runs/mine
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_mnv2.segmentation import with_output_stride
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
from tasks.segmentation.data import check_has_labels, open_source, training_dataset
from tasks.segmentation.evaluate import evaluate, print_metrics
from tasks.segmentation.inference import make_predictor
from tasks.segmentation.model import at_crop_size, build_model, compile_model
from tasks.segmentation.recipes import RECIPES, SegmentationRecipe


def run(recipe: SegmentationRecipe, folder: Path, train: Callable = train) -> dict[str, Any]:
    """Trains as the recipe says, with everything that comes of it in `folder`.

    Args:
        train: as `training.train`, which it is unless the training is to be measured only.

    Returns:
        The metrics of the best checkpoint, see `ConfusionMatrix.metrics`.

    Raises:
        ValueError: for bad input. What can be known before training is, before the folder is made.
    """
    on_chief(lambda: check_start(folder, "segmentation", recipe))
    source = chief_first(lambda: open_source(recipe))
    for split in (recipe.train_split, recipe.validation_split):
        check_has_labels(source, split)
    on_chief(lambda: check_labels(folder / "labels.json", labels=source.label_names))
    # After the data: preparing them draws random numbers, too.
    set_seed(recipe)
    model = build_model(recipe, len(source.label_names))
    trainer = for_fit(at_crop_size(model, recipe))
    compile_model(trainer, recipe)

    predictor = make_predictor(model)

    def measure() -> dict[str, Any]:
        if stride := recipe.evaluation_output_stride:
            # A copy of the weights as they are now.
            now = make_predictor(with_output_stride(model, stride))
            return evaluate(now, source, recipe, recipe.validation_split)
        return evaluate(predictor, source, recipe, recipe.validation_split)

    first_step = on_chief(lambda: finished_steps(folder))
    batches = distributed(lambda context: training_dataset(source, recipe, first_step, context))

    def open_folder() -> None:
        open_run_folder(folder, "segmentation", recipe)
        write_labels(folder / "labels.json", labels=source.label_names)

    on_chief(open_folder)
    return train(trainer, batches, recipe, folder, measure, monitor="mIOU", saved=model)


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    train_command("segmentation", "Mobile DeepLabv3", RECIPES, run, print_metrics, argv)


if __name__ == "__main__":
    main()

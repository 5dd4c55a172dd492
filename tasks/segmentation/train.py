"""Trains Mobile DeepLabv3.

    python -m tasks.segmentation.train --recipe shapes --run-dir runs/shapes_masks
    python -m tasks.segmentation.train --recipe fine_tune --init-weights pascal_voc \
        --dataset mask_directory --train-images ... --train-masks ... \
        --validation-images ... --validation-masks ... --labels ... --run-dir runs/mine
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_mnv2.segmentation import with_output_stride
from tasks.common.console import exit_on_bad_input
from tasks.common.run_folder import check_run_folder, open_run_folder
from tasks.common.trained import check_labels, write_labels
from tasks.common.training import finished_steps, train
from tasks.common.training_command import train_command
from tasks.datasets.segmentation_source import SegmentationSource
from tasks.segmentation.data import check_has_labels, open_source, training_dataset
from tasks.segmentation.evaluate import evaluate, print_metrics
from tasks.segmentation.inference import make_predictor
from tasks.segmentation.model import at_crop_size, build_model, compile_model
from tasks.segmentation.recipes import COARSE_STRIDE, RECIPES, SegmentationRecipe, coarse_phase


def run(recipe: SegmentationRecipe, folder: Path) -> dict[str, Any]:
    """Trains as the recipe says, with everything that comes of it in `folder`.

    With `coarse_steps` there are two runs: that at output stride 32, in the subfolder `coarse`, and
    the main one, which starts from its last checkpoint.

    Returns:
        The metrics of the best checkpoint, see `ConfusionMatrix.metrics`.

    Raises:
        ValueError: for bad input. What can be known before training is, before the folder is made.
    """
    check_run_folder(folder, "segmentation", recipe)
    source = open_source(recipe)
    for split in (recipe.train_split, recipe.validation_split):
        check_has_labels(source, split)
    check_labels(folder / "labels.json", labels=source.label_names)
    start = recipe
    if recipe.coarse_steps:
        coarse = folder / "coarse"
        if not (coarse / "metrics.json").exists():
            first = coarse_phase(recipe)
            check_run_folder(coarse, "segmentation", first)
            model = _build(first, source)
            _open(folder, recipe, source)
            metrics = _fit(model, source, first, coarse)
            print(f"at output stride {COARSE_STRIDE}, in {coarse}: mIOU {metrics['mIOU']:.4f}")
        start = dataclasses.replace(
            recipe,
            init_weights=str(coarse / "last.keras"),
            backbone_weights=None,
            zero_init_residual=False,
        )
    return _fit(_build(start, source), source, recipe, folder)


def _build(recipe: SegmentationRecipe, source: SegmentationSource) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    return build_model(recipe, len(source.label_names))


def _open(folder: Path, recipe: SegmentationRecipe, source: SegmentationSource) -> None:
    open_run_folder(folder, "segmentation", recipe)
    write_labels(folder / "labels.json", labels=source.label_names)


def _fit(
    model: keras.Model, source: SegmentationSource, recipe: SegmentationRecipe, folder: Path
) -> dict[str, Any]:
    trainer = at_crop_size(model, recipe)
    compile_model(trainer, recipe)

    def measure() -> dict[str, Any]:
        # At another stride a copy of the weights as they are now.
        stride = recipe.evaluation_output_stride
        network = with_output_stride(model, stride) if stride else model
        return evaluate(make_predictor(network), source, recipe, recipe.validation_split)

    batches = training_dataset(source, recipe, first_step=finished_steps(folder, recipe))
    _open(folder, recipe, source)
    return train(trainer, batches, recipe, folder, measure, monitor="mIOU", saved=model)


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    train_command("segmentation", "Mobile DeepLabv3", RECIPES, run, print_metrics, argv)


if __name__ == "__main__":
    main()

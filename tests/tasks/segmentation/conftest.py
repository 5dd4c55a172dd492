"""A tiny trained run that the tests of evaluation and prediction share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from recipe_arguments import finished_run

from tasks.segmentation.recipes import RECIPES, SegmentationRecipe
from tasks.segmentation.train import main


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> SegmentationRecipe:
    """A recipe whose every part is as small as it can be."""
    return dataclasses.replace(
        RECIPES["shapes"],
        dataset="shapes/tiny",
        data_dir=str(tmp_path_factory.mktemp("data")),
        height=65,
        width=65,
        crop_height=49,
        crop_width=33,
        alpha=0.35,
        output_stride=16,
        evaluation_output_stride=8,
        batch_size=4,
        train_steps=5,
        evaluate_every=3,
        warmup_steps=1,
        moving_average_decay=0.5,
        validation_split="validation[:8]",
        evaluation_batch_size=3,
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe, tmp_path_factory) -> Path:
    """Run folder of a finished training of `tiny_recipe`, by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return finished_run(main, tiny_recipe, RECIPES["shapes"], folder)

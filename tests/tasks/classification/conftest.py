"""A tiny trained run that the tests of evaluation and prediction share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import pytest
from recipe_arguments import finished_run

from tasks.classification.data import open_source
from tasks.classification.recipes import RECIPES, ClassificationRecipe
from tasks.classification.train import main


@pytest.fixture(autouse=True)
def float32_afterwards():
    """Recipes set the precision of the whole process."""
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> ClassificationRecipe:
    """A recipe whose every part is as small as it can be."""
    return dataclasses.replace(
        RECIPES["shapes"],
        dataset="shapes/tiny",
        data_dir=str(tmp_path_factory.mktemp("data")),
        height=32,
        width=32,
        alpha=0.35,
        batch_size=4,
        train_steps=5,
        evaluate_every=3,
        warmup_steps=1,
        moving_average_decay=0.5,
        validation_split="validation[:8]",
        evaluation_batch_size=7,
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe, tmp_path_factory) -> Path:
    """Run folder of a finished training of `tiny_recipe`, by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return finished_run(main, tiny_recipe, RECIPES["shapes"], folder)


@pytest.fixture
def own_data(tiny_recipe, tmp_path) -> Path:
    """Folders of three classes of `shapes`, written from the test split."""
    source = open_source(tiny_recipe)
    for split, part in (("train", "test[:20]"), ("val", "test[20:]")):
        for name in source.label_names[:3]:
            (tmp_path / "own" / split / name).mkdir(parents=True)
        for i, example in enumerate(source.examples(part).as_numpy_iterator()):
            if example["label"] < 3:
                name = source.label_names[example["label"]]
                (tmp_path / "own" / split / name / f"{i}.jpg").write_bytes(example["image"])
    return tmp_path / "own"

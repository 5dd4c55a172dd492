"""Puts this folder on the module path, for the helpers that tests of all tasks share."""

import pytest


@pytest.fixture
def on_shapes(tiny_recipe):
    """Options of evaluation on the validation images of the task's `tiny_recipe`."""
    return [
        *("--dataset", tiny_recipe.dataset, "--data-dir", tiny_recipe.data_dir),
        *("--split", tiny_recipe.validation_split),
    ]

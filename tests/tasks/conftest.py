"""Puts this folder on the module path, for the helpers that tests of all tasks share.

And scripts/, where tests of several workers find `loopback_cluster`.
"""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Here and not in a fixture, since the test modules import at their top.
if str(SCRIPTS) not in sys.path:
    sys.path.insert(0, str(SCRIPTS))


@pytest.fixture
def on_shapes(tiny_recipe):
    """Options of evaluation on the validation images of the task's `tiny_recipe`."""
    return [
        *("--dataset", tiny_recipe.dataset, "--data-dir", tiny_recipe.data_dir),
        *("--split", tiny_recipe.validation_split),
    ]

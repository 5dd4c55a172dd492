"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with `reference/` and `data/`: arrays of the original networks and small data sets."""
    given = os.environ.get("KERAS_MNV2_REFERENCE", "../shared")
    folder = (REPOSITORY / given).resolve()
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference arrays: {given} is absent (set KERAS_MNV2_REFERENCE)")
    return folder

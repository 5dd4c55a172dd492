"""The library on the JAX and PyTorch backends of Keras gives what it gives on TensorFlow.

A process has one backend: each has its own, compared by files. The tests of a backend that is not
installed are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_mnv2

PROGRAM = Path(__file__).with_name("backend_program.py")


def run(backend: str, folder: Path, role: str) -> dict[str, np.ndarray]:
    """What the program computes in a process of that backend."""
    path = folder / f"{backend}.npz"
    root = str(Path(keras_mnv2.__file__).parents[1])
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        # The other frameworks' own threads and devices are not what is tested.
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, str(PROGRAM), role, str(folder), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """Folder with the weights of all models, and what TensorFlow makes of them."""
    folder = tmp_path_factory.mktemp("backends")
    return folder, run("tensorflow", folder, "write")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_computes_what_tensorflow_does(backend, expected):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, there = expected
    here = run(backend, folder, "read")
    assert here.keys() == there.keys() and len(here) > 10
    for name, value in there.items():
        assert here[name].shape == value.shape and np.ptp(value) > 0 or value.ndim == 0, name
        # Means that are 0 but for rounding come out as another rounding.
        tolerance = 1e-4 * np.abs(value).max() + 1e-6
        np.testing.assert_allclose(here[name], value, rtol=0, atol=tolerance, err_msg=name)

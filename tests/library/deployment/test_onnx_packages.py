"""What is said where the packages of the extra `onnx` are missing."""

from __future__ import annotations

import importlib.util
import sys

import pytest

import keras_mnv2
from keras_mnv2.deployment.onnx.packages import check_packages


@pytest.fixture
def missing(monkeypatch):
    """Function that makes packages look as if they were not installed."""
    find_spec = importlib.util.find_spec

    def pretend(*names):
        for module in [name for name in sys.modules if name.startswith("keras_mnv2.deployment.on")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in names else find_spec(name)
        )

    return pretend


def test_all_that_is_missing_is_named_at_once(missing):
    missing("onnx", "onnxruntime", "tf2onnx")
    with pytest.raises(ImportError, match="onnx, onnxruntime, tf2onnx are not installed"):
        keras_mnv2.deployment.export_onnx  # noqa: B018


def test_what_is_there_is_not_named(missing):
    missing("onnxruntime")
    message = "^onnxruntime is not installed: to run it, pip install onnxruntime, or .*onnx]"
    with pytest.raises(ImportError, match=message):
        check_packages("to run it", "numpy", "onnxruntime")
    check_packages("to run it", "numpy")

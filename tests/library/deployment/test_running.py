"""One callable interface for exported files."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.running import DeployedModel, load

DESCRIPTION = Description(task="classification", input_size=(4, 6), outputs={"sum": ""})


class Sums:
    """Runs no file: adds up the pixels, and notes how many images came at a time."""

    description = DESCRIPTION

    def __init__(self, *input_shape: int | None):
        self.input_shape = input_shape
        self.calls = []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.calls.append((len(images), images.dtype.name))
        return {"sum": images.sum(axis=(1, 2, 3), dtype=np.float32)}


def test_batches_are_split_where_the_file_takes_one_image():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    expected = images.sum(axis=(1, 2, 3), dtype=np.float32)
    for batch, calls in ((1, 3 * [(1, "uint8")]), (None, [(3, "uint8")])):
        runner = Sums(batch, 4, 6, 3)
        model = DeployedModel(Path("a.tflite"), runner)
        assert model.description is DESCRIPTION and model.path == Path("a.tflite")
        np.testing.assert_array_equal(model(images)["sum"], expected)
        assert runner.calls == calls
    np.testing.assert_array_equal(model(images.astype("float64"))["sum"], expected)
    assert runner.calls[-1] == (3, "float32")


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 6, 3), "uint8", r"takes images \['B', 4, 6, 3\], .* got \[4, 6, 3\]"),
        ((1, 6, 4, 3), "uint8", r"got \[1, 6, 4, 3\]"),
        ((1, 4, 6, 1), "float32", r"got \[1, 4, 6, 1\]"),
        ((0, 4, 6, 3), "float32", "B at least 1"),
        ((1, 4, 6, 3), "int32", "must be uint8 or float, got int32"),
    ],
)
def test_images_that_do_not_fit(shape, dtype, message):
    model = DeployedModel(Path("a.tflite"), Sums(None, 4, 6, 3))
    with pytest.raises(DeploymentError, match=message):
        model(np.zeros(shape, dtype))


def test_an_open_size():
    model = DeployedModel(Path("a.tflite"), Sums(1, None, None, 3))
    assert model(np.ones((2, 7, 5, 3), np.uint8))["sum"].tolist() == [105.0, 105.0]
    with pytest.raises(DeploymentError, match=r"\['B', 'any', 'any', 3\]"):
        model(np.ones((2, 7, 5, 4), np.uint8))


def test_what_is_no_exported_file(tmp_path):
    with pytest.raises(DeploymentError, match="nowhere.tflite does not exist"):
        load(tmp_path / "nowhere.tflite")
    with pytest.raises(DeploymentError, match="without saved_model.pb"):
        load(tmp_path)
    for name, message in (("model.tflite", "no LiteRT file"), ("model.bin", "neither a Keras")):
        (tmp_path / name).write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(DeploymentError, match=f"{name} is {message}"):
            load(tmp_path / name)
    keras.Sequential([keras.Input((4, 6, 3))]).save(tmp_path / "model.keras")
    with pytest.raises(DeploymentError, match="model.keras is a Keras file: export it first"):
        load(tmp_path / "model.keras")

"""The format of a model file, told by its content."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from keras_mnv2.deployment import file_format, format_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each format, under names that say nothing."""
    folder = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(folder / "model.keras")
    (folder / "model.keras").rename(folder / "keras")
    model.export(folder / "saved_model", verbose=False)
    (folder / "litert").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return folder


@pytest.mark.parametrize("name", ["keras", "saved_model", "litert"])
def test_by_content(name, files):
    assert format_of(files / name) == format_of(str(files / name)) == name


def test_onnx_has_no_mark(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is absent: pip install onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))
    graph = onnx.helper.make_graph([], "tiny", [value], [value])
    content = onnx.helper.make_model(graph, producer_name="somebody").SerializeToString()
    path = tmp_path / "model"
    path.write_bytes(content)
    assert format_of(path) == "onnx"
    # A part, something behind it, and protobuf messages of other fields.
    saved_model = tf.compat.v1.GraphDef().SerializeToString(), b"\x08\x01\x12\x00"
    for other in (content[:-1], content[:9], content + b"\0", b"", b"\0" * 99, *saved_model):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="model is neither a Keras file"):
            format_of(path)


def test_what_is_none_of_them(tmp_path):
    with pytest.raises(ValueError, match="nowhere.onnx does not exist"):
        format_of(tmp_path / "nowhere.onnx")
    with pytest.raises(ValueError, match="is a folder without saved_model.pb, so no SavedModel"):
        format_of(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="other.zip is neither a Keras file .* nor a SavedModel"):
        format_of(tmp_path / "other.zip")
    for ending, name in (("keras", "Keras"), ("tflite", "LiteRT"), ("onnx", "ONNX")):
        path = tmp_path / f"half.{ending}"
        path.write_bytes((tmp_path / "other.zip").read_bytes()[:40])
        with pytest.raises(ValueError, match=f"half.{ending} is no {name} file, or damaged"):
            format_of(path)


def test_without_the_package_around_it(files):
    """Where a benchmark measures memory, TensorFlow must not come with it."""
    path = Path(file_format.__file__)
    assert runpy.run_path(str(path))["format_of"](files / "litert") == "litert"
    program = f"import runpy, sys; runpy.run_path({str(path)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "zipfile" in loaded and loaded.isdisjoint({"tensorflow", "keras", "numpy"})

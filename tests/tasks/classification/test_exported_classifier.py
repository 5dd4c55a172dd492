"""Evaluation and prediction with exported files in place of the Keras model."""

from __future__ import annotations

import numpy as np
import pytest
from lively_models import save_lively
from PIL import Image

from keras_mnv2.deployment.checksum import with_checksum
from keras_mnv2.deployment.litert.export import export_litert
from keras_mnv2.deployment.programs import classification_program
from keras_mnv2.deployment.saved_model.export import export_saved_model
from tasks.classification import evaluate, predict
from tasks.common.run_folder import read_json as read

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


@pytest.fixture(scope="module")
def files(tiny_run, tmp_path_factory):
    """Folder of a model file and of exported ones; one of them knows no names."""
    folder = tmp_path_factory.mktemp("exported")
    model = save_lively(tiny_run, folder / "model.keras", head="predictions")
    names = read(tiny_run / "labels.json")["labels"]
    program = classification_program(model, names)
    export_litert(program, folder / "named.tflite", input_dtype="uint8")
    export_saved_model(program, folder / "saved")
    nameless = classification_program(model).described(source={"central_crop": 0.5})
    export_litert(nameless, folder / "nameless.tflite")
    return folder


@pytest.fixture
def expected(files, on_shapes):
    """Metrics of the model file."""
    results = files / "model"
    if not results.exists():
        evaluate.main(["--model", str(files / "model.keras"), *on_shapes])
    metrics = read(next(results.glob("metrics_*.json")))
    # The network does not say the same of all images.
    assert sum(bool(x) for x in metrics["accuracy_per_class"].values()) > 1
    return metrics


@pytest.mark.parametrize("name", ["named.tflite", "saved"])
def test_evaluation_gives_the_figures_of_the_model(name, files, on_shapes, expected):
    evaluate.main(["--model", str(files / name), *on_shapes])
    (path,) = (files / f"{name}.results").glob("metrics_*.json")
    assert path.name.startswith(f"metrics_{name.replace('.', '_')}_shapes_tiny")
    metrics = read(path)
    for figure in (*evaluate.FIGURES, "accuracy_per_class"):
        assert metrics[figure] == pytest.approx(expected[figure], rel=1e-5)


def test_a_file_without_names_corresponds_by_index(files, on_shapes, expected, tmp_path):
    """And brings the central crop that it was exported with."""
    command = ["--model", str(files / "nameless.tflite"), *on_shapes, "--output"]
    evaluate.main([*command, str(tmp_path / "own")])
    evaluate.main([*command, str(tmp_path / "given"), "--central-crop", "0.875"])
    (own,) = (tmp_path / "own").glob("metrics_*.json")
    (given,) = (tmp_path / "given").glob("metrics_*.json")
    assert read(own)["central_crop"] == 0.5
    assert read(given)["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=1e-5)
    assert abs(read(own)["cross_entropy"] - read(given)["cross_entropy"]) > 1e-4


def test_prediction_names_the_same_classes(files, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    said = {}
    for which in ("model.keras", "named.tflite"):
        words = ["--model", str(files / which), "--output", str(tmp_path / which)]
        predict.main([str(tmp_path / "photo.png"), *words])
        (prediction,) = read(tmp_path / which / "predictions.json")
        said[which] = prediction["classes"]
    assert [x["name"] for x in said["model.keras"]] == [x["name"] for x in said["named.tflite"]]
    for one, other in zip(*said.values(), strict=True):
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.tflite", "missing.tflite does not exist"),
        ("damaged.tflite", "damaged.tflite is damaged"),
        ("foreign.tflite", "is no LiteRT file, or damaged"),
        ("folder", "without saved_model.pb"),
        ("run", "is the folder of a training run: give it as --run-dir"),
        ("detector.tflite", "is a file for detection, not for classification"),
    ],
)
def test_bad_files_end_in_one_message(name, message, files, on_shapes, tmp_path, capsys):
    content = (files / "named.tflite").read_bytes()
    (tmp_path / "damaged.tflite").write_bytes(content[:5000])
    (tmp_path / "foreign.tflite").write_bytes(b"nothing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    # The same number of letters, so that the flatbuffer stays in order.
    other = content.replace(b'"task": "classification"', b'"task": "detection"     ')
    assert other != content
    (tmp_path / "detector.tflite").write_bytes(with_checksum(other))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--model", str(tmp_path / name), *on_shapes])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before

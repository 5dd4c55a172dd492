"""Evaluation and prediction with exported files in place of the Keras model."""

from __future__ import annotations

import numpy as np
import pytest
from lively_models import save_lively
from PIL import Image

from keras_mnv2.deployment.litert.export import export_litert
from keras_mnv2.deployment.programs import detection_program
from keras_mnv2.deployment.saved_model.export import export_saved_model
from tasks.common.run_folder import read_json as read
from tasks.detection import evaluate, predict
from tasks.detection.coco_evaluation import METRICS

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


@pytest.fixture(scope="module")
def files(tiny_run, tmp_path_factory):
    """Folder of a model file, exported ones of each post-processing, and one without names."""
    folder = tmp_path_factory.mktemp("exported")
    model = save_lively(tiny_run, folder / "model.keras")
    labels = read(tiny_run / "labels.json")
    columns = (labels["labels"], labels["category_ids"])

    def program(postprocessing, *columns):
        return detection_program(model, *columns, postprocessing=postprocessing)

    export_litert(program("none", *columns), folder / "none.tflite", input_dtype="uint8")
    export_litert(program("custom_op", *columns), folder / "custom_op.tflite")
    export_saved_model(program("nms", *columns), folder / "nms")
    export_litert(program("none"), folder / "nameless.tflite")
    return folder


@pytest.fixture
def expected(files, on_shapes):
    """Metrics of the model file."""
    results = files / "model"
    if not results.exists():
        evaluate.main(["--model", str(files / "model.keras"), *on_shapes])
    assert read(next(results.glob("detections_*.json")))
    return read(next(results.glob("metrics_*.json")))


@pytest.mark.parametrize("name", ["none.tflite", "custom_op.tflite", "nms"])
def test_evaluation_gives_the_figures_of_the_model(name, files, on_shapes, expected):
    evaluate.main(["--model", str(files / name), *on_shapes, "--draw", "1"])
    results = files / f"{name}.results"
    (path,) = results.glob("metrics_*.json")
    metrics = read(path)
    for figure in METRICS:
        assert metrics[figure] == pytest.approx(expected[figure], abs=2e-3)
    (detections,) = results.glob("detections_*.json")
    categories = read(files / "model.keras.labels.json")["category_ids"]
    assert {row["category_id"] for row in read(detections)} <= set(categories)
    assert list(results.glob("pictures_*.png"))


def test_prediction_finds_the_same(files, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "7.png")
    found = {}
    for which in ("model.keras", "none.tflite"):
        words = ["--model", str(files / which), "--output", str(tmp_path / which)]
        predict.main([str(tmp_path / "7.png"), *words])
        found[which] = read(tmp_path / which / "detections.json")
    keras_model, file = found.values()
    assert len(file) == len(keras_model) > 0
    scores = [[row["score"] for row in rows] for rows in (file, keras_model)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert file[0]["category_id"] == keras_model[0]["category_id"]
    np.testing.assert_allclose(file[0]["bbox"], keras_model[0]["bbox"], atol=1e-2)


def test_results_need_names(files, on_shapes, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--model", str(files / "nameless.tflite"), *on_shapes])
    assert ended.value.code == 1
    assert "exported without label_names and category_ids" in capsys.readouterr().err
    assert not (files / "nameless.tflite.results").exists()

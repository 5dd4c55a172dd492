"""Evaluation and prediction with exported files in place of the Keras model."""

from __future__ import annotations

import numpy as np
import pytest
from lively_models import save_lively
from PIL import Image

from keras_mnv2.deployment.litert.export import export_litert
from keras_mnv2.deployment.programs import segmentation_program
from keras_mnv2.deployment.saved_model.export import export_saved_model
from tasks.common.run_folder import read_json as read
from tasks.segmentation import evaluate, predict

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


@pytest.fixture(scope="module")
def files(tiny_run, tmp_path_factory):
    """Folder of a model file, a .tflite with class map and a SavedModel with logits."""
    folder = tmp_path_factory.mktemp("exported")
    model = save_lively(tiny_run, folder / "model.keras", head="logits")
    names = read(tiny_run / "labels.json")["labels"]
    class_map = segmentation_program(model, names).described(source={"output_stride": 16})
    export_litert(class_map, folder / "class_map.tflite", input_dtype="uint8")
    export_saved_model(segmentation_program(model, names, "logits"), folder / "logits")
    return folder


@pytest.fixture
def expected(files, on_shapes):
    """Metrics of the model file."""
    results = files / "model"
    if not results.exists():
        evaluate.main(["--model", str(files / "model.keras"), *on_shapes])
    metrics = read(next(results.glob("metrics_*.json")))
    # The network does not say the same of all pixels.
    assert sum(bool(iou) for iou in metrics["IoU_per_class"].values()) > 1
    return metrics


@pytest.mark.parametrize(("name", "stride"), [("class_map.tflite", 16), ("logits", None)])
def test_evaluation_gives_the_figures_of_the_model(name, stride, files, on_shapes, expected):
    evaluate.main(["--model", str(files / name), *on_shapes, "--draw", "1"])
    results = files / f"{name}.results"
    (path,) = results.glob("metrics_*.json")
    metrics = read(path)
    for figure in evaluate.FIGURES:
        assert metrics[figure] == pytest.approx(expected[figure], abs=1e-3)
    assert metrics["size"] == [65, 65] and metrics["output_stride"] == stride
    assert ("stride16" in path.name) == (stride == 16)
    assert list(results.glob("pictures_*.png"))


def test_prediction_gives_the_same_mask(files, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    masks = []
    for which in ("model.keras", "class_map.tflite"):
        words = ["--model", str(files / which), "--output", str(tmp_path / which)]
        predict.main([str(tmp_path / "photo.png"), *words])
        masks.append(np.array(Image.open(tmp_path / which / "masks" / "photo.png")))
    assert masks[0].shape == (50, 90) and len(np.unique(masks[0])) > 1
    assert np.mean(masks[0] == masks[1]) > 0.999


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--output-stride 16", "leave out --output-stride and --size"),
        ("--size 97 97", "leave out --output-stride and --size"),
        ("--scales 0.5 1", "leave out --scales and --flip"),
        ("--flip", "leave out --scales and --flip"),
    ],
)
def test_what_needs_the_network_is_refused(words, message, files, on_shapes, tmp_path, capsys):
    command = ["--model", str(files / "logits"), *on_shapes, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        evaluate.main([*command, *words.split()])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

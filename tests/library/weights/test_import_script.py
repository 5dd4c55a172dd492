"""scripts/import_weights.py, and its comparison with the running original."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from original_networks import classifier_graph, segmentation_graph
from weight_files import (
    CLASSIFIER,
    assert_same,
    random_arrays,
    small_model,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_h5,
)

from keras_mnv2.weights import registry

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def run():
    """Function from command line arguments to the exit status."""
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    try:
        import import_weights

        yield lambda *arguments: import_weights.main([str(argument) for argument in arguments])
    finally:
        sys.path.remove(str(REPOSITORY / "scripts"))


@pytest.fixture
def classifier(network, tmp_path):
    case = network("MobileNetV2")
    graph = classifier_graph(tf1_arrays(case.model, case.arrays), 64)
    case.path = tmp_path / "mobilenet_frozen.pb"
    case.path.write_bytes(graph.SerializeToString())
    return case


@pytest.fixture
def segmenter(network, tmp_path):
    case = network("DeepLabV3")
    graph = segmentation_graph(tf1_arrays(case.model, case.arrays), 65, output_stride=8)
    case.path = tmp_path / "frozen_inference_graph.pb"
    case.path.write_bytes(graph.SerializeToString())
    return case


def differences(output: str) -> dict[str, float]:
    lines = [line.split() for line in output.splitlines() if line.endswith("  ok")]
    return {" ".join(words[:-2]): float(words[-2]) for words in lines}


def test_classifier_agrees_with_the_running_graph(run, classifier, tmp_path, capsys):
    output = tmp_path / "out" / "classifier.keras"
    assert run(classifier.path, output, "--verify") == 0
    assert differences(capsys.readouterr().out)["probabilities"] < 1e-4
    assert_same(keras.models.load_model(output), classifier.arrays)
    content = json.loads((tmp_path / "out" / "classifier.keras.labels.json").read_text())
    assert content["labels"] is None
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "classifier.keras",
        "classifier.keras.labels.json",
    ]


def test_segmenter_agrees_at_the_stride_of_the_graph(run, segmenter, tmp_path, capsys):
    archive = write_archive(
        tmp_path / "deeplab.tgz", {"d/frozen_inference_graph.pb": segmenter.path.read_bytes()}
    )
    output = tmp_path / "segmenter.weights.h5"
    assert run(archive, output, "--verify") == 0
    printed = capsys.readouterr().out
    assert "output stride: 8" in printed
    found = differences(printed)
    assert found["segmentation logits"] < 1e-3
    assert found["pixels of another class"] < 1e-3
    model = small_model("DeepLabV3")
    model.load_weights(output)
    assert_same(model, segmenter.arrays)


def test_output_stride(run, segmenter, tmp_path, capsys):
    for options, cells in (((), 9), (("--output-stride", 16), 5)):
        output = tmp_path / "segmenter.keras"
        assert run(segmenter.path, output, *options) == 0
        features = keras.models.load_model(output).get_layer("block_16_project_BN")
        assert features.output.shape[1] == cells
        assert f"output stride: {8 if cells == 9 else 16}" in capsys.readouterr().out


def test_weights_that_are_written_are_compared(run, classifier, tmp_path, capsys):
    # The graph holds averages, the variables of the checkpoint are others.
    folder = tmp_path / "release"
    folder.mkdir()
    arrays = tf1_arrays(classifier.model, classifier.arrays)
    averages = {f"{name}/ExponentialMovingAverage": array for name, array in arrays.items()}
    variables = tf1_arrays(classifier.model, random_arrays(classifier.model, seed=1))
    write_checkpoint(folder / "model.ckpt", {**variables, **averages})
    classifier.path.rename(folder / "frozen.pb")
    output = tmp_path / "model.keras"
    for options in ((), ("--ema",)):
        assert run(folder, output, "--input-size", 64, 64, *options, "--verify") == 0
    output.unlink()
    assert run(folder, output, "--input-size", 64, 64, "--no-ema", "--verify") == 1
    assert "may rightly be others" in capsys.readouterr().err
    assert not output.exists()


def test_content_decides_whether_there_is_a_graph(run, network, tmp_path, capsys):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "frozen.pb", case.model, case.arrays)
    assert run(path, tmp_path / "model.keras", "--input-size", 64, 64, "--verify") == 0
    assert "nothing to run" in capsys.readouterr().out


def test_session_is_closed(run, classifier):
    import original_graph

    with original_graph.OriginalGraph(original_graph.frozen_graph(classifier.path)) as original:
        assert original.input() == "input:0"
    with pytest.raises(RuntimeError, match="closed"):
        original.run({"output": "MobilenetV2/Predictions/Reshape_1:0"}, np.zeros((1, 64, 64, 3)))


def test_output_that_cannot_be_written(run, classifier, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "model.keras", tmp_path / "file" / "a" / "model.keras"):
        assert run(classifier.path, output) == 1
        captured = capsys.readouterr()
        assert "cannot be written" in captured.err and not captured.out
    assert run(classifier.path, tmp_path / "model.keras", "--labels", tmp_path / "none.txt") == 1
    assert "none.txt" in capsys.readouterr().err


def test_new_head_on_a_file_without_one(run, network, tmp_path, capsys):
    case = network("MobileNetV2", classes=None)
    path = write_h5(tmp_path / "no_top.h5", case.model, case.arrays)
    output = tmp_path / "model.keras"
    names = tmp_path / "names.txt"
    names.write_text("".join(f"name {label}\n" for label in range(10)))
    assert run(path, output, "--classes", 10, "--labels", names, "--input-size", 64, 64) == 0
    assert keras.models.load_model(output).output_shape == (None, 10)
    content = json.loads((tmp_path / "model.keras.labels.json").read_text())
    assert content["labels"] == names.read_text().splitlines()
    assert run(path, output, "--labels", names) == 1
    assert "10 names were given for 0 classes" in capsys.readouterr().err
    assert run(path, output, "--classes", 0) == 1
    assert "classes=0" in capsys.readouterr().err


def test_published_weights_by_name(run, network, tmp_path, capsys, monkeypatch):
    case = network("MobileNetV2")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    write_h5(tmp_path / "models" / "classifier.h5", case.model, case.arrays)
    entry = replace(CLASSIFIER, url="https://example.org/classifier.h5")
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    output = tmp_path / "model.keras"
    assert run("imagenet", output, "--alpha", 0.35, "--input-size", 64, 64) == 0
    assert_same(keras.models.load_model(output), case.arrays)
    content = json.loads((tmp_path / "model.keras.labels.json").read_text())
    assert content["source"] == "classifier.h5" and content["published"]["name"] == "imagenet"
    assert run("imagenet", output) == 1
    assert "published for alpha=0.35" in capsys.readouterr().err


def test_pictures_to_verify_on(run, segmenter, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 255, (40, 90, 3), "uint8")
    (tmp_path / "p.png").write_bytes(tf.io.encode_png(picture).numpy())
    output = tmp_path / "s.weights.h5"
    assert run(segmenter.path, output, "--verify", tmp_path / "p.png") == 0
    assert "segmentation logits" in differences(capsys.readouterr().out)
    assert run(segmenter.path, output, "--verify", tmp_path / "none.png") == 1
    assert "none.png" in capsys.readouterr().err


def test_a_difference_is_reported(run, classifier, tmp_path, capsys):
    # The graph computes something else than its variables say.
    graph = tf.compat.v1.GraphDef.FromString(classifier.path.read_bytes())
    next(n for n in graph.node if n.name == "MobilenetV2/Predictions/Reshape_1").op = "Sigmoid"
    classifier.path.write_bytes(graph.SerializeToString())
    output = tmp_path / "classifier.keras"
    assert run(classifier.path, output, "--verify") == 1
    assert "above 1e-04" in capsys.readouterr().out
    assert not output.exists()


def test_checkpoint_has_nothing_to_run(run, network, tmp_path, capsys):
    case = network("MobileNetV2")
    prefix = write_checkpoint(tmp_path / "model.ckpt", tf1_arrays(case.model, case.arrays))
    assert run(prefix, tmp_path / "model.keras", "--input-size", 64, 64, "--verify") == 0
    assert "nothing to run" in capsys.readouterr().out


def test_labels(run, classifier, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    output = tmp_path / "model.keras"
    assert run(classifier.path, output, "--labels", tmp_path / "names.txt") == 1
    assert "2 names were given for 3 classes" in capsys.readouterr().err
    assert not output.exists()
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    assert run(classifier.path, output, "--labels", tmp_path / "names.txt") == 0
    content = json.loads((tmp_path / "model.keras.labels.json").read_text())
    assert content["labels"] == ["cat", "dog", "cow"]


def test_class_columns(run, classifier, tmp_path, capsys):
    output = tmp_path / "model.keras"
    assert run(classifier.path, output, "--class-columns", 2, 0, "--verify") == 0
    model = keras.models.load_model(output)
    expected = classifier.arrays["predictions/kernel"][:, [2, 0]]
    np.testing.assert_array_equal(model.get_layer("predictions").kernel.numpy(), expected)


def test_damaged_file_writes_nothing(run, tmp_path, capsys):
    (tmp_path / "graph.pb").write_text("no graph")
    assert run(tmp_path / "graph.pb", tmp_path / "out" / "model.keras") == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_unknown_output_format(run, classifier, tmp_path):
    with pytest.raises(SystemExit):
        run(classifier.path, tmp_path / "model.onnx")

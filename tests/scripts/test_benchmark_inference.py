"""scripts/benchmark_inference.py on tiny models. No time is asserted."""

from __future__ import annotations

import json
import subprocess

import benchmark_inference
import inference_files
import keras
import latency_programs
import numpy as np
import pytest
import tensorflow as tf
from benchmark_inference import BASELINE
from benchmarking import InputError
from latency_programs import Program

from keras_mnv2 import MobileNetV2, SSDLite
from keras_mnv2.weights.download import sha256

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


def tiny_classifier() -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 1)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name="tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `inference_files` would write, of a tiny network."""
    root = tmp_path_factory.mktemp("files")
    folder = root / "classification"
    folder.mkdir()
    model = tiny_classifier()
    model.save(folder / "network.keras")
    litert = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "0.tflite").write_bytes(litert)
    files = [
        {"name": "Keras", "path": "network.keras"},
        {"name": "LiteRT float32", "path": "0.tflite", "arena_bytes": 2_340_000},
        {"name": "LiteRT float32 + builtin NMS", "path": "0.tflite"},
    ]
    left_out = {"ONNX Runtime": "no module named onnx"}
    made_of = {"model_sha256": sha256(folder / "network.keras"), "split_share": None}
    result = {"files": files, "left_out": left_out} | made_of
    (folder / "files.json").write_text(json.dumps(result))
    return root


def run(*arguments) -> int:
    return benchmark_inference.main([str(argument) for argument in arguments])


def test_all_forms_side_by_side(folder, tmp_path, capfd):
    path = tmp_path / "times.json"
    published = folder / "classification" / "0.tflite"
    settings = ("--networks", "classification", "--threads", 1, "--repeats", 3)
    files = ("--folder", folder, "--published", f"classification={published}", "--json", path)
    assert run(*settings, *files) == 0
    printed = capfd.readouterr().out
    result = json.loads(path.read_text())["classification"]
    rows = {row["form"]: row for row in result["rows"]}
    names = ["LiteRT float32", "LiteRT float32 + builtin NMS", "published: 0.tflite"]
    assert list(rows) == [BASELINE, "tf.function", *names]
    assert [row["kind"] for row in rows.values()] == ["Keras"] * 2 + ["LiteRT"] * 3
    times = {row["form"]: [x["ms"] for x in result["steps"][row["name"]]] for row in rows.values()}
    for form, row in rows.items():
        assert row["threads"] == 1
        assert row["file_bytes"] > 1000
        ratios = sorted(a / b for a, b in zip(times[BASELINE], times[form], strict=True))
        assert row["times_as_fast"] == ratios[1]
        line = next(line for line in printed.splitlines() if line.startswith(f"{form}  "))
        assert f"{row['median_ms']:.2f}" in line
    assert rows[BASELINE]["times_as_fast"] == 1
    without, with_nms = (times[name] for name in names[:2])
    share = 1 - sorted(a / b for a, b in zip(without, with_nms, strict=True))[1]
    assert [form for form, row in rows.items() if "postprocessing_share" in row] == [names[1]]
    assert rows[names[1]]["postprocessing_share"] == share
    assert f"{share:.1%} of the latency is post-processing" in printed
    assert "ONNX Runtime         left out: no module named onnx" in printed
    assert "2.34" in printed


def test_every_form_has_a_process_for_each_number_of_threads(folder, monkeypatch):
    started = {}

    def compare(commands, rounds, pause):
        started.update(commands)
        steps = {name: [{"ms": 1.0}] * rounds for name in commands}
        rows = [{"name": name} for name in commands]
        return {"rows": rows, "steps": steps, "unavailable": {}}

    monkeypatch.setattr(benchmark_inference.benchmarking, "compare", compare)
    options = benchmark_inference.parse_arguments(["--folder", str(folder), "--threads", "1", "2"])
    prepared = benchmark_inference.prepare("classification", folder / "classification", options)
    benchmark_inference.measure("classification", prepared, options)
    programs = [json.loads(command[-1]) for command in started.values()]
    paths = ["network.keras", "network.keras", "0.tflite", "0.tflite"]
    assert [program["path"].rpartition("/")[2] for program in programs] == paths * 2
    assert [program["threads"] for program in programs] == [1] * 4 + [2] * 4
    assert [program["predict"] for program in programs] == [True, False, False, False] * 2


def test_files_that_are_there_are_those_that_were_asked_for(folder, tmp_path, capsys):
    def prepare(*options):
        options = benchmark_inference.parse_arguments(["--folder", str(folder), *options])
        return benchmark_inference.prepare("classification", folder / "classification", options)

    model = folder / "classification" / "network.keras"
    assert prepare("--model", f"classification={model}")["files"] == prepare()["files"]
    assert "of a model file" in capsys.readouterr().out
    tiny_classifier().save(tmp_path / "other.keras")
    wrong = f"--model classification={tmp_path / 'other.keras'}"
    with pytest.raises(InputError, match=f"not made with {wrong} and --split-expansion 0.5: give"):
        prepare(*wrong.split(), "--split-expansion", "0.5")


def test_a_model_must_be_one_of_keras(folder, capsys):
    path = folder / "classification" / "0.tflite"
    assert run("--model", f"classification={path}") == 1
    assert "0.tflite is a LiteRT file, no .keras" in capsys.readouterr().err


def test_keras_predict_and_onnx_runtime(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(latency_programs, "_tensorflow", lambda threads: (tf, "CPU"))
    step, facts = Program(folder / "classification" / "network.keras", predict=True).build()
    assert step().shape == (1, 3)
    assert facts["kind"] == "Keras"

    onnx = pytest.importorskip("onnx", reason="onnx is absent: pip install onnx")
    pytest.importorskip("onnxruntime", reason="onnxruntime is absent: pip install onnxruntime")
    value = onnx.helper.make_tensor_value_info
    shape = ("batch", "height", 8, 3)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["images"], ["y"])],
        "tiny",
        [value("images", onnx.TensorProto.FLOAT, shape)],
        [value("y", onnx.TensorProto.FLOAT, shape)],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[opset])
    onnx.save(model, tmp_path / "tiny.onnx")
    step, facts = Program(tmp_path / "tiny.onnx", batch_size=2, size=(4, 8)).build()
    assert facts["kind"] == "ONNX"
    assert facts["input"] == {"shape": [2, 4, 8, 3], "dtype": "float32"}
    assert step()[0].shape == (2, 4, 8, 3)
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="damaged.onnx is no ONNX file, or damaged"):
        Program(tmp_path / "damaged.onnx").build()


def test_the_files_of_a_classifier(tmp_path):
    """All of them, or the reason why not, and what was never trained is no reason."""
    result = inference_files.write_files("classification", tmp_path, tiny_classifier(), 0.5)
    assert json.loads((tmp_path / "files.json").read_text()) == result
    names = [file["name"] for file in result["files"]]
    assert names[:3] == ["Keras", "LiteRT float32", "LiteRT int8"]
    assert "ONNX Runtime" in {*names, *result["left_out"]}
    assert "cannot be reached" in result["left_out"]["LiteRT float32, split to 0.5"]
    for file in result["files"]:
        assert (tmp_path / file["path"]).stat().st_size > 1000
    keras_file, float32, int8 = result["files"][:3]
    # Pixels, their scaled copy and the convolution; the converter does without the copy.
    assert keras_file["peak_activation_bytes"] == 4 * 16 * 16 * (3 + 3 + 4)
    assert 0 < int8["arena_bytes"] < float32["arena_bytes"] < keras_file["peak_activation_bytes"]


def test_a_detector_has_files_with_and_without_suppression(tmp_path, monkeypatch):
    exported = []

    def export(program, path):
        exported.append((path.suffix, program.description.postprocessing))
        return {}

    for name in ("_litert", "_int8", "_onnx"):
        monkeypatch.setattr(inference_files, name, export)
    model = SSDLite(2, (64, 64, 3), alpha=0.35)
    result = inference_files.write_files("detection", tmp_path, model)
    assert exported == [
        *((suffix, "none") for suffix in (".tflite", ".tflite", ".onnx")),
        (".tflite", "nms"),
        (".tflite", "custom_op"),
    ]
    names = [file["name"] for file in result["files"]]
    assert names[1] == benchmark_inference.WITHOUT_NMS
    assert [name for name in names if name.startswith(benchmark_inference.WITH_NMS)] == names[4:]


def test_fresh_networks_have_activations_of_ordinary_size(monkeypatch):
    network = inference_files.Network(
        lambda: MobileNetV2(
            (64, 64, 3), alpha=0.35, include_top=False, bn_momentum=0.0, include_preprocessing=True
        ),
        None,
    )
    monkeypatch.setitem(inference_files.NETWORKS, "classification", network)
    model = inference_files.fresh_model("classification")
    image = inference_files.sample_images((64, 64))[:1]
    assert 0.1 < np.std(model(image)) < 10


def test_files_that_cannot_be_written_end_the_run(tmp_path, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1, "", "ValueError: no classifier")
    monkeypatch.setattr(benchmark_inference.subprocess, "run", lambda *_, **__: failed)
    assert run("--folder", tmp_path) == 1
    error = capsys.readouterr().err
    assert "writing the files of MobileNetV2 1.0/224 failed:\nValueError: no classifier" in error


def test_missing_files(tmp_path, capsys):
    for option in ("--model", "--published"):
        assert run(option, f"detection={tmp_path / 'missing.tflite'}") == 1
        assert "missing.tflite does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--networks", "pose"), "invalid choice"),
        (("--threads", "0"), "--threads must be at least 1"),
        (("--repeats", "1"), "--repeats must be at least 2"),
        (("--split-expansion", "1.5"), "must lie between 0 and 1"),
        (("--published", "file.tflite"), "must be TASK=FILE"),
        (("--model", "pose=file.keras"), "must be TASK=FILE"),
        (("--networks", "detection", "--model", "segmentation=a.keras"), "leaves out segmentation"),
        (("--networks", "detection", "--published", "segmentation=a.tflite"), "leaves out seg"),
        (("--model", "detection=a.keras", "detection=b.keras"), "only one file for each network"),
        (("--json", "no/such/folder/times.json"), "there is no folder no/such/folder"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark_inference.main(list(arguments))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err

"""scripts/benchmark_latency.py on tiny models of all three kinds. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import benchmark_latency
import keras
import latency_programs
import numpy as np
import pytest
import tensorflow as tf
from benchmarking import InputError
from latency_programs import Program, is_detector

from keras_mnv2 import SSDLite

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder with one tiny network in the three kinds, and a detector."""
    folder = tmp_path_factory.mktemp("models")
    # Another size and batch than asked for must be possible where they are open.
    model = keras.Sequential(
        [
            keras.Input((None, 64, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(2, 3, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(folder / "tiny.keras")
    model.export(folder / "saved", verbose=False)
    litert = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "tiny.tflite").write_bytes(litert)
    SSDLite(2, (64, 64, 3), alpha=0.35).save(folder / "detector.keras")
    return folder


@pytest.fixture
def run(models, monkeypatch):
    """Function from command line arguments to the exit status, in the folder of the models."""
    monkeypatch.chdir(models)
    return lambda *arguments: benchmark_latency.main([str(argument) for argument in arguments])


@pytest.fixture
def one_process(monkeypatch):
    """Lets this process build what only a fresh one can limit in its threads."""
    monkeypatch.setattr(latency_programs, "_tensorflow", lambda threads: (tf, "CPU"))


def test_the_three_kinds_side_by_side(run, tmp_path, capfd):
    path = tmp_path / "times.json"
    names = ("detector.keras", "saved", "tiny.tflite")
    settings = ("--size", 64, 64, "--batch-size", 2, "--repeats", 3, "--threads", 2)
    status = run(*names, *settings, "--json", path)
    printed = capfd.readouterr().out
    assert status == 0
    result = json.loads(path.read_text())
    rows = {row["model"]: row for row in result["rows"]}
    assert list(rows) == ["detector.keras", "detector.keras + post-processing", *names[1:]]
    assert [row["kind"] for row in rows.values()] == ["Keras", "Keras", "SavedModel", "LiteRT"]
    for model, row in rows.items():
        assert row["threads"] == 2
        dtype = "float32" if row["kind"] == "Keras" else "uint8"
        assert row["input"] == {"shape": [2, 64, 64, 3], "dtype": dtype}
        times = [step["ms"] for step in result["steps"][row["name"]]]
        assert len(times) == 3
        assert row["median_ms"] == sorted(times)[1]
        assert min(times) <= row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] <= max(times)
        line = next(line for line in printed.splitlines() if line.startswith(f"{model}  "))
        assert f"{row['median_ms']:.2f}" in line and f"64x64x3 {dtype}" in line
    assert result["settings"] == {"batch_size": 2, "repeats": 3, "size": [64, 64]}
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_run(models, one_process):
    """The outputs are those of the model, at an open size too."""
    for name in ("tiny.keras", "saved"):
        step, facts = Program(models / name, batch_size=3, size=(8, 64)).build()
        assert facts["input"] == {"shape": [3, 8, 64, 3], "dtype": "uint8"}
        assert [output.shape for output in step()] == [(3, 2)]
    network, _ = Program(models / "detector.keras").build()
    assert sorted(output.shape[-1] for output in network()) == [3, 4]
    detector, _ = Program(models / "detector.keras", postprocessing=True).build()
    assert sorted(output.shape for output in detector()) == [(1,), (1, 100), (1, 100), (1, 100, 4)]
    step, facts = Program(models / "tiny.tflite", batch_size=3, size=(8, 64)).build()
    step()
    assert facts["input"]["shape"] == [3, 8, 64, 3]


def test_keras_models_infer(tmp_path, one_process):
    """In training this one would drop nearly all that it gets."""
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dropout(0.95)(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "dropout.keras")
    step, _ = Program(tmp_path / "dropout.keras").build()
    assert (step()[0] != 0).mean() > 0.9


@pytest.mark.parametrize("name", ["tiny.keras", "saved"])
def test_tensorflow_has_so_many_threads(models, name):
    """In a fresh process, since a used one can no longer be told."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from latency_programs import Program\n"
        "Program(Path(sys.argv[2]), threads=3, size=(8, 64)).build()\n"
        "import tensorflow as tf; limits = tf.config.threading\n"
        "print(limits.get_intra_op_parallelism_threads(), end=' ')\n"
        "print(limits.get_inter_op_parallelism_threads())\n"
    )
    scripts = str(Path(benchmark_latency.__file__).parent)
    command = [sys.executable, "-c", program, scripts, str(models / name)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["3", "1"]


def test_litert_has_so_many_threads(models, monkeypatch):
    from ai_edge_litert import interpreter

    told = []

    class Spy(interpreter.Interpreter):
        def __init__(self, path, **options):
            told.append(options)
            super().__init__(path, **options)

    monkeypatch.setattr(interpreter, "Interpreter", Spy)
    Program(models / "tiny.tflite", threads=3, size=(8, 64)).build()
    assert told == [{"num_threads": 3}]


def test_every_number_of_threads_has_its_own_process(models):
    options = benchmark_latency.parse_arguments(
        [str(models / "tiny.tflite"), str(models / "detector.keras"), "--threads", "1", "2"]
    )
    programs = benchmark_latency.programs(options)
    found = [(p.path.name, p.threads, p.postprocessing) for p in programs.values()]
    assert found == [
        *(("tiny.tflite", threads, False) for threads in (1, 2)),
        *(("detector.keras", threads, after) for threads in (1, 2) for after in (False, True)),
    ]


def test_detectors_are_told_apart(models):
    assert is_detector(models / "detector.keras")
    assert not any(is_detector(models / name) for name in ("tiny.keras", "tiny.tflite", "saved"))


def test_a_model_that_does_not_fit_ends_the_run(run, capfd):
    assert run("tiny.tflite", "--repeats", 2) == 1
    captured = capfd.readouterr()
    assert "error: tiny.tflite leaves its image size open: give --size" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", ["tiny.keras", "saved", "tiny.tflite"])
def test_sizes_that_do_not_fit(models, name, one_process):
    with pytest.raises(InputError, match="--size HEIGHT WIDTH"):
        Program(models / name).build()
    with pytest.raises(InputError, match="made for images of any x 64, not 16 x 32"):
        Program(models / name, size=(16, 32)).build()


def litert(tmp_path, *arguments):
    model = keras.Sequential([keras.Input(*arguments), keras.layers.Flatten()])
    path = tmp_path / "other.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


def test_models_of_other_inputs(tmp_path):
    with pytest.raises(InputError, match="not images"):
        Program(litert(tmp_path, (5,))).build()
    with pytest.raises(InputError, match="made for batches of 4: --batch-size 4"):
        Program(litert(tmp_path, (8, 8, 3), 4)).build()
    with pytest.raises(InputError, match="takes int32, not pixels"):
        Program(litert(tmp_path, (8, 8, 3), 1, "int32")).build()


def test_damaged_files(tmp_path, one_process):
    (tmp_path / "damaged.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    with zipfile.ZipFile(tmp_path / "damaged.keras", "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "[]")
    assert not is_detector(tmp_path / "damaged.keras")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"no model")
    for name in ("damaged.tflite", "damaged.keras", "damaged"):
        with pytest.raises(InputError, match=f"{name} cannot be loaded: "):
            Program(tmp_path / name).build()


def test_a_saved_model_without_the_signature(tmp_path, one_process):
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(InputError, match="no signature serving_default"):
        Program(tmp_path / "bare").build()


def foreign_files(folder):
    (folder / "empty").mkdir()
    (folder / "notes.keras").write_text("no model")
    (folder / "nothing.tflite").write_bytes(b"")
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("readme", "no model")
    np.save(folder / "array.npy", np.zeros(3))
    return {"notes.keras": "Keras", "nothing.tflite": "LiteRT", "other.zip": "", "array.npy": ""}


def test_foreign_files(tmp_path, capsys):
    for name, kind in foreign_files(tmp_path).items():
        assert benchmark_latency.main([str(tmp_path / name)]) == 1
        wrong = f"no {kind} file, or damaged" if kind else "neither a Keras file (.keras)"
        assert f"{name} is {wrong}" in capsys.readouterr().err
    assert benchmark_latency.main([str(tmp_path / "empty")]) == 1
    assert "folder without saved_model.pb" in capsys.readouterr().err
    assert benchmark_latency.main([str(tmp_path / "missing.keras")]) == 1
    assert "missing.keras does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "0"), "at least 1"),
        (("--threads", "1", "0"), "at least 1"),
        (("--size", "-3", "4"), "at least 1"),
        (("--repeats", "1"), "at least 2"),
        (("--json", "no/such/folder/times.json"), "there is no folder no/such/folder"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark_latency.main(["model.keras", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err

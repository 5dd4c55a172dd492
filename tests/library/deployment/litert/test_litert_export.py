"""LiteRT files of all tasks: which operations they hold, what they answer, what they refuse."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_operators import (
    LITERT,
    LITERT_ANY_BATCH,
    LITERT_RESIZABLE,
    LITERT_SMALLER,
    LITERT_UINT8,
)
from PIL import Image
from tiny_programs import assert_same, random_images

from keras_mnv2.deployment.checksum import with_checksum
from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.litert import export as litert_export
from keras_mnv2.deployment.litert.export import check_operators, export_litert
from keras_mnv2.deployment.litert.file import operators, parse, read_description, with_description
from keras_mnv2.deployment.programs import classification_program, detection_program
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.sample_pictures import sample_images

litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="the runtime is absent: pip install ai-edge-litert"
)

REPOSITORY = Path(__file__).resolve().parents[4]
KINDS = ("classification", "class_map", "none", "nms", "custom_op")
UINT8 = ("class_map", "nms")


@pytest.fixture(scope="module")
def folder(programs, tmp_path_factory):
    """Folder of a float32 file for each kind, some for uint8."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in KINDS:
        dtype = "uint8" if kind in UINT8 else "float32"
        export = export_litert(programs[kind], folder / f"{kind}.tflite", input_dtype=dtype)
        assert export.path == folder / f"{kind}.tflite" and export.agreement > 0.9999
        assert export.operators == operators(export.path)
    return folder


@pytest.fixture
def converted_before(folder, monkeypatch):
    """Exports that follow take this file of `folder`, since a conversion takes seconds."""

    def take(kind):
        content = (folder / f"{kind}.tflite").read_bytes()
        monkeypatch.setattr(litert_export, "make_converter", lambda *_, **__: None)
        monkeypatch.setattr(litert_export, "convert", lambda _: content)

    return take


@pytest.mark.parametrize("kind", KINDS)
def test_operations(kind, folder):
    golden = LITERT_UINT8 if kind in UINT8 else LITERT
    assert operators(folder / f"{kind}.tflite") == golden[kind]


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_answers(kind, programs, folder):
    model, program = load(folder / f"{kind}.tflite"), programs[kind]
    images = random_images(program)
    assert_same(program, model(images), program.predict(images))
    shifted = images[:1].astype(np.float32) * 0.9 + 0.25
    seen = np.rint(shifted) if kind in UINT8 else shifted
    assert_same(program, model(shifted), program.predict(seen))


def test_the_custom_operation_returns_the_same_detections(programs, folder):
    """But others do not take the place of those that have no area in the image."""
    # On two threads the operation would lose class 2, whatever is asked for.
    model, program = load(folder / "custom_op.tflite", num_threads=2), programs["custom_op"]
    images = random_images(program)
    found, expected = model(images), program.predict(images)
    assert set(np.unique(found["classes"])) == {0, 1, 2}
    for image, count in enumerate(found["num_detections"]):
        assert 90 < count <= 100
        for name in ("boxes", "scores", "classes"):
            assert found[name].dtype == expected[name].dtype
            assert not found[name][image, count:].any()
            expected[name][image, count:] = 0
        expected["num_detections"][image] = count
    assert_same(program, found, expected)


def test_the_lines_of_the_readme_run_without_keras_and_tensorflow(programs, folder, tmp_path):
    """As they stand there, with a file and a picture of the names that they have there."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (lines,) = [block for block in blocks if "ai_edge_litert" in block]
    assert len(lines.splitlines()) <= 18
    target = tmp_path / re.search(r'path = "(.*)"', lines)[1]
    target.parent.mkdir(parents=True)
    for ending in ("", ".json"):
        shutil.copy(folder / f"nms.tflite{ending}", f"{target}{ending}")
    name = re.search(r'Image.open\("(.*?)"\)', lines)[1]
    (tmp_path / name).parent.mkdir()
    shutil.copy(REPOSITORY / name, tmp_path / name)
    banned = ("tensorflow", "keras", "keras_mnv2", "tasks")
    program = f"import sys; sys.modules |= dict.fromkeys({banned})\n{lines}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    height, width = programs["nms"].description.input_size
    picture = Image.open(REPOSITORY / name).convert("RGB").resize((width, height), Image.BILINEAR)
    expected = programs["nms"].predict(np.asarray(picture)[None])
    said = [line.split() for line in done.stdout.splitlines()]
    rows = [
        (programs["nms"].description.label_names[label], f"{score:.2f}")
        for label, score in zip(expected["classes"][0], expected["scores"][0], strict=True)
        if score > 0.6
    ]
    assert [score for _, score in rows] == [words[1] for words in said]
    assert Counter(rows) == Counter((words[0], words[1]) for words in said) and rows


def test_the_description_is_inside_and_beside(programs, folder):
    for kind in KINDS:
        program, description = programs[kind], load(folder / f"{kind}.tflite").description
        assert description == read_description(folder / f"{kind}.tflite")
        beside = Description.from_json((folder / f"{kind}.tflite.json").read_text())
        assert beside == description
        dtype = "uint8" if kind in UINT8 else "float32"
        assert description == dataclasses.replace(
            program.description, format="litert", input_dtype=dtype
        )
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{kind}.tflite{ending}" for kind in KINDS for ending in ("", ".json")
    )


def test_another_description_changes_nothing_else(folder):
    content = (folder / "classification.tflite").read_bytes()
    before = parse(content, "before")
    description = dataclasses.replace(
        read_description(folder / "classification.tflite"), accuracy={"top-1": 0.5}
    )
    changed = with_description(content, description)
    after = parse(changed, "after")
    names = [entry.name for entry in after.metadata]
    assert names.count(b"keras_mnv2") == 1
    assert b"min_runtime_version" in names and b"CONVERSION_METADATA" in names
    assert after.signatureDefs[0].signatureKey == before.signatureDefs[0].signatureKey
    changes = {
        number
        for number, (old, new) in enumerate(zip(before.buffers, after.buffers, strict=True))
        if not np.array_equal(old.data, new.data)
    }
    ours = (b"keras_mnv2", b"keras_mnv2.sha256")
    assert changes == {entry.buffer for entry in after.metadata if entry.name in ours}
    assert changed.count(b'"task": "classification"') == 1
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    runs = [
        litert.Interpreter(model_content=file).get_signature_runner() for file in (content, changed)
    ]
    np.testing.assert_array_equal(*(run(images=image)["probabilities"] for run in runs))


def test_weights_are_aligned_for_every_processor(folder):
    from tensorflow.lite.python import schema_py_generated as schema

    content = (folder / "classification.tflite").read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    places = [
        model.Buffers(i).DataAsNumpy().__array_interface__["data"][0] - start
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(places) > 50 and all(place % 16 == 0 for place in places)


@pytest.mark.parametrize("kind", ["classification", "class_map", "nms"])
@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_smaller_weights(precision, kind, programs, folder, tmp_path):
    path = tmp_path / "small.tflite"
    export = export_litert(programs[kind], path, precision)
    assert export.agreement > 0.9
    assert load(path).description.precision == precision
    size, whole = path.stat().st_size, (folder / f"{kind}.tflite").stat().st_size
    assert size < (0.55 if precision == "float16" else 0.4) * whole
    # Among what is made smaller is nothing that places the boxes.
    assert export.operators == {**LITERT[kind], **LITERT_SMALLER[precision][kind]}


@pytest.mark.parametrize("kind", ["classification", "class_map"])
def test_any_batch_and_any_size(kind, programs, tmp_path):
    program = programs[kind]
    export = export_litert(program, tmp_path / "open.tflite", batch_size=None, resizable=True)
    assert export.operators == LITERT_RESIZABLE[kind]
    model = load(tmp_path / "open.tflite")
    images = random_images(program)
    assert_same(program, model(images), program.predict(images))
    larger = np.pad(images, [(0, 0), (7, 9), (3, 0), (0, 0)], mode="reflect")
    found = model(larger)
    if kind == "class_map":
        image = keras.Input((None, None, 3))
        network = keras.models.clone_model(program.network, image, clone_function=lambda x: x)
        expected = dataclasses.replace(program, network=network).predict(larger)
        assert_same(program, found, expected)
    assert len(found[next(iter(found))]) == len(larger)


def test_any_batch_of_raw_outputs(programs, tmp_path):
    program = programs["none"]
    export = export_litert(program, tmp_path / "batch.tflite", batch_size=None)
    assert export.operators == LITERT_ANY_BATCH["none"]
    images = random_images(program)
    run = litert.Interpreter(str(export.path)).get_signature_runner()
    assert_same(program, run(images=images.astype(np.float32)), program.predict(images))


def test_images_in_which_nothing_is_found_prove_nothing(programs, converted_before, tmp_path):
    images = sample_images(programs["nms"].description.input_size)
    threshold = programs["nms"].predict(images)["scores"].max() + 0.02
    program = detection_program(
        programs["none"].network, postprocessing="nms", score_threshold=float(threshold)
    )
    # By default they are changed until something is found in them.
    assert export_litert(program, tmp_path / "a.tflite").agreement > 0.99
    converted_before("nms")
    with pytest.raises(DeploymentError, match="nothing scores more than .* give photos"):
        export_litert(program, tmp_path / "b.tflite", images=images)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("classification", {"path": "a.bin"}, "must end in .tflite"),
        ("classification", {"precision": "int4"}, "precision='int4' must be one of"),
        ("classification", {"input_dtype": "int8"}, "input_dtype='int8' with precision='float32'"),
        ("classification", {"input_dtype": "int64"}, "input_dtype='int64' must be one of"),
        ("classification", {"output_dtype": "int8"}, "needs precision='int8'"),
        ("classification", {"batch_size": 2}, "batch_size=2 must be 1, or None"),
        ("classification", {"float_layers": ["Conv1"]}, "belong to precision='int8'"),
        ("classification", {"precision": "int8", "resizable": True}, "of a fixed size"),
        ("classification", {"min_agreement": 1.5}, "does not give the answers"),
        ("none", {"resizable": True}, "anchors belong to one size"),
        ("nms", {"batch_size": None}, "one image at a time"),
    ],
)
def test_a_failed_export_leaves_everything_as_it_was(
    kind, options, message, programs, folder, converted_before, tmp_path
):
    converted_before(kind)
    target = tmp_path / "target"
    target.mkdir()
    path, older = target / options.get("path", "a.tflite"), folder / f"{kind}.tflite"
    shutil.copy(older, path)
    options = {name: value for name, value in options.items() if name != "path"}
    with pytest.raises(DeploymentError, match=message):
        export_litert(programs[kind], path, **options)
    assert list(target.iterdir()) == [path] and path.read_bytes() == older.read_bytes()


def test_a_file_of_somebody_else_is_kept(programs, converted_before, tmp_path):
    converted_before("classification")
    (tmp_path / "a.tflite").write_text("mine")
    with pytest.raises(DeploymentError, match="a.tflite is there already and is no export"):
        export_litert(programs["classification"], tmp_path / "a.tflite")
    assert (tmp_path / "a.tflite").read_text() == "mine"
    (tmp_path / "a.tflite").unlink()
    for _ in range(2):
        export_litert(programs["classification"], tmp_path / "a.tflite")


def test_operations_that_are_not_builtin(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation(keras.ops.erf)(image))
    program = classification_program(keras.Model(image, keras.layers.Softmax()(x)))
    with pytest.raises(DeploymentError, match="Erf"):
        export_litert(program, tmp_path / "erf.tflite")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_but_not_overwritten(programs, converted_before, tmp_path):
    converted_before("classification")
    export = export_litert(programs["classification"], tmp_path / "new" / "a.tflite")
    assert export.path.is_file()
    (tmp_path / "b.tflite").mkdir()
    with pytest.raises(DeploymentError, match="is a folder already"):
        export_litert(programs["classification"], tmp_path / "b.tflite")
    with pytest.raises(DeploymentError, match="cannot be written"):
        export_litert(programs["classification"], export.path / "c.tflite")


def test_foreign_and_damaged_files(folder, tmp_path):
    content = (folder / "classification.tflite").read_bytes()
    path = tmp_path / "a.tflite"
    for foreign in (b"", b"abc", b"x" * 100):
        path.write_bytes(foreign)
        with pytest.raises(DeploymentError, match="a.tflite is no LiteRT file"):
            operators(path)
        with pytest.raises(DeploymentError, match="a.tflite is no LiteRT file, or damaged"):
            load(path)
    for length in (9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        for look in (load, operators):
            with pytest.raises(DeploymentError, match="a.tflite is damaged"):
                look(path)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    assert operators(path) == {"FULLY_CONNECTED": 1}
    with pytest.raises(DeploymentError, match="that keras_mnv2 did not export"):
        load(path)
    path.write_bytes(with_checksum(content.replace(b'"version": 1', b'"version": 7')))
    with pytest.raises(DeploymentError, match="a.tflite: the description has version 7"):
        load(path)


def test_other_operations_than_builtin_ones_are_refused(
    programs, converted_before, tmp_path, monkeypatch
):
    flex = Counter({"CONV_2D": 3, "CUSTOM:FlexErf": 1})
    postprocess = "CUSTOM:TFLite_Detection_PostProcess"
    check_operators(Counter({"CONV_2D": 3}), False)
    check_operators(Counter({"CONV_2D": 3, postprocess: 1}), True)
    for found, wanted, words in (
        (flex, False, "not builtin in LiteRT: FlexErf"),
        (flex + Counter([postprocess]), True, "not builtin in LiteRT: FlexErf"),
        (Counter([postprocess]), False, "not builtin in LiteRT: TFLite_Detection_PostProcess"),
        (Counter({"CONV_2D": 3}), True, "holds no TFLite_Detection_PostProcess"),
    ):
        with pytest.raises(DeploymentError, match=words):
            check_operators(found, wanted)
    converted_before("classification")
    monkeypatch.setattr(litert_export, "operators", lambda path: flex)
    with pytest.raises(DeploymentError, match="not builtin in LiteRT: FlexErf"):
        export_litert(programs["classification"], tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())

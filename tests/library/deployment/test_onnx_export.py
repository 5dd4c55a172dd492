"""ONNX files of all tasks: standard operations, any batch, the program's answers."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX is absent: pip install onnx tf2onnx onnxruntime")
pytest.importorskip("tf2onnx", reason="the converter is absent: pip install tf2onnx")
pytest.importorskip("onnxruntime", reason="the runtime is absent: pip install onnxruntime")

from golden_operators import ONNX, ONNX_UINT8  # noqa: E402
from tiny_programs import assert_same, random_images  # noqa: E402

from keras_mnv2.deployment.checksum import (  # noqa: E402
    CHECKSUM_NAME,
    NO_CHECKSUM,
    with_checksum,
)
from keras_mnv2.deployment.describing import add_accuracy  # noqa: E402
from keras_mnv2.deployment.description import DeploymentError, Description  # noqa: E402
from keras_mnv2.deployment.onnx.export import export_onnx, operators  # noqa: E402
from keras_mnv2.deployment.running import load  # noqa: E402

KINDS = ("classification", "class_map", "logits", "none", "nms")
UINT8 = ("class_map", "nms")


@pytest.fixture(scope="module")
def folder(programs, tmp_path_factory):
    """Folder of a file for each kind, some for uint8."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in KINDS:
        dtype = "uint8" if kind in UINT8 else "float32"
        export = export_onnx(programs[kind], folder / f"{kind}.onnx", input_dtype=dtype)
        assert export.agreement > 0.9999
        assert export.operators == operators(export.path)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_answers_for_any_batch(kind, programs, folder):
    model, program = load(folder / f"{kind}.onnx"), programs[kind]
    images = random_images(program)
    assert_same(program, model(images), program.predict(images))
    shifted = images[:1].astype(np.float32) * 0.9 + 0.25
    seen = np.rint(shifted) if model.description.input_dtype == "uint8" else shifted
    assert_same(program, model(shifted), program.predict(seen))


@pytest.mark.parametrize("kind", KINDS)
def test_operations(kind, folder):
    golden = ONNX_UINT8 if kind in UINT8 else ONNX
    assert operators(folder / f"{kind}.onnx") == golden[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_valid_and_says_what_it_takes(kind, programs, folder):
    model = onnx.load(folder / f"{kind}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    height, width = programs[kind].description.input_size
    assert shapes.pop("images") == ["batch", height, width, 3]
    assert shapes.keys() == programs[kind].description.outputs.keys()
    assert all(shape[0] == "batch" and "batch" not in shape[1:] for shape in shapes.values())
    # By factors, 97 pixels would become 96.
    assert not any(node.input[2] for node in model.graph.node if node.op_type == "Resize")


def test_the_description_is_inside_and_beside(programs, folder):
    for kind in KINDS:
        description = load(folder / f"{kind}.onnx").description
        assert (description.format, description.precision) == ("onnx", "float32")
        assert description.outputs == programs[kind].description.outputs
        assert description.label_names == ("ape", "cat", "dog")
        beside = Description.from_json((folder / f"{kind}.onnx.json").read_text())
        assert beside == description
    assert load(folder / "none.onnx").description.anchors is not None


def test_another_description_changes_nothing_else(folder, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes((folder / "logits.onnx").read_bytes())
    before = onnx.load(path)
    add_accuracy(path, {"mIOU": 0.5})
    assert load(path).description.accuracy == {"mIOU": 0.5}
    assert onnx.load(path).graph == before.graph
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("custom_op", "a.onnx", {}, "is an operation of LiteRT"),
        ("classification", "a.tflite", {}, "must end in .onnx"),
        ("classification", "a.onnx", {"input_dtype": "int8"}, "takes float32 or uint8"),
        ("classification", "a.onnx", {"min_agreement": 1.5}, "does not give the answers"),
    ],
)
def test_a_failed_export_leaves_nothing(kind, name, options, message, programs, tmp_path):
    with pytest.raises(DeploymentError, match=message):
        export_onnx(programs[kind], tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_else_is_kept(programs, folder, tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(DeploymentError, match="a.onnx is there already and is no export"):
        export_onnx(programs["classification"], path)
    assert path.read_bytes() == b"mine"
    path.write_bytes((folder / "logits.onnx").read_bytes())
    converted = onnx.load(folder / "classification.onnx")
    monkeypatch.setattr("keras_mnv2.deployment.onnx.export._converted", lambda *_: converted)
    export_onnx(programs["classification"], path)
    assert load(path).description.task == "classification"


def test_damaged_and_foreign_files(folder, tmp_path):
    content = (folder / "logits.onnx").read_bytes()
    for number, damaged in enumerate((b"", b"nothing", content[: len(content) // 2])):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(damaged)
        for look in (load, operators):
            with pytest.raises(DeploymentError, match="no ONNX file, or damaged"):
                look(path)
    foreign = onnx.load_from_string(content)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(DeploymentError, match="that keras_mnv2 did not export"):
        load(tmp_path / "foreign.onnx")
    onnx.helper.set_model_props(foreign, {"keras_mnv2": "{}", CHECKSUM_NAME: NO_CHECKSUM})
    (tmp_path / "foreign.onnx").write_bytes(with_checksum(foreign.SerializeToString()))
    with pytest.raises(DeploymentError, match="foreign.onnx: the description has version None"):
        load(tmp_path / "foreign.onnx")


def test_operations_of_damaged_and_of_foreign_files(folder, tmp_path):
    """A flipped weight makes no operation another one, but the file is not what was exported."""
    content = bytearray((folder / "logits.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(DeploymentError, match="model.onnx is damaged"):
        operators(path)
    foreign = onnx.load(folder / "logits.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, path)
    assert operators(path) == ONNX["logits"]


def test_operations_that_are_not_of_onnx_are_refused(programs, tmp_path, monkeypatch):
    def with_foreign_operation(model):
        model.graph.node.add(op_type="FlexErf", domain="ai.onnx.contrib")

    monkeypatch.setattr("keras_mnv2.deployment.onnx.export.tidy", with_foreign_operation)
    with pytest.raises(DeploymentError, match="not of ONNX itself: FlexErf"):
        export_onnx(programs["classification"], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())

"""Files of all formats with single bits flipped, or cut off: one clear error, or the same answers.

Without a checksum, native runtimes would crash on some, and others would give other answers.
"""

from __future__ import annotations

import dataclasses
import os
import shutil

import keras
import numpy as np
import pytest

from keras_mnv2.deployment import describing
from keras_mnv2.deployment.checksum import (
    NO_CHECKSUM,
    check_checksum,
    require_checksum,
    with_checksum,
)
from keras_mnv2.deployment.describing import add_accuracy
from keras_mnv2.deployment.description import (
    DESCRIPTION_FILE,
    DeploymentError,
    Description,
    sidecar_path,
)
from keras_mnv2.deployment.programs import classification_program
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.saved_model.description_file import read_description, write_description

NAMES = ("model.tflite", "model.onnx", "model")
DESCRIBED = Description(
    task="classification",
    format="saved_model",
    input_size=(8, 12),
    outputs={"probabilities": "naïve"},
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`exported(name)` is the path of a tiny classifier in that format."""
    folder = tmp_path_factory.mktemp("exported")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 12, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    program = classification_program(model, ("ape", "cat", "dog"))

    def export(name):
        path = folder / name
        if path.exists():
            return path
        if name.endswith(".tflite"):
            pytest.importorskip("ai_edge_litert")
            from keras_mnv2.deployment.litert.export import export_litert as write
        elif name.endswith(".onnx"):
            for package in ("onnx", "tf2onnx", "onnxruntime"):
                pytest.importorskip(package)
            from keras_mnv2.deployment.onnx.export import export_onnx as write
        else:
            from keras_mnv2.deployment.saved_model.export import export_saved_model as write
        return write(program, path).path

    return export


def answers(path):
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    return load(path, num_threads=1)(images)["probabilities"]


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.25:
        return content[: random.integers(len(content))]
    place = random.integers(len(content))
    flipped = content[place] ^ (1 << random.integers(8))
    return content[:place] + bytes([flipped]) + content[place + 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_told_or_does_no_harm(name, exported, tmp_path):
    path, expected = exported(name), answers(exported(name))
    random = np.random.default_rng(7)
    target = tmp_path / name
    parts = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    refused, rounds = 0, 48
    for number in range(rounds):
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(path, target)
        part = parts[number % len(parts)]
        content = damaged(part.read_bytes(), random)
        (target / part.relative_to(path) if path.is_dir() else target).write_bytes(content)
        try:
            found = answers(target)
        except DeploymentError as error:
            assert name in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected)
    assert refused > 0.95 * rounds


@pytest.mark.parametrize("name", NAMES)
def test_the_place_of_a_flipped_weight_does_not_matter(name, exported, tmp_path):
    """A damaged weight crashes nothing: only the checksum tells."""
    path = exported(name)
    target = tmp_path / name
    if path.is_dir():
        shutil.copytree(path, target)
        damaged_file = next(target.glob("variables/*.data-*"))
    else:
        shutil.copy(path, target)
        damaged_file = target
    content = bytearray(damaged_file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged_file.write_bytes(content)
    with pytest.raises(DeploymentError, match=f"{name} is damaged, or another program has changed"):
        load(target)
    if path.is_dir():
        write_description(target, DESCRIBED)
        with pytest.raises(DeploymentError, match="is damaged"):  # by TensorFlow's own checksum
            answers(target)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_lost_its_checksum_is_refused(name, exported, tmp_path):
    shutil.copytree(exported("model"), tmp_path / "model")
    path = tmp_path / name
    if name != "model":
        path.write_bytes(exported(name).read_bytes())
    described = path / DESCRIPTION_FILE if path.is_dir() else path
    content = described.read_bytes()
    described.write_bytes(content.replace(b"keras_mnv2 sha256 ", b"-" * 18))
    assert len(described.read_bytes()) == len(content)
    with pytest.raises(DeploymentError, match=f"{name} has no checksum"):
        load(path)
    if path.is_dir():
        described.unlink()
        with pytest.raises(DeploymentError, match="that keras_mnv2 did not export: .* is missing"):
            load(path)


def test_a_checksum_entry_taken_out_of_an_onnx_file(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported("model.onnx"))
    kept = [entry for entry in model.metadata_props if entry.key == "keras_mnv2"]
    onnx.helper.set_model_props(model, {kept[0].key: kept[0].value})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(DeploymentError, match="model.onnx has no checksum"):
        load(tmp_path / "model.onnx")


def test_a_checksum_covers_all_but_its_own_digits():
    content = with_checksum(b"before " + NO_CHECKSUM.encode() + b" after", b"others")
    assert content.startswith(b"before ") and NO_CHECKSUM.encode() not in content
    assert with_checksum(content, b"others") == content
    check_checksum(content, "a file", b"others")
    require_checksum(content, "a file")
    check_checksum(b"foreign", "a file")
    with pytest.raises(DeploymentError, match="a file has no checksum"):
        require_checksum(b"foreign", "a file")
    with pytest.raises(DeploymentError, match="a file is damaged"):
        check_checksum(content, "a file", b"other")
    for place in (0, len(content) - 1, content.index(b"sha256 ") + 9):
        other = bytearray(content)
        other[place] = ord("0") if other[place] != ord("0") else ord("1")
        with pytest.raises(DeploymentError, match="a file is damaged"):
            check_checksum(bytes(other), "a file", b"others")


def test_the_checksum_of_a_folder_covers_the_names_and_lengths_of_its_files(tmp_path):
    variables = tmp_path / "variables"
    variables.mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (variables / "a").write_bytes(b"one two")
    (variables / "b").write_bytes(b"three")
    write_description(tmp_path, DESCRIBED)
    assert read_description(tmp_path) == DESCRIBED

    def refused():
        with pytest.raises(DeploymentError, match="is damaged, or another program has changed"):
            read_description(tmp_path)

    (variables / "a").write_bytes(b"one")
    (variables / "b").write_bytes(b" twothree")
    refused()
    (variables / "a").write_bytes(b"one two")
    (variables / "b").write_bytes(b"three")
    assert read_description(tmp_path) == DESCRIBED
    (variables / "b").rename(variables / "c")
    refused()
    (variables / "c").rename(tmp_path / "b.pb")
    refused()


def test_a_damaged_folder_gets_no_other_description(exported, tmp_path):
    target = tmp_path / "model"
    shutil.copytree(exported("model"), target)
    add_accuracy(target, {"top1": 0.5})
    assert load(target).description.accuracy == {"top1": 0.5}
    text = (target / DESCRIPTION_FILE).read_text()
    (target / DESCRIPTION_FILE).write_text(text.replace("0.5", "0.9"))
    for use in (load, lambda path: add_accuracy(path, None)):
        with pytest.raises(DeploymentError, match="is damaged, or another program has changed"):
            use(target)


@pytest.mark.parametrize("name", NAMES)
def test_who_is_interrupted_leaves_a_model_that_works(name, exported, tmp_path, monkeypatch):
    shutil.copytree(exported("model"), tmp_path / "model")
    path, expected = tmp_path / name, answers(exported(name))
    if name != "model":
        path.write_bytes(exported(name).read_bytes())
    before = load(path).description
    rename = os.replace
    # There are two renamings: the model's and that of the description for people.
    for allowed, accuracy in ((0, before.accuracy), (1, {"top1": 0.5})):
        left = iter(allowed * [rename])
        monkeypatch.setattr(os, "replace", lambda *names, left=left: next(left)(*names))
        with pytest.raises(StopIteration):
            add_accuracy(path, {"top1": 0.5})
        assert load(path).description == dataclasses.replace(before, accuracy=accuracy)
        np.testing.assert_array_equal(answers(path), expected)
    assert not sidecar_path(path).exists()


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_file_with_another_description_must_give_the_same_answers(
    name, exported, tmp_path, monkeypatch
):
    path = tmp_path / name
    path.write_bytes(exported(name).read_bytes())
    before, expected = path.read_bytes(), answers(path)
    description = load(path).description
    add_accuracy(path, {"top1": 0.5})
    # Nothing else has changed.
    assert load(path).description == dataclasses.replace(description, accuracy={"top1": 0.5})
    assert path.read_bytes() != before
    assert Description.from_json(sidecar_path(path).read_bytes()) == load(path).description
    np.testing.assert_array_equal(answers(path), expected)

    changed, run = path.read_bytes(), describing.load

    def other_answers(file, num_threads):
        model = run(file, num_threads)
        return model if file == path else lambda images: {"probabilities": 1 - expected}

    monkeypatch.setattr(describing, "load", other_answers)
    with pytest.raises(DeploymentError, match="would give other answers"):
        add_accuracy(path, None)
    assert path.read_bytes() == changed
    assert sorted(file.name for file in tmp_path.iterdir()) == [name, f"{name}.json"]

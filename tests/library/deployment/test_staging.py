"""What an export must not replace, and that it leaves nothing behind when it fails."""

from __future__ import annotations

import dataclasses
import errno
import os

import pytest

from keras_mnv2.deployment.checksum import NO_CHECKSUM, with_checksum
from keras_mnv2.deployment.description import (
    DESCRIPTION_FILE,
    DeploymentError,
    Description,
    sidecar_path,
)
from keras_mnv2.deployment.saved_model.description_file import write_description
from keras_mnv2.deployment.staging import staged

FILE = Description(task="classification", format="litert", input_size=(8, 8), outputs={})
FOLDER = dataclasses.replace(FILE, format="saved_model")


def write(path, description, content):
    with staged(path, description) as temporary:
        if description.format == "saved_model":
            temporary.mkdir()
            (temporary / "saved_model.pb").write_text(content)
            write_description(temporary, description)
        else:
            temporary.write_bytes(export_of(content))


def export_of(words):
    """What passes for an undamaged export."""
    return with_checksum(f"{words} {NO_CHECKSUM}".encode())


def content_of(folder):
    """Everything below a folder, with the texts of files."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(path, description, match):
    with pytest.raises(DeploymentError, match=match), staged(path, description):
        pytest.fail("must not begin")


@pytest.mark.parametrize("text", ['{"recipe": 1}', "no JSON", "\udcff"])
def test_another_file_at_the_name_of_the_description_is_kept(tmp_path, text):
    other = tmp_path / "config.json"
    other.write_bytes(text.encode(errors="surrogateescape"))
    before = other.read_bytes()
    refused(tmp_path / "config", FOLDER, r"config\.json.* another output name")
    assert other.read_bytes() == before and os.listdir(tmp_path) == ["config.json"]


def test_a_folder_at_the_name_of_the_description_is_kept(tmp_path):
    (tmp_path / "model.tflite.json").mkdir()
    refused(tmp_path / "model.tflite", FILE, r"model\.tflite\.json.* another output name")
    assert os.listdir(tmp_path) == ["model.tflite.json"]


def test_a_file_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "served").write_text("mine")
    refused(tmp_path / "served", FOLDER, "served is there already")
    assert content_of(tmp_path) == {"served": "mine"}


@pytest.mark.parametrize(("file_format", "name"), [("litert", "a.tflite"), ("onnx", "a.onnx")])
def test_a_file_replaces_undamaged_exports_only(tmp_path, file_format, name):
    path, description = tmp_path / name, dataclasses.replace(FILE, format=file_format)
    damaged = export_of("first").replace(b"first", b"forst")
    for other in (b"", b"mine", damaged):
        path.write_bytes(other)
        refused(path, description, f"{name} is there already .* or move it away")
        assert path.read_bytes() == other and os.listdir(tmp_path) == [name]
    path.write_bytes(export_of("first"))
    write(path, description, "second")
    assert path.read_bytes() == export_of("second")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(path, description, f"{name} is there already")
    assert path.is_symlink()


def test_names_have_the_ending_of_their_format(tmp_path):
    refused(tmp_path / "model", FILE, "model must end in .tflite")
    refused(tmp_path / "a.tflite", dataclasses.replace(FILE, format="onnx"), "must end in .onnx")
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_no_folder_that_it_made(tmp_path):
    (tmp_path / "kept").mkdir()
    path = tmp_path / "kept" / "new" / "deep" / "model.tflite"
    with pytest.raises(KeyError), staged(path, FILE):
        assert path.parent.is_dir()
        raise KeyError
    assert content_of(tmp_path) == {"kept": None}


def test_a_parent_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(
        tmp_path / "file" / "model.tflite",
        FILE,
        r"cannot be written: .*file is no folder",
    )
    refused(tmp_path / "file" / "new" / "model.tflite", FILE, "file is no folder")
    assert content_of(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("description", [FILE, FOLDER], ids=["file", "folder"])
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("failing", ["model.tflite", "model.tflite.json"])
def test_export_and_description_get_their_names_both_or_none(
    tmp_path, monkeypatch, description, earlier, failing
):
    path = tmp_path / "new" / "model.tflite"
    if earlier:
        write(path, dataclasses.replace(description, input_size=(4, 4)), "first")
    before = content_of(tmp_path)
    rename, failed = os.replace, []

    def replace(source, target):
        if target == path.with_name(failing) and not failed:
            failed.append(target)
            raise PermissionError(13, "Permission denied", str(source))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(DeploymentError, match="cannot be written: Permission denied$"):
            write(path, description, "second")
    assert failed and content_of(tmp_path) == before
    write(path, description, "second")
    assert Description.from_json(sidecar_path(path).read_text()) == description


def test_a_folder_replaces_undamaged_exports_alone(tmp_path):
    path = tmp_path / "served"
    for content in ("first", "second"):
        write(path, FOLDER, content)
        assert (path / "saved_model.pb").read_text() == content
    (path / "assets").mkdir()  # as TensorFlow leaves it
    write(path, FOLDER, "third")
    (path / "saved_model.pb").write_text("thirt")
    before = content_of(tmp_path)
    refused(path, FOLDER, r"served is a folder already and is no export .* is damaged")
    assert content_of(tmp_path) == before
    (path / DESCRIPTION_FILE).unlink()
    refused(path, FOLDER, "served is a folder already and is no export .* did not export")


@pytest.mark.parametrize(
    "name", ["notes.txt", "assets/labels.txt", "assets.extra/warmup", "photos/cat.jpg"]
)
def test_what_somebody_put_into_an_export_is_kept(tmp_path, name):
    path = tmp_path / "served"
    write(path, FOLDER, "first")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("mine")
    before = content_of(tmp_path)
    refused(path, FOLDER, rf"besides an earlier export it holds .*{name}: .* move these away")
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("description", [FILE, FOLDER], ids=["file", "folder"])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, description):
    path = tmp_path / "new" / "model.tflite"
    full = r"new/model\.tflite cannot be written: No space left on device$"
    with pytest.raises(DeploymentError, match=full), staged(path, description) as temporary:
        temporary.parent.joinpath("half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert content_of(tmp_path) == {}

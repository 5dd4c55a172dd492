"""scripts/compare_exported.py: how far answers agree, and on which images."""

from __future__ import annotations

import json
import shutil
import zipfile
from types import SimpleNamespace

import compare_exported
import export
import keras
import numpy as np
import pytest
from answer_comparison import comparison_for
from PIL import Image

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.deployment.description import Description

LABELS = [f"label {number}" for number in range(10)]


def comparison(*outputs):
    described = {"outputs": dict.fromkeys(outputs, "")}
    return comparison_for(Description(task="detection", input_size=(8, 8), **described))


def test_values():
    compared = comparison("probabilities")
    for expected, found in (([0.6, 0.4], [0.59, 0.41]), ([0.6, 0.4], [0.35, 0.65])):
        sides = ({"probabilities": np.float32([side])} for side in (expected, found))
        compared.add(*sides, None)
    assert compared.figures() == {
        "largest difference of probabilities": "2.5e-01",
        "images with the same best class": "50.0000%",
    }


def test_pixels_of_the_picture_alone():
    compared = comparison("class_map")
    expected, found = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    found[0, 0, 0], found[0, 3, 3] = 1, 1
    compared.add({"class_map": expected}, {"class_map": found}, np.int32([2, 4]))
    compared.add({"class_map": expected}, {"class_map": expected}, None)
    assert compared.figures() == {
        "equal pixels": f"{23 / 24:.5%}",
        "in the worst image": f"{7 / 8:.5%}",
    }


def detections(boxes, scores, classes, count):
    return {
        "boxes": np.float32([boxes]),
        "scores": np.float32([scores]),
        "classes": np.int32([classes]),
        "num_detections": np.int32([count]),
    }


def test_detections_in_any_order_of_ties():
    compared = comparison("boxes", "scores", "classes", "num_detections")
    one, two, padding = [0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1], [0, 0, 0, 0]
    expected = detections([one, two, padding], [0.5, 0.5, 0], [1, 1, 0], 2)
    near = [0.25, 0.25, 1, 1 - 6e-5]
    compared.add(expected, detections([near, one, padding], [0.5, 0.5, 0], [1, 1, 0], 2), None)
    # Each counts once, and only in its class.
    compared.add(expected, detections([one, one, two], [0.5, 0.5, 0.5], [1, 1, 0], 3), None)
    figures = list(compared.figures().values())
    assert figures[:5] == ["4, 5", "3", "1 of 2", "6.0e-05", "0.0e+00"]


def test_images_in_which_nothing_is_found():
    compared = comparison("boxes", "scores", "classes", "num_detections")
    nothing = detections([[0, 0, 0, 0]], [0], [0], 0)
    compared.add(nothing, nothing, None)
    assert list(compared.figures().values())[:3] == ["0, 0", "0", "1 of 1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of all tasks with their exports, and pictures."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    for name, model, labels in (
        ("classifier", MobileNetV2((32, 32, 3), alpha=0.35, classes=10), {}),
        (
            "detector",
            SSDLite(10, (96, 96, 3), alpha=0.35, class_prior=0.3),
            {"category_ids": list(range(10))},
        ),
        ("segmenter", DeepLabV3(10, (65, 65, 3), alpha=0.35), {}),
    ):
        model.save(folder / f"{name}.keras")
        (folder / f"{name}.keras.labels.json").write_text(json.dumps({"labels": LABELS, **labels}))
        line = f"{folder / name}.keras --format saved_model --output {folder / name}"
        if name == "detector":
            line += " --score-threshold 0.25"
        export.main(line.split())
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        picture = Image.fromarray(random.integers(0, 256, (40, 70, 3), np.uint8))
        picture.save(folder / "photos" / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("classifier", "images with the same best class: 100.0000%"),
        ("detector", "images in which all are equal: 3 of 3"),
        ("segmenter", "equal pixels: 100.00000%"),
    ],
)
def test_a_file_and_its_model(name, figure, folder, capsys):
    model, exported = folder / f"{name}.keras", folder / name
    line = f"--count 3 {model} {exported} --pictures {folder / 'photos'}"
    compare_exported.main(line.split())
    printed = capsys.readouterr().out
    assert printed.startswith(f"3 images, {model} and {exported}:\n") and figure in printed


def test_a_file_that_was_exported_from_another_model(folder, capsys):
    for ending in ("", ".labels.json"):
        shutil.copy(folder / f"classifier.keras{ending}", folder / f"other.keras{ending}")
    with zipfile.ZipFile(folder / "other.keras", "a") as archive:
        archive.comment = b"the same weights, another file"
    exported = folder / "classifier"
    compare_exported.main(
        f"--count 1 {folder / 'other.keras'} {exported} --pictures {folder / 'photos'}".split()
    )
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{exported} was exported from another file than {folder / 'other.keras'}"
    assert second.startswith("1 images")


def test_pictures_are_prepared_as_for_the_export(folder):
    words = [str(folder / "segmenter.keras"), str(folder / "segmenter")]
    task, exported = compare_exported.parse_arguments(
        [*words, "--pictures", str(folder / "photos" / "0.png")]
    )
    assert task.arguments.size == [65, 65] and not task.arguments.logits
    ((image, valid),) = compare_exported._images(task)
    assert image.shape == (1, 65, 65, 3) and valid.tolist() == [37, 65]
    task, _ = compare_exported.parse_arguments(
        [str(folder / "detector.keras"), str(folder / "detector")]
    )
    assert task.program().description.score_threshold == 0.25


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("detector.keras", 2, "required: EXPORTED"),
        ("detector.keras nowhere.tflite", 1, "nowhere.tflite does not exist"),
        ("detector.keras detector.keras", 1, "is a Keras file: export it first"),
        ("detector.keras damaged --pictures photos", 1, "damaged, or another program has changed"),
        ("detector detector --pictures photos", 1, "detector is exported already"),
        ("classifier.keras detector --pictures photos", 1, "is no SSDLite model"),
        ("detector.keras detector", 1, "does not say what data it is for"),
        ("detector.keras detector --pictures none", 1, "no pictures at 'none'"),
        (
            "detector.keras detector --pictures photos --split test",
            2,
            "give either --pictures or data by --split",
        ),
        ("detector.keras detector --count 0", 2, "--count 0 must be at least 1"),
    ],
)
def test_bad_input_ends_in_one_message(line, status, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    shutil.copytree("detector", "damaged", dirs_exist_ok=True)
    graph = bytearray((folder / "damaged" / "saved_model.pb").read_bytes())
    graph[len(graph) // 2] ^= 16
    (folder / "damaged" / "saved_model.pb").write_bytes(graph)
    with pytest.raises(SystemExit) as ended:
        compare_exported.main(line.split())
    assert ended.value.code == status
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_another_size_is_an_error(folder):
    task, exported = compare_exported.parse_arguments(
        [str(folder / "classifier.keras"), str(folder / "classifier")]
    )
    other = SimpleNamespace(
        path="other.tflite",
        description=SimpleNamespace(input_size=(48, 32)),
    )
    with pytest.raises(ValueError, match=r"takes images of 32x32 .*, other.tflite of 48x32"):
        compare_exported.compare(task, other)
    assert exported.description.input_size == (32, 32)

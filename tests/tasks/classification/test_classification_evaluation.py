"""The evaluation command: figures, files, pictures, on the data of the training and on others."""

from __future__ import annotations

import dataclasses
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.classification import evaluate
from tasks.classification.data import central_view, evaluation_dataset, open_source
from tasks.classification.recipes import ClassificationRecipe
from tasks.classification.results import collect
from tasks.common.run_folder import load_recipe, read_json


def test_evaluation_repeats_what_training_measured(tiny_run, tmp_path):
    """So the averaged weights are what was saved and what was measured."""
    evaluate.main(["--run-dir", str(tiny_run), "--output", str(tmp_path), "--worst", "7"])
    (metrics,) = tmp_path.glob("metrics_*.json")
    expected = read_json(tiny_run / "metrics.json")
    for name in evaluate.FIGURES:
        assert read_json(metrics)[name] == pytest.approx(expected[name], abs=1e-6)
    assert len(read_json(metrics)["accuracy_per_class"]) == 10
    confusion = read_json(next(tmp_path.glob("confusion_*.json")))
    matrix = np.array(confusion["true_by_predicted"])
    assert matrix.shape == (10, 10) and matrix.sum() == expected["num_examples"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(expected["top1"])
    assert Image.open(next(tmp_path.glob("confusion_*.png"))).width > 10 * 24
    worst = next(tmp_path.glob("worst_*.png"))
    picture = Image.open(worst)
    assert picture.width == 6 * 180 + 4 and picture.height > 2 * 176
    content = read_json(worst.with_suffix(".json"))
    assert content["split"] == "validation[:8]" and len(content["worst"]) == 7
    assert all("#" in row["filename"] for row in content["worst"])


def test_the_worst_images_are_those_of_highest_loss(tiny_recipe):
    """Pictures of one grey each, so that the contact sheet tells which they are.

    Around it is white, which the network is not shown.
    """
    greys = [50, 100, 150, 200, 250]
    true_probability = np.array([0.5, 0.1, 0.9, 0.2, 0.7], np.float32)
    probabilities = np.stack([true_probability, 1 - true_probability], axis=1)
    results = collect([(probabilities, np.zeros(5, int))], ["cat", "dog"])

    def example(grey):
        middle = tf.fill([4, 4, 3], tf.cast(grey, tf.uint8))
        picture = tf.pad(middle, [[2, 2], [2, 2], [0, 0]], constant_values=255)
        return {
            "image": tf.io.encode_png(picture),
            "label": 0,
            "filename": tf.strings.as_string(grey),
        }

    source = dataclasses.replace(
        open_source(tiny_recipe),
        count=lambda split: 5,
        read=lambda *_: tf.data.Dataset.from_tensor_slices(greys).map(example),
    )
    recipe = dataclasses.replace(tiny_recipe, central_crop=0.5)
    rows, sheet = evaluate.find_worst(results, source, recipe, "train", 3)
    assert [row["filename"] for row in rows] == ["100", "200", "50"]
    assert [row["predicted"] for row in rows][:2] == ["dog", "dog"]
    assert {row["true"] for row in rows} == {"cat"}
    expected = [[0.1, 0.9], [0.2, 0.8], [0.5, 0.5]]
    found = [[row["true_probability"], row["predicted_probability"]] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose([row["loss"] for row in rows], -np.log([0.1, 0.2, 0.5]), rtol=1e-6)
    for i, grey in enumerate((100, 200, 50)):
        tile = sheet[4 : 4 + 176, 4 + 180 * i : 4 + 180 * i + 176]
        np.testing.assert_array_equal(tile, np.full_like(tile, grey))


def test_evaluation_on_a_folder_of_some_classes(tiny_run, own_data, tmp_path):
    command = ["--run-dir", str(tiny_run), "--output", str(tmp_path / "out")]
    evaluate.main([*command, "--images", str(own_data / "val"), "--split", "validation"])
    metrics = read_json(next((tmp_path / "out").glob("metrics_best_class_directory_*.json")))
    known = [name for name, x in metrics["accuracy_per_class"].items() if x is not None]
    labels = read_json(tiny_run / "labels.json")["labels"]
    assert known == labels[:3] and len(metrics["accuracy_per_class"]) == 10
    model = keras.saving.load_model(tiny_run / "best.keras")
    recipe = load_recipe(tiny_run, "classification", ClassificationRecipe)
    right = total = 0
    for path in (own_data / "val").rglob("*.jpg"):
        view = central_view(path.read_bytes(), recipe).numpy()
        best = model.predict_on_batch(view[np.newaxis])[0].argmax()
        right, total = right + (labels[best] == path.parent.name), total + 1
    assert metrics["num_examples"] == total
    assert metrics["top1"] == pytest.approx(right / total, abs=1e-6)


def test_results_of_other_data_have_files_of_their_own(
    tiny_run, own_data, tmp_path, monkeypatch, capsys
):
    """Of other images, of another crop; `shapes` stands for a data set without validation."""
    (tmp_path / "other").mkdir()
    shutil.copytree(own_data, tmp_path / "other" / "own")
    crops = []

    def recorded(source, recipe, split, share):
        crops.append(recipe.central_crop)
        return evaluation_dataset(source, recipe, split, share)

    monkeypatch.setattr(evaluate, "evaluation_dataset", recorded)
    command = ["--run-dir", str(tiny_run), "--output", str(tmp_path / "out")]
    for more in (
        ["--images", str(own_data / "val")],
        ["--images", str(own_data / "train")],
        ["--images", str(own_data / "train"), "--central-crop", "0.5"],
        ["--images", str(tmp_path / "other" / "own" / "val")],
    ):
        evaluate.main([*command, *more])
    assert crops == [0.875, 0.875, 0.5, 0.875]
    name = r"metrics_best_class_directory_own_{}\.json"
    expected = [
        (name.format(r"val_[0-9a-f]{6}_validation"), own_data / "val"),
        (name.format(r"train_[0-9a-f]{6}_validation"), own_data / "train"),
        (name.format(r"train_[0-9a-f]{6}_validation_crop_0_5"), own_data / "train"),
        (name.format(r"val_[0-9a-f]{6}_validation"), tmp_path / "other" / "own" / "val"),
    ]
    files = list((tmp_path / "out").glob("metrics_*"))
    assert len(files) == len(expected)
    for pattern, folder in expected:
        images = {
            read_json(path)["validation_images"]
            for path in files
            if re.fullmatch(pattern, path.name)
        }
        assert str(folder) in images

    def only_test(recipe):
        return dataclasses.replace(open_source(recipe), splits=("test",))

    monkeypatch.setattr(evaluate, "open_source", only_test)
    evaluate.main([*command, "--dataset", "shapes/tiny"])
    assert "on shapes/tiny, split test, " in capsys.readouterr().out


def test_the_report_names_the_published_figure(capsys):
    metrics = {name: 0.5 for name in evaluate.FIGURES}
    evaluate.print_metrics({**metrics, "published_top1": 0.718})
    assert "0.7180 (slim, ImageNet 2012 val)" in capsys.readouterr().out


def test_the_published_figure_goes_with_the_data_of_the_training(
    tiny_run, tiny_recipe, tmp_path, monkeypatch
):
    asked = []

    def published_top1(recipe):
        asked.append(recipe)
        return 0.718

    monkeypatch.setattr(evaluate, "published_top1", published_top1)
    for number, more in enumerate((["--central-crop", "0.5"], ["--split", "test[:3]"])):
        folder = tmp_path / str(number)
        evaluate.main(["--run-dir", str(tiny_run), "--output", str(folder), *more])
        (metrics,) = folder.glob("metrics_*.json")
        assert read_json(metrics).get("published_top1") == (None if number else 0.718)
    assert asked == [dataclasses.replace(tiny_recipe, central_crop=0.5)]


def test_skipped_images_are_counted_and_named(tiny_run, own_data, tmp_path, capsys):
    (name,) = [path.name for path in sorted((own_data / "val").iterdir())][:1]
    broken = own_data / "val" / name / "broken.jpg"
    broken.write_bytes(b"nothing")
    command = ["--run-dir", str(tiny_run), "--output", str(tmp_path / "out")]
    evaluate.main([*command, "--images", str(own_data / "val"), "--skip-broken"])
    assert f"1 unreadable pictures of validation were left out: {name}/" in capsys.readouterr().out
    (metrics,) = (tmp_path / "out").glob("metrics_*.json")
    assert read_json(metrics)["skipped"] == {"validation": 1}
    assert read_json(metrics)["skipped_files"] == {"validation": [str(broken)]}

"""The three commands end to end, on tiny real runs."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from recipe_arguments import as_arguments

from tasks.common.console import StoppedError
from tasks.common.run_folder import load_recipe
from tasks.common.run_folder import read_json as read
from tasks.detection import evaluate, predict, show_batch, train
from tasks.detection.coco_evaluation import METRICS
from tasks.detection.data import open_source
from tasks.detection.recipes import RECIPES, DetectionRecipe

SHAPES = RECIPES["shapes"]


def test_a_run_folder_holds_everything(tiny_run, tiny_recipe):
    names = {path.name for path in tiny_run.iterdir()}
    assert names >= {"config.json", "labels.json", "best.keras", "last.keras", "tensorboard"}
    config = read(tiny_run / "config.json")
    assert config == {"task": "detection", **dataclasses.asdict(tiny_recipe)}
    history = read(tiny_run / "history.json")
    assert [row["step"] for row in history] == [3, 5]
    assert all(math.isfinite(row["loss"]) and set(METRICS) <= set(row) for row in history)
    assert read(tiny_run / "metrics.json") == max(history, key=lambda row: row["AP"])
    labels = read(tiny_run / "labels.json")
    assert len(labels["labels"]) == len(labels["category_ids"]) == 10
    assert list((tiny_run / "tensorboard").rglob("events*"))


def test_a_finished_run_is_not_trained_again(tiny_run, tiny_recipe, capsys):
    before = (tiny_run / "last.keras").stat().st_mtime_ns
    train.main([*as_arguments(tiny_recipe, "shapes", SHAPES), "--run-dir", str(tiny_run)])
    assert "already" in capsys.readouterr().out
    assert (tiny_run / "last.keras").stat().st_mtime_ns == before


def test_another_configuration_is_refused(tiny_run, tiny_recipe, capsys):
    other = dataclasses.replace(tiny_recipe, learning_rate=0.5)
    with pytest.raises(SystemExit) as ended:
        train.main([*as_arguments(other, "shapes", SHAPES), "--run-dir", str(tiny_run)])
    assert ended.value.code == 1
    assert "learning_rate: 0.02 there, 0.5 asked for" in capsys.readouterr().err


def test_evaluation_repeats_what_training_measured(tiny_run, tmp_path):
    evaluate.main(["--run-dir", str(tiny_run), "--output", str(tmp_path), "--draw", "2"])
    (metrics,) = tmp_path.glob("metrics_*.json")
    expected = read(tiny_run / "metrics.json")
    for name in METRICS:
        assert read(metrics)[name] == pytest.approx(expected[name], abs=1e-6)
    (picture,) = tmp_path.glob("pictures_*.png")
    assert Image.open(picture).width > 2 * 96


def test_predict_writes_pictures_and_coco_results(tiny_run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in ((7, (120, 80)), (42, (33, 200))):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:012d}.png")
    command = [str(photos), "--run-dir", str(tiny_run), "--min-score", "0"]
    predict.main([*command, "--output", str(tmp_path / "out")])
    results = read(tmp_path / "out" / "detections.json")
    assert {row["image_id"] for row in results} == {7, 42}
    categories = read(tiny_run / "labels.json")["category_ids"]
    assert {row["category_id"] for row in results} <= set(categories)
    for row in results:
        x, y, width, height = row["bbox"]
        limit = (80, 120) if row["image_id"] == 7 else (200, 33)
        assert 0 <= x <= x + width <= limit[0] + 1e-3 and 0 <= y <= y + height <= limit[1] + 1e-3
    assert Image.open(tmp_path / "out" / "42_000000000042.png").size == (200, 33)


def test_checkpoints_load_without_the_tasks(tiny_run):
    """Whoever uses the model has keras and keras_mnv2, not the training code."""
    program = (
        "import sys, keras, keras_mnv2\n"
        "for name in ('best', 'last'):\n"
        "    model = keras.saving.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    assert set(model.output) == {'box_encodings', 'class_logits'}\n"
        "assert not any(module.split('.')[0] == 'tasks' for module in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tiny_run)], check=True)


class Killed(BaseException):
    """Stands for the end of the process: no handler of the training loop expects it."""


def test_an_interrupted_run_goes_on(tiny_recipe, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    measure = evaluate.evaluate
    calls = []

    def dies_in_the_second_evaluation(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed
        return measure(*arguments)

    monkeypatch.setattr(train, "evaluate", dies_in_the_second_evaluation)
    with pytest.raises(Killed):
        train.run(tiny_recipe, folder)
    assert [row["step"] for row in read(folder / "history.json")] == [3]
    assert not (folder / "metrics.json").exists()
    first = read(folder / "history.json")[0]

    monkeypatch.setattr(train, "evaluate", measure)
    train.run(tiny_recipe, folder)
    history = read(folder / "history.json")
    assert [row["step"] for row in history] == [3, 5] and history[0] == first
    assert (folder / "metrics.json").exists()

    labels = read(folder / "labels.json")
    (folder / "labels.json").write_text(json.dumps({**labels, "category_ids": [0] * 10}))
    with pytest.raises(ValueError, match="not those of"):
        train.run(tiny_recipe, folder)


def test_a_loss_that_is_no_number_ends_in_a_message(tiny_recipe, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(StoppedError, match="lower learning_rate=1e"):
        train.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_show_batch_draws_the_batch(tiny_recipe, tmp_path):
    crops = dataclasses.replace(tiny_recipe, random_crop=True, expand_probability=0.5)
    picture = tmp_path / "batch.png"
    show_batch.main([*as_arguments(crops, "shapes", SHAPES), "--output", str(picture)])
    assert Image.open(picture).width >= 4 * 2 * 96


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([evaluate, "--run-dir", "{tmp}/none"], "config.json is missing"),
        ([evaluate, "--run-dir", "{run}", "--split", "holdout"], "no split 'holdout'"),
        ([evaluate, "--model", "{run}/best.keras"], "best.keras.labels.json is missing"),
        ([evaluate, "--model", "{tmp}/broken.keras"], "broken.keras is not a readable"),
        ([predict, "--run-dir", "{run}", "{tmp}/missing.jpg"], "no pictures at"),
        ([predict, "--run-dir", "{run}", "{tmp}/good.png", "{tmp}/broken.jpg"], "broken.jpg"),
        ([train, "--run-dir", "{tmp}/broken.jpg"], "no empty folder"),
        ([train, "--run-dir", "{tmp}/new", "--height", "20"], "too small for the extra layers"),
        ([train, "--run-dir", "{tmp}/new", "--dataset", "no_such_set"], "'no_such_set'"),
        (
            [train, "--run-dir", "{tmp}/new", "--init-weights", "a.pb", "--no-zero-init-residual"],
            "a.pb",
        ),
        ([train, "--run-dir", "{tmp}/new", "--train-split", "train[:0]"], "empty"),
        ([train, "--run-dir", "{tmp}/new", "--categories", "oblong"], "oblong"),
    ],
)
def test_bad_input_ends_in_one_message(command, message, tiny_run, tiny_recipe, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (tmp_path / "broken.keras").write_bytes(b"not a zip file")
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "good.png")
    before = sorted(tmp_path.rglob("*"))
    module, *words = command
    if module is train:
        words = [*as_arguments(tiny_recipe, "shapes", SHAPES), *words]
    with pytest.raises(SystemExit) as ended:
        module.main([word.format(tmp=tmp_path, run=tiny_run) for word in words])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_evaluation_of_other_files(tiny_run, tmp_path, capsys):
    """A COCO folder that did not take part in training, written from the test split."""
    recipe = load_recipe(tiny_run, "detection", DetectionRecipe)
    labels = read(tiny_run / "labels.json")
    images, annotations = [], []
    for example in open_source(recipe).examples("test[:3]").as_numpy_iterator():
        name = f"{example['image_id']}.jpg"
        (tmp_path / name).write_bytes(example["image"])
        images.append(
            {"id": int(example["image_id"]), "file_name": name, "height": 96, "width": 96}
        )
        for box, label in zip(example["boxes"], example["labels"], strict=True):
            ymin, xmin, ymax, xmax = (96.0 * box).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(example["image_id"]),
                    "category_id": labels["category_ids"][label],
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                }
            )
    categories = [
        {"id": category_id, "name": name}
        for name, category_id in zip(labels["labels"], labels["category_ids"], strict=True)
    ]
    command = ["--run-dir", str(tiny_run), "--images", str(tmp_path), "--output"]
    command += [str(tmp_path / "out"), "--annotations", str(tmp_path / "instances.json")]

    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    evaluate.main(command)
    (path,) = (tmp_path / "out").glob("metrics_best_coco_directory_*_validation.json")
    from_files = read(path)
    evaluate.main(["--run-dir", str(tiny_run), "--split", "test[:3]", "--output", str(tmp_path)])
    (from_source,) = tmp_path.glob("metrics_best_shapes_tiny_test_*.json")
    assert from_files["AR_100"] == pytest.approx(read(from_source)["AR_100"], abs=1e-6)

    content["categories"] = [{**categories[0], "name": "oblong"}, *categories[1:]]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        evaluate.main(command)
    assert categories[0]["name"] in capsys.readouterr().err


def test_training_on_some_categories(tiny_recipe, tiny_run, tmp_path, capsys):
    """Two of ten categories, from the weights of all ten; evaluated as a model file, too."""
    recipe = dataclasses.replace(
        tiny_recipe,
        categories=("star", "ring"),
        init_weights=str(tiny_run / "best.keras"),
        zero_init_residual=False,
    )
    words = as_arguments(recipe, "shapes", SHAPES)
    place = words.index("--categories")
    words[place + 1 : place + 2] = recipe.categories
    train.main([*words, "--run-dir", str(tmp_path / "two")])
    assert read(tmp_path / "two" / "labels.json")["labels"] == ["star", "ring"]
    assert set(read(tmp_path / "two" / "metrics.json")["AP_per_class"]) == {"star", "ring"}
    capsys.readouterr()

    model = tmp_path / "two.keras"
    (tmp_path / "two" / "best.keras").rename(model)
    (tmp_path / "two" / "labels.json").rename(tmp_path / "two.keras.labels.json")
    command = ["--model", str(model), "--data-dir", recipe.data_dir, "--dataset", recipe.dataset]
    evaluate.main([*command, "--split", recipe.validation_split])
    assert "not evaluated: 8 categories" in capsys.readouterr().out
    (metrics,) = (tmp_path / "two").glob("metrics_two_shapes_tiny_*.json")
    expected = read(tmp_path / "two" / "metrics.json")["AP"]
    assert read(metrics)["AP"] == pytest.approx(expected, abs=1e-6)

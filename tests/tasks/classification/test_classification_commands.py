"""The three commands end to end, on tiny real runs."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from recipe_arguments import as_arguments

from tasks.classification import evaluate, predict, train
from tasks.classification.data import central_view
from tasks.classification.recipes import RECIPES, head_phase
from tasks.common.callbacks import EvaluateAndSave
from tasks.common.run_folder import read_json as read

SHAPES = RECIPES["shapes"]


def test_a_run_folder_holds_everything(tiny_run, tiny_recipe):
    names = {path.name for path in tiny_run.iterdir()}
    assert names >= {"config.json", "labels.json", "best.keras", "last.keras", "tensorboard"}
    config = read(tiny_run / "config.json")
    assert config == {"task": "classification", **dataclasses.asdict(tiny_recipe)}
    history = read(tiny_run / "history.json")
    assert [row["step"] for row in history] == [3, 5]
    assert all(math.isfinite(row["loss"]) and 0 <= row["top1"] <= 1 for row in history)
    assert read(tiny_run / "metrics.json") == max(history, key=lambda row: row["top1"])
    assert len(read(tiny_run / "labels.json")["labels"]) == 10
    # A row for each evaluation: no place for a thousand classes.
    assert set(history[0]) == {"step", "loss", "num_examples", *evaluate.FIGURES}


def test_predict_prints_and_writes_the_best_classes(tiny_run, tiny_recipe, tmp_path, capsys):
    rng = np.random.default_rng(0)
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, size in zip(paths, ((120, 80), (33, 200)), strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    words = [str(path) for path in paths]
    predict.main([*words, "--run-dir", str(tiny_run), "--output", str(tmp_path), "--top", "3"])
    printed = capsys.readouterr().out
    model = keras.saving.load_model(tiny_run / "best.keras")
    names = read(tiny_run / "labels.json")["labels"]
    predictions = read(tmp_path / "predictions.json")
    for path, prediction in zip(paths, predictions, strict=True):
        view = central_view(path.read_bytes(), tiny_recipe).numpy()
        probabilities = model.predict_on_batch(view[np.newaxis])[0]
        best = np.argsort(-probabilities)[:3].tolist()
        assert prediction["picture"] == str(path)
        assert [item["label"] for item in prediction["classes"]] == best
        assert [item["name"] for item in prediction["classes"]] == [names[i] for i in best]
        found = [item["probability"] for item in prediction["classes"]]
        np.testing.assert_allclose(found, probabilities[best], atol=1e-5)
        assert f"{path}: {names[best[0]]} {found[0]:.3f}, {names[best[1]]}" in printed


def test_checkpoints_load_without_the_tasks(tiny_run):
    """Whoever uses the model has keras and keras_mnv2, not the training code."""
    program = (
        "import sys, keras, keras_mnv2\n"
        "for name in ('best', 'last'):\n"
        "    model = keras.saving.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    assert model.output_shape == (None, 10)\n"
        "assert not any(module.split('.')[0] == 'tasks' for module in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tiny_run)], check=True)


@pytest.fixture
def fine_tuning(tiny_run, tiny_recipe, own_data):
    """A recipe in two phases, from ten classes to three."""
    return dataclasses.replace(
        tiny_recipe,
        dataset="class_directory",
        train_images=str(own_data / "train"),
        validation_images=str(own_data / "val"),
        validation_split="validation",
        init_weights=str(tiny_run / "best.keras"),
        zero_init_residual=False,
        moving_average_decay=None,
        class_weights="balanced",
        head_steps=3,
        head_learning_rate=0.05,
        train_from="block_16",
        train_steps=4,
        evaluate_every=2,
        learning_rate=0.01,
        freeze_bn=True,
    )


class Accident(Exception):
    """What ends a run in the middle."""


def test_fine_tuning_in_two_phases(fine_tuning, tiny_run, tmp_path, monkeypatch, capsys):
    """The run is cut off in the main phase, and goes on there."""
    folder = tmp_path / "run"
    command = [*as_arguments(fine_tuning, "shapes", SHAPES), "--run-dir", str(folder)]

    go_on = EvaluateAndSave.on_train_batch_end

    def cut_off(self, batch, logs=None):
        if self.recipe.train_steps == 4 and int(self.model.optimizer.iterations) == 3:
            raise Accident
        go_on(self, batch, logs)

    with monkeypatch.context() as patch, pytest.raises(Accident):
        patch.setattr(EvaluateAndSave, "on_train_batch_end", cut_off)
        train.main(command)
    assert "the classifier alone" in capsys.readouterr().out
    head = read(folder / "head" / "history.json")
    assert [row["step"] for row in head] == [0, 2, 3]
    begun = read(folder / "history.json")
    assert [row["step"] for row in begun] == [0, 2]
    assert begun[0]["balanced_accuracy"] == max(row["balanced_accuracy"] for row in head)
    train.main(command)
    assert "the classifier alone" not in capsys.readouterr().out
    history = read(folder / "history.json")
    assert [row["step"] for row in history] == [0, 2, 4] and history[:2] == begun

    config = read(folder / "head" / "config.json")
    assert config == {"task": "classification", **dataclasses.asdict(head_phase(fine_tuning))}
    names = read(folder / "labels.json")["labels"]
    assert len(names) == 3 and read(folder / "head" / "labels.json")["labels"] == names
    before, head, after = (
        {v.path: v.numpy() for v in keras.saving.load_model(path).weights}
        for path in (tiny_run / "best.keras", folder / "head" / "best.keras", folder / "last.keras")
    )

    def changed(one, other):
        return {path.split("/")[0] for path in one if np.any(one[path] != other[path])}

    of_the_head = {"predictions/kernel", "predictions/bias"}
    assert {path for path in before if before[path].shape != head[path].shape} == of_the_head
    backbone = {path: value for path, value in before.items() if path not in of_the_head}
    assert changed(backbone, head) == set()
    # Batch normalization keeps its values in both phases.
    expected = {"block_16_expand", "block_16_depthwise", "block_16_project", "Conv_1"}
    assert changed(head, after) == expected | {"predictions"}


def no_training(*_, **__):
    """For `run`, which then ends before its first step."""
    return {"top1": 0.5}


def test_a_run_returns_the_published_figure(tiny_recipe, tmp_path, monkeypatch):
    assert train.run(tiny_recipe, tmp_path / "shapes", no_training) == {"top1": 0.5}
    monkeypatch.setattr(train, "published_top1", lambda recipe: 0.718)
    metrics = train.run(tiny_recipe, tmp_path / "imagenet", no_training)
    assert metrics == {"top1": 0.5, "published_top1": 0.718}


@pytest.mark.parametrize(
    ("class_weights", "expected"), [("none", "top1"), ("balanced", "balanced_accuracy")]
)
def test_the_best_checkpoint_is_best_at_what_is_trained(
    class_weights, expected, fine_tuning, tmp_path
):
    monitors = []

    def train_nothing(*_, monitor, **__):
        monitors.append(monitor)
        return {}

    for steps, folder in ((0, "main"), (3, "head")):
        recipe = dataclasses.replace(fine_tuning, class_weights=class_weights, head_steps=steps)
        train.run(recipe, tmp_path / folder, train_nothing)
    assert monitors == [expected] * 2


def test_a_run_tells_which_images_it_skipped(tiny_recipe, own_data, tmp_path):
    fields = {
        f"{x}_images": str(own_data / y) for x, y in (("train", "train"), ("validation", "val"))
    }
    recipe = dataclasses.replace(tiny_recipe, dataset="class_directory", skip_broken=True, **fields)
    train.run(recipe, tmp_path / "all", no_training)
    assert not (tmp_path / "all" / "skipped.json").exists()
    (name,) = [path.name for path in sorted((own_data / "val").iterdir())][:1]
    broken = own_data / "val" / name / "broken.jpg"
    broken.write_bytes(b"nothing")
    train.run(recipe, tmp_path / "some", no_training)
    skipped = read(tmp_path / "some" / "skipped.json")
    assert skipped == {"train": [], "validation": [str(broken)]}


def test_replicas_shorten_the_run(tiny_recipe, tmp_path, monkeypatch):
    runs = []

    def run(recipe, folder):
        runs.append(recipe)
        return {name: 0.5 for name in evaluate.FIGURES}

    monkeypatch.setattr(train, "run", run)
    words = as_arguments(tiny_recipe, "shapes", SHAPES)
    train.main([*words, "--replicas", "2", "--run-dir", str(tmp_path / "run")])
    (recipe,) = runs
    assert (recipe.batch_size, recipe.train_steps) == (8, 3)
    assert recipe.learning_rate == 2 * tiny_recipe.learning_rate


PETS = "--dataset class_directory --train-images {tmp}/pets --validation-images"


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (evaluate, "--run-dir {tmp}/none", "config.json is missing"),
        (evaluate, "--run-dir {run} --split holdout", "no split 'holdout'"),
        (evaluate, "--run-dir {run} --central-crop 2", "central_crop=2.0 must be"),
        (evaluate, "--run-dir {run} --list {tmp}/x", "go with --images"),
        (evaluate, "--run-dir {run} --images {tmp}/pets", "know the classes cat, dog"),
        (evaluate, "--run-dir {run} --images x --dataset mnist", "--images and --dataset mnist"),
        (evaluate, "--run-dir {run} --images {tmp}/pets --by-index", "has 2: by index"),
        (evaluate, "--run-dir {run} --images {tmp}/broken", "cat/broken.jpg: "),
        (
            evaluate,
            "--run-dir {run} --images {tmp} --list {tmp}/list.txt --class-names {tmp}/names.txt",
            "has class index 2, but there are 2 classes",
        ),
        (evaluate, "--model {run}/best.keras", "best.keras.labels.json is missing"),
        (evaluate, "--model {tmp}/broken.keras", "broken.keras is not a readable"),
        (predict, "--run-dir {run} {tmp}/missing.jpg", "no pictures at"),
        (predict, "--run-dir {run} {tmp}/good.png {tmp}/broken.jpg", "broken.jpg"),
        (
            predict,
            "--run-dir {run} {tmp}/good.png --class-names {tmp}/names.txt",
            "names.txt has 2: by index",
        ),
        (train, "--run-dir {tmp}/broken.jpg", "no empty folder"),
        (train, "--run-dir {tmp}/new --dataset no_such_set", "'no_such_set'"),
        (train, "--run-dir {tmp}/new --dataset class_directory", "give --train-images"),
        (
            train,
            "--run-dir {tmp}/new --dataset class_directory --train-images {tmp}/broken",
            "give --validation-images, or splits of the other folder",
        ),
        (
            train,
            "--run-dir {tmp}/new --dataset class_directory --train-images {tmp}/fewer "
            "--train-split train --validation-split train",
            "no other class than 'cat'",
        ),
        (train, "--run-dir {tmp}/new --train-images x", "does not apply to data set"),
        (train, "--run-dir {tmp}/new --train-split train[:0]", "empty"),
        (train, "--run-dir {tmp}/new --replicas 0", "replicas=0 must be at least 1"),
        (train, f"--run-dir {{tmp}}/new {PETS} {{tmp}}/empty", "'dog' is empty; add"),
        (train, f"--run-dir {{tmp}}/new {PETS} {{tmp}}/fewer", "fewer lacks 'dog'"),
        (train, f"--run-dir {{tmp}}/new {PETS} {{tmp}}/broken", "cat/broken.jpg: the image is"),
    ],
)
def test_bad_input_ends_in_one_message(
    module, words, message, tiny_run, tiny_recipe, tmp_path, capsys
):
    (tmp_path / "broken.keras").write_bytes(b"not a zip file")
    picture = Image.fromarray(np.zeros((50, 50, 3), np.uint8))
    picture.save(tmp_path / "good.png")
    for name in ("pets/cat", "pets/dog", "fewer/cat", "empty/cat", "broken/cat", "broken/dog"):
        (tmp_path / name).mkdir(parents=True)
        picture.save(tmp_path / name / "1.png")
    (tmp_path / "empty" / "dog").mkdir()
    for path in (tmp_path / "broken.jpg", tmp_path / "broken" / "cat" / "broken.jpg"):
        path.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (tmp_path / "list.txt").write_text("pets/cat/1.png 0\npets/dog/1.png 2\n")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    before = sorted(tmp_path.rglob("*"))
    words = words.format(tmp=tmp_path, run=tiny_run).split()
    if module is train:
        words = [*as_arguments(tiny_recipe, "shapes", SHAPES), *words]
    with pytest.raises(SystemExit) as ended:
        module.main(words)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["--height", "31"], ["--train-from", "block_13"]])
def test_a_recipe_that_does_not_fit_is_refused_at_the_door(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--recipe", "shapes", *words, "--run-dir", str(tmp_path / "run")])
    assert ended.value.code == 2 and "error: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

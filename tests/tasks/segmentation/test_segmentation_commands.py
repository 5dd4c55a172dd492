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

from keras_mnv2.segmentation import with_output_stride
from tasks.common.images import decode
from tasks.common.run_folder import load_recipe
from tasks.common.run_folder import read_json as read
from tasks.datasets.masks import decode_mask
from tasks.segmentation import evaluate, predict, train
from tasks.segmentation.data import evaluation_dataset, open_source
from tasks.segmentation.inference import make_predictor, segment
from tasks.segmentation.mean_iou import ConfusionMatrix
from tasks.segmentation.recipes import RECIPES, SegmentationRecipe

SHAPES = RECIPES["shapes"]


def test_a_run_folder_holds_everything(tiny_run, tiny_recipe):
    names = {path.name for path in tiny_run.iterdir()}
    assert names >= {"config.json", "labels.json", "best.keras", "last.keras", "tensorboard"}
    config = read(tiny_run / "config.json")
    assert config == {"task": "segmentation", **dataclasses.asdict(tiny_recipe)}
    history = read(tiny_run / "history.json")
    assert [row["step"] for row in history] == [3, 5]
    assert all(math.isfinite(row["loss"]) and 0 <= row["mIOU"] <= 1 for row in history)
    assert read(tiny_run / "metrics.json") == max(history, key=lambda row: row["mIOU"])
    labels = read(tiny_run / "labels.json")["labels"]
    assert labels[0] == "background" and len(labels) == 11


class Killed(BaseException):
    """Stands for the end of the process: no handler of the training loop expects it."""


def test_an_interrupted_run_goes_on(tiny_recipe, tmp_path, monkeypatch):
    recipe = dataclasses.replace(tiny_recipe, validation_split="validation[:2]")
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
        train.run(recipe, folder)
    first = read(folder / "history.json")
    assert [row["step"] for row in first] == [3]
    train.run(recipe, folder)
    history = read(folder / "history.json")
    assert [row["step"] for row in history] == [3, 5] and history[:1] == first


def test_evaluation_repeats_what_training_measured(tiny_run, tmp_path):
    """So the averaged weights are what was saved and what was measured."""
    evaluate.main(["--run-dir", str(tiny_run), "--output", str(tmp_path), "--draw", "2"])
    (metrics,) = tmp_path.glob("metrics_*.json")
    expected = read(tiny_run / "metrics.json")
    for name in (*evaluate.FIGURES, "IoU_per_class"):
        assert read(metrics)[name] == pytest.approx(expected[name], abs=1e-6)
    (picture,) = tmp_path.glob("pictures_*.png")
    assert Image.open(picture).width > 2 * 96


@pytest.fixture
def colourful_run(tiny_run, tiny_recipe, tmp_path):
    """The tiny run with a last layer that sees all classes, not the background alone."""
    folder = tmp_path / "colourful"
    folder.mkdir()
    for name in ("config.json", "labels.json"):
        (folder / name).write_bytes((tiny_run / name).read_bytes())
    model = keras.saving.load_model(tiny_run / "best.keras")
    logits = model.get_layer("logits")
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=logits.kernel.shape)
    logits.set_weights([kernel, np.zeros(11)])
    images = next(iter(evaluation_dataset(open_source(tiny_recipe), tiny_recipe, "train")))[0]
    found = keras.Model(model.inputs, logits.output)(images, training=False).numpy()
    mean, spread = found.mean(axis=(0, 1, 2)), found.std(axis=(0, 1, 2))
    logits.set_weights([kernel / spread, -mean / spread])
    model.save(folder / "best.keras")
    return folder


def test_options_of_evaluation_reach_the_network(colourful_run, tiny_recipe, tmp_path):
    """Against the same done by hand, one image after the other."""
    evaluate.main(["--run-dir", str(colourful_run), "--output", str(tmp_path)])
    (path,) = tmp_path.glob("metrics_*65x65_stride8.json")
    plain = read(path)
    assert sum(bool(iou) for iou in plain["IoU_per_class"].values()) > 3
    words = ["--output-stride", "8", "--scales", "0.75", "1.25", "--flip", "--size", "97", "65"]
    evaluate.main(["--run-dir", str(colourful_run), "--output", str(tmp_path), *words])
    (path,) = tmp_path.glob("metrics_*97x65_stride8_scales_75_125_flip.json")
    metrics = read(path)
    assert metrics["output_stride"] == 8 and metrics["flip"] is True
    model = keras.saving.load_model(colourful_run / "best.keras")
    model = with_output_stride(model, 8, (97, 65, 3))
    predictor = make_predictor(model, (0.75, 1.25), flip=True)
    source = open_source(tiny_recipe)
    confusion = ConfusionMatrix(source.label_names)
    for example in source.examples("validation[:8]"):
        mask = decode_mask(example["mask"]).numpy()[..., 0]
        confusion.add(mask, segment(predictor, decode(example["image"]).numpy(), (97, 65)))
    for name in evaluate.FIGURES:
        assert metrics[name] == pytest.approx(confusion.metrics()[name], abs=1e-3)
    assert abs(metrics["pixel_accuracy"] - plain["pixel_accuracy"]) > 0.01


def test_predict_writes_masks_and_overlays(tiny_run, tmp_path):
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    for folder, size in (("a", (120, 80)), ("b", (33, 200))):
        (photos / folder).mkdir(parents=True)
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / folder / "same.png")
    command = [str(photos / "a"), str(photos / "b" / "*.png"), "--run-dir", str(tiny_run)]
    predict.main([*command, "--output", str(tmp_path / "out")])
    masks = sorted((tmp_path / "out" / "masks").iterdir())
    assert [path.name for path in masks] == ["1_same.png", "2_same.png"]
    assert [Image.open(path).size for path in masks] == [(80, 120), (200, 33)]
    for path in masks:
        assert Image.open(path).mode == "P" and np.asarray(Image.open(path)).max() <= 10
        overlay = Image.open(tmp_path / "out" / "overlays" / path.name)
        assert overlay.height >= Image.open(path).height


def test_checkpoints_load_without_the_tasks(tiny_run):
    """Whoever uses the model has keras and keras_mnv2, not the training code."""
    program = (
        "import sys, keras, keras_mnv2\n"
        "for name in ('best', 'last'):\n"
        "    model = keras.saving.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    assert model.output_shape == (None, 65, 65, 11)\n"
        "assert not any(module.split('.')[0] == 'tasks' for module in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tiny_run)], check=True)


@pytest.fixture
def own_data(tiny_run, tmp_path):
    """A folder of images, index masks and class names, written from the test split."""
    recipe = load_recipe(tiny_run, "segmentation", SegmentationRecipe)
    source = open_source(recipe)
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)
    for example in source.examples("test[:3]").as_numpy_iterator():
        stem = example["filename"].decode().split(".")[0]
        (tmp_path / "own" / "images" / f"{stem}.jpg").write_bytes(example["image"])
        (tmp_path / "own" / "masks" / f"{stem}.png").write_bytes(example["mask"])
    (tmp_path / "own" / "labels.txt").write_text("\n".join(source.label_names) + "\n")
    return tmp_path / "own"


def test_evaluation_and_training_on_a_folder_of_masks(
    tiny_run, tiny_recipe, own_data, tmp_path, capsys
):
    files = ["--labels", str(own_data / "labels.txt")]
    folders = {"images": str(own_data / "images"), "masks": str(own_data / "masks")}
    command = ["--run-dir", str(tiny_run), "--output", str(tmp_path / "out"), *files]
    evaluate.main([*command, "--images", folders["images"], "--masks", folders["masks"]])
    (from_files,) = (tmp_path / "out").glob("metrics_best_mask_directory_*.json")
    evaluate.main(["--run-dir", str(tiny_run), "--split", "test[:3]", "--output", str(tmp_path)])
    (from_source,) = tmp_path.glob("metrics_best_shapes_tiny_test_*.json")
    assert read(from_files)["mIOU"] == pytest.approx(read(from_source)["mIOU"], abs=1e-6)

    # One class fewer: everything but the last layer is taken from the run.
    (own_data / "labels.txt").write_text("\n".join(f"class {i}" for i in range(12)) + "\n")
    recipe = dataclasses.replace(
        tiny_recipe,
        dataset="mask_directory",
        train_images=folders["images"],
        train_masks=folders["masks"],
        labels=str(own_data / "labels.txt"),
        init_weights=str(tiny_run / "best.keras"),
        zero_init_residual=False,
        train_split="train",
        validation_split="train",
        batch_size=2,
    )
    train.main([*as_arguments(recipe, "shapes", SHAPES), "--run-dir", str(tmp_path / "own_run")])
    assert len(read(tmp_path / "own_run" / "labels.json")["labels"]) == 12
    capsys.readouterr()

    with pytest.raises(SystemExit):
        evaluate.main([*command, "--images", folders["images"], "--masks", folders["masks"]])
    error = capsys.readouterr().err
    assert "class 11" in error and "heart" in error


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([evaluate, "--run-dir", "{tmp}/none"], "config.json is missing"),
        ([evaluate, "--run-dir", "{run}", "--split", "holdout"], "no split 'holdout'"),
        ([evaluate, "--run-dir", "{run}", "--size", "64", "65"], "height=64 must be a multiple"),
        ([evaluate, "--run-dir", "{run}", "--scales", "0"], "must be numbers above 0"),
        ([evaluate, "--run-dir", "{run}", "--labels", "{tmp}/x"], "go with --images and --masks"),
        ([evaluate, "--run-dir", "{run}", "--images", "x", "--voc-root", "y"], "give either"),
        ([train, "--run-dir", "{tmp}/new", "--freeze-bn"], "freeze_bn keeps"),
        ([evaluate, "--run-dir", "{run}", "--voc-root", "{tmp}/none"], "{tmp}/none"),
        ([evaluate, "--model", "{run}/best.keras"], "best.keras.labels.json is missing"),
        ([evaluate, "--model", "{tmp}/broken.keras"], "broken.keras is not a readable"),
        ([evaluate, "--model", "{tmp}/classifier.keras"], "classifier.keras: "),
        ([predict, "--run-dir", "{run}", "{tmp}/missing.jpg"], "no pictures at"),
        ([predict, "--run-dir", "{run}", "{tmp}/good.png", "{tmp}/broken.jpg"], "broken.jpg"),
        ([train, "--run-dir", "{tmp}/broken.jpg"], "no empty folder"),
        ([train, "--run-dir", "{tmp}/new", "--dataset", "no_such_set"], "'no_such_set'"),
        ([train, "--run-dir", "{tmp}/new", "--dataset", "mask_directory"], "mask_directory needs"),
        ([train, "--run-dir", "{tmp}/new", "--train-masks", "x"], "does not apply to data set"),
        ([train, "--run-dir", "{tmp}/new", "--train-split", "train[:0]"], "empty"),
    ],
)
def test_bad_input_ends_in_one_message(command, message, tiny_run, tiny_recipe, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (tmp_path / "broken.keras").write_bytes(b"not a zip file")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "classifier.keras")
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "good.png")
    before = sorted(tmp_path.rglob("*"))
    module, *words = command
    if module is train:
        words = [*as_arguments(tiny_recipe, "shapes", SHAPES), *words]
    with pytest.raises(SystemExit) as ended:
        module.main([word.format(tmp=tmp_path, run=tiny_run) for word in words])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert message.format(tmp=tmp_path) in error and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["--height", "64"], ["--output-stride", "4"]])
def test_a_crop_or_stride_that_does_not_fit_is_refused_at_the_door(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--recipe", "shapes", *words, "--run-dir", str(tmp_path / "run")])
    assert ended.value.code == 2 and "must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

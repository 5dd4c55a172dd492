"""scripts/benchmark_input.py on a handful of tiny photos. No time is asserted."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path

import benchmark_input
import benchmarking
import input_pipelines
import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging
from input_photos import CLASSES, drawn_photos, own_photos, write_inputs
from input_pipelines import OURS, PEER, PEER_WHOLE, RECIPES, STEP, WHOLE, Program
from PIL import Image

SIZE = (60, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pipelines of all tasks read: five photos."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, list(RECIPES), list(drawn_photos(5, SIZE)))
    return folder


def test_drawn_photos():
    photos, again = list(drawn_photos(4, SIZE)), list(drawn_photos(3, SIZE))
    assert len({photo.jpeg for photo in photos}) == len({photo.name for photo in photos}) == 4
    for photo, same in zip(photos, again, strict=False):
        assert photo.jpeg == same.jpeg and photo.mask == same.mask
    for photo in photos:
        assert tf.io.is_jpeg(photo.jpeg)
        assert tf.io.decode_jpeg(photo.jpeg).shape == (*SIZE, 3)
        top_left, bottom_right = photo.boxes[:, :2], photo.boxes[:, 2:]
        assert (top_left >= 0).all() and (bottom_right <= 1).all()
        assert (bottom_right > top_left).all()
        assert len(photo.labels) == len(photo.boxes) > 0
        mask = tf.io.decode_png(photo.mask)
        assert mask.shape == (*SIZE, 1)
        assert set(np.unique(mask)) - {0} <= set(photo.labels + 1)
        assert max(photo.labels) + 1 < min(CLASSES.values())


def test_own_photos(tmp_path):
    for number in range(3):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(tmp_path / f"{number}.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    (tmp_path / "0_broken.jpg").write_bytes(b"no picture")
    photos = list(own_photos(tmp_path, 9))
    files = [(tmp_path / f"{number}.jpg").read_bytes() for number in range(3)]
    assert [photo.jpeg for photo in photos] == files
    assert {photo.size for photo in photos} == {(30, 40)}
    assert len(list(own_photos(tmp_path, 2))) == 2


@pytest.mark.parametrize("task", RECIPES)
def test_both_sides_make_batches_of_the_same_shapes(task, folder):
    pytest.importorskip("official", reason="tf-models-official is absent")
    ours = input_pipelines.our_dataset(Program(OURS, task, folder, 2, 1))
    peer = input_pipelines.PEERS[task](Program(PEER, task, folder, 2, 1))
    ((our_images, our_targets),), ((images, targets),) = list(ours.take(1)), list(peer.take(1))
    assert our_images.shape == images.shape
    assert our_images.dtype == tf.uint8 and images.dtype == tf.float32
    if task == "classification":
        assert our_targets.shape == (2, CLASSES[task]) and targets.shape == (2,)
    elif task == "detection":
        assert our_targets["class_logits"].shape == (2, 2034)
        cells = [tuple(level.shape[1:]) for level in targets["cls_targets"].values()]
        assert sum(rows * columns * anchors for rows, columns, anchors in cells) == 2100
    else:
        assert our_targets.shape == targets["masks"].shape


def mirrored(image):
    """Whether what grew to the right grows to the left; steep are only the edges of padding."""
    steps = np.diff(np.asarray(image, np.float32)[..., 0], axis=1)
    return np.sign(steps[np.abs(steps) < 0.2 * np.ptp(image)]).sum() < 0


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """What all tasks read: one photo whose red counts the columns, whose green the rows."""
    folders = [tmp_path_factory.mktemp(name) for name in ("photos", "inputs")]
    rows, columns = np.mgrid[0:60, 0:80].astype(np.uint8)
    pixels = np.stack([30 + 2 * columns, 30 + 2 * rows, 0 * rows], axis=-1)
    Image.fromarray(pixels).save(folders[0] / "ramp.jpg", quality=100, subsampling=0)
    write_inputs(folders[1], list(RECIPES), list(own_photos(folders[0], 1)))
    return folders[1]


def images_of(name, task, folder, count):
    """One batch, as the pipeline of the named side makes it."""
    keras.utils.set_random_seed(0)
    program = Program(name, task, folder, count, 1)
    is_peer = name in (PEER, PEER_WHOLE)
    make = input_pipelines.PEERS[task] if is_peer else input_pipelines.our_dataset
    ((images, *_),) = make(program).take(1)
    return images.numpy()


@pytest.mark.parametrize("task", RECIPES)
def test_both_sides_crop_and_flip(task, ramp):
    """Of one photo, brighter to the right, no two images are the same, and some are mirrored."""
    pytest.importorskip("official", reason="tf-models-official is absent")
    for name in (OURS, PEER):
        images = images_of(name, task, ramp, 12)
        # The crops of detection are the whole image now and then.
        assert len(np.unique(images, axis=0)) > 7
        assert 0 < sum(map(mirrored, images)) < 12


def test_both_sides_crop_parts_of_the_same_areas(ramp):
    """Uniform from a tenth of the photo on, less what no allowed shape of that area covers."""
    pytest.importorskip("official", reason="tf-models-official is absent")
    quantiles = []
    for name, scale in ((OURS, 1.0), (PEER, 255 * np.array([0.229, 0.224, 0.225]))):
        images = images_of(name, "classification", ramp, 400).astype(np.float64) * scale
        width, height = np.moveaxis(np.ptp(images, axis=(1, 2))[:, :2] / 2 + 1, -1, 0)
        quantiles.append(np.quantile(width * height / (60 * 80), [0.1, 0.25, 0.5, 0.75, 0.9]))
    # Of 400 draws a quantile has a standard deviation of 0.03 at most.
    np.testing.assert_allclose(*quantiles, atol=0.08)
    assert 0.1 < quantiles[0][0] < 0.3 and 0.7 < quantiles[0][-1] < 1


def test_with_colours_both_sides_distort_them(ramp):
    """The photo has no blue, which a change of saturation gives it."""
    pytest.importorskip("official", reason="tf-models-official is absent")
    for plain, distorting in ((OURS, WHOLE), (PEER, PEER_WHOLE)):
        blue = [
            np.ptp(images_of(name, "classification", ramp, 12)[..., 2], axis=(1, 2)).mean()
            for name in (plain, distorting)
        ]
        assert blue[1] > 2 * blue[0]


def test_what_the_recipe_does_in_its_own_way(folder):
    """Is left out of the first comparison only, not where the bottleneck is looked for."""
    for task, name in RECIPES.items():
        recipes = importlib.import_module(f"tasks.{task}.recipes").RECIPES
        for program in input_pipelines.programs(task, with_step=True):
            found = dataclasses.asdict(
                input_pipelines.our_recipe(Program(program, task, folder, 2, 1))
            )
            expected = dataclasses.asdict(recipes[name])
            changed = {field for field in found if found[field] != expected[field]}
            augmentation = changed & {
                "color_distortion",
                "photometric",
                "flip",
                "min_area",
                "policy",
            }
            is_less = task == "classification" and program in (OURS, PEER)
            assert augmentation == ({"color_distortion"} if is_less else set())
    assert input_pipelines.programs("classification", True) == (
        *(OURS, PEER, WHOLE, PEER_WHOLE, STEP),
    )
    assert input_pipelines.programs("detection", False) == (OURS, PEER)


def test_a_step_of_input_is_so_many_batches(folder):
    step, facts = Program(OURS, "classification", folder, 2, 3).build()
    step()
    assert facts == {"images": 6, "batch": "uint8 [2, 224, 224, 3]"}


def test_the_training_step(folder, monkeypatch):
    program = Program(STEP, "classification", folder, 2, 3)
    model = input_pipelines.our_model(program)
    assert model.compiled and model.count_params() == 3_538_984

    def tiny_model(_):
        layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1000)]
        model = keras.Sequential([keras.Input((224, 224, 3)), *layers])
        model.compile("sgd", "categorical_crossentropy")
        return model

    monkeypatch.setattr(input_pipelines, "our_model", tiny_model)
    step, facts = program.build()
    assert np.isfinite(step())
    assert facts["images"] == 2 and facts["parameters"] == 4000


def measured(device="CPU", **milliseconds):
    """A result of `benchmarking.compare`: program to the times of its rounds."""
    images = {OURS: 20, PEER: 20, WHOLE: 20, PEER_WHOLE: 20, STEP: 10}
    return {
        "rows": [{"name": n, "images": images[n], "device": device} for n in milliseconds],
        "steps": {
            n: [{"ms": t, "cpu_ms": 2 * t} for t in times] for n, times in milliseconds.items()
        },
    }


def test_what_the_times_mean():
    times = {OURS: [100, 200, 100], PEER: [200, 300, 110], STEP: [500, 400, 500]}
    result = measured(**times)
    result |= benchmark_input.summary(result)
    assert result["images_per_second"] == {OURS: 200, PEER: 100, STEP: 20}
    assert result["cpu_ms_per_image"] == {OURS: 10, PEER: 20, STEP: 100}
    assert result["speed"] == result["cpu_speed"] == (1.5, 1.1, 2.0)
    assert result["input_over_step"] == (10, 4, 10)
    assert result["whole_speed"] is result["whole_cpu_speed"] is None
    text = benchmark_input.verdict(result)
    assert text.startswith("training is the bottleneck: the input alone is 10.0 times as fast")
    assert text.endswith("the input takes 9%")


def test_the_bottleneck_is_that_of_the_whole_recipe():
    result = measured(**{OURS: [100], PEER: [200], WHOLE: [400], PEER_WHOLE: [600], STEP: [100]})
    result |= benchmark_input.summary(result)
    assert result["speed"][0] == 2.0
    assert result["whole_speed"] == result["whole_cpu_speed"] == (1.5, 1.5, 1.5)
    text = benchmark_input.verdict(result)
    assert text.startswith("input is the bottleneck: the training step alone is 2.0 times as fast")
    assert text.endswith("the input takes 67%")


def test_a_fast_device_waits_for_its_input():
    result = measured("GPU", **{OURS: [100], STEP: [10]})
    result |= benchmark_input.summary(result)
    assert result["speed"] is None
    text = benchmark_input.verdict(result)
    assert text == "input is the bottleneck: the training step alone is 5.0 times as fast"


def test_a_run(tmp_path, capfd):
    pytest.importorskip("official", reason="tf-models-official is absent")
    path = tmp_path / "times.json"
    absl_logging.set_verbosity(absl_logging.WARNING)
    numbers = {"images": 4, "batch-size": 2, "batches": 2, "rounds": 3}
    arguments = [f"--{name}={number}" for name, number in numbers.items()]
    arguments += ["--size", "64", "96", "--tasks", "classification", "--no-step"]
    assert benchmark_input.main([*arguments, "--json", str(path)]) == 0
    printed = capfd.readouterr().out
    result = json.loads(path.read_text())
    assert result["settings"]["photos"] == "drawn" and result["settings"]["images"] == 4
    task = result["tasks"]["classification"]
    assert [(row["name"], row["images"]) for row in task["rows"]] == [
        *((name, 4) for name in (OURS, PEER, WHOLE, PEER_WHOLE))
    ]
    assert [len(steps) for steps in task["steps"].values()] == [3, 3, 3, 3]
    assert f"{OURS} is {task['speed'][0]:.2f} times as fast as {PEER} (" in printed
    assert f"{WHOLE} is {task['whole_speed'][0]:.2f} times as fast as {PEER_WHOLE} (" in printed
    assert "bottleneck" not in printed
    assert absl_logging.get_verbosity() == absl_logging.ERROR


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_paused_worker_does_nothing_between_steps(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(benchmarking.__file__).parent))
    program = "import benchmarking; benchmarking.serve(lambda: (lambda: None, {'a': 1}))"

    def wait_until_stopped(worker):
        path = Path(f"/proc/{worker._process.pid}/stat")
        deadline = time.monotonic() + 60
        while path.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < deadline, "the worker goes on"
            time.sleep(0.01)

    worker = benchmarking.Worker("test", [sys.executable, "-c", program], pause=True)
    assert worker.facts == {"a": 1}
    for _ in range(3):
        wait_until_stopped(worker)
        assert worker.step()["ms"] >= 0
    wait_until_stopped(worker)
    worker.close()
    assert worker._process.returncode == 0


def test_bad_input(tmp_path, capsys):
    for photos, message in (
        (tmp_path / "missing", "no pictures at"),
        (tmp_path, "no pictures at"),
    ):
        assert benchmark_input.main(["--photos", str(photos)]) == 1
        assert message in capsys.readouterr().err
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    assert benchmark_input.main(["--photos", str(tmp_path)]) == 1
    assert "no readable, upright JPEG photos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "0"), "--batch-size must be at least 1"),
        (("--images", "-1"), "--images must be at least 1"),
        (("--size", "8", "640"), "at least 32 32"),
        (("--tasks", "pose"), "invalid choice"),
        (("--json", "no/such/folder/times.json"), "there is no folder no/such/folder"),
    ],
)
def test_arguments_of_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark_input.main(list(arguments))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err

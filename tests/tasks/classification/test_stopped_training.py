"""Trainings that must stop half-way say why, keep what they have, and go on by the same command."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import shutil
import signal
from pathlib import Path

import pytest
from recipe_arguments import as_arguments

from tasks.classification import train
from tasks.classification.data import open_source
from tasks.classification.recipes import RECIPES
from tasks.common import training as common_training
from tasks.common.callbacks import EvaluateAndSave
from tasks.common.checkpoints import finished_steps


@pytest.fixture
def recipe(tiny_recipe):
    """No cache, so that files are read again in each epoch, and short epochs."""
    return dataclasses.replace(
        tiny_recipe,
        cache=False,
        train_split="train[:8]",
        batch_size=16,
        train_steps=9,
        evaluate_every=4,
        checkpoint_every=2,
    )


def history_steps(folder: Path) -> list[int]:
    return [row["step"] for row in json.loads((folder / "history.json").read_text())]


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


@pytest.fixture
def training(recipe, tmp_path, monkeypatch, capfd):
    """(what happens, after which step, recipe) -> run folder, exit status and standard error."""
    folder = tmp_path / "run"

    def command(recipe=recipe) -> list[str]:
        return [*as_arguments(recipe, "shapes", RECIPES["shapes"]), "--run-dir", str(folder)]

    def begin(happens, step: int, recipe=recipe):
        go_on = EvaluateAndSave.on_train_batch_end

        def with_accident(self, batch, logs=None):
            if self.first_step + batch + 1 == step:
                happens()
            go_on(self, batch, logs)

        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr(EvaluateAndSave, "on_train_batch_end", with_accident)
            train.main(command(recipe))
        assert not leftovers(folder) and not (folder / "metrics.json").exists()
        return folder, stopped.value.code, capfd.readouterr().err

    def go_on():
        train.main(command())
        assert history_steps(folder) == [4, 8, 9] and (folder / "metrics.json").exists()
        assert not (folder / "checkpoints").exists()

    begin.go_on, begin.command = go_on, command
    return begin


def test_a_signal_ends_it_after_the_step(training):
    folder, found, error = training(lambda: signal.raise_signal(signal.SIGTERM), 7)
    assert found == 143
    assert "interrupted (SIGTERM) after step 7 of 9" in error
    assert "same command again goes on after step 7" in error and len(error.splitlines()) == 1
    assert finished_steps(folder) == 7 and history_steps(folder) == [4]
    training.go_on()


@contextlib.contextmanager
def largest_file(size: int):
    """Within it no file grows beyond `size` bytes, which programs see much like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Neither of steps 6 and 8 has a checkpoint: that of 8 would follow the evaluation.
def test_a_full_disk(training):
    with largest_file(100_000) as fill:
        folder, status, error = training(fill, 8)
    assert status == 1
    assert "stopped after step 8 of 9" in error and "no space left to write" in error
    assert "the same command again goes on after step 6" in error
    assert finished_steps(folder) == 6 and history_steps(folder) == [4]
    training.go_on()


class Killed(BaseException):
    """As if the process had ended here."""


def test_kills_between_two_of_the_last_files(training, monkeypatch):
    """Between history and checkpoint, then between metrics and the end of the checkpoints."""

    def kill(self, *_):
        if getattr(self, "step", 9) == 9:
            raise Killed

    for owner, name in ((EvaluateAndSave, "_report"), (common_training, "remove_checkpoints")):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, kill)
            train.main(training.command())
    training.go_on()


def test_a_file_of_the_data_that_vanishes(training, recipe, tmp_path):
    open_source(recipe)  # prepares it
    records = next(Path(recipe.data_dir).rglob("*train.tfrecord*"))
    aside = tmp_path / "aside"
    # Many steps, as some batches have been read ahead.
    long = dataclasses.replace(recipe, train_steps=500, evaluate_every=500)
    folder, status, error = training(lambda: shutil.move(records, aside), 2, long)
    shutil.move(aside, records)
    assert status == 1
    assert "a file has vanished" in error and "train.tfrecord" in error
    assert "the same command again goes on after step" in error
    assert len(error.splitlines()) == 1 and len(error) < 900
    assert finished_steps(folder) >= 2


def test_a_prepared_data_set_that_vanishes(tiny_recipe, tmp_path):
    open_source(tiny_recipe)
    shutil.copytree(tiny_recipe.data_dir, tmp_path / "data")
    source = open_source(dataclasses.replace(tiny_recipe, data_dir=str(tmp_path / "data")))
    source.examples("train")
    shutil.rmtree(tmp_path / "data" / "shapes")
    with pytest.raises(FileNotFoundError, match="prepared data set .*shapes.* is no longer there"):
        source.examples("train")


def test_a_loss_that_is_no_number(training, recipe):
    wild = dataclasses.replace(recipe, learning_rate=1e30, warmup_steps=0, optimizer="sgd")
    folder, status, error = training(lambda: None, 1, wild)
    assert status == 1
    assert "lower learning_rate=1e+30" in error and "another --run-dir" in error

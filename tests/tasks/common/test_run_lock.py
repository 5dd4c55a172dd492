"""One process at a time trains in a run folder."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys

import pytest

from tasks.common.recipe import TrainingRecipe
from tasks.common.run_folder import RunFolderError, open_run_folder
from tasks.common.run_lock import locked
from tasks.common.training_command import train_command

HOLDER = """
import sys, time
from pathlib import Path
from tasks.common.run_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def train(tmp_path):
    """The training command on tmp_path/run, of a task that trains nothing."""

    def run(recipe, folder):
        open_run_folder(folder, "nothing", recipe)
        (folder / "trained").write_text("much")
        return {"score": 1.0}

    words = ["--recipe", "tiny", "--run-dir", str(tmp_path / "run")]
    return lambda: train_command(
        "nothing", "nothing", {"tiny": TrainingRecipe()}, run, lambda metrics: None, words
    )


def test_a_second_process_is_refused_until_the_first_is_killed(train, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"locked\n"
            with pytest.raises(RunFolderError, match=f"process {holder.pid} on .* --run-dir"):
                train()
        finally:
            holder.kill()
    # The file that it leaves is no obstacle, and no other file in the way of a new run.
    assert [path.name for path in folder.iterdir()] == [".lock"]
    train()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "trained"]


def test_a_full_disk_is_told_of_and_nothing_is_left(tmp_path, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    # Where the lock's file is written.
    monkeypatch.setattr("tasks.common.run_lock.socket.gethostname", full)
    folder = tmp_path / "runs" / "one"
    message = r"into .*one \(No space left on device\): make space"
    with pytest.raises(RunFolderError, match=message), locked(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nothing_comes_into_is_removed(tmp_path):
    with pytest.raises(ValueError, match="bad input"), locked(tmp_path / "runs" / "one"):
        raise ValueError("bad input")
    assert not list(tmp_path.iterdir())


def test_the_lock_is_free_again_after_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(OSError, match="disk"), locked(tmp_path):
            with pytest.raises(RunFolderError), locked(tmp_path):
                raise AssertionError("two have it")
            raise OSError("disk")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_lock_that_its_holder_has_just_removed_is_no_lock(tmp_path, monkeypatch):
    flock, path = fcntl.flock, tmp_path / ".lock"

    def after_the_holder(file, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_the_holder)
    with locked(tmp_path):
        assert path.exists()
        with pytest.raises(RunFolderError), locked(tmp_path):
            raise AssertionError("two have it")


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def refuses(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with locked(tmp_path):
        pass
    assert "without locks (No locks available)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

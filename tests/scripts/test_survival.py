"""Killing trainings, and telling whether it shows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import survival


def test_a_killed_training_ends_as_an_undisturbed_one(capfd):
    """The undisturbed ones, of which one prepares the data, and one killed while it saves."""
    survival.main(
        ["--task", "classification", "--kills", "0", "--while-saving", "1"]
        + ["--steps", "8", "--evaluate-every", "5", "--checkpoint-every", "3"]
    )
    output = capfd.readouterr().out
    assert "two undisturbed runs: equal" in output
    assert "while writing .step_" in output and output.count("ended: equal") >= 1
    assert output.splitlines()[-1].startswith("equal")


def test_differences_are_told_to_the_last_bit():
    one = {"a": np.float32([1, 2]), "history": "[]"}
    assert survival.differences(one, {"a": np.float32([1, 2]), "history": "[]"}) == []
    other = {"a": np.nextafter(np.float32([1, 2]), np.float32(9)), "history": "[1]", "b": "x"}
    assert survival.differences(one, other) == ["a", "b", "history"]


@pytest.fixture
def sleepers():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_one_of_several_processes_can_be_killed(sleepers):
    assert survival.kill_when(lambda: True, sleepers, sleepers[:1])
    assert [process.poll() for process in sleepers] == [-9, None]
    assert survival.kill_when(lambda: True, sleepers)
    assert sleepers[1].returncode == -9
    assert not survival.kill_when(lambda: True, sleepers)


def test_the_moment_of_saving(tmp_path):
    moment = survival.while_saving(tmp_path, number=2, delay=0.0)
    folder = tmp_path / "checkpoints"
    assert not moment()
    (folder / ".step_000000003.tmp").mkdir(parents=True)
    assert not moment() and not moment()
    (folder / ".step_000000003.tmp").rename(folder / "step_000000003")
    (folder / ".step_000000006.tmp").mkdir()
    assert moment()
    # It stays when the process is killed, and the next one writes it anew.
    again = survival.while_saving(tmp_path, number=1, delay=0.0)
    assert not again()
    (folder / ".step_000000006.tmp" / "variables.index").touch()
    assert again()
    (folder / ".step_000000006.tmp" / "variables.index").unlink()
    assert "while writing .step_000000006.tmp" not in survival.describe(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    told = survival.describe(tmp_path)
    assert told == "after step_000000003, while writing .step_000000006.tmp"

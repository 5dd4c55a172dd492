"""Killing trainings, and telling whether it shows."""

from __future__ import annotations

import random
import subprocess
import sys

import killing
import numpy as np
import pytest
import run_outcomes
import survival


def test_a_killed_training_ends_as_an_undisturbed_one(capfd):
    """Three starts: an undisturbed training, one that is killed while it saves, and the rest."""
    survival.main(
        ["--task", "classification", "--kills", "0", "--while-saving", "1"]
        + ["--steps", "8", "--evaluate-every", "5", "--checkpoint-every", "3"]
    )
    output = capfd.readouterr().out
    # What the progress bar told: a moment can be drawn, and the kill hit where it is.
    assert "7 more steps" in output
    assert "while writing .step_" in output and output.count("ended: equal") >= 1
    assert output.splitlines()[-1].startswith("equal")


def test_differences_are_told_to_the_last_bit():
    one = {"a": np.float32([1, 2]), "history": "[]"}
    assert run_outcomes.differences(one, {"a": np.float32([1, 2]), "history": "[]"}) == []
    other = {"a": np.nextafter(np.float32([1, 2]), np.float32(9)), "history": "[1]", "b": "x"}
    assert run_outcomes.differences(one, other) == ["a", "b", "history"]


# What Keras shows of a training of 60 steps that goes on after step 20; then an error.
BARS = r"""
import sys, time
assert sys.stdout.isatty()
for done in (1, 2, 3, 9):
    for part in ("\r\x1b[1m %2d/", "40\x1b[0m ..."):
        print(part % done if "%" in part else part, end="", flush=True)
        time.sleep(0.02)
print("lost", file=sys.stderr)
sys.exit(3)
"""


def test_a_training_is_watched_by_its_progress_bar(tmp_path):
    training = killing.Training([sys.executable, "-c", BARS], tmp_path / "log", steps=60)
    assert training.wait() == 3
    assert [step for step, _ in training.shown] == [21, 22, 23, 29]
    assert training.time_of(None) == training.began < training.time_of(5) == training.time_of(21)
    assert training.time_of(24) == training.time_of(29) and training.time_of(30) is None
    assert killing.Moment(29, 0.0).has_come(training)
    assert not killing.Moment(30, 0.0).has_come(training)
    assert not killing.Moment(29, 1e6).has_come(training)
    log = (tmp_path / "log").read_text()
    assert "9/40" in log and "lost" in log
    course = killing.Course.of(training)
    assert [step for step, _ in course.shown] == [21, 22, 23, 29] and course.shown[0][1] > 0


def test_kills_are_spread_over_the_life_of_a_training():
    # A start of 10 seconds, steps of one, and an evaluation in that after step 7.
    shown = tuple((step, 9.0 + step + 5.0 * (step > 7)) for step in range(1, 21))
    course, draws = killing.Course(shown), random.Random(0)
    drawn = [course.draw(draws, 5) for _ in range(400)]
    starts = [moment for moments in drawn for moment in moments if moment.step is None]
    assert len(starts) == 400 and all(0 <= moment.seconds < 10 for moment in starts)
    places = [[moment.step is None for moment in moments].index(True) for moments in drawn]
    assert set(places) == set(range(5))
    steps = [[moment.step for moment in moments if moment.step] for moments in drawn]
    assert all(each == sorted(each) for each in steps)
    counts = np.bincount(np.concatenate(steps), minlength=21)[1:]
    # 1600 moments over 24.3 seconds, of which 6 are in the evaluation and 0.3 at the end.
    assert counts.argmax() == 6 and 300 < counts[6] < 500
    assert all(30 < count < 110 for count in np.delete(counts, [6, 19])) and counts[19] > 0
    assert [moment.step is None for moment in course.draw(draws, 1)] == [False]


@pytest.fixture
def sleepers():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_one_of_several_processes_can_be_killed(sleepers):
    assert killing.kill_when(lambda: True, sleepers, sleepers[:1])
    assert [process.poll() for process in sleepers] == [-9, None]
    # A kill that comes after one has ended would say nothing about losing a worker.
    assert not killing.kill_when(lambda: True, sleepers)
    assert killing.kill_when(lambda: True, sleepers[1:])
    assert sleepers[1].returncode == -9


@pytest.mark.parametrize(
    ("program", "is_right", "told"),
    [
        (f"import sys; print({survival.LOST!r}); sys.exit(1)", True, "with status 1"),
        ("import sys; sys.exit(1)", False, "does NOT say why"),
        (f"print({survival.LOST!r})", False, "with status 0"),
        ("import time; time.sleep(60)", False, "HANGS"),
    ],
)
def test_survivors_are_judged(program, is_right, told, tmp_path, monkeypatch):
    monkeypatch.setattr(survival, "PATIENCE", 1.0 if "HANGS" in told else 60.0)
    training = killing.Training([sys.executable, "-c", program], tmp_path / "log", steps=1)
    found = survival.survivors_end([training])
    assert found[0] == is_right and told in found[1]


def test_victims_are_one_then_all(tmp_path):
    lengths = survival.Lengths(1, 1, 1)
    for workers, expected in ((1, [[0]] * 4), (2, [[0], [0, 1], [1], [0, 1]])):
        victims = survival.Setting("detection", lengths, workers, tmp_path).victims()
        assert [next(victims) for _ in range(4)] == expected


def test_the_moment_of_saving(tmp_path):
    moment = killing.while_saving(tmp_path, number=2, delay=0.0)
    folder = tmp_path / "checkpoints"
    assert not moment()
    (folder / ".step_000000003.tmp").mkdir(parents=True)
    assert not moment() and not moment()
    (folder / ".step_000000003.tmp").rename(folder / "step_000000003")
    (folder / ".step_000000006.tmp").mkdir()
    assert moment()
    # It stays when the process is killed, and the next one writes it anew.
    again = killing.while_saving(tmp_path, number=1, delay=0.0)
    assert not again()
    (folder / ".step_000000006.tmp" / "variables.index").touch()
    assert again()
    (folder / ".step_000000006.tmp" / "variables.index").unlink()
    assert "while writing .step_000000006.tmp" not in killing.describe(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    told = killing.describe(tmp_path)
    assert told == "after step_000000003, while writing .step_000000006.tmp"

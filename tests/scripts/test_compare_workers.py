"""The comparison of several workers with one: what it records, and when it fails."""

from __future__ import annotations

import json

import compare_workers
import numpy as np
import pytest

from tasks.common import training


def test_the_losses_of_all_steps_are_recorded(tmp_path, monkeypatch):
    # Recording puts its own callback there.
    monkeypatch.setattr(training, "EvaluateAndSave", training.EvaluateAndSave)
    words = [*compare_workers.COMMON, *compare_workers.COMPARED, "--zero-init-residual"]
    words += [*compare_workers.TASKS["classification"], *compare_workers.lengths(3)]
    words += ["--dataset", "shapes/tiny", "--batch-size", "4"]
    words += ["--height", "32", "--width", "32", "--run-dir", str(tmp_path / "run")]
    losses = tmp_path / "losses.json"
    compare_workers.train_and_record("classification", words, str(losses))
    recorded = json.loads(losses.read_text())
    assert len(recorded) == 3 and len(set(recorded)) == 3
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert np.mean(recorded) == pytest.approx(history[-1]["loss"], rel=1e-5)


@pytest.fixture
def runs(monkeypatch):
    """What is run in place of trainings, and the losses that these tell of several workers."""
    made, losses = [], [2.0, 1.0]

    def run(task, words, folder, workers):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({compare_workers.MONITORS[task]: 0.5}))
        made.append((workers, words))
        return losses if workers > 1 else [2.0, 1.0]

    monkeypatch.setattr(compare_workers, "run", run)
    return made, losses


def test_both_go_on_from_the_same_network(runs, capsys):
    made, losses = runs
    losses[1] = 1.0005
    compare_workers.main(["--tasks", "detection", "--workers", "3", "--steps", "2"])
    assert "difference 5.0e-04; AP 0.500000 and 0.500000" in capsys.readouterr().out
    (first, begin), (one, words), (several, others) = made
    assert (first, one, several) == (1, 1, 3)
    assert words == others and "--init-weights" in words and "--init-weights" not in begin


@pytest.mark.parametrize("loss", [1.002, float("nan")])
def test_losses_that_differ_are_a_failure(runs, loss):
    runs[1][1] = loss
    with pytest.raises(SystemExit, match="differ by more than 0.001"):
        compare_workers.main(["--tasks", "segmentation", "classification"])

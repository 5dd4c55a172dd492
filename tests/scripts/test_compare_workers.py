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
    words = [*compare_workers.COMPARED, *compare_workers.WITHOUT_AUGMENTATION["classification"]]
    words += ["--recipe", "shapes", *compare_workers.QUICK, "--alpha", "0.35", "--height", "32"]
    words += ["--width", "32", "--batch-size", "4", "--train-steps", "3", "--evaluate-every", "3"]
    words += ["--warmup-steps", "1", "--precision", "float64", "--run-dir", str(tmp_path / "run")]
    losses = tmp_path / "losses.json"
    compare_workers.train_and_record("classification", words, str(losses))
    recorded = json.loads(losses.read_text())
    assert len(recorded) == 3 and len(set(recorded)) == 3
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert np.mean(recorded) == pytest.approx(history[-1]["loss"], rel=1e-5)


@pytest.fixture
def runs(monkeypatch):
    """What is run in place of trainings, and the losses that several workers tell in them."""
    made, losses = [], [2.0, 1.0]

    def run(task, words, folder, workers):
        made.append((folder.name, workers, words))
        told = losses if workers > 1 else [2.0, 1.0]
        compare_workers.losses_file(folder).write_text(json.dumps(told))
        return 0.5

    monkeypatch.setattr(compare_workers, "run", run)
    return made, losses


def test_all_go_on_from_the_network_of_one_process(runs, tmp_path, capsys):
    made, losses = runs
    losses[1] = 1.0005
    folder = str(tmp_path / "new" / "folder")
    compare_workers.main(["--folder", folder, "--tasks", "detection", "--workers", "3", "--whole"])
    told = capsys.readouterr().out
    assert "AP at the end, one process 0.5000, 3 workers 0.5000" in told
    assert told.count("loss of 2.0000 to 1.0000, largest relative difference 5.0e-04") == 2
    *first, whole, others, one, several = made
    assert [step[1] for step in first] == [1, 3] and first[0][2] == first[1][2]
    words = first[0][2]
    assert "float64" in words and "--init-weights" not in words
    # Of 50 steps from 0 to 0.02.
    assert float(words[words.index("--learning-rate") + 1]) == pytest.approx(0.02 * 19 / 50)
    assert words[words.index("--warmup-steps") + 1] == "19"
    assert whole[:2] == ("detection_1", 1) and others[:2] == ("detection_3", 3)
    assert others[2] == [*whole[2], "--sync-bn"]
    assert [one[1], several[1]] == [1, 3] and one[2] == several[2]
    init = one[2][one[2].index("--init-weights") + 1]
    assert init == str(tmp_path / "new" / "folder" / "detection_1" / "last.keras")


@pytest.mark.parametrize("loss", [1.002, float("nan")])
def test_losses_that_differ_are_a_failure(runs, tmp_path, loss):
    runs[1][1] = loss
    words = ["--folder", str(tmp_path), "--tasks", "segmentation", "classification"]
    with pytest.raises(SystemExit, match="differ by more than 0.001"):
        compare_workers.main(words)

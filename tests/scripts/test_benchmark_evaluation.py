"""scripts/benchmark_evaluation.py on a few images. No time is asserted."""

from __future__ import annotations

import json

import benchmark_evaluation
import pytest
from benchmark_evaluation import OURS, PEER, PREPARATION

TINY = ["--images", "4", "--detections", "10", "--classes", "3"]


def test_both_implementations_in_turn(tmp_path, capfd):
    pytest.importorskip("pycocotools", reason="pycocotools is absent")
    path = tmp_path / "times.json"
    assert benchmark_evaluation.main([*TINY, "--rounds", "2", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert [row["name"] for row in result["rows"]] == [OURS, PEER, PREPARATION]
    assert all(len(steps) == 2 for steps in result["steps"].values())
    ours, peer, _ = result["rows"]
    assert 0 < ours["metrics"]["AP"] < 1
    assert ours["metrics"] == pytest.approx(peer["metrics"], abs=1e-9)
    assert result["largest_difference"] <= 1e-9
    assert result["settings"] == {"images": 4, "detections": 10, "classes": 3, "rounds": 2}
    assert "largest difference between the twelve figures of both: " in capfd.readouterr().out


def test_other_figures_end_in_an_error(monkeypatch, capsys):
    def compare(commands, rounds):
        ours = dict.fromkeys(benchmark_evaluation.METRICS, 0.25)
        rows = [{"name": OURS, "metrics": ours}, {"name": PEER, "metrics": ours | {"AP50": 0.26}}]
        return {"rows": rows}

    monkeypatch.setattr(benchmark_evaluation.benchmarking, "compare", compare)
    monkeypatch.setattr(benchmark_evaluation.benchmarking, "print_table", lambda result: None)
    assert benchmark_evaluation.main(TINY) == 1
    assert "differ by more than 1e-9" in capsys.readouterr().err


def test_arguments_that_make_no_sense(capsys):
    with pytest.raises(SystemExit):
        benchmark_evaluation.main(["--images", "0"])
    assert "--images must be at least 1" in capsys.readouterr().err

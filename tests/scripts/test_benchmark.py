"""scripts/benchmark.py on one tiny part, and on results as the other scripts write them."""

from __future__ import annotations

import json
from pathlib import Path

import benchmark
import pytest
from benchmark_tables import HEADER, TABLES

TINY = ["--images", "4", "--detections", "10", "--classes", "3", "--rounds", "2"]
ROWS = [
    {"name": "keras_mnv2", "median_ms": 100.0, "ratio": 1.0, "ratio_range": [1.0, 1.0]},
    {"name": "peer", "median_ms": 1904.0, "ratio": 1.88, "ratio_range": [1.5, 2.0]},
]
RESULTS = {
    "training": {"settings": {"alpha": 1.0, "size": 224, "batch_size": 32}, "rows": ROWS},
    "targets": {
        "settings": {"batch_size": 32},
        "cpu_ms_a_batch": {"matching and encoding": 20.0, "tf_models labels": 50.0},
        "share": 0.034,
    },
    "input": {
        "tasks": {
            "classification": {
                "speed": [1.1, 1.0, 1.2],
                "whole_speed": [1.5, 1.4, 1.6],
                "images_per_second": {
                    **{"keras_mnv2": 800.0, "tf_models": 700.0},
                    **{"keras_mnv2, with colours": 600.0, "tf_models, with colours": 400.0},
                },
            },
            "detection": {
                "speed": [2.0, 1.8, 2.2],
                "whole_speed": None,
                "images_per_second": {"keras_mnv2": 400.0, "tf_models": 200.0},
            },
            "segmentation": {
                "speed": None,
                "whole_speed": None,
                "images_per_second": {"keras_mnv2": 400.0},
            },
        }
    },
    "inference": {
        "detection": {
            "rows": [
                {"form": form, "threads": n, "median_ms": ms / n, "times_as_fast": 90.0 * n / ms}
                for n in (1, 2)
                for form, ms in (("Keras predict_on_batch", 90.0), ("LiteRT int8", 22.5))
            ]
        }
    },
    "evaluation": {
        "settings": {"images": 5000, "detections": 100},
        "rows": [*ROWS, ROWS[0] | {"name": "preparation alone"}],
    },
    "postprocessing": {
        "settings": {"batch_size": 8},
        "rows": [*ROWS, ROWS[0] | {"name": "keras_mnv2, class_agnostic"}],
    },
}


def test_every_part_has_a_script_and_a_table():
    folder = Path(benchmark.__file__).parent
    assert list(benchmark.PARTS) == list(TABLES) == list(RESULTS)
    for name, _ in benchmark.PARTS.values():
        assert (folder / name).is_file()


def test_the_rows_of_the_table():
    rows = [row for part, result in RESULTS.items() for row in TABLES[part](result)]
    assert {len(row) for row in rows} == {len(HEADER)}
    ratio = "1.88 (1.50-2.00)"
    assert rows == [
        ("training step, MobileNetV2 1.0/224, batch 32", "100 ms", "peer", "1900 ms", ratio),
        (
            "matching and encoding, SSDLite 320, batch 32",
            *("20 ms (CPU)", "tf_models", "50 ms (CPU)", "2.50"),
        ),
        (
            "matching and encoding, SSDLite 320, batch 32, with mining",
            *("3.4% of a step", "", "", ""),
        ),
        (
            "input pipeline, classification, without colours",
            *("800 images/s", "tf_models", "700 images/s", "1.10 (1.00-1.20)"),
        ),
        (
            "input pipeline, classification, with colours",
            *("600 images/s", "tf_models", "400 images/s", "1.50 (1.40-1.60)"),
        ),
        (
            "input pipeline, detection",
            *("400 images/s", "tf_models", "200 images/s", "2.00 (1.80-2.20)"),
        ),
        (
            "SSDLite 320, LiteRT int8, threads: 1, 2",
            *("22.5, 11.2 ms", "Keras predict_on_batch", "90, 45 ms", "4.00, 8.00"),
        ),
        (
            "COCO evaluation, 5000 images with 100 detections",
            *("0.1 s", "peer", "1.9 s", ratio),
        ),
        ("post-processing, SSDLite 320, batch 8", "100 ms", "peer", "1900 ms", ratio),
    ]


def test_a_part_in_earnest(tmp_path, monkeypatch, capfd):
    pytest.importorskip("pycocotools", reason="pycocotools is absent")
    script = benchmark.PARTS["evaluation"][0]
    monkeypatch.setitem(benchmark.PARTS, "evaluation", (script, TINY))
    paths = [tmp_path / "results.json", tmp_path / "table.md"]
    words = ["--parts", "evaluation", "--quick", "--json", paths[0], "--markdown", paths[1]]
    assert benchmark.main([str(word) for word in words]) == 0
    written = json.loads(paths[0].read_text())
    assert written["quick"] and list(written["parts"]) == ["evaluation"]
    assert written["parts"]["evaluation"]["settings"]["images"] == 4
    assert written["machine"]["cores"] >= 1 and written["machine"]["memory_gib"] > 0.1
    table = paths[1].read_text()
    lines = table.splitlines()
    assert lines[0].split("|")[1].strip() == "what" and lines[1].startswith("| ---")
    assert "| COCO evaluation, 4 images with 10 detections | " in lines[2]
    assert "GiB of memory; Python 3." in table and "numpy" in table and "--quick" in table
    assert table in capfd.readouterr().out
    assert sorted(tmp_path.iterdir()) == paths


def test_a_part_that_fails_is_named_and_the_others_go_on(monkeypatch, capsys):
    def run_part(part, quick):
        return None if part == "targets" else RESULTS[part]

    monkeypatch.setattr(benchmark, "run_part", run_part)
    assert benchmark.main(["--parts", "training", "targets", "postprocessing"]) == 1
    captured = capsys.readouterr()
    assert "error: these parts failed, see above: targets" in captured.err
    assert "post-processing, SSDLite 320" in captured.out and "matching" not in captured.out


def test_a_script_that_fails(monkeypatch):
    script = benchmark.PARTS["evaluation"][0]
    monkeypatch.setitem(benchmark.PARTS, "evaluation", (script, ["--images", "0"]))
    assert benchmark.run_part("evaluation", quick=True) is None

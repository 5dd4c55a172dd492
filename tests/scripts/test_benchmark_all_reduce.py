"""The exchange between workers, by two processes."""

from __future__ import annotations

import benchmark_all_reduce
import pytest
from benchmark_all_reduce import gradient_shapes, measure, summary


def test_two_workers_add_up_what_they_have(monkeypatch):
    """`exchange` raises where the sum is wrong."""
    monkeypatch.setattr(benchmark_all_reduce, "gradient_shapes", lambda network: [[3, 4], [5]])
    times = measure("MobileNetV2", workers=2, steps=2)
    assert len(times) == 2 and all(ms > 0 for ms in times)


def test_a_worker_that_fails_is_shown(monkeypatch):
    monkeypatch.setattr(benchmark_all_reduce, "gradient_shapes", lambda network: [["no number"]])
    with pytest.raises(RuntimeError, match="worker 0 failed(.|\n)*no number"):
        measure("MobileNetV2", workers=1, steps=1)


def test_bytes_and_bandwidth():
    row = summary(parameters=1_000_000, workers=4, milliseconds=[1.0, 3.0, 2.0])
    assert row["sent_bytes"] == 6_000_000  # 3/4 of 4 MB there, and 3/4 back
    assert row["median_ms"] == 2.0 and row["bytes_per_second"] == pytest.approx(3e9)
    assert summary(1_000_000, 1, [1.0])["sent_bytes"] == 0


def test_the_shapes_are_those_of_the_network():
    shapes = gradient_shapes("SSDLite")
    assert [3, 3, 3, 32] in shapes and len(shapes) > 150


@pytest.mark.parametrize("words", (["--steps", "0"], ["--workers", "2", "0"]))
def test_bad_options_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        benchmark_all_reduce.main(words)
    assert f"{words[0]} must be at least 1" in capsys.readouterr().err

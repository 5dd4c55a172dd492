"""What the soak calls flat."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import soak


def rows(**slopes: float) -> list[dict[str, float]]:
    """Samples of 100 minutes that wobble, and grow by so much in all after a steep beginning."""
    level = {"resident MiB": 800.0, "open files": 30.0, "threads": 40.0, "CPU ms a step": 50.0}
    made = []
    for i, wobble in enumerate(np.random.default_rng(0).normal(size=100)):
        row = {"seconds": 60.0 * i, "step": 50 * (i + 1)}
        for name, value in level.items():
            noise = 0.001 * value * wobble if name in ("resident MiB", "CPU ms a step") else 0.0
            start = 0.5 * value * max(0, 20 - i) / 20
            row[name] = value - start + noise + slopes.get(name, 0.0) * i / 100
        made.append(row)
    return made


def test_what_stays_is_flat_whatever_the_beginning():
    table, is_flat = soak.judge(rows())
    assert is_flat and [row[-1] for row in table] == ["flat"] * 4


@pytest.mark.parametrize(
    ("name", "growth"),
    [("resident MiB", 60.0), ("open files", 5.0), ("threads", 5.0), ("CPU ms a step", 12.0)],
)
def test_what_grows_is_named(name, growth):
    table, is_flat = soak.judge(rows(**{name: growth}))
    assert not is_flat
    assert [row[0] for row in table if row[-1] == "GROWS"] == [name]
    assert soak.judge(rows(**{name: -growth}))[1]


def test_a_sample_of_a_process():
    before = soak.sample(os.getpid())
    assert before["CPU seconds"] == pytest.approx(time.process_time(), abs=0.1)
    with open(os.devnull):
        assert soak.sample(os.getpid())["open files"] == before["open files"] + 1
    assert before["resident MiB"] > 1 and before["threads"] >= 1

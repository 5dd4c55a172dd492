"""Damaged and foreign files: one clear error each, the model unchanged, memory bounded."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

# The modules of cases register what they define.
import damaged_archives  # noqa: F401
import damaged_checkpoints  # noqa: F401
import damaged_graphs
import damaged_keras_files  # noqa: F401
import foreign_files  # noqa: F401
import pytest
from damaged_files import CASES, Maker

from keras_mnv2.weights import WeightsError, inspect, load_weights

MAX_GROWTH_KILOBYTES = 128 * 1024


def memory(field: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most that it held; in kB."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def reset_peak() -> bool:
    """Makes the present memory the peak so far, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return memory("VmHWM") <= memory("VmRSS") + 1024
    except (OSError, TypeError):
        return False


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", list(CASES))
def test_damaged_or_foreign_file(network, tmp_path, name):
    function, message = CASES[name]
    folder = tmp_path / "files"
    folder.mkdir()
    maker = Maker(network, folder)
    path = function(maker)
    is_measured = reset_peak()
    before = memory("VmRSS") if is_measured else 0
    with pytest.raises(WeightsError, match=message) as error:
        load_weights(maker.case.model, path)
    if is_measured:
        assert memory("VmHWM") - before < MAX_GROWTH_KILOBYTES
    assert len(str(error.value)) < 2000
    assert maker.case.is_unchanged()
    assert not list(tmp_path.rglob("executed")), "code or a path of the file took effect"


def test_inspection_does_not_need_a_whole_file(network, tmp_path):
    maker = Maker(network, tmp_path)
    info = inspect(damaged_graphs.graph_with_another_variable(maker))
    assert info.unknown == ("extra/weights",) and info.alpha == 0.35


def test_sparse_file_beyond_the_limit_is_not_read(network, tmp_path):
    path = tmp_path / "graph.pb"
    with open(path, "wb") as file:
        file.write(b"\x0a")
        file.truncate(2**40)
    try:
        with pytest.raises(WeightsError, match="too many for a frozen"):
            inspect(path)
    finally:
        path.unlink()
        shutil.rmtree(tmp_path, ignore_errors=True)

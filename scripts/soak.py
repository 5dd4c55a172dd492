"""Trains for a long time and checks that memory, open files, threads and step time stay flat.

    python scripts/soak.py --minutes 30
    python scripts/soak.py --minutes 5 --task segmentation

A tiny network goes through the real command: pipeline, evaluations and checkpoints, of which there
are many. The process is watched from outside, and asked to end by SIGTERM. What it says of its
steps is the step time by the clock, which other work on the machine lengthens; what is judged is
the processor time of a step, evaluations and checkpoints included. The first quarter does not
count: caches and allocators fill. What a figure drifts in the rest is its Theil-Sen slope times
the duration. The exit status is 1 if one of them drifts upwards by more than its limit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats
from text_table import format_table
from tiny_trainings import TASKS, tiny_training

_STEP = re.compile(r"^step (\d+) of .* (\d+) ms a step$", re.MULTILINE)


@dataclass(frozen=True)
class Limit:
    """How far a figure may drift upwards: a share of its median, or an amount if that is more."""

    share: float
    amount: float

    def of(self, values: Sequence[float]) -> float:
        return max(self.share * statistics.median(values), self.amount)


CLOCK = "ms a step"
# Memory moves with the allocator, and even processor time with what shares caches and cores.
LIMITS = {
    "resident MiB": Limit(0.03, 16),
    "open files": Limit(0, 1),
    "threads": Limit(0, 1),
    "CPU ms a step": Limit(0.10, 1),
}


def sample(process: int) -> dict[str, float]:
    """Resident memory, open files, threads and processor time until now of a process."""
    folder = Path("/proc", str(process))
    # After the name, which may hold spaces: user and system time are the 14th and 15th field.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "resident MiB": int(status["VmRSS"].split()[0]) / 1024,
        "open files": len(os.listdir(folder / "fd")),
        "threads": int(status["Threads"]),
        "CPU seconds": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    }


def watch(process: subprocess.Popen, log: Path, seconds: float) -> list[dict[str, float]]:
    """Takes a sample each time the training says that it has evaluated, for `seconds`.

    Returns:
        Rows of "seconds", "step", `CLOCK`, and all that `LIMITS` names.
    """
    began, rows = time.monotonic(), []
    last = {"step": 0} | sample(process.pid)
    while time.monotonic() - began < seconds and process.poll() is None:
        time.sleep(0.5)
        told = _STEP.findall(log.read_text(errors="replace"))
        if told and int(told[-1][0]) > last["step"]:
            step, pace = map(int, told[-1])
            now = {"seconds": time.monotonic() - began, "step": step, CLOCK: pace}
            now |= sample(process.pid)
            spent = now["CPU seconds"] - last["CPU seconds"]
            now["CPU ms a step"] = 1e3 * spent / (step - last["step"])
            rows.append(now)
            last = now
    return rows


def judge(rows: Sequence[dict[str, float]]) -> tuple[list[list[str]], bool]:
    """What each figure does in the last three quarters of the time.

    Returns:
        Rows of a table, and whether all figures are within their limits.
    """
    first = rows[0]["seconds"] + (rows[-1]["seconds"] - rows[0]["seconds"]) / 4
    kept = [row for row in rows if row["seconds"] >= first]
    seconds = [row["seconds"] for row in kept]
    table, is_flat = [], True
    for name, limit in LIMITS.items():
        values = [row[name] for row in kept]
        slope = stats.theilslopes(values, seconds).slope
        drift, allowed = slope * (seconds[-1] - seconds[0]), limit.of(values)
        is_flat &= drift <= allowed
        table.append(
            [
                name,
                f"{statistics.median(values):.1f}",
                f"{min(values):.1f}",
                f"{max(values):.1f}",
                f"{3600 * slope:+.2f}",
                f"{drift:+.2f}",
                f"{allowed:.2f}",
                "flat" if drift <= allowed else "GROWS",
            ]
        )
    return table, is_flat


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="[30]")
    parser.add_argument("--task", choices=TASKS, default="detection")
    parser.add_argument("--evaluate-every", type=int, default=50, help="steps [50]")
    parser.add_argument("--checkpoint-every", type=int, default=10, help="steps [10]")
    parser.add_argument("--rows", type=int, default=15, help="of the table over time [15]")
    arguments = parser.parse_args(argv)

    work = Path(tempfile.mkdtemp(prefix="soak_"))
    log = work / "log"
    lengths = (10**7, arguments.evaluate_every, arguments.checkpoint_every)
    command = tiny_training(arguments.task, work / "run", work / "data", *lengths)
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    rows = watch(process, log, 60 * arguments.minutes)
    process.send_signal(signal.SIGTERM)
    status = process.wait()
    if status != 128 + signal.SIGTERM or len(rows) < 8:
        tail = log.read_text(errors="replace")[-2000:]
        raise SystemExit(
            f"error: the training ended with status {status} after {len(rows)} evaluations, of "
            f"which 8 are needed, see {log}:\n{tail}"
        )
    names = ["seconds", "step", CLOCK, *LIMITS]
    chosen = rows[:: max(1, len(rows) // arguments.rows)]
    shown = [[f"{row[name]:.0f}" for name in names] for row in chosen]
    print(f"{arguments.task}, {rows[-1]['step']} steps, {len(rows)} evaluations")
    print(format_table(names, shown))
    table, is_flat = judge(rows)
    print("\nwithout the first quarter:")
    header = ["", "median", "min", "max", "slope per hour", "drift", "limit", ""]
    print(format_table(header, table))
    shutil.rmtree(work)
    if not is_flat:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Killing trainings at moments of their life that are told in steps."""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BAR = re.compile(rb"\x1b\[1m *(\d+)/(\d+)\x1b\[0m")
# Within which the metrics are written and the checkpoints removed, after the last step.
_END = 0.3


class Training:
    """A training in a process that sees a terminal, where it shows a progress bar of its steps.

    Args:
        command: of the training.
        log: file to whose end the output goes.
        steps: of the training; the bar counts from where the process takes it up.
        environment: variables to add.

    Attributes:
        process: that of the training.
        began: when it was started (`time.monotonic`).
        shown: (steps made, when that was shown), one for each time the bar has moved.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        steps: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.shown: list[tuple[int, float]] = []
        self.log, self._steps = log, steps
        terminal, its_end = os.openpty()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=its_end, stderr=output, env={**os.environ, **(environment or {})}
            )
        os.close(its_end)
        self.began = time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(terminal,), daemon=True)
        self._reader.start()

    def wait(self, seconds: float | None = None) -> int:
        """Exit status, when the process has ended and all that it said is in the log.

        Raises:
            subprocess.TimeoutExpired: if it has not ended in `seconds`.
        """
        status = self.process.wait(seconds)
        self._reader.join()
        return status

    def time_of(self, step: int | None) -> float | None:
        """When `step` or a later one was shown first, None before; for None when it began."""
        if step is None:
            return self.began
        return next((then for shown, then in self.shown if shown >= step), None)

    def _read(self, terminal: int) -> None:
        said = b""
        with self.log.open("ab") as output:
            while data := _read_terminal(terminal):
                output.write(data)
                output.flush()
                said += data
                for bar in _BAR.finditer(said):
                    made, left = map(int, bar.groups())
                    step = self._steps - left + made
                    if not self.shown or step > self.shown[-1][0]:
                        self.shown.append((step, time.monotonic()))
                # A bar may have come in part.
                said = said[-32:]
        os.close(terminal)


def _read_terminal(terminal: int) -> bytes:
    """What has been written to it; nothing when nobody can write any more."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@dataclass(frozen=True)
class Moment:
    """So many `seconds` after a training has shown `step`, or has begun if that is None."""

    step: int | None
    seconds: float

    def has_come(self, training: Training) -> bool:
        then = training.time_of(self.step)
        return then is not None and time.monotonic() - then >= self.seconds


@dataclass(frozen=True)
class Course:
    """How an undisturbed training went.

    Attributes:
        shown: (steps made, seconds since the start of the process).
    """

    shown: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, training: Training) -> Course:
        return cls(tuple((step, then - training.began) for step, then in training.shown))

    def draw(self, draws: random.Random, kills: int) -> list[Moment]:
        """Moments at which to kill a training and those that take it up, in the order of its life.

        A fifth of them, rounded, are in the start of a program. The others lie anywhere from the
        first step to the end, evaluations and checkpoints included, and are told by the step: how
        long programs take to start, and how far the last checkpoint is behind, changes nothing of
        where they hit.
        """
        first, last = self.shown[0][1], self.shown[-1][1]
        starts = round(kills / 5)
        times = sorted(draws.uniform(first, last + _END) for _ in range(kills - starts))
        moments = [self._moment(seconds) for seconds in times]
        for _ in range(starts):
            at = draws.randint(0, len(moments))
            moments.insert(at, Moment(None, draws.uniform(0, first)))
        return moments

    def _moment(self, seconds: float) -> Moment:
        step, then = max(pair for pair in self.shown if pair[1] <= seconds)
        return Moment(step, seconds - then)


def kill_when(
    moment: Callable[[], bool],
    processes: Sequence[subprocess.Popen],
    victims: Sequence[subprocess.Popen] | None = None,
    pause: float = 0.0005,
) -> bool:
    """Kills processes as soon as `moment` says so.

    Args:
        moment: is asked all the time.
        processes: to watch.
        victims: those of them to kill; all if None.
        pause: seconds between two questions.

    Returns:
        Whether it came to that before one of them ended.
    """
    while all(process.poll() is None for process in processes):
        if moment():
            killed = processes if victims is None else victims
            for victim in killed:
                victim.kill()
            for victim in killed:
                victim.wait()
            return True
        time.sleep(pause)
    return False


def while_saving(folder: Path, number: int, delay: float) -> Callable[[], bool]:
    """A moment in which a run is writing a checkpoint.

    Args:
        folder: of the run.
        number: of the checkpoint, from 1 on, counted from now.
        delay: seconds that it has been writing, unless it is ready before.
    """
    seen: dict[str, float] = {}
    # What the process before has left is no writing.
    left = unfinished(folder)

    def moment() -> bool:
        writing = [
            name for name, changed in unfinished(folder).items() if changed != left.get(name)
        ]
        for name in writing:
            seen.setdefault(name, time.monotonic())
        return len(seen) >= number and any(
            time.monotonic() - seen[name] >= delay for name in writing
        )

    return moment


def unfinished(folder: Path) -> dict[str, int]:
    """Names of checkpoints that are not whole, and when they last changed."""
    try:
        with os.scandir(folder / "checkpoints") as entries:
            return {
                entry.name: entry.stat().st_ctime_ns
                for entry in entries
                if entry.name.endswith(".tmp")
            }
    except FileNotFoundError:
        return {}


def describe(folder: Path) -> str:
    """What a kill has hit."""
    if not (folder / "config.json").exists():
        return "before the run folder was there"
    if (folder / "metrics.json").exists():
        return "at the very end"
    saved = sorted(path.name for path in (folder / "checkpoints").glob("step_*"))
    parts = [f"after {saved[-1]}" if saved else "before the first checkpoint"]
    for path in [*folder.glob(".*.tmp*"), *(folder / "checkpoints").glob(".*.tmp")]:
        files = sorted(file.name for file in path.iterdir()) if path.is_dir() else []
        parts.append(f"while writing {path.name}{f' {files}' if files else ''}")
    return ", ".join(parts)

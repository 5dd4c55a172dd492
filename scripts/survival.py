"""Kills trainings at random moments and compares what comes of them with an undisturbed one.

    python scripts/survival.py                        # 20 kills and 5 while a checkpoint is written
    python scripts/survival.py --task segmentation --kills 5 --while-saving 2 --seed 1

The training is a tiny one on `shapes`, with everything on that must survive: dropout where the
task has it, random augmentation, warm-up and schedule, moving average, evaluations, checkpoints. A
training that SIGKILL has ended is started again by the same command, and perhaps killed again,
until it ends by itself; its last weights, best weights and history are then compared bit for bit.
The exit status is 0 if all are equal.

Training and this program's other parts can be put together anew: `start` a process, `kill_when` a
moment has come, `describe` what was hit, compare `outcome`s.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

# Of which the second one and those after it hit a run that goes on, most often in its start.
KILLS_A_RUN = 3

TASKS = ("classification", "detection", "segmentation")
TINY = {
    "classification": "--height 32 --width 32 --dropout 0.3 --policy randaugment --mixup-alpha 0.2",
    "detection": "--height 64 --width 64 --random-crop --photometric",
    "segmentation": "--height 65 --width 65 --crop-height 49 --crop-width 49 --output-stride 16 "
    "--dropout 0.3 --min-scale 0.5 --max-scale 2.0 --flip",
}
COMMON = (
    "--dataset shapes/tiny --alpha 0.35 --batch-size 4 --warmup-steps 5 --moving-average-decay 0.9 "
    "--no-cache --evaluation-batch-size 8 --validation-split validation[:8] --deterministic"
)


def tiny_training(
    task: str, folder: Path, data_dir: Path, steps: int, evaluate_every: int, checkpoint_every: int
) -> list[str]:
    """The command of a training of seconds, nearly all of which are the program's start."""
    lengths = {
        "train-steps": steps,
        "evaluate-every": evaluate_every,
        "checkpoint-every": checkpoint_every,
    }
    return [
        *(sys.executable, "-m", f"tasks.{task}.train", "--recipe", "shapes"),
        *COMMON.split(),
        *TINY[task].split(),
        *(word for name, value in lengths.items() for word in (f"--{name}", str(value))),
        *("--data-dir", str(data_dir), "--run-dir", str(folder)),
    ]


def start(command: Sequence[str], log: Path) -> subprocess.Popen:
    """Starts a process whose output goes to the end of `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


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
        Whether it came to that before all of them ended.
    """
    while any(process.poll() is None for process in processes):
        if moment():
            for victim in processes if victims is None else victims:
                victim.kill()
                victim.wait()
            return True
        time.sleep(pause)
    return False


def after(seconds: float) -> Callable[[], bool]:
    """The moment that comes in `seconds`."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def while_saving(folder: Path, number: int, delay: float) -> Callable[[], bool]:
    """A moment in which a run is writing a checkpoint.

    Args:
        folder: of the run.
        number: of the checkpoint, from 1 on, counted from now.
        delay: seconds that it has been writing, unless it is ready before.
    """
    seen: dict[str, float] = {}
    # What the process before has left is no writing.
    left = _unfinished(folder)

    def moment() -> bool:
        writing = [
            name for name, changed in _unfinished(folder).items() if changed != left.get(name)
        ]
        for name in writing:
            seen.setdefault(name, time.monotonic())
        return len(seen) >= number and any(
            time.monotonic() - seen[name] >= delay for name in writing
        )

    return moment


def _unfinished(folder: Path) -> dict[str, int]:
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


def outcome(folder: Path) -> dict[str, np.ndarray | str]:
    """All weights of a finished run's `last.keras` and `best.keras`, and its history."""
    found: dict[str, np.ndarray | str] = {}
    for name in ("last", "best"):
        with zipfile.ZipFile(folder / f"{name}.keras") as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content) as file:

            def collect(path: str, item: object, name: str = name) -> None:
                if isinstance(item, h5py.Dataset):
                    found[f"{name}.keras/{path}"] = item[()]

            file.visititems(collect)
    found["history"] = json.dumps(json.loads((folder / "history.json").read_text()))
    return found


def differences(one: dict, other: dict) -> list[str]:
    """Names of what is not the same in two outcomes, down to the last bit."""
    return [
        name
        for name in sorted({*one, *other})
        if name not in one
        or name not in other
        or np.asarray(one[name]).tobytes() != np.asarray(other[name]).tobytes()
    ]


def finish(command: Sequence[str], log: Path) -> float:
    """Runs a training to its end.

    Returns:
        Seconds.

    Raises:
        SystemExit: if it fails.
    """
    began = time.monotonic()
    check_status(start(command, log).wait(), log)
    return time.monotonic() - began


def check_status(status: int, log: Path) -> None:
    """Raises SystemExit if a training has failed."""
    if status:
        tail = log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"error: the training ended with status {status}, see {log}:\n{tail}")


def survives(
    name: str,
    number: int,
    command: Callable[[Path], list[str]],
    draw: Callable[[Path], Callable[[], bool]],
    is_hit: Callable[[Path], bool],
    expected: dict,
    work: Path,
) -> bool:
    """Kills trainings `number` times and compares each with the expected outcome at its end.

    Args:
        name: of this part.
        number: of kills that hit.
        command: of the run in a folder.
        draw: a moment for the process that has just been started on a folder.
        is_hit: whether a kill was where it should be, judged by the folder.
        expected: outcome of the undisturbed run.
        work: where the run folders are made.
    """
    print(f"\n{name}: {number} kills", flush=True)
    hits, runs, equal = 0, 0, True
    while hits < number:
        runs += 1
        folder, log = work / f"{name}_{runs}", work / f"{name}_{runs}.log"
        for _ in range(KILLS_A_RUN):
            if hits == number:
                break
            process, began = start(command(folder), log), time.monotonic()
            if not kill_when(draw(folder), [process]):
                check_status(process.returncode, log)
                break
            hit = is_hit(folder)
            hits += hit
            label = f"kill {hits}" if hit else "missed"
            seconds = time.monotonic() - began
            print(f"  run {runs}, {label}, {seconds:.1f} s: {describe(folder)}", flush=True)
        if not (folder / "metrics.json").exists():
            finish(command(folder), log)
        different = differences(outcome(folder), expected)
        equal &= not different
        shown = f"NOT equal: {', '.join(different[:5])} ({len(different)})"
        print(f"  run {runs} ended: {shown if different else 'equal'}", flush=True)
        if not different:
            shutil.rmtree(folder)
    return equal


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="detection")
    parser.add_argument("--kills", type=int, default=20, help="at moments of the whole run [20]")
    parser.add_argument(
        "--while-saving", type=int, default=5, help="while a checkpoint is written [5]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.add_argument("--steps", type=int, default=60, help="of each training [60]")
    parser.add_argument("--evaluate-every", type=int, default=23, help="steps [23]")
    parser.add_argument("--checkpoint-every", type=int, default=5, help="steps [5]")
    parser.add_argument("--work-dir", help="a new folder, to be kept; a temporary one by default")
    arguments = parser.parse_args(argv)
    if arguments.work_dir and Path(arguments.work_dir).exists():
        parser.error(f"--work-dir {arguments.work_dir} exists: name a folder that does not")

    work = Path(arguments.work_dir or tempfile.mkdtemp(prefix="survival_"))
    work.mkdir(parents=True, exist_ok=True)
    draws = random.Random(arguments.seed)
    lengths = (arguments.steps, arguments.evaluate_every, arguments.checkpoint_every)

    def command(folder: Path) -> list[str]:
        return tiny_training(arguments.task, folder, work / "data", *lengths)

    # The first one prepares the data, the second one tells how long the moments may be drawn.
    undisturbed = [work / "undisturbed_1", work / "undisturbed_2"]
    seconds = [finish(command(folder), work / f"{folder.name}.log") for folder in undisturbed]
    expected = outcome(undisturbed[0])
    equal = not (different := differences(outcome(undisturbed[1]), expected))
    print(
        f"{arguments.task}: {arguments.steps} steps in {seconds[1]:.1f} s, start included; two "
        f"undisturbed runs: {'equal' if equal else f'NOT equal: {different[:5]}'}",
        flush=True,
    )
    checkpoints = arguments.steps // arguments.checkpoint_every
    parts = [
        (
            "any_moment",
            arguments.kills,
            lambda _: after(draws.uniform(0, seconds[1])),
            lambda _: True,
        ),
        (
            "while_saving",
            arguments.while_saving,
            lambda folder: while_saving(
                folder, draws.randint(1, max(1, checkpoints // 3)), draws.uniform(0, 0.02)
            ),
            lambda folder: bool(_unfinished(folder)),
        ),
    ]
    for name, number, draw, is_hit in parts:
        equal &= survives(name, number, command, draw, is_hit, expected, work)
    print(f"\n{'equal' if equal else 'NOT equal'}: {arguments.task}, seed {arguments.seed}")
    if not arguments.work_dir:
        shutil.rmtree(work)
    if not equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

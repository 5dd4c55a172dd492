"""Kills trainings at random moments and compares what comes of them with an undisturbed one.

    python scripts/survival.py                        # 20 kills and 5 while a checkpoint is written
    python scripts/survival.py --task segmentation --kills 5 --while-saving 2 --seed 1
    python scripts/survival.py --task classification --workers 2

The training is a tiny one on `shapes`, with everything on that must survive: dropout where the
task has it, random augmentation, warm-up and schedule, moving average, evaluations, checkpoints. A
training that SIGKILL has ended is started again by the same command, and killed again, until it
ends by itself; its last weights, best weights and history are then compared bit for bit. One kill
in five hits the start of the program, the others what comes after the first step.

With several workers, one of them is killed, in turn the chief and another one, and the others must
end by themselves and say why; the next time all are killed at once.

The exit status is 0 if all went so, and all are equal.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from killing import Course, Training, describe, kill_when, unfinished, while_saving
from loopback_cluster import cluster
from run_outcomes import differences, outcome
from tiny_trainings import TASKS, prepare_data, tiny_training

KILLS_A_RUN = 5
# For each kill, in all: where a machine is too fast or too slow to be hit, there is an end.
MOST_RUNS = 10
# What workers say that have lost another one, and the time they have for it.
LOST = "another worker has ended or is out of reach"
PATIENCE = 180.0

# From the run folder and the chief's process to whether it is time to kill.
IsTime = Callable[[Path, Training], Callable[[], bool]]


@dataclass(frozen=True)
class Lengths:
    """Of a training, in steps."""

    steps: int
    evaluate_every: int
    checkpoint_every: int


@dataclass(frozen=True)
class Setting:
    """What is trained, by how many workers, and the folder of all that comes of it."""

    task: str
    lengths: Lengths
    workers: int
    work: Path

    @property
    def data_dir(self) -> Path:
        return self.work / "data"

    def start(self, folder: Path, number: int = 1) -> list[Training]:
        """Starts all workers of a run, the chief first, for the `number`-th time."""
        lengths = (self.lengths.steps, self.lengths.evaluate_every, self.lengths.checkpoint_every)
        command = tiny_training(self.task, folder, self.data_dir, *lengths)
        environments = [{}]
        if self.workers > 1:
            command += ["--strategy", "multi_worker", "--sync-bn"]
            environments = [{"TF_CONFIG": text} for text in cluster(self.workers)]
        return [
            Training(
                command,
                self.work / f"{folder.name}.{number}.{index}.log",
                self.lengths.steps,
                environment,
            )
            for index, environment in enumerate(environments)
        ]

    def victims(self) -> Iterator[list[int]]:
        """Indices of the workers to kill, time after time."""
        if self.workers == 1:
            return itertools.repeat([0])
        alone = itertools.cycle(range(self.workers))
        return (
            [next(alone)] if one else list(range(self.workers))
            for one in itertools.cycle((True, False))
        )


def finish(trainings: Sequence[Training]) -> None:
    """Waits until all workers have ended.

    Raises:
        SystemExit: if one of them fails.
    """
    for training in trainings:
        if status := training.wait():
            tail = training.log.read_text(errors="replace")[-2000:]
            raise SystemExit(
                f"error: the training ended with status {status}, see {training.log}:\n{tail}"
            )


def survivors_end(survivors: Sequence[Training]) -> tuple[bool, str]:
    """Waits for workers that have lost another one.

    Returns:
        Whether each has ended as it should: by itself, with an error, telling why; and what
        became of them in words.
    """
    began, told, is_right = time.monotonic(), [], True
    for training in survivors:
        try:
            status = training.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            training.process.kill()
            told.append(f"a survivor HANGS for {PATIENCE:.0f} s")
            is_right = False
            continue
        says_why = LOST in training.log.read_text(errors="replace")
        is_right &= status > 0 and says_why
        seconds = time.monotonic() - began
        told.append(
            f"survivor ended after {seconds:.1f} s with status {status}"
            + ("" if says_why else f" and does NOT say why, see {training.log}")
        )
    return is_right, "".join(f"; {part}" for part in told)


def survives(
    name: str,
    number: int,
    setting: Setting,
    draw: Callable[[int], list[IsTime]],
    is_hit: Callable[[Path], bool],
    expected: dict,
) -> bool:
    """Kills trainings `number` times and compares each with the expected outcome at its end.

    Args:
        name: of this part.
        number: of kills that hit.
        setting: what is trained.
        draw: so many moments, to kill a training and then those that take it up.
        is_hit: whether a kill was where it should be, judged by the folder.
        expected: outcome of the undisturbed run.

    Returns:
        Whether all went as it should.
    """
    print(f"\n{name}: {number} kills", flush=True)
    victims = setting.victims()
    hits, runs, is_right = 0, 0, True
    while hits < number:
        if runs >= MOST_RUNS * number:
            print(f"  {runs} runs, and {hits} of {number} kills were where they should be")
            return False
        runs += 1
        folder = setting.work / f"{name}_{runs}"
        starts = 0
        for starts, is_time in enumerate(draw(min(KILLS_A_RUN, number - hits)), start=1):
            workers = setting.start(folder, starts)
            processes = [worker.process for worker in workers]
            killed = next(victims)
            chosen = [processes[index] for index in killed]
            if not kill_when(is_time(folder, workers[0]), processes, chosen):
                finish(workers)
                break
            hit = is_hit(folder)
            hits += hit
            label = f"kill {hits}" if hit else "missed"
            if setting.workers > 1:
                label += f" of worker {' and '.join(map(str, killed))}"
            made = workers[0].shown[-1][0] if workers[0].shown else 0
            where = f"step {made} made" if made else "in the start"
            survivors = [w for index, w in enumerate(workers) if index not in killed]
            ended, told = survivors_end(survivors)
            is_right &= ended
            print(f"  run {runs}, {label}, {where}: {describe(folder)}{told}", flush=True)
        if not (folder / "metrics.json").exists():
            finish(setting.start(folder, starts + 1))
        different = differences(outcome(folder), expected)
        is_right &= not different
        shown = f"NOT equal: {', '.join(different[:5])} ({len(different)})"
        print(f"  run {runs} ended: {shown if different else 'equal'}", flush=True)
        if not different:
            shutil.rmtree(folder)
    return is_right


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="detection")
    parser.add_argument("--workers", type=int, default=1, help="processes that train together [1]")
    parser.add_argument("--kills", type=int, default=20, help="at moments of the whole run [20]")
    parser.add_argument(
        "--while-saving", type=int, default=5, help="while a checkpoint is written [5]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.add_argument("--steps", type=int, default=60, help="of each training [60]")
    parser.add_argument("--evaluate-every", type=int, default=13, help="steps [13]")
    parser.add_argument("--checkpoint-every", type=int, default=5, help="steps [5]")
    parser.add_argument("--work-dir", help="a new folder, to be kept; a temporary one by default")
    arguments = parser.parse_args(argv)
    if arguments.work_dir and Path(arguments.work_dir).exists():
        parser.error(f"--work-dir {arguments.work_dir} exists: name a folder that does not")
    for name in ("workers", "steps", "evaluate_every", "checkpoint_every"):
        if (value := getattr(arguments, name)) < 1:
            parser.error(f"--{name.replace('_', '-')} {value} must be at least 1")

    began = time.monotonic()
    work = Path(arguments.work_dir or tempfile.mkdtemp(prefix="survival_"))
    work.mkdir(parents=True, exist_ok=True)
    draws = random.Random(arguments.seed)
    lengths = Lengths(arguments.steps, arguments.evaluate_every, arguments.checkpoint_every)
    setting = Setting(arguments.task, lengths, arguments.workers, work)

    prepare_data(arguments.task, setting.data_dir)
    undisturbed = setting.start(work / "undisturbed")
    finish(undisturbed)
    expected, course = outcome(work / "undisturbed"), Course.of(undisturbed[0])
    first, last = course.shown[0], course.shown[-1]
    print(
        f"{arguments.task}, {arguments.workers} workers, undisturbed: start and first step "
        f"{first[1]:.1f} s, {last[0] - first[0]} more steps {last[1] - first[1]:.1f} s",
        flush=True,
    )

    def any_moments(kills: int) -> list[IsTime]:
        return [
            lambda _, chief, moment=moment: lambda: moment.has_come(chief)
            for moment in course.draw(draws, kills)
        ]

    def saving_moments(kills: int) -> list[IsTime]:
        most = max(1, lengths.steps // lengths.checkpoint_every // KILLS_A_RUN)
        drawn = [(draws.randint(1, most), draws.uniform(0, 0.02)) for _ in range(kills)]
        return [
            lambda folder, _, number=number, delay=delay: while_saving(folder, number, delay)
            for number, delay in drawn
        ]

    is_right = True
    for name, number, draw, is_hit in (
        ("any_moment", arguments.kills, any_moments, lambda _: True),
        (
            "while_saving",
            arguments.while_saving,
            saving_moments,
            lambda folder: bool(unfinished(folder)),
        ),
    ):
        is_right &= survives(name, number, setting, draw, is_hit, expected)
    minutes = (time.monotonic() - began) / 60
    print(
        f"\n{'equal' if is_right else 'NOT equal'}: {arguments.task}, {arguments.workers} workers, "
        f"seed {arguments.seed}, {minutes:.0f} minutes"
    )
    if not arguments.work_dir:
        shutil.rmtree(work)
    if not is_right:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

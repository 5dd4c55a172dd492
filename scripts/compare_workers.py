"""Trains `shapes` by one process and by several, and compares the losses of the first steps.

    python scripts/compare_workers.py --workers 2 --steps 20

Batch normalization is synchronized, dropout and augmentation are off. All processes run on this
machine and share its cores.

What is left are rounding errors, since several workers add up in another order. Each update makes
them larger, the more so the younger the network and the higher the learning rate: a new detector
at the rate of its recipe, trained twice by one process but with the images of each batch in the
reverse order, differs from itself by 8e-3 in the third step already. Hence one process first
trains the network for --first-steps, and the comparison goes on from there, by plain SGD with
momentum (Adam's first steps are signs of gradients, of which those near 0 are rounding errors).
That a single update is the same from any network and at any rate is shown by
tests/tasks/common/test_replicated_fit.py.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from loopback_cluster import cluster

COMMON = [
    *("--recipe", "shapes", "--alpha", "0.35", "--batch-size", "16", "--no-flip"),
    *("--validation-split", "validation[:31]"),
]
COMPARED = [
    *("--optimizer", "sgd", "--schedule", "constant", "--warmup-steps", "0", "--sync-bn"),
    "--no-zero-init-residual",
]
TASKS = {
    "detection": [
        *("--height", "96", "--width", "96"),
        "--no-photometric",
    ],
    "segmentation": [
        *("--height", "97", "--width", "97"),
        *("--dropout", "0", "--min-scale", "1", "--max-scale", "1", "--foreground-crops", "0"),
    ],
    "classification": [
        *("--height", "64", "--width", "64"),
        *("--dropout", "0", "--min-area", "1", "--aspect-ratio", "1"),
    ],
}
LIMIT = 1e-3
MONITORS = {"detection": "AP", "segmentation": "mIOU", "classification": "top1"}


def train_and_record(task: str, arguments: list[str], losses_file: str) -> None:
    """Runs the training command in this process and writes the loss of every step."""
    from tasks.common import training

    losses: list[float] = []

    class Recording(training.EvaluateAndSave):
        def on_train_batch_end(self, batch, logs=None):
            # What `fit` tells is the mean of all steps since the last evaluation.
            losses.append(float(logs["loss"]))
            super().on_train_batch_end(batch, logs)

    training.EvaluateAndSave = Recording
    importlib.import_module(f"tasks.{task}.train").main(arguments)
    means = [0.0, *losses]
    steps = [
        (number + 1) * means[number + 1] - number * means[number] for number in range(len(losses))
    ]
    Path(losses_file).write_text(json.dumps(steps))


def run(task: str, arguments: list[str], folder: Path, workers: int) -> list[float]:
    """The losses of a training by one process, or by several workers, as the chief tells them."""
    command = [sys.executable, __file__, "--record", task]
    if workers == 1:
        environments = [{}]
    else:
        environments = [{"TF_CONFIG": text} for text in cluster(workers)]
        arguments = [*arguments, "--strategy", "multi_worker"]
    processes = []
    for index, environment in enumerate(environments):
        words = [*command, str(folder.with_suffix(f".{index}.json")), "--run-dir", str(folder)]
        log = folder.with_suffix(f".{index}.log").open("w")
        processes.append(
            subprocess.Popen(
                [*words, *arguments], env={**os.environ, **environment}, stdout=log, stderr=log
            )
        )
    statuses = [process.wait() for process in processes]
    if any(statuses):
        for log in sorted(folder.parent.glob(f"{folder.name}.*.log")):
            print(log.read_text()[-3000:], file=sys.stderr)
        raise SystemExit(f"{task}, {workers} workers ended with status {statuses}")
    return json.loads(folder.with_suffix(".0.json").read_text())


def lengths(steps: int) -> list[str]:
    """The options for a training with a single evaluation, at its end."""
    return ["--train-steps", str(steps), "--evaluate-every", str(steps)]


def compare(task: str, folder: Path, options: argparse.Namespace) -> float:
    """Trains a task by one process and by several, and prints what came of it.

    Returns:
        The largest relative difference of the losses of a step.
    """
    words = [*COMMON, *TASKS[task], "--dataset", options.dataset]
    first = folder / f"{task}_first"
    run(task, [*words, *lengths(options.first_steps)], first, 1)
    words += [*COMPARED, "--learning-rate", str(options.learning_rate)]
    words += [*lengths(options.steps), "--init-weights", str(first / "last.keras")]
    folders = [folder / f"{task}_{count}" for count in (1, options.workers)]
    one = run(task, words, folders[0], 1)
    several = run(task, words, folders[1], options.workers)
    difference = float(np.max(np.abs(np.divide(several, one) - 1)))
    metrics = [json.loads((path / "metrics.json").read_text())[MONITORS[task]] for path in folders]
    print(
        f"{task}: loss {one[0]:.4f} to {one[-1]:.4f}, largest relative difference "
        f"{difference:.1e}; {MONITORS[task]} {metrics[0]:.6f} and {metrics[1]:.6f}",
        flush=True,
    )
    return difference


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="processes to compare with one [2]")
    parser.add_argument("--steps", type=int, default=20, help="training steps to compare [20]")
    parser.add_argument(
        "--first-steps", type=int, default=300, help="that one process has made before [300]"
    )
    parser.add_argument("--learning-rate", type=float, default=0.003, help="[0.003]")
    parser.add_argument("--dataset", default="shapes/tiny", help="data set [shapes/tiny]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], help="[all]")
    options = parser.parse_args(arguments)
    if options.workers < 2 or min(options.steps, options.first_steps) < 1:
        parser.error("--workers must be at least 2, --steps and --first-steps at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    with tempfile.TemporaryDirectory() as folder:
        differences = [compare(task, Path(folder), options) for task in options.tasks]
    # Of losses that are no numbers, no difference is small.
    if not np.max(differences) <= LIMIT:
        raise SystemExit(f"the losses differ by more than {LIMIT:g}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        train_and_record(sys.argv[2], sys.argv[4:], sys.argv[3])
    else:
        main()

"""Trains `shapes` by one process and by several, and compares the losses of the first steps.

    python scripts/compare_workers.py --folder runs/workers
    python scripts/compare_workers.py --folder runs/workers --tasks classification --whole

One process and several make some steps, with synchronized batch normalization and without dropout
and augmentation, twice: the first steps of the recipe `shapes`, by its optimizer and at its rate,
in float64; and some more in float32 from where the whole recipe ends, which one process trains
before unless the folder holds that run already. With --whole, several train the whole recipe, too,
and the final figures are compared. All processes share the cores of this machine.

What is left between the losses are rounding errors, since several workers add up in another order.
Each update makes them larger, the more so the younger the network and the higher the learning
rate: in float32 a new detector at the rate of its recipe, trained twice by one process but with the
images of each batch in the reverse order, differs from itself by 8e-3 in the third step already.
Hence float64 for the first steps; in float32 the trained network, and plain SGD with momentum
(Adam's first steps are signs of gradients, of which those near 0 are rounding errors). That a
single update is the same from any network and at any rate is shown by
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

COMPARED = ["--sync-bn", "--no-flip"]
FROM_TRAINED = [
    *("--optimizer", "sgd", "--schedule", "constant", "--warmup-steps", "0"),
    "--no-zero-init-residual",
]
WITHOUT_AUGMENTATION = {
    "detection": ["--no-photometric"],
    "segmentation": [
        *("--dropout", "0", "--min-scale", "1", "--max-scale", "1", "--foreground-crops", "0")
    ],
    "classification": ["--dropout", "0", "--min-area", "1", "--aspect-ratio", "1"],
}
QUICK = ["--dataset", "shapes/tiny", "--validation-split", "validation"]
LIMIT = 1e-3
MONITORS = {"detection": "AP", "segmentation": "mIOU", "classification": "top1"}


def train_and_record(task: str, arguments: list[str], losses_file: str) -> None:
    """Runs a training with one evaluation in this process and writes the loss of every step."""
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


def run(task: str, arguments: list[str], folder: Path, workers: int) -> float:
    """Has one process or several workers train, unless the folder holds that run already.

    Returns:
        The figure that the training ends with. If it has a single evaluation, the losses are at
        `losses_file(folder)`.
    """
    command = [sys.executable, __file__, "--record", task]
    environments = [{}]
    if workers > 1:
        environments = [{"TF_CONFIG": text} for text in cluster(workers)]
        arguments = [*arguments, "--strategy", "multi_worker"]
    processes = []
    for index, environment in enumerate(environments):
        words = [*command, str(losses_file(folder, index)), "--run-dir", str(folder), *arguments]
        with folder.with_suffix(f".{index}.log").open("w") as log:
            processes.append(
                subprocess.Popen(words, env=os.environ | environment, stdout=log, stderr=log)
            )
    statuses = [process.wait() for process in processes]
    if any(statuses):
        for log in sorted(folder.parent.glob(f"{folder.name}.*.log")):
            print(log.read_text()[-3000:], file=sys.stderr)
        raise SystemExit(f"{task}, {workers} workers ended with status {statuses}")
    return json.loads((folder / "metrics.json").read_text())[MONITORS[task]]


def losses_file(folder: Path, worker: int = 0) -> Path:
    return folder.with_suffix(f".{worker}.json")


def compare(task: str, folder: Path, options: argparse.Namespace) -> float:
    """Trains a task by one process and by several, and prints what came of it.

    Returns:
        The largest relative difference of the losses of a step.
    """
    recipe = ["--recipe", "shapes", *(QUICK if options.quick else [])]
    lengths = ["--train-steps", str(options.steps), "--evaluate-every", str(options.steps)]
    same = [*recipe, *COMPARED, *WITHOUT_AUGMENTATION[task], *lengths]
    first = compare_steps(
        f"{task}, from the beginning in float64",
        task,
        [*same, *beginning(task, options.steps), "--precision", "float64"],
        options.workers,
    )
    if options.quick:
        return first
    trained = folder / f"{task}_1"
    figures = [run(task, recipe, trained, 1)]
    if options.whole:
        several = folder / f"{task}_{options.workers}"
        figures.append(run(task, [*recipe, "--sync-bn"], several, options.workers))
        told = f"one process {figures[0]:.4f}, {options.workers} workers {figures[1]:.4f}"
        print(f"{task}: {MONITORS[task]} at the end, {told}", flush=True)
    start = ["--learning-rate", str(options.learning_rate)]
    start += ["--init-weights", str(trained / "last.keras")]
    later = compare_steps(f"{task}, trained", task, [*same, *FROM_TRAINED, *start], options.workers)
    return float(np.max([first, later]))


def beginning(task: str, steps: int) -> list[str]:
    """Options by which a training of so many steps has the learning rates of the recipe's first."""
    recipe = importlib.import_module(f"tasks.{task}.recipes").RECIPES["shapes"]
    if recipe.warmup_steps < steps:
        return []
    # Of a linear warm-up, the part that so many steps see.
    warmup = steps - 1
    rate = recipe.learning_rate * warmup / recipe.warmup_steps
    return ["--warmup-steps", str(warmup), "--learning-rate", str(rate)]


def compare_steps(title: str, task: str, arguments: list[str], workers: int) -> float:
    """Has one process and several make the same steps, and prints their losses and figures.

    Returns:
        The largest relative difference of the losses of a step.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folders = {count: Path(temporary) / str(count) for count in (1, workers)}
        figures = [run(task, arguments, each, count) for count, each in folders.items()]
        one, several = (json.loads(losses_file(each).read_text()) for each in folders.values())
    difference = float(np.max(np.abs(np.divide(several, one) - 1)))
    print(
        f"{title}: {len(one)} steps with a loss of {one[0]:.4f} to {one[-1]:.4f}, largest relative "
        f"difference {difference:.1e}; then {MONITORS[task]} {figures[0]:.6f} and {figures[1]:.6f}",
        flush=True,
    )
    return difference


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the whole trainings")
    parser.add_argument("--tasks", nargs="+", choices=MONITORS, default=[*MONITORS], help="[all]")
    parser.add_argument("--workers", type=int, default=2, help="processes to compare with one [2]")
    parser.add_argument("--steps", type=int, default=20, help="training steps to compare [20]")
    parser.add_argument("--learning-rate", type=float, default=0.001, help="of these steps [0.001]")
    parser.add_argument(
        "--whole", action="store_true", help="also train from the beginning by several workers"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the first steps alone, on 64 images, to try this out"
    )
    options = parser.parse_args(arguments)
    if options.workers < 2 or options.steps < 1:
        parser.error("--workers must be at least 2 and --steps at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    differences = [compare(task, options.folder, options) for task in options.tasks]
    # Of losses that are no numbers, no difference is small.
    if not np.max(differences) <= LIMIT:
        raise SystemExit(f"the losses differ by more than {LIMIT:g}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        train_and_record(sys.argv[2], sys.argv[4:], sys.argv[3])
    else:
        main()

"""Trains `shapes` by one process and by several, and compares the losses of the first steps.

    python scripts/compare_workers.py --workers 2 --steps 20

Batch normalization is synchronized, dropout and augmentation are off. All processes run on this
machine and share its cores.

What is left are rounding errors, which a young network with batch normalization makes larger with
every update: at the learning rates of the recipes they soon hide what is to be shown. The losses
of a detector that one process trains at a rate of 0.02 differ by 8e-3 in the third step for no
other reason than that it sees each batch in the reverse order. Hence plain SGD at a very low rate
(Adam's first steps are signs of gradients, of which those near 0 are rounding errors), at which
the curve shows that data, forward pass and losses are the same, and little of the learning. That
the update is the same at any rate is shown by tests/tasks/common/test_replicated_fit.py.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from loopback_cluster import cluster

COMMON = [
    *("--recipe", "shapes", "--optimizer", "sgd", "--warmup-steps", "0", "--sync-bn"),
    *("--schedule", "constant", "--no-flip", "--batch-size", "16"),
    *("--alpha", "0.35", "--learning-rate", "0.000001"),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="processes to compare with one [2]")
    parser.add_argument("--steps", type=int, default=20, help="training steps [20]")
    parser.add_argument("--dataset", default="shapes/tiny", help="data set [shapes/tiny]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], help="[all]")
    arguments = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for task in arguments.tasks:
            words = [*COMMON, *TASKS[task], "--dataset", arguments.dataset]
            words += ["--train-steps", str(arguments.steps)]
            words += ["--evaluate-every", str(arguments.steps)]
            words += ["--validation-split", "validation[:31]"]
            folders = [Path(folder) / f"{task}_{count}" for count in (1, arguments.workers)]
            one = run(task, words, folders[0], 1)
            several = run(task, words, folders[1], arguments.workers)
            difference = max(abs(b / a - 1) for a, b in zip(one, several, strict=True))
            worst = max(worst, difference)
            metrics = [
                json.loads((path / "metrics.json").read_text())[MONITORS[task]] for path in folders
            ]
            print(
                f"{task}: loss {one[0]:.4f} to {one[-1]:.4f}, largest relative difference "
                f"{difference:.1e}; {MONITORS[task]} {metrics[0]:.6f} and {metrics[1]:.6f}",
                flush=True,
            )
    if worst > 1e-3:
        raise SystemExit("the losses differ by more than 1e-3")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"]:
        train_and_record(sys.argv[2], sys.argv[4:], sys.argv[3])
    else:
        main()

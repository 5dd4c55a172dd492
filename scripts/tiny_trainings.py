"""Trainings of seconds on `shapes`, with everything on that a run has to take along."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

TASKS = ("classification", "detection", "segmentation")
_OF_TASK = {
    "classification": "--height 32 --width 32 --dropout 0.3 --policy randaugment --mixup-alpha 0.2",
    "detection": "--height 64 --width 64 --random-crop --photometric",
    "segmentation": "--height 65 --width 65 --crop-height 49 --crop-width 49 --output-stride 16 "
    "--dropout 0.3 --min-scale 0.5 --max-scale 2.0 --flip",
}
_DATASET = "shapes/tiny"
_OF_ALL = (
    "--alpha 0.35 --batch-size 4 --warmup-steps 5 --moving-average-decay 0.9 "
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
        *("--dataset", _DATASET),
        *_OF_ALL.split(),
        *_OF_TASK[task].split(),
        *(word for name, value in lengths.items() for word in (f"--{name}", str(value))),
        *("--data-dir", str(data_dir), "--run-dir", str(folder)),
    ]


def prepare_data(task: str, data_dir: Path) -> None:
    """Prepares the data of such a training, which its first start would do."""
    recipes = importlib.import_module(f"tasks.{task}.recipes").RECIPES
    recipe = dataclasses.replace(recipes["shapes"], dataset=_DATASET, data_dir=str(data_dir))
    importlib.import_module(f"tasks.{task}.data").open_source(recipe)

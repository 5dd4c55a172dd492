"""The command `python -m tasks.<task>.train`."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.common.checkpoints import has_checkpoints, is_finished
from tasks.common.command_line import parse_recipe
from tasks.common.linear_scaling import for_replicas
from tasks.common.profiling import print_profile, profile_training
from tasks.common.recipe import TrainingRecipe
from tasks.common.run_folder import check_run_folder
from tasks.common.run_lock import locked
from tasks.common.strategy import STRATEGIES, check_batch, check_recipe, make_strategy
from tasks.common.workers import is_chief, on_chief, told_of_lost_workers


def train_command(
    task: str,
    network: str,
    recipes: Mapping[str, TrainingRecipe],
    run: Callable[..., dict[str, Any]],
    print_metrics: Callable[[dict[str, Any]], None],
    argv: Sequence[str] | None,
) -> None:
    """Parses the recipe, trains into the run folder, prints what the best checkpoint reaches.

    Args:
        task: as the run folder names it.
        network: what is trained, for `--help`.
        recipes: by name; "shapes" is the default.
        run: trains a recipe into a folder, returns the metrics of the best checkpoint. As `train`
            it takes what is to be done in place of `training.train`.
        print_metrics: prints those.
        argv: arguments, those of the process by default.
    """
    recipe, arguments = parse_recipe(
        f"Train {network}. Any field of the recipe can be given as an option.",
        recipes,
        argv,
        default="shapes",
        add_arguments=_add_arguments,
    )
    recipe = for_replicas(recipe, arguments.replicas)
    folder = Path(arguments.run_dir)
    if arguments.profile is not None:
        if arguments.profile < 1 or arguments.strategy != "none":
            raise ValueError("--profile needs at least 1 step and one device, without --strategy")
        train = functools.partial(profile_training, steps=arguments.profile)
        with locked(folder):
            print_profile(run(recipe, folder, train=train))
        return
    check_recipe(recipe, arguments.strategy)
    strategy = make_strategy(arguments.strategy)
    check_batch(recipe, strategy)
    with strategy.scope(), told_of_lost_workers():
        if arguments.strategy != "none" and is_chief():
            shares = strategy.num_replicas_in_sync
            print(f"devices that share each batch: {shares}", flush=True)
        metrics = _run(task, recipe, folder, run)
        is_reported = metrics is not None and is_chief()
    if not is_reported:
        return
    print(f"best checkpoint, on split {recipe.validation_split}:")
    print_metrics(metrics)
    print(f"checkpoints, metrics and TensorBoard logs: {folder}")


def _run(
    task: str,
    recipe: TrainingRecipe,
    folder: Path,
    run: Callable[[Any, Path], dict[str, Any]],
) -> dict[str, Any] | None:
    """What `run` returns; None for a run that has been finished before."""
    with contextlib.ExitStack() as until_the_end:

        def is_done() -> bool:
            check_run_folder(folder, task, recipe)
            if not (folder / "metrics.json").exists() or has_checkpoints(folder):
                until_the_end.enter_context(locked(folder))
            # The process that had it locked may have finished it in between.
            return is_finished(folder)

        if not on_chief(is_done):
            return run(recipe, folder)
    if is_chief():
        print(f"{folder} already holds this run, finished; give another --run-dir to train again")
    return None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run-dir", required=True, help="folder for checkpoints, logs and metrics")
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="share each batch among devices: mirrored: all GPUs of this machine; multi_worker: "
        "the processes that TF_CONFIG names, each started with this command; tpu: see "
        "docs/scaling.md [none]",
    )
    parser.add_argument(
        "--profile",
        nargs="?",
        type=int,
        const=20,
        metavar="STEPS",
        help="train nothing; time so many steps [20] and print where their time goes: input, "
        "forward, backward, optimizer, callbacks. Writes profile.json and a TensorBoard trace",
    )
    parser.add_argument(
        "--replicas",
        type=int,
        default=1,
        metavar="N",
        help="train as N replicas of the recipe would, on however many devices: N times the batch "
        "and the learning rates, an N-th of the steps, gradual warm-up",
    )

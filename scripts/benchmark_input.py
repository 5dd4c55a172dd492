"""Times the input pipeline of every task alone, against that of tf-models-official.

Both sides read the same encoded photos from record files and do the same job; what differs is
printed. Where they leave out what either does in its own way, both are timed with it, too. A last
program is the training step of the recipe's network on a batch that lies in memory, which tells
whether a training by the whole recipe waits for its input on this machine. Programs take turns in
one run, each in a process of its own that is stopped while the others are timed.

The photos are drawn unless one's own are given; annotations are random in either case.

    python scripts/benchmark_input.py
    python scripts/benchmark_input.py --tasks detection --photos val2017 --no-step
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import benchmarking
from input_pipelines import (
    JOBS,
    OURS,
    PEER,
    PEER_WHOLE,
    RECIPES,
    STEP,
    WHOLE,
    Program,
    our_source,
    programs,
    quieten_libraries,
)
from text_table import format_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# An image of segmentation has several times the pixels of the others.
BATCH_SIZES = {"classification": 32, "detection": 32, "segmentation": 8}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Times the tasks one after the other; returns settings and a result a task, for JSON."""
    from input_photos import drawn_photos, own_photos, write_inputs

    quieten_libraries()
    if options.photos:
        photos = list(own_photos(options.photos, options.images))
    else:
        photos = list(drawn_photos(options.images, options.size))
    write_inputs(folder, options.tasks, photos)
    pixels = [photo.size[0] * photo.size[1] for photo in photos]
    settings = {
        "photos": str(options.photos) if options.photos else "drawn",
        "images": len(photos),
        "mean_kilobytes": statistics.mean(len(photo.jpeg) for photo in photos) / 1000,
        "mean_megapixels": statistics.mean(pixels) / 1e6,
        "rounds": options.rounds,
        "batches": options.batches,
    }
    return {
        "settings": settings,
        "tasks": {task: _measure(task, options, folder) for task in options.tasks},
    }


def _measure(task: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    batch_size = options.batch_size or BATCH_SIZES[task]
    with contextlib.redirect_stdout(sys.stderr):
        our_source(Program(OURS, task, folder, batch_size, options.batches))  # prepares it
    settings = ["--folder", str(folder), "--batch-size", str(batch_size)]
    settings += ["--batches", str(options.batches), "--tasks", task]
    commands = {
        name: [sys.executable, __file__, *settings, "--worker", name]
        for name in programs(task, with_step=not options.no_step)
    }
    result = benchmarking.compare(commands, options.rounds, pause=True)
    return {"batch_size": batch_size, **result, **summary(result)}


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """What the rounds of one task mean.

    Args:
        result: of `benchmarking.compare`.

    Returns:
        "images_per_second" and "cpu_ms_per_image" a program; "speed" and "cpu_speed", how many
        times as fast as the peer ours is by wall time and by processor time, each (median, least,
        largest) over the rounds, None without peer; "whole_speed" and "whole_cpu_speed", the same
        of both with what is left out otherwise; "input_over_step", how many times as fast as the
        training step the recipe's whole pipeline is, None without it.
    """
    images = {row["name"]: row["images"] for row in result["rows"]}
    steps = result["steps"]

    def per_image(name: str, key: str) -> list[float]:
        return [step[key] / images[name] for step in steps[name]]

    def speed(one: str, other: str, key: str) -> tuple[float, float, float] | None:
        if one not in steps or other not in steps:
            return None
        rounds = zip(per_image(one, key), per_image(other, key), strict=True)
        ratios = [theirs / ours for ours, theirs in rounds]
        return statistics.median(ratios), min(ratios), max(ratios)

    return {
        "images_per_second": {n: 1e3 / statistics.median(per_image(n, "ms")) for n in steps},
        "cpu_ms_per_image": {n: statistics.median(per_image(n, "cpu_ms")) for n in steps},
        "speed": speed(OURS, PEER, "ms"),
        "cpu_speed": speed(OURS, PEER, "cpu_ms"),
        "whole_speed": speed(WHOLE, PEER_WHOLE, "ms"),
        "whole_cpu_speed": speed(WHOLE, PEER_WHOLE, "cpu_ms"),
        "input_over_step": speed(_whole_input(steps), STEP, "ms"),
    }


def _whole_input(names: Collection[str]) -> str:
    return WHOLE if WHOLE in names else OURS


def verdict(result: dict[str, Any]) -> str:
    """Whether input or training is the bottleneck, of a result with `summary`."""
    faster = result["input_over_step"][0]
    device = next(row["device"] for row in result["rows"] if row["name"] == STEP)
    if faster >= 1:
        text = f"training is the bottleneck: the input alone is {faster:.1f} times as fast"
    else:
        text = f"input is the bottleneck: the training step alone is {1 / faster:.1f} times as fast"
    if device == "CPU":
        cpu = result["cpu_ms_per_image"]
        ours = cpu[_whole_input(cpu)]
        share = ours / (ours + cpu[STEP])
        text += f"; they share the processor, of which the input takes {share:.0%}"
    return text


def print_result(result: dict[str, Any]) -> None:
    """Prints throughputs, ratios and the verdict of each task."""
    settings = result["settings"]
    print(
        f"{settings['images']} photos ({settings['photos']}), {settings['mean_megapixels']:.2f} "
        f"megapixels and {settings['mean_kilobytes']:.0f} kB on average; {settings['rounds']} "
        f"rounds of {settings['batches']} batches"
    )
    for task, measured in result["tasks"].items():
        print(f"\n{task}, recipe {RECIPES[task]}, batch {measured['batch_size']}: {JOBS[task]}")
        header = ("", "images/s", "CPU ms/image", "peak MiB", "batch")
        rows = [
            (
                row["name"],
                f"{measured['images_per_second'][row['name']]:.1f}",
                f"{measured['cpu_ms_per_image'][row['name']]:.2f}",
                f"{row['peak_memory_mib']:.0f}",
                row.get("batch", row.get("device")),
            )
            for row in measured["rows"]
        ]
        print(format_table(header, rows))
        for ours, peer, kind in ((OURS, PEER, ""), (WHOLE, PEER_WHOLE, "whole_")):
            if measured[f"{kind}speed"]:
                (median, low, high), cpu = measured[f"{kind}speed"], measured[f"{kind}cpu_speed"]
                print(
                    f"{ours} is {median:.2f} times as fast as {peer} ({low:.2f}-{high:.2f}), by "
                    f"processor time {cpu[0]:.2f} times ({cpu[1]:.2f}-{cpu[2]:.2f})"
                )
        if measured["input_over_step"]:
            print(verdict(measured))
        benchmarking.print_circumstances(measured)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--photos", type=Path, help="folder of JPEG photos, instead of drawn ones")
    parser.add_argument("--images", type=int, default=64, help="at most so many photos [64]")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(480, 640),
        help="of drawn photos [480 640]",
    )  # fmt: skip
    sizes = ", ".join(f"{size} for {task}" for task, size in BATCH_SIZES.items())
    parser.add_argument("--batch-size", type=int, help=f"images of a batch [{sizes}]")
    parser.add_argument("--batches", type=int, default=16, help="of a timed step of input [16]")
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each program [10]")
    parser.add_argument("--no-step", action="store_true", help="leave out the training step")
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("images", "batch_size", "batches", "rounds"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if min(options.size) < 32:
        parser.error("--size must be at least 32 32")
    options.tasks = list(dict.fromkeys(options.tasks))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    if options.worker:
        program = Program(
            options.worker, options.tasks[0], options.folder, options.batch_size, options.batches
        )
        benchmarking.serve(program.build)
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(options, Path(folder))
        print_result(result)
        if options.json:
            benchmarking.write_json(options.json, result)
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

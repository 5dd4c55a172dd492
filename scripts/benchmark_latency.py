"""Times models on this machine: Keras, SavedModel, LiteRT and ONNX files, side by side.

What is timed is one call on random pixels that lie in memory already: a tf.function of a Keras
model, the signature serving_default of a SavedModel, `invoke` of a LiteRT file, `run` of ONNX
Runtime. An SSDLite in a .keras file is timed twice, the network alone and with post-processing on
top; of exported files what they hold is timed. How long non-maximum suppression takes depends on
what is found, and in random pixels that is not what a photo holds.

Each model has a process of its own for each number of threads, and all take turns.

    python scripts/benchmark_latency.py detector.keras detector.tflite
    python scripts/benchmark_latency.py classifier.keras saved/ --threads 1 2 --size 224 224
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
from latency_programs import Program, is_detector
from text_table import format_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def programs(options: argparse.Namespace) -> dict[str, Program]:
    """What is to be timed, by the name that the table shows."""
    result = {}
    for path in options.models:
        for threads in options.threads:
            for postprocessing in (False, True) if is_detector(path) else (False,):
                program = Program(path, threads, options.batch_size, options.size, postprocessing)
                result[f"{program.name}, threads: {threads}"] = program
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Returns settings, a row a program, all single times and the machine, ready for JSON."""
    commands = {name: each.worker_command() for name, each in programs(options).items()}
    result = benchmarking.compare(commands, options.repeats)
    for row in result["rows"]:
        times = [step["ms"] for step in result["steps"][row["name"]]]
        deciles = statistics.quantiles(times, n=10, method="inclusive")
        row["p10_ms"], row["p90_ms"] = deciles[0], deciles[-1]
    settings = {"batch_size": options.batch_size, "repeats": options.repeats, "size": options.size}
    return {"settings": settings, **result}


def print_result(result: dict[str, Any]) -> None:
    """Prints median and spread of each model."""
    settings = result["settings"]
    print(
        f"latency of a batch of {settings['batch_size']}, {settings['repeats']} rounds; spread: "
        "10th to 90th percentile"
    )
    header = ("", "kind", "device", "threads", "input", "median ms", "spread ms", "peak MiB")
    rows = [
        (
            row["model"],
            row["kind"],
            row["device"],
            row["threads"],
            "x".join(map(str, row["input"]["shape"][1:])) + f" {row['input']['dtype']}",
            f"{row['median_ms']:.2f}",
            f"{row['p10_ms']:.2f}-{row['p90_ms']:.2f}",
            f"{row['peak_memory_mib']:.0f}",
        )
        for row in result["rows"]
    ]
    print(format_table(header, rows))
    benchmarking.print_circumstances(result)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="+", type=Path, metavar="MODEL",
        help=".keras file, SavedModel folder, .tflite or .onnx file",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="one or more numbers of threads [1]"
    )
    parser.add_argument("--repeats", type=int, default=50, help="timed calls of each model [50]")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="image size for models that leave it open",
    )  # fmt: skip
    benchmarking.add_json_option(parser)
    options = parser.parse_args(arguments)
    if min(options.batch_size, *options.threads, *(options.size or [1])) < 1:
        parser.error("--batch-size, --threads and --size must be at least 1")
    if options.repeats < 2:
        parser.error("--repeats must be at least 2: one time has no spread")
    options.size = tuple(options.size) if options.size else None
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    try:
        result = measure(options)
        print_result(result)
        if options.json:
            benchmarking.write_json(options.json, result)
    except (benchmarking.InputError, ImportError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the benchmarks of this project and makes one table of them.

Each part is a script of its own, which times this project and its peers side by side in one run:
training steps, what detection adds to them, input pipelines, inference, COCO evaluation and
detection post-processing. What a script prints is shown while it runs; at the end comes the table,
in Markdown, which also names the machine by its properties. A part that fails is named, and the
others go on. Nothing else should run on the machine.

    python scripts/benchmark.py --markdown table.md --json results.json
    python scripts/benchmark.py --quick --parts evaluation postprocessing
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
from benchmark_tables import HEADER, TABLES
from text_table import format_table

# Script of each part, and the arguments that make it short.
PARTS = {
    "training": ("benchmark_training.py", ["--steps", "5"]),
    "targets": ("benchmark_targets.py", ["--rounds", "3"]),
    "input": ("benchmark_input.py", ["--rounds", "3", "--batches", "4", "--images", "16"]),
    "inference": (
        "benchmark_inference.py",
        ["--networks", "classification", "--threads", "1", "--repeats", "10"],
    ),
    "evaluation": ("benchmark_evaluation.py", ["--images", "500", "--rounds", "2"]),
    "postprocessing": ("benchmark_postprocessing.py", ["--rounds", "5"]),
}


def run_part(part: str, quick: bool) -> dict[str, Any] | None:
    """What the script of a part writes as JSON; None if it fails, which it has told by then."""
    name, short = PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, str(Path(__file__).with_name(name)), "--json", str(path)]
        done = subprocess.run(command + short * quick)
        if done.returncode or not path.is_file():
            return None
        return json.loads(path.read_text())


def machine(environment: dict[str, Any]) -> str:
    """One sentence of what `benchmarking.describe_machine` returns."""
    memory = environment["memory_gib"]
    packages = [f"{name} {version}" for name, version in environment["packages"].items()]
    return (
        f"{environment['processor'] or 'unknown processor'}, {environment['cores'] or '?'} cores"
        + (f", {memory:.0f} GiB of memory" if memory else "")
        + f"; Python {environment['python']}, {', '.join(packages)}"
    )


def markdown(results: dict[str, dict[str, Any]], environment: dict[str, Any], quick: bool) -> str:
    """The table of all parts that there are results of."""
    rows = [row for part, result in results.items() for row in TABLES[part](result)]
    lines = [format_table(HEADER, rows, markdown=True), "", machine(environment)]
    if quick:
        lines.append("(--quick: too short for figures to rely on)")
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="minutes, not an hour: to try it out")
    parser.add_argument(
        "--json", type=benchmarking.output_path, help="also write all results to this file"
    )
    parser.add_argument(
        "--markdown", type=benchmarking.output_path, help="also write the table to this file"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 if a part failed."""
    options = parse_arguments(arguments)
    results, failed = {}, []
    for part in dict.fromkeys(options.parts):
        print(f"\n== {part}", flush=True)
        result = run_part(part, options.quick)
        if result is None:
            failed.append(part)
        else:
            results[part] = result
    environment = benchmarking.describe_machine()
    table = markdown(results, environment, options.quick)
    print(f"\n{table}", end="")
    if options.json:
        benchmarking.write_json(
            options.json, {"machine": environment, "quick": options.quick, "parts": results}
        )
    if options.markdown:
        benchmarking.write_text(options.markdown, table)
    if failed:
        print(f"error: these parts failed, see above: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

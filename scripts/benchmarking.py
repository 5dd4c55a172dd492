"""Interleaved timing of several programs: A B C A B C, each in a process of its own.

Only ratios between neighbours in time are worth reporting on a machine that is not quite idle, so
the programs take turns, step by step, in one run. A program waits in a blocking read while another
computes; the processor time it uses while waiting is measured too, because threads that spin
would falsify the others' times.

Parent and worker talk in lines of JSON over the worker's standard input and output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "tf-models-official",
    "torch",
    "ai-edge-litert",
    "onnxruntime",
    "faster-coco-eval",
    "pycocotools",
    "numpy",
)


class InputError(ValueError):
    """Bad input that a worker found while building; it reaches the parent as it is."""


def serve(build: Callable[[], tuple[Callable[[], Any], dict]], warmup: int = 2) -> None:
    """Runs a worker: builds the program, warms it up, then does one timed step a request.

    Args:
        build: returns the step (a function that comes back when its work is done) and facts to
            report once, e.g. {"parameters": 3504872}. An ImportError means that the program is
            not to be had here, an InputError that it cannot be made from what was given.
        warmup: untimed steps, the first of which compiles.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    # Whatever the libraries print must not get between the replies.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        step, facts = build()
    except ImportError as error:
        replies.write(json.dumps({"unavailable": str(error)}) + "\n")
        return
    except InputError as error:
        replies.write(json.dumps({"refused": str(error)}) + "\n")
        return
    for _ in range(warmup):
        step()
    idle_since = time.process_time()
    replies.write(json.dumps(facts) + "\n")
    for _ in sys.stdin:
        idle = time.process_time() - idle_since
        cpu_start, start = time.process_time(), time.perf_counter()
        step()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        reply = {
            "ms": 1e3 * seconds,
            "cpu_ms": 1e3 * cpu,
            "idle_cpu_ms": 1e3 * idle,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        idle_since = time.process_time()
        replies.write(json.dumps(reply) + "\n")


class Worker:
    """A started worker, ready for steps.

    Args:
        name: of the program, for messages.
        command: starts a process that calls `serve`.
        pause: stop the whole process between steps. For programs with threads that would go on
            working for the next step.

    Attributes:
        facts: what the worker's `build` reported.

    Raises:
        ImportError: if the program's packages are not installed.
        InputError: if the program cannot be made from what was given.
        RuntimeError: if the process ended.
    """

    def __init__(self, name: str, command: Sequence[str], pause: bool = False):
        self.name = name
        self._pause = pause
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.facts = self._reply()
        if "unavailable" in self.facts:
            self.close()
            raise ImportError(self.facts["unavailable"])
        if "refused" in self.facts:
            self.close()
            raise InputError(self.facts["refused"])
        self._signal(signal.SIGSTOP)

    def step(self) -> dict[str, float]:
        """Has one step done.

        Returns:
            ms, cpu_ms (processor time of all threads), idle_cpu_ms (processor time spent while
            waiting for the request) and peak_memory_mib.
        """
        self._signal(signal.SIGCONT)
        self._process.stdin.write("\n")
        reply = self._reply()
        self._signal(signal.SIGSTOP)
        return reply

    def close(self) -> None:
        """Ends the process."""
        self._signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._pause:
            self._process.send_signal(number)

    def _reply(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the process of {self.name} ended with code {code}, see above")
        return json.loads(line)


def compare(commands: dict[str, Sequence[str]], rounds: int, pause: bool = False) -> dict[str, Any]:
    """Times programs against the first of them, which must be there; others may be missing.

    Args:
        commands: program name to the command that starts its worker.
        rounds: timed steps of each program.
        pause: see `Worker`.

    Returns:
        {"rows": summary a program, "unavailable": {name: reason}, "environment": ...,
        "paused": as given, "steps": every measured step}, ready for JSON.
    """
    load_before = os.getloadavg()
    workers: list[Worker] = []
    unavailable = {}
    try:
        for name, command in commands.items():
            try:
                workers.append(Worker(name, command, pause))
            except ImportError as error:
                if not workers:
                    raise
                unavailable[name] = str(error)
        steps = {worker.name: [] for worker in workers}
        for number in range(rounds):
            # There and back, so that nobody always runs after the same neighbour.
            for worker in workers if number % 2 == 0 else reversed(workers):
                steps[worker.name].append(worker.step())
    finally:
        for worker in workers:
            worker.close()
    environment = describe_machine() | {"load_before": load_before, "load_after": os.getloadavg()}
    rows = [_summary(worker, steps[worker.name], steps[workers[0].name]) for worker in workers]
    return {
        "rows": rows,
        "unavailable": unavailable,
        "environment": environment,
        "paused": pause,
        "steps": steps,
    }


def _summary(worker: Worker, steps: list[dict], baseline: list[dict]) -> dict[str, Any]:
    # Round by round: what disturbs the machine disturbs both.
    rounds = list(zip(steps, baseline, strict=True))
    ratios = [step["ms"] / base["ms"] for step, base in rounds]
    return {
        "name": worker.name,
        **worker.facts,
        "median_ms": statistics.median(step["ms"] for step in steps),
        "fastest_ms": min(step["ms"] for step in steps),
        "ratio": statistics.median(ratios),
        "ratio_range": (min(ratios), max(ratios)),
        "median_cpu_ms": statistics.median(step["cpu_ms"] for step in steps),
        "cpu_ratio": statistics.median(step["cpu_ms"] / base["cpu_ms"] for step, base in rounds),
        "idle_cpu_ms": statistics.median(step["idle_cpu_ms"] for step in steps),
        "peak_memory_mib": max(step["peak_memory_mib"] for step in steps),
    }


def describe_machine() -> dict[str, Any]:
    """Returns what a measured time depends on: processor, cores, memory, Python and packages."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cpuinfo = Path("/proc/cpuinfo")
    names = []
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_gib": _memory_gib(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # not on every system
        return None


def print_table(result: dict[str, Any]) -> None:
    """Prints the summary of `compare`; a ratio above 1 means slower than the first program.

    CPU ms is the processor time of all threads, which other load on the machine falsifies less.
    """
    rows = result["rows"]
    print(
        f"{'':20} {'median ms':>10} {'fastest':>9} {'ratio':>7} {'(range)':>14} "
        f"{'CPU ms':>9} {'ratio':>7} {'peak MiB':>9} {'parameters':>11}"
    )
    for row in rows:
        low, high = row["ratio_range"]
        print(
            f"{row['name']:20} {row['median_ms']:10.1f} {row['fastest_ms']:9.1f} "
            f"{row['ratio']:7.2f} {f'({low:.2f}-{high:.2f})':>14} "
            f"{row['median_cpu_ms']:9.1f} {row['cpu_ratio']:7.2f} "
            f"{row['peak_memory_mib']:9.0f} {row.get('parameters', ''):>11}"
        )
    print_circumstances(result)


def print_circumstances(result: dict[str, Any]) -> None:
    """Prints what `compare` left out, and what a reader must know to judge the rest."""
    for name, reason in result["unavailable"].items():
        print(f"{name:20} left out: {reason}")
    total = sum(row["median_ms"] for row in result["rows"])
    # Answering takes some tenths of a millisecond by itself.
    limit = max(0.5, 0.02 * total)
    spinning = [row["name"] for row in result["rows"] if row["idle_cpu_ms"] > limit]
    # What is stopped disturbs nobody, however late it is stopped.
    if spinning and not result["paused"]:
        print(f"computed while it should have waited: {', '.join(spinning)}; do not trust the rest")
    environment = result["environment"]
    print(
        f"{environment['processor']}, {environment['cores']} cores; load "
        f"{environment['load_before'][0]:.1f} before, {environment['load_after'][0]:.1f} after"
    )


def output_path(text: str) -> Path:
    """Type of an argument that names a file to write; its folder must be there."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: there is no folder {path.parent}")
    return path


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Adds --json, the file for `write_json`."""
    help_text = "also write every measured time to this file"
    parser.add_argument("--json", type=output_path, help=help_text)


def write_json(path: str | os.PathLike, result: dict[str, Any]) -> None:
    """Writes `result` to `path`, whole or not at all."""
    write_text(path, json.dumps(result, indent=1) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path`, whole or not at all."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)

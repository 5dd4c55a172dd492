"""Times the three networks of the paper in every form in which they run, side by side.

MobileNetV2 1.0/224, SSDLite 320 with 80 classes and DeepLabv3 513 as Keras `predict_on_batch`, as
tf.function, as LiteRT files in float32 and int8, and in ONNX Runtime, each with one and with two
threads, on one image of random pixels that lies in memory already. Every form has a process of
its own for each number of threads, and all of a network take turns. The networks are not trained,
which makes no difference to the time, unless --model gives files.

    python scripts/benchmark_inference.py
    python scripts/benchmark_inference.py --published classification=mobilenet_v2_quant.tflite
    python scripts/benchmark_inference.py --networks classification --split-expansion 0.5

The share of SSDLite's post-processing is what the LiteRT file with non-maximum suppression takes
longer than the one without. --split-expansion adds LiteRT files whose inverted residual blocks
are split (section 5.1 of the paper, keras_mnv2.deployment.split_expansion). Peak is the memory of
the whole process, arena what LiteRT without XNNPACK sets aside for activations.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
from latency_programs import KERAS, Program, kind_of
from text_table import format_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TITLES = {
    "classification": "MobileNetV2 1.0/224",
    "detection": "SSDLite 320",
    "segmentation": "DeepLabv3 513",
}
BASELINE = "Keras predict_on_batch"
WITHOUT_NMS = "LiteRT float32"
WITH_NMS = f"{WITHOUT_NMS} + "


def prepare(task: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Has the files of a network written, unless they are there already.

    Returns:
        What `inference_files.write_files` does, the paths made whole.

    Raises:
        InputError: if those that are there were made of something else than the options say.
    """
    path = folder / "files.json"
    if path.is_file():
        _check_made_of(path, task, options)
    else:
        print(f"writing the files of {TITLES[task]} to {folder}", flush=True)
        script = Path(__file__).with_name("inference_files.py")
        command = [sys.executable, str(script), task, str(folder)]
        if task in options.model:
            command += ["--model", str(options.model[task])]
        if options.split_expansion is not None:
            command += ["--split-expansion", str(options.split_expansion)]
        # Converters talk much.
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"writing the files of {TITLES[task]} failed:\n{done.stderr}")
    result = json.loads(path.read_text())
    for file in result["files"]:
        file["path"] = str(folder / file["path"])
    return result


def _check_made_of(path: Path, task: str, options: argparse.Namespace) -> None:
    found = json.loads(path.read_text())
    model, share = options.model.get(task), options.split_expansion
    digest = hashlib.sha256(model.read_bytes()).hexdigest() if model else None
    wrong = []
    if digest not in (None, found.get("model_sha256")):
        wrong.append(f"--model {task}={model}")
    if share not in (None, found.get("split_share")):
        wrong.append(f"--split-expansion {share:g}")
    if wrong:
        raise benchmarking.InputError(
            f"the files in {path.parent} were not made with {' and '.join(wrong)}: give another "
            "--folder, or time them without"
        )
    origin = "a model file" if found.get("model_sha256") else "a network that was not trained"
    print(f"timing the files of {TITLES[task]} that are in {path.parent}, of {origin}")


def forms(files: list[dict[str, Any]], published: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What is timed of one network: name -> facts, with the fields of a `Program`."""
    keras, *exported = files
    result = {BASELINE: keras | {"predict": True}, "tf.function": keras}
    result |= {file["name"]: file for file in exported}
    for path in published:
        result[f"published: {path.name}"] = {"path": str(path)}
    return result


def measure(task: str, prepared: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Times all forms of one network.

    Returns:
        A row a form and number of threads, all single times and the machine, ready for JSON.
    """
    table = forms(prepared["files"], options.published.get(task, []))
    cases, commands = {}, {}
    for threads in options.threads:
        for name, facts in table.items():
            case = f"{name}, threads: {threads}"
            cases[case] = facts | {"name": case, "form": name, "threads": threads}
            program = Program(Path(facts["path"]), threads, predict=facts.get("predict", False))
            commands[case] = program.worker_command()
    # Thread pools would go on waiting for work in the time of others.
    result = benchmarking.compare(commands, options.repeats, pause=True)
    times = {name: [step["ms"] for step in steps] for name, steps in result["steps"].items()}
    for row in result["rows"]:
        row |= cases[row["name"]]
        row["file_bytes"] = Path(row["path"]).stat().st_size
        baseline = times[f"{BASELINE}, threads: {row['threads']}"]
        row["times_as_fast"] = _median_ratio(baseline, times[row["name"]])
        if row["form"].startswith(WITH_NMS):
            without = times[f"{WITHOUT_NMS}, threads: {row['threads']}"]
            row["postprocessing_share"] = 1 - _median_ratio(without, times[row["name"]])
    result["unavailable"] |= prepared["left_out"]
    return result


def _median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Of neighbours in time, which what disturbs the machine disturbs alike."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def print_result(task: str, result: dict[str, Any]) -> None:
    """Prints the times of one network."""
    print(f"\n{TITLES[task]}")
    header = ("", "threads", "median ms", "fastest", "x predict", "file MB", "peak MiB", "arena MB")
    rows = [
        (
            row["form"],
            row["threads"],
            f"{row['median_ms']:.2f}",
            f"{row['fastest_ms']:.2f}",
            f"{row['times_as_fast']:.2f}",
            f"{row['file_bytes'] / 1e6:.2f}",
            f"{row['peak_memory_mib']:.0f}",
            f"{row['arena_bytes'] / 1e6:.2f}" if "arena_bytes" in row else "",
        )
        for row in result["rows"]
    ]
    print(format_table(header, rows))
    for row in result["rows"]:
        if "postprocessing_share" in row:
            share = f"{row['postprocessing_share']:.1%} of the latency is post-processing"
            print(f"{row['form']}, threads: {row['threads']}: {share}")
    benchmarking.print_circumstances(result)


def _of_task(text: str) -> tuple[str, Path]:
    task, separator, path = text.partition("=")
    if task not in TITLES or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} must be TASK=FILE, TASK one of {list(TITLES)}")
    return task, Path(path)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument(
        "--model", type=_of_task, nargs="+", default=[], metavar="TASK=FILE",
        help=".keras files in place of networks that are not trained",
    )  # fmt: skip
    parser.add_argument(
        "--published", type=_of_task, nargs="+", default=[], metavar="TASK=FILE",
        help=".tflite files of others, such as the published 8-bit models",
    )  # fmt: skip
    parser.add_argument(
        "--split-expansion", type=float, metavar="SHARE",
        help="also time networks that are split until they need this share of activation memory",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="[1 2]")
    parser.add_argument("--repeats", type=int, default=50, help="timed calls of each form [50]")
    parser.add_argument(
        "--folder", type=Path,
        help="keep the files there, and time those that are there already [a temporary folder]",
    )  # fmt: skip
    benchmarking.add_json_option(parser)
    options = parser.parse_args(arguments)
    if min(options.threads) < 1:
        parser.error("--threads must be at least 1")
    if options.repeats < 2:
        parser.error("--repeats must be at least 2: one time has no spread")
    if options.split_expansion is not None and not 0 < options.split_expansion < 1:
        parser.error("--split-expansion must lie between 0 and 1")
    for option in ("model", "published"):
        for task, path in getattr(options, option):
            if task not in options.networks:
                parser.error(f"--{option} {task}={path}: --networks leaves out {task}")
    if len(dict(options.model)) < len(options.model):
        parser.error("--model: only one file for each network")
    options.model = dict(options.model)
    published: dict[str, list[Path]] = {}
    for task, path in options.published:
        published.setdefault(task, []).append(path)
    options.published = published
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    results = {}
    try:
        for path in [*options.model.values(), *sum(options.published.values(), [])]:
            kind_of(path)
        for path in options.model.values():
            if (kind := kind_of(path)) != KERAS:
                raise benchmarking.InputError(f"--model {path} is a {kind} file, no .keras")
        with contextlib.ExitStack() as stack:
            root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for task in options.networks:
                prepared = prepare(task, root / task, options)
                results[task] = measure(task, prepared, options)
                print_result(task, results[task])
        if options.json:
            benchmarking.write_json(options.json, results)
    except (benchmarking.InputError, ImportError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

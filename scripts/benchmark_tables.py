"""Rows of the table of benchmark.py, made of what the single benchmarks write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmark_evaluation import PREPARATION
from benchmark_inference import BASELINE, TITLES
from benchmark_postprocessing import CLASS_AGNOSTIC
from benchmark_targets import PEER as PEER_LABELS
from benchmark_targets import TARGETS

HEADER = ("what", "keras_mnv2", "peer", "of the peer", "times as fast (range)")

Row = tuple[str, str, str, str, str]


def _ratio(median: float, low: float, high: float) -> str:
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def _short(value: float) -> str:
    """Three digits that count, never with an exponent."""
    return f"{float(f'{value:.3g}'):g}"


def _against_first(what: str, rows: list[dict[str, Any]], unit: str, per_ms: float) -> list[Row]:
    """Every row of `benchmarking.compare` against the first, which is ours."""
    first, *others = rows
    ours = f"{_short(first['median_ms'] * per_ms)} {unit}"
    return [
        (
            what,
            ours,
            row["name"],
            f"{_short(row['median_ms'] * per_ms)} {unit}",
            _ratio(row["ratio"], *row["ratio_range"]),
        )
        for row in others
    ]


def training(result: dict[str, Any]) -> list[Row]:
    settings = result["settings"]
    what = (
        f"training step, MobileNetV2 {settings['alpha']}/{settings['size']}, "
        f"batch {settings['batch_size']}"
    )
    return _against_first(what, result["rows"], "ms", 1)


def targets(result: dict[str, Any]) -> list[Row]:
    cpu = result["cpu_ms_a_batch"]
    what = f"matching and encoding, SSDLite 320, batch {result['settings']['batch_size']}"
    share = (f"{what}, with mining", f"{result['share']:.1%} of a step", "", "", "")
    ours, peer = cpu[TARGETS], cpu.get(PEER_LABELS)
    if peer is None:
        return [share]
    times = [f"{_short(value)} ms (CPU)" for value in (ours, peer)]
    return [(what, times[0], "tf_models", times[1], f"{peer / ours:.2f}"), share]


def input_pipelines(result: dict[str, Any]) -> list[Row]:
    rows = []
    for task, measured in result["tasks"].items():
        pace, whole = measured["images_per_second"], measured["whole_speed"]
        # Where colours are distorted, both sides are compared without that and with it.
        named = ", without colours" if whole else ""
        for speed, with_colors, what in (
            (measured["speed"], "", named),
            (whole, ", with colours", ", with colours"),
        ):
            if speed:
                names = [f"{name}{with_colors}" for name in ("keras_mnv2", "tf_models")]
                ours, peer = (f"{_short(pace[name])} images/s" for name in names)
                row = (f"input pipeline, {task}{what}", ours, "tf_models", peer, _ratio(*speed))
                rows.append(row)
    return rows


def inference(result: dict[str, Any]) -> list[Row]:
    return [row for task, measured in result.items() for row in _forms(task, measured["rows"])]


def _forms(task: str, rows: list[dict[str, Any]]) -> Iterator[Row]:
    """A row a form; its figures are those of each number of threads."""
    by_form: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_form.setdefault(row["form"], []).append(row)

    def milliseconds(form: str) -> str:
        return ", ".join(_short(row["median_ms"]) for row in by_form[form]) + " ms"

    for form, measured in by_form.items():
        if form == BASELINE:
            continue
        threads = ", ".join(str(row["threads"]) for row in measured)
        yield (
            f"{TITLES[task]}, {form}, threads: {threads}",
            milliseconds(form),
            BASELINE,
            milliseconds(BASELINE),
            ", ".join(f"{row['times_as_fast']:.2f}" for row in measured),
        )


def evaluation(result: dict[str, Any]) -> list[Row]:
    settings = result["settings"]
    what = f"COCO evaluation, {settings['images']} images with {settings['detections']} detections"
    rows = [row for row in result["rows"] if row["name"] != PREPARATION]
    return _against_first(what, rows, "s", 1e-3)


def postprocessing(result: dict[str, Any]) -> list[Row]:
    settings = result["settings"]
    what = f"post-processing, SSDLite 320, batch {settings['batch_size']}"
    rows = [row for row in result["rows"] if row["name"] != CLASS_AGNOSTIC]
    return _against_first(what, rows, "ms", 1)


TABLES = {
    "training": training,
    "targets": targets,
    "input": input_pipelines,
    "inference": inference,
    "evaluation": evaluation,
    "postprocessing": postprocessing,
}

"""Times COCO evaluation by faster-coco-eval against pycocotools, from collected arrays to figures.

A synthetic set as large as COCO's validation split: 5,000 images of about 7 objects, 100 detections
each, 80 classes. Each implementation has a process of its own and they take turns. What
`CocoEvaluator` does before (annotations as the dictionaries that the API takes) is part of both
times and in a row of its own. The figures of both must agree to 1e-9.

    python scripts/benchmark_evaluation.py
    python scripts/benchmark_evaluation.py --images 500 --rounds 5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmarking
import numpy as np

from tasks.detection.coco_evaluation import METRICS, CocoEvaluator

OURS, PEER, PREPARATION = "faster-coco-eval", "pycocotools", "preparation alone"
# Of most COCO pictures.
HEIGHT, WIDTH = 480, 640


def synthetic_evaluator(options: argparse.Namespace) -> CocoEvaluator:
    """Ground truth, of which 1 % are crowds, and detections, of which half are near an object."""
    generator = np.random.default_rng(0)
    labels = range(options.classes)
    evaluator = CocoEvaluator([1 + label for label in labels], [str(label) for label in labels])
    for image_id in range(1, 1 + options.images):
        count = min(generator.geometric(1 / 8) - 1, 60)
        boxes = _boxes(generator, count)
        sides = boxes[:, 2:] - boxes[:, :2]
        objects = generator.integers(0, options.classes, count)
        evaluator.add_ground_truth(
            image_id,
            HEIGHT,
            WIDTH,
            boxes,
            objects,
            areas=0.6 * HEIGHT * WIDTH * sides.prod(axis=-1),
            is_crowd=generator.uniform(size=count) < 0.01,
        )
        found = _boxes(generator, options.detections)
        classes = generator.integers(0, options.classes, options.detections)
        if count:
            near = generator.integers(0, count, options.detections // 2)
            found[: len(near)] = boxes[near] + generator.normal(0, 0.015, (len(near), 4))
            classes[: len(near)] = objects[near]
        evaluator.add_detections(
            [image_id],
            found[None],
            generator.uniform(size=(1, options.detections)),
            classes[None],
            [options.detections],
        )
    return evaluator


def _boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    centre = generator.uniform(0.1, 0.9, (count, 2))
    sides = np.minimum(generator.exponential(0.15, (count, 2)) + 0.02, 0.8)
    return np.clip(np.concatenate([centre - sides / 2, centre + sides / 2], axis=-1), 0, 1)


def build(options: argparse.Namespace) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The step of a worker, and the twelve figures.

    Raises:
        ImportError: if pycocotools is missing.
    """
    evaluator = synthetic_evaluator(options)
    if options.worker == PREPARATION:
        return lambda: (evaluator.annotations(), evaluator.results()), {}
    arguments = []
    if options.worker == PEER:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        arguments = [(COCO, COCOeval)]
    metrics = evaluator.evaluate(*arguments)
    return lambda: evaluator.evaluate(*arguments), {"metrics": {n: metrics[n] for n in METRICS}}


def largest_difference(result: dict[str, Any]) -> float | None:
    """Between the figures of both, None without pycocotools."""
    rows = {row["name"]: row for row in result["rows"]}
    if PEER not in rows:
        return None
    return max(abs(rows[OURS]["metrics"][n] - rows[PEER]["metrics"][n]) for n in METRICS)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000, help="[5000]")
    parser.add_argument("--detections", type=int, default=100, help="of an image [100]")
    parser.add_argument("--classes", type=int, default=80, help="[80]")
    parser.add_argument("--rounds", type=int, default=3, help="timed evaluations of each [3]")
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("images", "detections", "classes", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 where the figures of both differ."""
    options = parse_arguments(arguments)
    if options.worker:
        # The figures are a first evaluation already, and there is nothing to compile.
        benchmarking.serve(lambda: build(options), warmup=0)
        return 0
    settings = {n: getattr(options, n) for n in ("images", "detections", "classes", "rounds")}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    commands = {
        name: [sys.executable, __file__, *words, "--worker", name]
        for name in (OURS, PEER, PREPARATION)
    }
    result = benchmarking.compare(commands, options.rounds)
    result |= {"settings": settings, "largest_difference": largest_difference(result)}
    print(
        f"COCO evaluation of {options.images} images with {options.detections} detections each, "
        f"{options.classes} classes; ratio = time / time of {OURS} in the same round"
    )
    benchmarking.print_table(result)
    if options.json:
        benchmarking.write_json(options.json, result)
    difference = result["largest_difference"]
    if difference is None:
        return 0
    print(f"largest difference between the twelve figures of both: {difference:.1e}")
    if difference > 1e-9:
        print(f"error: {OURS} and {PEER} differ by more than 1e-9", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

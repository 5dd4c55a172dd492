"""Times what detection adds to a training step: matching, encoding, hard-negative mining.

SSDLite 320 with 80 classes. "training step" is the whole step (forward, loss with hard-negative
mining, backward, optimizer) on a batch that lies in memory, "matching and encoding" what the input
pipeline does to give a batch its targets, also as tf-models-official does it, "mining" the choice
of the hardest negatives within the loss. The share is that of both parts in the time of a step that
shares the processor with its pipeline, by processor time; on a GPU matching and encoding run beside
the step and cost it nothing as long as the pipeline keeps up.

    python scripts/benchmark_targets.py
    python scripts/benchmark_targets.py --batch-size 8 --objects 40
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmarking
import numpy as np
from text_table import format_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

STEP, TARGETS, MINING = "training step", "matching and encoding", "mining"
PEER = "tf_models labels"
SIZE, CLASSES = 320, 80
# Of a timed step, since a single batch is small for a pipeline.
BATCHES = 4


def anchors() -> np.ndarray:
    """float32 [2034, 4]."""
    from keras_mnv2.detection import feature_grid_sizes, ssd_anchors

    return ssd_anchors(feature_grid_sizes((SIZE, SIZE)), (SIZE, SIZE))


def random_objects(options: argparse.Namespace) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes [n, 4] and labels [n] of each image of a batch; n varies, as in COCO."""
    generator = np.random.default_rng(0)
    boxes, labels = [], []
    for _ in range(options.batch_size):
        count = min(generator.geometric(1 / options.objects), 100)
        centre = generator.uniform(0.1, 0.9, (count, 2))
        half = np.minimum(generator.exponential(0.12, (count, 2)) + 0.02, 0.5)
        corners = np.concatenate([centre - half, centre + half], axis=-1)
        boxes.append(np.clip(corners, 0, 1).astype(np.float32))
        labels.append(generator.integers(0, CLASSES, count).astype(np.int32))
    return boxes, labels


def labelled(options: argparse.Namespace, encode: Callable) -> Any:
    """Endless batches of targets, made by `encode` of boxes and labels of an image."""
    import tensorflow as tf

    from tasks.common.pipeline import map_on_all_cores

    boxes, labels = (
        tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])
        for rows in random_objects(options)
    )
    dataset = tf.data.Dataset.from_tensor_slices((boxes, labels)).repeat()
    return map_on_all_cores(dataset, encode).batch(options.batch_size)


def our_targets(options: argparse.Namespace) -> Any:
    """Endless batches of targets as our pipeline makes them."""
    import tensorflow as tf

    from keras_mnv2.detection import encode_targets

    constant = tf.constant(anchors())

    def encode(boxes, labels):
        return encode_targets(constant, boxes, labels, tf.zeros_like(labels, tf.bool))

    return labelled(options, encode)


def build_peer(options: argparse.Namespace) -> tuple[Callable[[], Any], dict]:
    import tensorflow as tf
    from official.vision.ops.anchor import AnchorLabeler

    labeler = AnchorLabeler(box_coder_weights=[10.0, 10.0, 5.0, 5.0])
    # All as one level, of one anchor a cell.
    levels = {"3": tf.constant(anchors()[:, None])}

    def encode(boxes, labels):
        return labeler.label_anchors(levels, boxes, labels[:, None])

    return _batches(labelled(options, encode))


def _batches(dataset: Any) -> tuple[Callable[[], Any], dict]:
    iterator = iter(dataset)

    def step() -> None:
        for _ in range(BATCHES):
            next(iterator)

    return step, {"batches": BATCHES}


def build_step(options: argparse.Namespace) -> tuple[Callable[[], Any], dict]:
    import keras
    import tensorflow as tf

    from keras_mnv2 import SSDLite
    from keras_mnv2.detection import BoxLoss, HardNegativeClassificationLoss

    shape = (options.batch_size, SIZE, SIZE, 3)
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    model = SSDLite(CLASSES, shape[1:])
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        loss={"box_encodings": BoxLoss(), "class_logits": HardNegativeClassificationLoss()},
        jit_compile=False,
    )
    model.make_train_function()
    batch = (images, next(iter(our_targets(options))))
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    # Reading the loss waits for the step where devices work asynchronously.
    return lambda: float(model.train_function(batches)["loss"]), {"batches": 1}


def build_mining(options: argparse.Namespace) -> tuple[Callable[[], Any], dict]:
    import tensorflow as tf

    from keras_mnv2.detection.losses import hardest

    labels = next(iter(our_targets(options)))["class_logits"]
    generator = np.random.default_rng(1)
    losses = tf.constant(generator.exponential(5.0, labels.shape).astype(np.float32))
    positives = tf.reduce_sum(tf.cast(labels > 0, tf.int32), axis=-1, keepdims=True)
    mine = tf.function(lambda: hardest(losses, labels == 0, 3 * positives))

    def step() -> None:
        for _ in range(BATCHES):
            mine().numpy()

    return step, {"batches": BATCHES}


BUILDERS = {
    STEP: build_step,
    TARGETS: lambda options: _batches(our_targets(options)),
    PEER: build_peer,
    MINING: build_mining,
}


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Processor time of a batch by program, and the share of the parts in the step.

    Args:
        result: of `benchmarking.compare`.
    """
    milliseconds = {
        row["name"]: statistics.median(step["cpu_ms"] for step in result["steps"][row["name"]])
        / row["batches"]
        for row in result["rows"]
    }
    # Mining is part of the step already.
    parts = milliseconds[TARGETS] + milliseconds[MINING]
    share = parts / (milliseconds[STEP] + milliseconds[TARGETS])
    return {"cpu_ms_a_batch": milliseconds, "share": share}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=32, help="[32]")
    parser.add_argument("--objects", type=int, default=8, help="of an image, on average [8]")
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each [10]")
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", choices=BUILDERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.batch_size, options.objects, options.rounds) < 1:
        parser.error("--batch-size, --objects and --rounds must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    if options.worker:
        benchmarking.serve(lambda: BUILDERS[options.worker](options))
        return 0
    settings = {"batch_size": options.batch_size, "objects": options.objects}
    words = ["--batch-size", str(options.batch_size), "--objects", str(options.objects)]
    commands = {name: [sys.executable, __file__, *words, "--worker", name] for name in BUILDERS}
    # Pipelines would go on working in the time of others.
    result = benchmarking.compare(commands, options.rounds, pause=True)
    result |= {"settings": settings, **summary(result)}
    print(f"SSDLite {SIZE}, {CLASSES} classes, batch {options.batch_size}, {options.rounds} rounds")
    rows = [(name, f"{ms:.2f}") for name, ms in result["cpu_ms_a_batch"].items()]
    print(format_table(("", "CPU ms a batch"), rows))
    print(f"{TARGETS} and {MINING} take {result['share']:.1%} of the processor time of a step")
    benchmarking.print_circumstances(result)
    if options.json:
        benchmarking.write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Times detection post-processing of SSDLite 320 against that of tf-models-official.

From box encodings and class logits of 2,034 anchors and 80 classes, which lie in memory, to at most
100 detections: decoding, sigmoid, non-maximum suppression class by class, the best of all classes.
The peer's detection generator has several versions; "v2" is the default of its RetinaNet, "batched"
uses the same kernel as ours. Few anchors of the random outputs have high scores, as on photos.

    python scripts/benchmark_postprocessing.py
    python scripts/benchmark_postprocessing.py --score-threshold 0.05 --batch-size 1
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmarking
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

OURS = "keras_mnv2"
CLASS_AGNOSTIC = "keras_mnv2, class_agnostic"
PEERS = {"tf_models v2": "v2", "tf_models batched": "batched"}
SIZE, CLASSES, IOU_THRESHOLD, DETECTIONS = 320, 80, 0.6, 100


def random_outputs(batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors [A, 4], box encodings [B, A, 4] and class logits [B, A, 1 + K]."""
    from keras_mnv2.detection import feature_grid_sizes, ssd_anchors

    anchors = ssd_anchors(feature_grid_sizes((SIZE, SIZE)), (SIZE, SIZE))
    generator = np.random.default_rng(0)
    encodings = generator.normal(0, 0.5, (batch_size, len(anchors), 4)).astype(np.float32)
    logits = generator.normal(-6, 1.2, (batch_size, len(anchors), 1 + CLASSES)).astype(np.float32)
    for image in logits:
        objects = generator.integers(0, len(anchors), 60)
        image[objects, generator.integers(1, 1 + CLASSES, 60)] = generator.normal(0, 2, 60)
    return anchors, encodings, logits


def build_ours(options: argparse.Namespace, nms: str) -> tuple[Callable[[], Any], dict]:
    import tensorflow as tf

    from keras_mnv2.detection import DetectionPostprocessing

    anchors, encodings, logits = random_outputs(options.batch_size)
    layer = DetectionPostprocessing(
        anchors,
        score_threshold=options.score_threshold,
        iou_threshold=IOU_THRESHOLD,
        max_detections=DETECTIONS,
        nms=nms,
    )
    run = tf.function(layer)
    outputs = {"box_encodings": tf.constant(encodings), "class_logits": tf.constant(logits)}
    count = run(outputs)["num_detections"].numpy().tolist()
    return lambda: run(outputs)["scores"].numpy(), {"detections": count}


def build_peer(options: argparse.Namespace, version: str) -> tuple[Callable[[], Any], dict]:
    import tensorflow as tf
    from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator

    anchors, encodings, logits = random_outputs(options.batch_size)
    generator = MultilevelDetectionGenerator(
        pre_nms_top_k=len(anchors),
        pre_nms_score_threshold=options.score_threshold,
        nms_iou_threshold=IOU_THRESHOLD,
        max_num_detections=DETECTIONS,
        nms_version=version,
        box_coder_weights=[10.0, 10.0, 5.0, 5.0],
    )
    # All anchors as one level, of one anchor a cell; it works in pixels.
    boxes = tf.constant(encodings[:, :, None])
    scores = tf.constant(logits[:, :, None])
    anchors = tf.constant(np.repeat(SIZE * anchors[None], options.batch_size, axis=0))
    shape = tf.constant([[SIZE, SIZE]] * options.batch_size, tf.float32)
    run = tf.function(lambda b, s, a: generator({"3": b}, {"3": s}, {"3": a}, shape))
    count = run(boxes, scores, anchors)["num_detections"].numpy().tolist()
    return lambda: run(boxes, scores, anchors)["detection_scores"].numpy(), {"detections": count}


def build(options: argparse.Namespace) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The step of a worker; raises ImportError if tf-models-official is missing."""
    if options.worker in PEERS:
        return build_peer(options, PEERS[options.worker])
    return build_ours(options, "per_class" if options.worker == OURS else "class_agnostic")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=8, help="[8]")
    parser.add_argument(
        "--score-threshold", type=float, default=1e-8, help="[1e-8, that of evaluations]"
    )
    parser.add_argument("--rounds", type=int, default=20, help="timed batches of each [20]")
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.batch_size, options.rounds) < 1:
        parser.error("--batch-size and --rounds must be at least 1")
    if not 0 <= options.score_threshold < 1:
        parser.error("--score-threshold must be at least 0 and below 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    if options.worker:
        benchmarking.serve(lambda: build(options))
        return 0
    settings = {"batch_size": options.batch_size, "score_threshold": options.score_threshold}
    words = ["--batch-size", str(options.batch_size)]
    words += ["--score-threshold", str(options.score_threshold)]
    commands = {
        name: [sys.executable, __file__, *words, "--worker", name]
        for name in (OURS, CLASS_AGNOSTIC, *PEERS)
    }
    # Thread pools would go on waiting for work in the time of others.
    result = benchmarking.compare(commands, options.rounds, pause=True) | {"settings": settings}
    print(
        f"post-processing of {options.batch_size} images, score threshold "
        f"{options.score_threshold:g}; ratio = time / time of {OURS} in the same round"
    )
    benchmarking.print_table(result)
    if options.json:
        benchmarking.write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

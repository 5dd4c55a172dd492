"""Runs the original frozen graph of a weight file beside the imported model.

This is the one place where a graph from a file is executed; importing only parses it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.detection.box_coder import SCALE_FACTORS
from keras_mnv2.detection.postprocessing import DetectionPostprocessing
from keras_mnv2.detection.ssdlite import anchors_for, detector
from keras_mnv2.weights.archive import extracted
from keras_mnv2.weights.graph_def import parse
from keras_mnv2.weights.opening import choose, files_in, kind
from keras_mnv2.weights.tensors import WeightsError

# Names of one tensor in graphs of different releases; the first that exists is taken.
_BOX_ENCODINGS = ("Postprocessor/raw_box_encodings", "Squeeze", "concat")
_PROBABILITIES = ("MobilenetV2/Predictions/Reshape_1", "MobilenetV2/Predictions/Softmax")
# Largest difference that float32 explains, by what is compared.
TOLERANCES = {
    "box encodings": 1e-4,
    "class logits": 5e-4,
    "detection scores": 1e-5,
    "detection boxes": 1e-5,
    "probabilities": 1e-4,
    "segmentation logits": 2e-3,
    "pixels of another class": 1e-3,
}


def frozen_graph(source: str | os.PathLike) -> tf.compat.v1.GraphDef | None:
    """The frozen graph of a .pb file, a .tar.gz/.tgz or a folder; None where there is none."""
    source = os.path.expanduser(os.fspath(source))
    found = kind(source)
    if found == "folder":
        return _graph_among(files_in(source), source, Path(source))
    if found == "archive":
        with extracted(source, lambda names: choose(names, source)) as folder:
            return _graph_among(files_in(folder), source, folder)
    return parse(source) if found == "graph" else None


def _graph_among(names: Sequence[str], source: str, folder: Path) -> tf.compat.v1.GraphDef | None:
    chosen = choose(names, source)[0]
    return parse(folder / chosen) if chosen.endswith(".pb") else None


class OriginalGraph:
    """A TensorFlow 1 graph with its constants, ready to run in a `with` block."""

    def __init__(self, graph_def: tf.compat.v1.GraphDef) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        # Without rewriting the graph: its rounding is then that of the operations it names.
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self.session = tf.compat.v1.Session(graph=self.graph, config=config)

    def __enter__(self) -> OriginalGraph:
        return self

    def __exit__(self, *exception) -> None:
        self.session.close()

    def find(self, names: Sequence[str]) -> str:
        """The first of `names` that is an operation of the graph, as a tensor name."""
        present = {operation.name for operation in self.graph.get_operations()}
        for name in names:
            if name in present:
                return f"{name}:0"
        raise WeightsError(f"the graph has none of the tensors {', '.join(names)}: cannot compare")

    def input(self) -> str:
        """The name of its only placeholder."""
        operations = self.graph.get_operations()
        names = [operation.name for operation in operations if operation.type == "Placeholder"]
        if len(names) != 1:
            raise WeightsError(f"the graph has {len(names)} inputs, expected one")
        return f"{names[0]}:0"

    def run(self, fetches: dict[str, str], image) -> dict[str, np.ndarray]:
        """Runs the graph on one image [1, h, w, 3]."""
        return self.session.run(fetches, {self.input(): image})


def differences(
    family: str, model: keras.Model, original: OriginalGraph, images: Sequence[np.ndarray], columns
) -> dict[str, float]:
    """Largest absolute differences between `model` and the original over all images.

    Args:
        model: of the family, at the input size of the original.
        images: uint8 [h, w, 3] of any size.
        columns: outputs of the original's classifier that the model has.
    """
    compare = {
        "SSDLite": _detector_differences,
        "MobileNetV2": _classifier_differences,
        "DeepLabV3": _segmentation_differences,
    }[family]
    rows = [compare(model, original, image, columns) for image in images]
    if family == "SSDLite" and "detection scores" not in rows[0]:
        print("post-processing differs (other parameters or fewer classes), not compared")
    return {name: max(row[name] for row in rows) for name in rows[0]}


def _detector_differences(model, original, image, columns) -> dict[str, float]:
    there = original.run(
        {
            "preprocessed": original.find(["Preprocessor/sub"]),
            "encodings": original.find(_BOX_ENCODINGS),
            "logits": original.find(["concat_1"]),
            "boxes": original.find(["detection_boxes"]),
            "scores": original.find(["detection_scores"]),
        },
        image[None],
    )
    pixels = (there["preprocessed"] + 1.0) * 127.5
    here = model.predict(pixels, verbose=0)
    logits = there["logits"][..., list(columns)]
    scores = np.sort(there["scores"][0])[::-1]
    result = {
        "box encodings": _largest(here["box_encodings"], there["encodings"].reshape(1, -1, 4)),
        "class logits": _largest(here["class_logits"], logits),
    }
    # With fewer classes, or other parameters, other boxes fill the places.
    layer = DetectionPostprocessing(anchors_for(model))
    is_same = _postprocessing(original) == {
        "score": "Sigmoid",
        "scale factors": [float(factor) for factor in SCALE_FACTORS],
        "iou threshold": np.float32(layer.iou_threshold),
        "score threshold": np.float32(layer.score_threshold),
        "detections per class": layer.max_detections_per_class,
    }
    if (
        is_same
        and len(columns) == there["logits"].shape[-1]
        and len(scores) == layer.max_detections
    ):
        found = detector(model).predict(pixels, verbose=0)
        result["detection scores"] = _largest(found["scores"][0], scores)
        result["detection boxes"] = _nearest_box(found, there["boxes"][0], there["scores"][0])
    return result


def _postprocessing(original: OriginalGraph) -> dict | None:
    """Parameters of the original's post-processing as its constants give them; None if unclear."""
    operations = original.graph.get_operations()
    suppressions = [op for op in operations if op.type.startswith("NonMaxSuppression")]
    factors = [
        _constant(op.inputs[1])
        for op in sorted(operations, key=lambda op: op.name)
        if op.type == "RealDiv" and re.fullmatch(r"Postprocessor/Decode/truediv(_[123])?", op.name)
    ]
    scores = [op.type for op in operations if op.name == "Postprocessor/convert_scores"]
    if not suppressions or len(suppressions[0].inputs) < 5 or len(scores) != 1:
        return None
    _, _, count, iou_threshold, score_threshold = suppressions[0].inputs[:5]
    # Of the number of boxes and the most that are wanted, the graph takes the smaller.
    counts = [_constant(tensor) for tensor in count.op.inputs]
    return {
        "score": scores[0],
        "scale factors": factors,
        "iou threshold": _constant(iou_threshold),
        "score threshold": _constant(score_threshold),
        "detections per class": next((value for value in counts if value is not None), None),
    }


def _constant(tensor: tf.Tensor):
    while tensor.op.type in ("Identity", "Enter"):
        tensor = tensor.op.inputs[0]
    if tensor.op.type != "Const":
        return None
    return tf.make_ndarray(tensor.op.get_attr("value")).item()


def _nearest_box(found: dict, boxes: np.ndarray, scores: np.ndarray) -> float:
    """Distance of each box to the nearest of equal score; ties may come in another order."""
    worst = 0.0
    for box, score in zip(boxes, scores, strict=True):
        if score > 0:
            equal = np.abs(found["scores"][0] - score) < TOLERANCES["detection scores"]
            distances = np.abs(found["boxes"][0][equal] - box).max(-1)
            worst = max(worst, float(distances.min(initial=1.0)))
    return worst


def _classifier_differences(model, original, image, columns) -> dict[str, float]:
    size = model.input_shape[1:3]
    pixels = tf.image.resize(image[None], size).numpy() / 127.5 - 1.0
    there = original.run({"probabilities": original.find(_PROBABILITIES)}, pixels)
    here = model.predict(pixels, verbose=0)
    # Of some of the classes, a softmax sums to one again.
    kept = there["probabilities"][..., list(columns)]
    return {"probabilities": _largest(here, kept / kept.sum(-1, keepdims=True))}


def _segmentation_differences(model, original, image, columns) -> dict[str, float]:
    height, width = model.input_shape[1:3]
    scale = min(height / image.shape[0], width / image.shape[1])
    size = [max(1, int(image.shape[0] * scale)), max(1, int(image.shape[1] * scale))]
    pixels = np.full((1, height, width, 3), 128, "uint8")
    resized = tf.image.resize(image[None], size).numpy().round().astype("uint8")
    pixels[:, : size[0], : size[1]] = resized
    there = original.run(
        {
            "logits": original.find(["logits/semantic/BiasAdd"]),
            "mask": original.find(["SemanticPredictions", "ArgMax"]),
        },
        pixels,
    )
    here = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    logits, upsampled = here.predict(pixels, verbose=0)
    result = {"segmentation logits": _largest(logits, there["logits"][..., list(columns)])}
    if len(columns) == there["logits"].shape[-1]:
        mask = upsampled[0].argmax(-1)
        result["pixels of another class"] = float((mask != there["mask"][0]).mean())
    return result


def _largest(here: np.ndarray, there: np.ndarray) -> float:
    if here.shape != there.shape:
        raise WeightsError(f"the original returns {there.shape}, the model {here.shape}")
    return float(np.abs(here - there).max())


def sample_images(count: int = 3, size: int = 300) -> list[np.ndarray]:
    """Smooth coloured patterns, the same each time, for want of photos."""
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    smooth = tf.image.resize(coarse, (size, size), method="bicubic").numpy()
    return list(np.clip(smooth, 0, 255).round().astype("uint8"))

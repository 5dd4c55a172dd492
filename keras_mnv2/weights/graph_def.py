"""Weights of a TensorFlow 1 frozen graph. The graph is parsed, never run."""

from __future__ import annotations

import math
import os

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from keras_mnv2.weights.protobuf_size import check_message_count
from keras_mnv2.weights.tensors import NamedTensors, WeightsError

MAX_GRAPH_BYTES = 64 * 2**20
_FLOATS = {
    tf.float32.as_datatype_enum,
    tf.float64.as_datatype_enum,
    tf.float16.as_datatype_enum,
    tf.bfloat16.as_datatype_enum,
}
# Names that slim gives its variables; `/read` is what freezing leaves behind each variable, but
# tools that optimize a graph remove it.
_VARIABLE_NAMES = {
    "weights",
    "depthwise_weights",
    "biases",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
}


def read_graph_def(path: str | os.PathLike) -> NamedTensors:
    """Reads the variables that freezing turned into constants, e.g. `Conv/weights`.

    Args:
        path: of a binary `GraphDef`, such as `frozen_inference_graph.pb`.

    Raises:
        WeightsError: if the file is no GraphDef, or one without variables.
    """
    source = os.fspath(path)
    graph = parse(path)
    constants = {
        node.name: node.attr["value"].tensor
        for node in graph.node
        if node.op == "Const" and node.attr["value"].tensor.dtype in _FLOATS
    }
    variables = {
        node.input[0].lstrip("^").partition(":")[0]
        for node in graph.node
        if node.op == "Identity" and node.name.endswith("/read") and node.input
    }
    named = {
        name: constant
        for name, constant in constants.items()
        if name in variables or name.rpartition("/")[2] in _VARIABLE_NAMES
    }
    if not named:
        raise WeightsError(
            f"{source}: a graph without weights ({len(graph.node)} nodes). A TensorFlow 1 frozen "
            "graph holds them as constants (frozen_inference_graph.pb); a saved_model.pb or a "
            "graph.pbtxt does not: give the checkpoint that lies beside it"
        )
    return NamedTensors(
        source=source,
        format="TensorFlow 1 frozen graph",
        shapes={name: _shape(constant) for name, constant in named.items()},
        fetch=lambda name: tf.make_ndarray(named[name]),
        input_size=input_size(graph),
        output_stride=output_stride(graph),
        is_frozen=True,
    )


def parse(path: str | os.PathLike) -> tf.compat.v1.GraphDef:
    """Parses a binary GraphDef of at most 64 MiB and 50,000 nodes."""
    source = os.fspath(path)
    size = os.path.getsize(path)
    if size > MAX_GRAPH_BYTES:
        raise WeightsError(f"{source}: {size:,} bytes are too many for a frozen MobileNetV2 graph")
    with open(path, "rb") as file:
        data = file.read(MAX_GRAPH_BYTES)
    try:
        check_message_count(data, source)
        return tf.compat.v1.GraphDef.FromString(data)
    except DecodeError as error:
        raise WeightsError(
            f"{source}: neither a frozen graph nor any other weight file that is known here "
            "(.pb, TensorFlow 1 checkpoint, .tar.gz of one, .h5, .weights.h5, .keras), or one "
            "that is cut short"
        ) from error


def _shape(tensor) -> tuple[int, ...]:
    # Negative sizes cannot occur in a constant; as zeros they match no weight.
    return tuple(max(dimension.size, 0) for dimension in tensor.tensor_shape.dim)


def input_size(graph: tf.compat.v1.GraphDef) -> tuple[int, int] | None:
    """(height, width): of the resizing in front of the network, or of the placeholder."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op == "ResizeBilinear" and node.name.startswith("Preprocessor"):
            size = nodes.get(node.input[1]) if len(node.input) > 1 else None
            if size is not None and size.op == "Const":
                values = _small_integers(size.attr["value"].tensor)
                if len(values) == 2:
                    return values[0], values[1]
    for node in graph.node:
        if node.op == "Placeholder":
            sizes = [dimension.size for dimension in node.attr["shape"].shape.dim]
            if len(sizes) == 4 and sizes[3] == 3 and min(sizes[1:3]) > 0:
                return sizes[1], sizes[2]
    return None


def output_stride(graph: tf.compat.v1.GraphDef) -> int | None:
    """Product of the strides of the backbone's convolutions; those of others do not count."""
    strides = [
        node.attr["strides"].list.i[1]
        for node in graph.node
        if node.op in ("Conv2D", "DepthwiseConv2dNative")
        and len(node.input) == 2
        and node.input[1].startswith("MobilenetV2/")
        and len(node.attr["strides"].list.i) == 4
    ]
    stride = math.prod(strides)
    return stride if stride in (8, 16, 32) else None


def _small_integers(tensor) -> list[int]:
    if tensor.dtype != tf.int32.as_datatype_enum:
        return []
    if len(tensor.tensor_content) == 8:
        return np.frombuffer(tensor.tensor_content, "<i4").tolist()
    return list(tensor.int_val)

"""Ranges of activations on representative images, written into a float LiteRT file."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.litert.file import pack, parse
from keras_mnv2.deployment.litert.tensors import CONVOLUTIONS, open_tensors, operations, run


def calibrated(
    content: bytes, images: Sequence[np.ndarray], without: Collection[str] = ()
) -> bytes:
    """A float LiteRT file with the ranges of activations on `images`, ready to be quantized.

    TensorFlow's own calibrator lets operations work in place: the sum of a residual block then
    counts as its summand, too, which widens the ranges of linear bottlenecks by up to 70 %.

    The range of the input, and of all that is computed from it before the first convolution, is
    that of pixels 0..255, whatever the images hold, so that 8-bit pixels go in as they are.

    Args:
        content: a float file with one input [1, height, width, 3], RGB 0..255.
        images: arrays of that shape, uint8 or float32.
        without: names of operations whose results get no range.

    Raises:
        DeploymentError: (a ValueError) if an activation is not finite.
        ImportError: if ai_edge_litert is not installed.
    """
    model = parse(content, "the float file")
    graph = model.subgraphs[0]
    activations = list(graph.inputs)
    before_convolution = None
    for operation in operations(model):
        if operation.kind in CONVOLUTIONS and before_convolution is None:
            before_convolution = len(activations)
        activations += [
            index
            for index in operation.outputs
            if graph.tensors[index].type == schema.TensorType.FLOAT32
            and operation.name not in without
        ]
    lowest = dict.fromkeys(activations, np.inf)
    highest = dict.fromkeys(activations, -np.inf)
    interpreter = open_tensors(content)

    def widen(image: np.ndarray, indices: Sequence[int]) -> None:
        run(interpreter, image)
        for index in indices:
            values = interpreter.get_tensor(index)
            # Not Python's min and max, in which NaN gets lost.
            lowest[index] = np.minimum(lowest[index], values.min())
            highest[index] = np.maximum(highest[index], values.max())

    for image in images:
        widen(image, activations)
    for value in (0, 255):
        widen(np.full_like(images[0], value), activations[:before_convolution])

    for index in activations:
        if not np.isfinite([lowest[index], highest[index]]).all():
            raise DeploymentError(
                f"{graph.tensors[index].name.decode()!r} is not finite for some of the "
                "representative images: the network has damaged weights"
            )
        quantization = schema.QuantizationParametersT()
        quantization.min = np.array([lowest[index]], np.float32)
        quantization.max = np.array([highest[index]], np.float32)
        graph.tensors[index].quantization = quantization
    return pack(model)

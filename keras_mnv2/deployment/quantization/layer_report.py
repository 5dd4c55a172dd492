"""Where the error of an int8 file arises, layer by layer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_mnv2.deployment.litert.file import parse
from keras_mnv2.deployment.litert.tensors import open_tensors, operations, run
from keras_mnv2.deployment.quantization.bias_correction import comparisons
from keras_mnv2.deployment.quantization.quantize import Quantized
from keras_mnv2.deployment.quantization.representative import evenly_spread

# Enough to tell the layers apart.
_IMAGES = 8

# The error of rounding alone is 0.29 steps, the standard deviation of a uniform distribution.
_LARGE = 1.0


class LayerError(NamedTuple):
    """What quantization does to the result of one operation.

    Attributes:
        layer: the Keras layer, of those that are fused the first (the convolution).
        operation: its kind, such as "CONV_2D".
        step: between two values of the 8-bit result.
        own_error: root mean square of the error that the operation adds, in steps. Rounding the
            result makes 0.29; what exceeds it comes of the rounded weights.
        own_bias: the part of it that is constant in a channel (root mean square over channels).
        own_ratio: standard deviation of the exact result over `own_error`, in decibels.
        ratio: the same over the error of all operations so far. Where it falls, accuracy is lost.
    """

    layer: str
    operation: str
    step: float
    own_error: float
    own_bias: float
    own_ratio: float
    ratio: float


def layer_errors(
    quantized: Quantized, images: Sequence[np.ndarray] | None = None
) -> list[LayerError]:
    """Compares every 8-bit operation with the float one.

    Args:
        quantized: as `quantize` returns it.
        images: [1, height, width, 3], RGB 0..255, by default eight of the representative
            ones, evenly spread.

    Returns:
        One row for each operation that adds an error, in the order of execution.
    """
    if images is None:
        indices = evenly_spread(len(quantized.images), _IMAGES)
        images = [quantized.images[index] for index in indices]
    own = _statistics(quantized, images, accumulated=False)
    accumulated = _statistics(quantized, images, accumulated=True)
    kinds = {
        operation.name: operation.kind
        for operation in operations(parse(quantized.calibrated, "the float file"))
    }
    return [
        LayerError(
            layer=(quantized.layers.get(name) or [name])[0],
            operation=kinds[name],
            step=found.step,
            own_error=math.sqrt(found.error) / found.step,
            own_bias=math.sqrt(found.bias) / found.step,
            own_ratio=_decibels(found),
            ratio=_decibels(accumulated[name]),
        )
        for name, found in own.items()
        if found.error > 0
    ]


def format_layer_errors(rows: Sequence[LayerError]) -> str:
    """`rows` as a table for people; operations that add more than a step are marked."""
    width = max([len("layer"), *(len(row.layer) for row in rows)])
    kind_width = max([len("operation"), *(len(row.operation) for row in rows)])
    columns = "   step   adds  constant     dB  dB so far"
    lines = [f"{'layer':<{width}}  {'operation':<{kind_width}}  {columns}"]
    for row in rows:
        mark = " <- large" if row.own_error > _LARGE else ""
        lines.append(
            f"{row.layer:<{width}}  {row.operation:<{kind_width}}  {row.step:7.4f}  "
            f"{row.own_error:5.2f}     {row.own_bias:5.2f}  {row.own_ratio:5.1f}      "
            f"{row.ratio:5.1f}{mark}"
        )
    lines.append(
        "adds: error of the operation itself in steps of its result (rounding alone: 0.29); "
        "constant: its part that is the same everywhere in a channel"
    )
    return "\n".join(lines)


class _Statistics(NamedTuple):
    """Means of squares over all elements and images."""

    step: float
    error: float
    bias: float
    variance: float


def _statistics(
    quantized: Quantized, images: Sequence[np.ndarray], accumulated: bool
) -> dict[str, _Statistics]:
    comparing = quantized.comparing(accumulated)
    model = parse(comparing, "the comparing file")
    tensors = model.subgraphs[0].tensors
    interpreter = open_tensors(comparing)
    sums: dict[str, list] = defaultdict(lambda: [0.0, 0.0, 0.0])
    compared = comparisons(model, quantized.layers)
    for image in images:
        run(interpreter, image)
        for one in compared:
            error = interpreter.get_tensor(one.difference)
            over = tuple(range(error.ndim - 1))
            of_operation = sums[one.name]
            of_operation[0] += np.mean(np.square(error), dtype=np.float64)
            of_operation[1] += error.mean(axis=over, dtype=np.float64)
            of_operation[2] += np.var(interpreter.get_tensor(one.exact), dtype=np.float64)
    count = len(images)
    return {
        one.name: _Statistics(
            step=float(tensors[one.quantized].quantization.scale[0]),
            error=sums[one.name][0] / count,
            bias=float(np.mean(np.square(sums[one.name][1] / count))),
            variance=sums[one.name][2] / count,
        )
        for one in compared
    }


def _decibels(found: _Statistics) -> float:
    # A result that is constant has no variance, one that is exact no error.
    tiny = np.finfo(np.float64).tiny
    return 10 * math.log10(max(found.variance, tiny) / max(found.error, tiny))

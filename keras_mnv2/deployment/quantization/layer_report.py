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

# A channel is constant if it varies by less than this part of its values, or has no values to
# speak of: activations are of about 1, and the converter takes less than this for zero, too.
_VARIATION = 0.01
_NEAR_ZERO = 1e-6
# Of a constant, whose steps follow from its value: that part of it, in decibels.
_LARGE_OF_CONSTANT = 20.0


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
        is_constant: whether every channel of the result is (nearly) the same in all places of all
            images, as behind a normalization whose scales have become zero. It carries nothing
            that an error could drown; both ratios then are of its root mean square.
    """

    layer: str
    operation: str
    step: float
    own_error: float
    own_bias: float
    own_ratio: float
    ratio: float
    is_constant: bool = False

    @property
    def is_large(self) -> bool:
        """Whether `own_error` is more than rounding explains; of a constant, a tenth of it."""
        if self.is_constant:
            return self.own_ratio < _LARGE_OF_CONSTANT
        return self.own_error > _LARGE


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
            is_constant=found.is_constant,
        )
        for name, found in own.items()
        if found.error > 0
    ]


def format_layer_errors(rows: Sequence[LayerError]) -> str:
    """`rows` as a table for people; constants, and operations that add much, are marked."""
    width = max([len("layer"), *(len(row.layer) for row in rows)])
    kind_width = max([len("operation"), *(len(row.operation) for row in rows)])
    columns = "   step   adds      bias     dB  dB so far"
    lines = [f"{'layer':<{width}}  {'operation':<{kind_width}}  {columns}"]
    for row in rows:
        words = ["constant"] * row.is_constant + ["large"] * row.is_large
        mark = f" <- {', '.join(words)}" if words else ""
        lines.append(
            f"{row.layer:<{width}}  {row.operation:<{kind_width}}  {row.step:7.3g}  "
            f"{row.own_error:5.2f}     {row.own_bias:5.2f}  {row.own_ratio:5.1f}      "
            f"{row.ratio:5.1f}{mark}"
        )
    lines.append(
        "adds: error of the operation itself in steps of its result (rounding alone: 0.29); "
        "bias: its part that is the same everywhere in a channel"
    )
    if any(row.is_constant for row in rows):
        lines.append(
            "<- constant: the result is the same for all images, so that its error is measured "
            "against its value, and large from a tenth of it"
        )
    return "\n".join(lines)


class _Statistics(NamedTuple):
    """Means of squares over all elements and images; `signal` is what the error is part of."""

    step: float
    error: float
    bias: float
    signal: float
    is_constant: bool


def _statistics(
    quantized: Quantized, images: Sequence[np.ndarray], accumulated: bool
) -> dict[str, _Statistics]:
    comparing = quantized.comparing(accumulated)
    model = parse(comparing, "the comparing file")
    tensors = model.subgraphs[0].tensors
    interpreter = open_tensors(comparing)
    compared = comparisons(model, quantized.layers)
    sums: dict[str, _Sums] = defaultdict(_Sums)
    for image in images:
        run(interpreter, image)
        for one in compared:
            error, exact = map(interpreter.get_tensor, (one.difference, one.exact))
            sums[one.name].add(error, exact)
    return {
        one.name: sums[one.name].statistics(float(tensors[one.quantized].quantization.scale[0]))
        for one in compared
    }


class _Sums:
    """What is added up over the images for one operation; arrays have an entry a channel."""

    def __init__(self):
        self.count = self.places = 0
        self.squared_error = self.variance = 0.0
        self.error = self.value = self.square = self.largest = np.float64(0)

    def add(self, error: np.ndarray, exact: np.ndarray) -> None:
        over = tuple(range(exact.ndim - 1))
        self.count += 1
        self.places += exact[..., 0].size
        self.squared_error += np.mean(np.square(error), dtype=np.float64)
        self.variance += np.var(exact, dtype=np.float64)
        self.error = self.error + error.mean(axis=over, dtype=np.float64)
        self.value = self.value + exact.mean(axis=over, dtype=np.float64)
        self.square = self.square + np.mean(np.square(exact, dtype=np.float64), axis=over)
        self.largest = np.maximum(self.largest, np.abs(exact).max(axis=over))

    def statistics(self, step: float) -> _Statistics:
        value, square = self.value / self.count, self.square / self.count
        deviation = np.sqrt(np.maximum(square - value**2, 0))
        varies = (self.largest > _NEAR_ZERO) & (deviation > _VARIATION * self.largest)
        # Of a single value nobody knows whether it varies.
        is_constant = self.places > 1 and not varies.any()
        return _Statistics(
            step=step,
            error=self.squared_error / self.count,
            bias=float(np.mean(np.square(self.error / self.count))),
            signal=max(square.mean(), _NEAR_ZERO**2) if is_constant else self.variance / self.count,
            is_constant=is_constant,
        )


def _decibels(found: _Statistics) -> float:
    # A result of one value has no variance, one that is exact no error.
    tiny = np.finfo(np.float64).tiny
    return 10 * math.log10(max(found.signal, tiny) / max(found.error, tiny))

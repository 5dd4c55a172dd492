"""Removes what quantization adds to the mean of every channel (arXiv 1906.04721, section 4.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from keras_mnv2.deployment.litert.file import CUSTOM, pack, parse
from keras_mnv2.deployment.litert.tensors import (
    CONVOLUTIONS,
    open_tensors,
    operations,
    original_name,
    run,
)

_VERIFY = f"{CUSTOM}NumericVerify"
_WITH_BIAS = (*CONVOLUTIONS, "FULLY_CONNECTED")


class Comparison(NamedTuple):
    """An operation of a file that compares 8-bit operations with float ones.

    Attributes:
        name: of the operation that is compared, in the float file.
        quantized: number of the tensor of its 8-bit result.
        exact: number of the tensor of its float result.
        difference: number of the tensor with the 8-bit result less the float one.
    """

    name: str
    quantized: int
    exact: int
    difference: int


def comparisons(model: schema.ModelT, names: Collection[str]) -> list[Comparison]:
    """What a file compares that was quantized for that; none in others.

    Args:
        model: tables of the file.
        names: of the operations of the float file.
    """
    tensors = model.subgraphs[0].tensors
    return [
        Comparison(
            original_name(tensors[exact].name.decode(), names),
            quantized,
            exact,
            operation.outputs[0],
        )
        for operation in operations(model)
        if operation.kind == _VERIFY
        for quantized, exact in [operation.inputs]
    ]


def channel_errors(
    comparing: bytes, names: Collection[str], images: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Mean error of every channel that each operation adds on `images`.

    Args:
        comparing: a file that compares every 8-bit operation with the float one on the same input.
        names: of the operations of the float file.
        images: [1, height, width, 3].

    Returns:
        float64 [channels] by name of the operation, for those that have a bias.
    """
    model = parse(comparing, "the comparing file")
    kinds = {i: operation.kind for operation in operations(model) for i in operation.outputs}
    compared = [one for one in comparisons(model, names) if kinds[one.quantized] in _WITH_BIAS]
    sums: Counter = Counter()
    interpreter = open_tensors(comparing)
    for image in images:
        run(interpreter, image)
        for one in compared:
            error = interpreter.get_tensor(one.difference)
            sums[one.name] += error.mean(axis=tuple(range(error.ndim - 1)), dtype=np.float64)
    return {name: total / len(images) for name, total in sums.items()}


def with_corrected_biases(content: bytes, errors: Mapping[str, np.ndarray]) -> bytes:
    """An 8-bit LiteRT file whose biases take away `errors`.

    Args:
        content: quantized file, one that compares included.
        errors: as `channel_errors` returns them.
    """
    model = parse(content, "the quantized file")
    graph = model.subgraphs[0]
    found = operations(model)
    # Where there are comparisons, the float operations have the names.
    names = {one.quantized: one.name for one in comparisons(model, errors)}
    users = Counter(index for operation in found for index in operation.inputs)
    users_of_buffer = Counter(tensor.buffer for tensor in graph.tensors)
    for operation in found:
        name = original_name(operation.name, errors)
        error = errors.get(names.get(operation.outputs[0]) if names else name)
        # The converter leaves out a bias of zeros.
        index = operation.inputs[2] if len(operation.inputs) > 2 else -1
        if error is None or operation.kind not in _WITH_BIAS or index < 0:
            continue
        bias = graph.tensors[index]
        if users[index] > 1 or users_of_buffer[bias.buffer] > 1:
            continue  # What several operations share is not to be changed for one of them.
        buffer = model.buffers[bias.buffer]
        steps = np.rint(error / bias.quantization.scale).astype(np.int32)
        corrected = np.frombuffer(bytes(buffer.data), np.int32) - steps
        buffer.data = np.frombuffer(corrected.tobytes(), np.uint8)
    return pack(model)

"""How many bytes of activations are alive while each layer of a network runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras

FLOAT32_BYTES = 4

# A runtime computes these into the memory of an operand that nothing reads afterwards, or as the
# last step of the convolution before them.
IN_PLACE = (
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Activation,
    keras.layers.Softmax,
    keras.layers.Rescaling,
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)
_VIEWS = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Identity)


class Call(NamedTuple):
    """One call of a layer or operation: the tensors that went in and came out."""

    layer: keras.Operation
    inputs: list
    outputs: list


class _Buffer:
    """Memory of one or more tensors, needed until the step `end`."""

    def __init__(self, size: int, end: float):
        self.size = size
        self.end = end


def live_bytes(calls: Sequence[Call], outputs: Iterable[Any]) -> dict[str, int]:
    """Bytes alive while each layer runs; see `keras_mnv2.complexity.Complexity`.

    Args:
        calls: of one run; the layer calls inside of a composite layer come before its own.
        outputs: tensors that the network returns.

    Returns:
        {layer name: bytes} in the order that is assumed. Of a layer that is called twice, the
        larger number.
    """
    outputs = list(outputs)
    steps = _depth_first(_steps(calls), outputs)
    last_use = {id(x): i for i, step in enumerate(steps) for x in step.inputs}
    last_use |= {id(x): math.inf for x in outputs}
    made = {id(x) for step in steps for x in step.outputs}
    # What no layer made came in from outside, and stays.
    given = {id(x): x for step in steps for x in step.inputs if id(x) not in made}
    buffers = {key: _Buffer(activation_bytes(x), math.inf) for key, x in given.items()}
    alive = set(buffers.values())
    result: dict[str, int] = {}
    for i, step in enumerate(steps):
        operands = [buffers[id(x)] for x in step.inputs]
        for x in step.outputs:
            end = last_use.get(id(x), i)
            buffer = _shared(step.layer, operands, activation_bytes(x), i)
            if buffer is None:
                buffer = _Buffer(activation_bytes(x), end)
                alive.add(buffer)
            buffer.end = max(buffer.end, end)
            buffers[id(x)] = buffer
        name = step.layer.name
        result[name] = max(result.get(name, 0), sum(buffer.size for buffer in alive))
        alive = {buffer for buffer in alive if buffer.end > i}
    return result


def activation_bytes(x) -> int:
    """Memory of the tensor `x` as float32."""
    return FLOAT32_BYTES * math.prod(x.shape)


def _shared(layer, operands: list[_Buffer], size: int, step: int) -> _Buffer | None:
    """The memory of an operand that a result of `size` bytes may take."""
    for buffer in operands:
        is_free = isinstance(layer, IN_PLACE) and buffer.end <= step
        if buffer.size == size and (is_free or isinstance(layer, _VIEWS)):
            return buffer
    return None


def _steps(calls: Sequence[Call]) -> list[Call]:
    """The calls that made something, with what they made.

    A composite layer returns what a layer inside of it made, and dropout what it was given.
    """
    made: set[int] = set()
    steps = []
    for call in calls:
        known = made | {id(x) for x in call.inputs}
        outputs = [x for x in call.outputs if id(x) not in known]
        if outputs:
            steps.append(call._replace(outputs=outputs))
            made |= {id(x) for x in outputs}
    return steps


def _depth_first(steps: Sequence[Call], outputs: Sequence[Any]) -> list[Call]:
    """The steps that lead to `outputs`, each after those that its operands need, in their order."""
    makers = {id(x): number for number, step in enumerate(steps) for x in step.outputs}
    order: dict[int, None] = {}

    def needed(tensors) -> list[tuple[int, bool]]:
        numbers = [makers[id(x)] for x in tensors if id(x) in makers]
        return [(number, False) for number in reversed(numbers)]

    # No recursion: networks are deeper than Python's stack.
    pending = needed(outputs)
    while pending:
        number, are_operands_made = pending.pop()
        if are_operands_made:
            order[number] = None
        elif number not in order:
            pending.append((number, True))
            pending += needed(steps[number].inputs)
    return [steps[number] for number in order]

"""How much memory LiteRT sets aside for the activations of a file."""

from __future__ import annotations

import os
from typing import Any

# At multiples of it LiteRT lays tensors.
_ALIGNMENT = 64


def arena_bytes(path: str | os.PathLike) -> int:
    """Memory that LiteRT's plan for the activations of a file takes.

    The plan is that of LiteRT's own kernels, without delegate, for one thread: before the first
    run the runtime decides where each tensor lies, and this reads the addresses. It holds inputs,
    outputs, what is between them, and scratch memory of kernels (a convolution that is no 1x1
    lays out its input in rows). Weights do not count, nor does what gets its size at the run only.
    A delegate such as XNNPACK, which LiteRT uses on CPUs by default, has a plan of its own, and
    tables for every convolution besides.

    Args:
        path: of a LiteRT file whose input size is fixed.

    Raises:
        ImportError: if ai_edge_litert is not installed.
        ValueError: if LiteRT does not open the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        os.fspath(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    constants = {details["index"] for details in interpreter.get_tensor_details()}
    constants -= {details["index"] for details in interpreter.get_input_details()}
    for operation in interpreter._get_ops_details():
        constants.difference_update(operation["outputs"])
    interpreter.allocate_tensors()
    # Scratch tensors have come into being now.
    indices = {details["index"] for details in interpreter.get_tensor_details()} - constants
    spans = sorted(filter(None, (_span(interpreter, index) for index in indices)))
    first, _ = _span(interpreter, interpreter.get_input_details()[0]["index"])
    # Tensors lie closely together, what has memory of its own lies elsewhere.
    start, last = spans[0]
    for begin, end in spans:
        if begin >= last + _ALIGNMENT:
            if start <= first < last:
                break
            start, last = begin, end
        last = max(last, end)
    return last - start


def _span(interpreter: Any, index: int) -> tuple[int, int] | None:
    """First address of a tensor and the one behind it; None if it has no memory yet."""
    try:
        array = interpreter.tensor(index)()
    except ValueError:
        return None
    start = array.__array_interface__["data"][0]
    return (start, start + array.nbytes) if array.nbytes else None

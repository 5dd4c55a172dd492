"""Operations and tensors inside of LiteRT files, for quantization and for looking into it."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from keras_mnv2.deployment.litert.file import operator_name

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


class Operation(NamedTuple):
    """One operation of a file's graph.

    Attributes:
        name: of its first output; it has in it the names of all Keras layers that were fused.
        kind: such as "CONV_2D", see `keras_mnv2.deployment.litert.file.operators`.
        inputs: numbers of tensors, -1 for one that is left out.
        outputs: numbers of tensors.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def operations(model: Any) -> list[Operation]:
    """Operations in the order of execution.

    Args:
        model: tables of a file with one graph, as `keras_mnv2.deployment.litert.file.parse`
            returns them.
    """
    kinds = [operator_name(code) for code in model.operatorCodes]
    graph = model.subgraphs[0]
    return [
        Operation(
            graph.tensors[operator.outputs[0]].name.decode(),
            kinds[operator.opcodeIndex],
            tuple(int(index) for index in operator.inputs),
            tuple(int(index) for index in operator.outputs),
        )
        for operator in graph.operators
    ]


def original_name(name: str, names: Collection[str]) -> str:
    """The one of `names` that `name` was made of: the quantizer adds digits where one is taken."""
    if name in names:
        return name
    shorter = (name[:end] for end in range(len(name) - 1, 0, -1) if name[end:].isdecimal())
    return next((one for one in shorter if one in names), name)


def open_tensors(content: bytes) -> Any:
    """An interpreter that keeps every tensor, at the price of time and memory.

    Raises:
        ImportError: if ai_edge_litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ImportError(f"{error}: to quantize, pip install ai-edge-litert") from error

    interpreter = Interpreter(
        model_content=content,
        num_threads=os.cpu_count(),
        # A delegate computes several operations at once and keeps nothing in between.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Any, image: np.ndarray) -> None:
    """Runs a file with one float input on an image [1, height, width, 3]."""
    (details,) = interpreter.get_input_details()
    interpreter.set_tensor(details["index"], image.astype(np.float32))
    interpreter.invoke()

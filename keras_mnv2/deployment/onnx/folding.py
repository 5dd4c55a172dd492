"""Folds the batch normalizations that tf2onnx leaves into the convolutions before them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def fold_normalizations(graph: onnx.GraphProto) -> None:
    """Changes each convolution whose only use is a batch normalization into both of them.

    tf2onnx folds most of them itself; of those behind maps of one pixel, not always the same ones.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    uses = [name for node in graph.node for name in node.input]
    uses += [value.name for value in graph.output]
    for node in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        convolution = convolutions.get(node.input[0])
        if convolution is None or uses.count(node.input[0]) > 1:
            continue
        names = [*convolution.input[1:], *node.input[1:]]
        if not all(name in constants for name in names):
            continue
        kernel, *bias, scale, offset, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in names
        )
        factor = scale / np.sqrt(variance + _epsilon(node))
        folded = [
            kernel * factor[:, None, None, None],
            ((bias[0] if bias else 0) - mean) * factor + offset,
        ]
        # Others may share the convolution's own kernel.
        names = [f"{node.output[0]}_kernel", f"{node.output[0]}_bias"]
        graph.initializer.extend(
            numpy_helper.from_array(array.astype(np.float32), name)
            for array, name in zip(folded, names, strict=True)
        )
        del convolution.input[1:]
        convolution.input.extend(names)
        convolution.output[0] = node.output[0]
        graph.node.remove(node)


def _epsilon(node: onnx.NodeProto) -> float:
    given = [helper.get_attribute_value(x) for x in node.attribute if x.name == "epsilon"]
    return given[0] if given else 1e-5

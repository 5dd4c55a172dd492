"""Makes what tf2onnx leaves dynamic static again, where all but the batch size is known."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper, shape_inference

from keras_mnv2.deployment.onnx.folding import fold_normalizations

# The first in which Resize takes the sizes of some axes only.
OPSET = 18
BATCH = "batch"

_Shape = list[int | None]


def tidy(model: onnx.ModelProto) -> None:
    """Changes a model of tf2onnx with images [batch, height, width, 3] as its one input.

    - Every open dimension of inputs and outputs is called "batch".
    - Resize gets the size of its output: tf2onnx gives factors, by which rounding makes 96 pixels
      out of 97.
    - Reshape gets a constant shape, with -1 for the batch, in place of one computed at run time;
      where it changes nothing, as behind maps of one pixel, it is left out.
    - Batch normalizations are folded into the convolutions before them.
    - What then has no use is removed.
    """
    # One after the other: shapes behind a Resize are wrong until it is mended.
    for node in [node for node in model.graph.node if node.op_type == "Resize"]:
        _resize_to_size(node, model.graph, _shapes(model))
    _fix_reshapes(model)
    fold_normalizations(model.graph)
    _remove_unused(model.graph)
    used = {node.domain or "" for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.WhichOneof("value") != "dim_value":
                dimension.dim_param = BATCH


def _shapes(model: onnx.ModelProto) -> dict[str, _Shape]:
    """Shapes by name, None for what is not known."""
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: [
            dimension.dim_value if dimension.HasField("dim_value") else None
            for dimension in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _resize_to_size(
    node: onnx.NodeProto, graph: onnx.GraphProto, shapes: dict[str, _Shape]
) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    height, width = shapes[node.input[0]][2:]
    factors = numpy_helper.to_array(constants[node.input[2]])
    # The factors are float32 of whole numbers' quotients.
    size = [round(height * float(factors[2])), round(width * float(factors[3]))]
    name = f"{node.output[0]}_size"
    graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [2], size))
    del node.input[1:]
    node.input.extend(["", "", name])
    node.attribute.append(helper.make_attribute("axes", [2, 3]))


def _fix_reshapes(model: onnx.ModelProto) -> None:
    graph, shapes = model.graph, _shapes(model)
    constants = {tensor.name for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    same: dict[str, str] = {}
    for node in [*graph.node]:
        # Nodes are in order of execution: what comes before this one is decided.
        node.input[:] = [same.get(name, name) for name in node.input]
        shape = shapes.get(node.output[0], [])
        if node.op_type != "Reshape" or shape.count(None) != 1:
            continue
        if shape == shapes.get(node.input[0]) and node.output[0] not in results:
            same[node.output[0]] = node.input[0]
            graph.node.remove(node)
        elif node.input[1] not in constants:
            name = f"{node.output[0]}_shape"
            fixed = [-1 if side is None else side for side in shape]
            tensor = helper.make_tensor(name, onnx.TensorProto.INT64, [len(fixed)], fixed)
            graph.initializer.append(tensor)
            node.input[1] = name


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Removes nodes and constants that no output depends on. Nodes are in order of execution."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            kept.append(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    for field, items in ((graph.node, kept[::-1]), (graph.initializer, tensors)):
        del field[:]
        field.extend(items)

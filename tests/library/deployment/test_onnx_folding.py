"""What is folded and left out in ONNX graphs, on small ones made by hand."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX is absent: pip install onnx tf2onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="the runtime is absent")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from keras_mnv2.deployment.onnx.folding import fold_normalizations  # noqa: E402
from keras_mnv2.deployment.onnx.graph import tidy  # noqa: E402

CHANNELS = 4


def constants(**shapes):
    """Initializers; variances must be positive."""
    random = np.random.default_rng(0)
    return [
        numpy_helper.from_array(random.uniform(0.2, 1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]


def conv(image, kernel, result, *bias, **attributes):
    # Nodes need no name.
    return helper.make_node("Conv", [image, kernel, *bias], [result], **attributes)


def normalization(x, result, number, epsilon=1e-2):
    names = [f"{name}{number}" for name in ("scale", "offset", "mean", "variance")]
    return helper.make_node("BatchNormalization", [x, *names], [result], epsilon=epsilon)


def model_of(nodes, outputs, **shapes):
    for number in (1, 2):
        names = ("scale", "offset", "mean", "variance")
        shapes |= {f"{name}{number}": (CHANNELS,) for name in names}
    sides = ["unknown", CHANNELS, 5, 5]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, sides)
    results = [helper.make_tensor_value_info(x, TensorProto.FLOAT, sides) for x in outputs]
    graph = helper.make_graph(nodes, "graph", [images], results, constants(**shapes))
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def answers(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(1).normal(size=(2, CHANNELS, 5, 5)).astype(np.float32)
    return session.run(None, {"images": images})


def operations(model):
    return [node.op_type for node in model.graph.node]


KERNEL = {"kernel": (CHANNELS, CHANNELS, 1, 1)}
FOLDED = {
    "plain": model_of([conv("images", "kernel", "x"), normalization("x", "y", 1)], ["y"], **KERNEL),
    "with bias": model_of(
        [conv("images", "kernel", "x", "bias"), normalization("x", "y", 1)],
        ["y"],
        bias=(CHANNELS,),
        **KERNEL,
    ),
    "depthwise": model_of(
        [
            conv("images", "kernel", "x", group=CHANNELS, pads=[1, 1, 1, 1]),
            normalization("x", "y", 1, epsilon=0.5),
        ],
        ["y"],
        kernel=(CHANNELS, 1, 3, 3),
    ),
    "shared kernel": model_of(
        [
            conv("images", "kernel", "a"),
            normalization("a", "b", 1),
            conv("b", "kernel", "c"),
            normalization("c", "d", 2),
        ],
        ["d"],
        **KERNEL,
    ),
}


@pytest.mark.parametrize("model", FOLDED.values(), ids=FOLDED)
def test_a_normalization_becomes_part_of_the_convolution(model):
    expected, number = answers(model), operations(model).count("Conv")
    folded = onnx.ModelProto.FromString(model.SerializeToString())
    fold_normalizations(folded.graph)
    assert operations(folded) == number * ["Conv"]
    np.testing.assert_allclose(answers(folded), expected, atol=1e-5)


KEPT = {
    "two readers": model_of(
        [
            conv("images", "kernel", "x"),
            normalization("x", "y", 1),
            helper.make_node("Add", ["x", "y"], ["z"]),
        ],
        ["z"],
        **KERNEL,
    ),
    "an output itself": model_of(
        [conv("images", "kernel", "x"), normalization("x", "y", 1)], ["y", "x"], **KERNEL
    ),
    "a kernel that is computed": model_of(
        [
            helper.make_node("Relu", ["kernel"], ["computed"]),
            conv("images", "computed", "x"),
            normalization("x", "y", 1),
        ],
        ["y"],
        **KERNEL,
    ),
    "no convolution": model_of(
        [helper.make_node("Relu", ["images"], ["x"]), normalization("x", "y", 1)], ["y"]
    ),
}


@pytest.mark.parametrize("model", KEPT.values(), ids=KEPT)
def test_what_cannot_be_folded_is_left_alone(model):
    folded = onnx.ModelProto.FromString(model.SerializeToString())
    fold_normalizations(folded.graph)
    assert folded == model


def reshaping(shape, *more):
    """A reshape of what a Relu returns, to a shape that the graph computes."""
    nodes = [
        helper.make_node("Relu", ["images"], ["x"]),
        helper.make_node("Concat", ["first", "others"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
        *more,
    ]
    model = model_of(nodes, ["z" if more else "y"])
    for name, values in (("first", [-1]), ("others", shape)):
        model.graph.initializer.append(numpy_helper.from_array(np.int64(values), name))
    (result,) = model.graph.output
    for side, length in zip(result.type.tensor_type.shape.dim[1:], shape, strict=False):
        side.dim_value = length
    return model


def test_a_reshape_that_changes_nothing_is_left_out():
    reader = helper.make_node("Neg", ["y"], ["z"])
    model = reshaping([CHANNELS, 5, 5], reader)
    expected = answers(model)
    tidy(model)
    assert operations(model) == ["Relu", "Neg"]
    np.testing.assert_array_equal(answers(model), expected)
    # What the graph returns keeps its name.
    model = reshaping([CHANNELS, 5, 5])
    expected = answers(model)
    tidy(model)
    assert operations(model) == ["Relu", "Reshape"]
    np.testing.assert_array_equal(answers(model), expected)


def test_a_reshape_that_changes_something_gets_a_constant_shape():
    reader = helper.make_node("Neg", ["y"], ["z"])
    model = reshaping([5, CHANNELS, 5], reader)
    expected = answers(model)
    tidy(model)
    assert operations(model) == ["Relu", "Reshape", "Neg"]
    shape = model.graph.node[1].input[1]
    (constant,) = (tensor for tensor in model.graph.initializer if tensor.name == shape)
    assert numpy_helper.to_array(constant).tolist() == [-1, 5, CHANNELS, 5]
    np.testing.assert_array_equal(answers(model), expected)

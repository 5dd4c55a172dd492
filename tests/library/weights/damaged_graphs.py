"""Frozen graphs that are damaged or of another network."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from damaged_files import KERNEL, case
from weight_files import tf1_arrays, write_graph


@case("neither a frozen graph")
def graph_cut_in_the_middle(make):
    return make.write(make.graph[: len(make.graph) // 2])


@case("neither a frozen graph")
def graph_without_its_last_byte(make):
    return make.write(make.graph[:-1])


@case("neither a frozen graph")
def graph_without_its_first_bytes(make):
    return make.write(make.graph[5:])


@case("missing in the file .1.: Conv_1/kernel")
def graph_without_a_variable(make):
    return write_graph(make.folder / "g.pb", {k: v for k, v in make.tf1.items() if k != KERNEL})


@case("left over in the file .1.: MobilenetV2/Conv_9/weights")
def graph_with_a_renamed_variable(make):
    arrays = {name.replace("Conv_1/weights", "Conv_9/weights"): a for name, a in make.tf1.items()}
    return write_graph(make.folder / "g.pb", arrays)


@case("left over in the file .1.: extra/weights")
def graph_with_another_variable(make):
    return write_graph(make.folder / "g.pb", {**make.tf1, "extra/weights": np.ones(3, "float32")})


@case("of another shape .1.")
def graph_with_a_transposed_kernel(make):
    arrays = {**make.tf1, KERNEL: make.tf1[KERNEL].swapaxes(2, 3)}
    return write_graph(make.folder / "g.pb", arrays)


@case("not a MobileNetV2")
def graph_of_another_network(make):
    arrays = {name.replace("MobilenetV2", "InceptionV3"): a for name, a in make.tf1.items()}
    return write_graph(make.folder / "g.pb", arrays)


@case("not a MobileNetV2")
def graph_of_mobilenet_v1(make):
    arrays = {f"MobilenetV1/Conv2d_{i}_pointwise/weights": np.ones((1, 1, 8, 8)) for i in range(13)}
    return write_graph(make.folder / "g.pb", {k: v.astype("float32") for k, v in arrays.items()})


@case("graph without weights")
def graph_of_operations_only(make):
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="input", op="Placeholder")
    return make.write(graph.SerializeToString())


@case("neither a frozen graph|graph without weights")
def saved_model(make):
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec([1])])
    tf.saved_model.save(module, str(make.folder / "saved"))
    return make.folder / "saved" / "saved_model.pb"


@case("holds numbers that are not finite")
def graph_with_nan(make):
    array = make.tf1[KERNEL].copy()
    array[0, 0, 0, 0] = np.nan
    return write_graph(make.folder / "g.pb", {**make.tf1, KERNEL: array})


@case("negative variances")
def graph_with_negative_variance(make):
    name = "MobilenetV2/Conv_1/BatchNorm/moving_variance"
    return write_graph(make.folder / "g.pb", {**make.tf1, name: -make.tf1[name]})


@case("cannot read MobilenetV2/Conv_1/weights")
def graph_with_a_tensor_of_too_few_bytes(make):
    def change(nodes, graph):
        tensor = nodes[KERNEL].attr["value"].tensor
        tensor.tensor_content = tensor.tensor_content[:-4]

    return make.graph_with(change)


@case("of another shape")
def graph_that_announces_a_huge_tensor(make):
    def change(nodes, graph):
        tensor = nodes[KERNEL].attr["value"].tensor
        tensor.ClearField("tensor_content")
        tensor.float_val[:] = [0.0]
        for dimension in tensor.tensor_shape.dim:
            dimension.size = 2**20

    return make.graph_with(change)


@case("of another shape")
def graph_with_a_huge_class_count(make):
    def change(nodes, graph):
        for name in ("weights", "biases"):
            tensor = nodes[f"MobilenetV2/Logits/Conv2d_1c_1x1/{name}"].attr["value"].tensor
            tensor.ClearField("tensor_content")
            tensor.float_val[:] = [0.0]
            tensor.tensor_shape.dim[-1].size = 2**40
        tensor.tensor_shape.dim[-1].size = 3

    return make.graph_with(change)


@case("left over in the file")
def graph_with_integers_for_a_kernel(make):
    def change(nodes, graph):
        nodes[KERNEL].attr["value"].tensor.CopyFrom(tf.make_tensor_proto([1, 2, 3]))
        graph.node.add(name="x", op="Const").attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(1.0)
        )
        graph.node.add(name="x/read", op="Identity", input=["x"])

    return make.graph_with(change)


@case("missing in the file")
def graph_with_folded_normalization(make):
    arrays = {name: a for name, a in make.tf1.items() if "BatchNorm" not in name}
    return write_graph(make.folder / "g.pb", arrays)


@case("build a SSDLite")
def graph_of_a_detector(make):
    other = make.network("SSDLite")
    return write_graph(make.folder / "g.pb", tf1_arrays(other.model, other.arrays))


@case("build a DeepLabV3")
def graph_of_a_segmenter(make):
    other = make.network("DeepLabV3")
    return write_graph(make.folder / "g.pb", tf1_arrays(other.model, other.arrays))


@case("simulated quantization")
def graph_of_a_quantized_network(make):
    ranges = {
        f"MobilenetV2/Conv/{kind}_quant/{end}/weights": np.float32([0.0])
        for kind in ("act", "weights")
        for end in ("min", "max")
    }
    return write_graph(make.folder / "g.pb", {**make.tf1, **ranges})


@case("more than 50,000 nodes")
def graph_of_empty_nodes(make):
    # Two bytes in the file, a hundred and more in memory.
    return make.write(b"\x0a\x00" * 2**21)


@case("more than 50,000 nodes or 1,000,000 fields")
def graph_of_one_node_with_countless_inputs(make):
    value = b"\x42\x00" * 1_100_000  # empty strings of a tensor
    for tag in (b"\x42", b"\x12", b"\x2a", b"\x0a"):  # tensor, value, attr, node
        length, size = b"", len(value)
        while size >= 0x80:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        value = tag + length + bytes([size]) + value
    return make.write(value)


@case("holds neither a frozen graph")
def folder_with_a_folder_named_as_a_graph(make):
    (make.folder / "run" / "frozen.pb").mkdir(parents=True)
    return make.folder / "run"

"""Names of Keras layers found again in the names of a file's operations."""

from __future__ import annotations

import pytest

from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.litert.tensors import Operation, original_name
from keras_mnv2.deployment.quantization.layer_names import check_layer_names, layers_of_operations

LAYERS = ["conv", "conv_BN", "conv_relu", "dense", "dense_1", "block_1_add"]


def found(names: list[str], outputs: dict[int, str] | None = None) -> list[list[str]]:
    operations = [Operation(name, "CONV_2D", (0,), (7,)) for name in names]
    layers = layers_of_operations(operations, LAYERS, outputs or {})
    assert list(layers) == names
    return list(layers.values())


def test_all_layers_that_are_fused_in_their_order():
    name = "net/conv_relu/Relu6;net/conv_BN/FusedBatchNormV3;net/conv/convolution"
    assert found([name, "net/block_1_add/Add", "strided_slice"]) == [
        ["conv", "conv_BN", "conv_relu"],
        ["block_1_add"],
        [],
    ]


def test_numbers_that_keras_adds_to_all_names():
    names = ["net_1/dense_1/MatMul", "net_1/dense_1_1/MatMul", "net_1/conv_1/convolution"]
    assert found(names) == [["dense"], ["dense_1"], ["conv"]]
    assert found(["net/dense/MatMul", "net/dense_1/MatMul"]) == [["dense"], ["dense_1"]]


def test_a_result_that_the_converter_named_anew():
    assert found(["StatefulPartitionedCall:0"], {7: "dense"}) == [["dense"]]
    assert found(["StatefulPartitionedCall:0"], {8: "dense"}) == [[]]


def test_names_that_the_quantizer_made_of_others():
    names = ["a/b", "call:0", "call:1"]
    for name, expected in (("a/b", "a/b"), ("a/b1", "a/b"), ("call:02", "call:0")):
        assert original_name(name, names) == expected
    for other in ("a/bc", "1", "a/c1", "tfl.quantize"):
        assert original_name(other, names) == other


def test_unknown_layers():
    check_layer_names(["conv", "dense_1"], LAYERS)
    with pytest.raises(DeploymentError, match="no layer 'conv_bn'; did you mean .*'conv_BN'"):
        check_layer_names(["conv", "conv_bn"], LAYERS)
    with pytest.raises(DeploymentError, match="no layer 'xyz'; it has conv, conv_BN, .*_1_add"):
        check_layer_names(["xyz"], LAYERS)

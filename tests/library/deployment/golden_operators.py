"""Which operations the files of the tiny programs hold, name -> number.

Batch normalizations are folded, activations fused, dilated convolutions one operation each; MUL and
one ADD scale the image.
"""

from __future__ import annotations

_BACKBONE = {"MUL": 1, "ADD": 11, "DEPTHWISE_CONV_2D": 17}
_SEGMENTER = {**_BACKBONE, "CONV_2D": 41, "MEAN": 1, "RESIZE_BILINEAR": 2, "CONCATENATION": 1}
_DETECTOR = {**_BACKBONE, "CONV_2D": 55, "DEPTHWISE_CONV_2D": 33, "RESHAPE": 12, "CONCATENATION": 2}
# float32, of float32 images, of one fixed size.
LITERT = {
    "classification": {**_BACKBONE, "CONV_2D": 35, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
    "class_map": {**_SEGMENTER, "ARG_MAX": 1, "CAST": 1},
    "none": _DETECTOR,
    "nms": {
        **_DETECTOR,
        "MUL": 10,
        "ADD": 15,
        "RESHAPE": 22,
        "CONCATENATION": 3,
        "REDUCE_MAX": 1,
        "REDUCE_MIN": 1,
        "MAXIMUM": 1,
        "TOPK_V2": 2,
        "TRANSPOSE": 1,
        "UNPACK": 1,
        "NON_MAX_SUPPRESSION_V4": 3,
        "PACK": 2,
        "GATHER": 4,
        "LOGISTIC": 2,
        "GREATER": 3,
        "LESS": 1,
        "LOGICAL_AND": 2,
        "SELECT_V2": 1,
        "CAST": 2,
        "FLOOR_DIV": 1,
        "SUB": 3,
        "STRIDED_SLICE": 11,
        "EXP": 1,
        "MINIMUM": 1,
        "RELU": 1,
        "SUM": 1,
    },
    "custom_op": {**_DETECTOR, "LOGISTIC": 1, "CUSTOM:TFLite_Detection_PostProcess": 1},
}
# What takes uint8 images has one more, unless it computes in 8 bits.
LITERT_UINT8 = {
    kind: {**operators, "CAST": operators.get("CAST", 0) + 1} for kind, operators in LITERT.items()
}
# By precision, what is added to those of float32. Weights in halves are dequantized, each of them;
# runtimes do it once.
LITERT_SMALLER = {
    "float16": {
        "classification": {"DEQUANTIZE": 107},
        "class_map": {"DEQUANTIZE": 118},
        "nms": {"DEQUANTIZE": 184},
    },
    "dynamic": {"classification": {}, "class_map": {}, "nms": {}},
}
# By dtype of input and outputs, what is added in int8 files: into 8 bits once, and out of them once
# for each result. Signed and unsigned 8 bits are converted into each other.
LITERT_INT8 = {
    "float32": {
        "classification": {"QUANTIZE": 1, "DEQUANTIZE": 1},
        "class_map": {"QUANTIZE": 1},
        "none": {"QUANTIZE": 1, "DEQUANTIZE": 2},
        "nms": {"QUANTIZE": 1, "DEQUANTIZE": 2},
        "custom_op": {"QUANTIZE": 1, "DEQUANTIZE": 2},
    },
    "uint8": {
        "classification": {"QUANTIZE": 2},
        "class_map": {"QUANTIZE": 1},
        "none": {"QUANTIZE": 3},
        "nms": {"QUANTIZE": 1, "DEQUANTIZE": 2},
        "custom_op": {"QUANTIZE": 1, "DEQUANTIZE": 2},
    },
    "int8": {
        "classification": {},
        "class_map": {},
        "none": {},
        "nms": {"DEQUANTIZE": 2},
        "custom_op": {"DEQUANTIZE": 2},
    },
}
# Of any size: dilation takes three operations and the arithmetic of its paddings.
LITERT_RESIZABLE = {
    "classification": LITERT["classification"],
    "class_map": {
        **LITERT["class_map"],
        "MUL": 14,
        "ADD": 50,
        "SPACE_TO_BATCH_ND": 13,
        "BATCH_TO_SPACE_ND": 13,
        "SHAPE": 12,
        "STRIDED_SLICE": 102,
        "PACK": 90,
        "FLOOR_MOD": 26,
        "SUB": 13,
    },
}
LITERT_ANY_BATCH = {"none": {**LITERT["none"], "SHAPE": 12, "STRIDED_SLICE": 12, "PACK": 12}}

_ONNX_BACKBONE = {"Mul": 1, "Add": 11}
_ONNX_SEGMENTER = {
    **_ONNX_BACKBONE,
    "Conv": 58,
    "Clip": 34,
    "Relu": 6,
    "ReduceMean": 1,
    "Resize": 2,
    "Concat": 1,
}
_ONNX_DETECTOR = {
    **_ONNX_BACKBONE,
    "Conv": 88,
    "Clip": 59,
    "Reshape": 12,
    "Concat": 2,
    "Transpose": 9,
}
# Of float32 images; convolutions hold their normalization, dilation and padding, and of the
# network's shapes none is computed.
ONNX = {
    "classification": {
        **_ONNX_BACKBONE,
        "Transpose": 2,
        "Conv": 52,
        "Clip": 35,
        "ReduceMean": 1,
        "MatMul": 1,
        "Softmax": 1,
    },
    "class_map": {**_ONNX_SEGMENTER, "Transpose": 1, "ArgMax": 1, "Cast": 2},
    "logits": {**_ONNX_SEGMENTER, "Transpose": 2},
    "none": _ONNX_DETECTOR,
    "nms": {
        **_ONNX_DETECTOR,
        "Add": 17,
        "And": 1,
        "Cast": 18,
        "Concat": 8,
        "ConstantOfShape": 3,
        "CumSum": 1,
        "Exp": 1,
        "EyeLike": 1,
        "Gather": 3,
        "GatherElements": 1,
        "GatherND": 6,
        "Greater": 4,
        "Less": 1,
        "Max": 1,
        "Min": 3,
        "Mul": 12,
        "NonMaxSuppression": 1,
        "Not": 2,
        "Pad": 5,
        "Range": 1,
        "ReduceSum": 2,
        "ScatterND": 2,
        "Shape": 2,
        "Sigmoid": 1,
        "Slice": 15,
        "Squeeze": 7,
        "Sub": 3,
        "TopK": 2,
        "Transpose": 10,
        "Unsqueeze": 5,
    },
}
ONNX_UINT8 = {
    kind: {**operators, "Cast": operators.get("Cast", 0) + 1} for kind, operators in ONNX.items()
}

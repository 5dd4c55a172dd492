"""Small networks and weight files of every kind, written without the code under test."""

from __future__ import annotations

import io
import math
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

import keras_mnv2
from keras_mnv2.weights import PublishedWeights

ALPHA = 0.35
CLASSES = 3
# Registry entries for the small networks, of which tests replace the address.
DETECTOR = PublishedWeights(
    name="coco",
    url="replaced",
    family="SSDLite",
    alpha=0.35,
    divisor=8,
    input_size=(64, 64),
    classes=3,
    licence="none",
    metric="none",
    protocol="none",
    recipe="none",
)
CLASSIFIER = replace(DETECTOR, name="imagenet", family="MobileNetV2", input_size=(224, 224))


def small_model(family: str, classes: int | None = CLASSES, **options) -> keras.Model:
    """The narrowest network of a family; MobileNetV2 with `classes=None` has no top."""
    if family == "SSDLite":
        return keras_mnv2.SSDLite(classes, (64, 64, 3), alpha=ALPHA, **options)
    if family == "DeepLabV3":
        return keras_mnv2.DeepLabV3(classes, (65, 65, 3), alpha=ALPHA, aspp_filters=16, **options)
    if classes is None:
        return keras_mnv2.MobileNetV2((64, 64, 3), ALPHA, include_top=False, **options)
    return keras_mnv2.MobileNetV2((64, 64, 3), ALPHA, classes=classes, **options)


def random_arrays(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """`<layer>/<weight>` -> values that keep activations in range, none of them a default."""
    random = np.random.default_rng(seed)
    arrays = {}
    for layer in model.layers:
        for weight in layer.weights:
            shape, name = tuple(weight.shape), weight.name
            if name == "kernel":
                fan_in = math.prod(shape[:-1])
                if isinstance(layer, keras.layers.DepthwiseConv2D):
                    fan_in = 9
                values = random.normal(0, 1.5 / math.sqrt(fan_in), shape)
            elif name in ("gamma", "moving_variance"):
                values = random.uniform(0.5, 1.5, shape)
            else:
                values = random.normal(0, 0.3, shape)
            arrays[f"{layer.name}/{name}"] = values.astype("float32")
    return arrays


def model_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{w.name}": w.numpy() for layer in model.layers for w in layer.weights}


def assert_same(model: keras.Model, arrays: dict[str, np.ndarray], but=()) -> None:
    found = model_arrays(model)
    for key in found:
        if key not in but:
            np.testing.assert_array_equal(found[key], arrays[key], err_msg=key)


def tf1_name(key: str, family: str, depthwise: bool) -> str:
    """The name of a weight in the original TensorFlow 1 code."""
    layer, _, weight = key.partition("/")
    if layer in ("bn_Conv1", "Conv_1_bn") or layer.endswith("_BN"):
        leaf = f"BatchNorm/{weight}"
        layer = {"bn_Conv1": "Conv1", "Conv_1_bn": "Conv_1"}.get(layer, layer.removesuffix("_BN"))
    else:
        leaf = "biases" if weight == "bias" else "depthwise_weights" if depthwise else "weights"
    extractor = "FeatureExtractor/MobilenetV2" if family == "SSDLite" else "MobilenetV2"
    fixed = {
        "Conv1": f"{extractor}/Conv",
        "Conv_1": f"{extractor}/Conv_1",
        "predictions": f"{extractor}/Logits/Conv2d_1c_1x1",
        "logits": "logits/semantic",
    }
    extra = {
        "reduce": f"{extractor}/layer_19_1_Conv2d_%s_1x1_64",
        "depthwise": f"{extractor}/layer_19_2_Conv2d_%s_3x3_s2_128_depthwise",
        "expand": f"{extractor}/layer_19_2_Conv2d_%s_3x3_s2_128",
    }
    head = {"box": "BoxEncodingPredictor", "class": "ClassPredictor"}
    if layer in fixed:
        scope = fixed[layer]
    elif match := re.fullmatch(r"expanded_conv_(\w+)", layer):
        scope = f"{extractor}/expanded_conv/{match[1]}"
    elif match := re.fullmatch(r"block_(\d+)_(\w+)", layer):
        scope = f"{extractor}/expanded_conv_{match[1]}/{match[2]}"
    elif match := re.fullmatch(r"extra_(\d)_(\w+)", layer):
        scope = extra[match[2]] % match[1]
    elif match := re.fullmatch(r"(box|class)_head_(\d)(_depthwise)?", layer):
        scope = f"BoxPredictor_{match[2]}/{head[match[1]]}{match[3] or ''}"
    else:
        scope = layer
    return f"{scope}/{leaf}"


def tf1_arrays(model: keras.Model, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values under their original names; slim's classifier becomes a 1x1 convolution."""
    family = "SSDLite" if "class_head_0" in {layer.name for layer in model.layers} else "other"
    renamed = {}
    for key, array in arrays.items():
        layer = model.get_layer(key.partition("/")[0])
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if key == "predictions/kernel":
            array = array[None, None]
        renamed[tf1_name(key, family, is_depthwise)] = array
    return renamed


def graph_def(arrays: dict[str, np.ndarray], input_size=None) -> tf.compat.v1.GraphDef:
    """A frozen graph of constants with the `/read` that freezing leaves."""
    graph = tf.compat.v1.GraphDef()
    if input_size:
        node = graph.node.add(name="input", op="Placeholder")
        for size in (1, *input_size, 3):
            node.attr["shape"].shape.dim.add(size=size)
    for name, array in arrays.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
        graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    return graph


def write_graph(path: Path, arrays: dict[str, np.ndarray], input_size=None) -> Path:
    path.write_bytes(graph_def(arrays, input_size).SerializeToString())
    return path


def write_checkpoint(prefix: Path, arrays: dict[str, np.ndarray]) -> Path:
    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    return prefix


def write_h5(path: Path, model: keras.Model, arrays, rename=lambda layer: layer) -> Path:
    """A legacy file as Keras 2 wrote them."""
    with h5py.File(path, "w") as file:
        # Bytes become strings of fixed length, as in the published files.
        file.attrs["layer_names"] = np.array(
            [rename(layer.name).encode() for layer in model.layers]
        )
        for layer in model.layers:
            name, group = rename(layer.name), file.create_group(rename(layer.name))
            is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            weights = []
            for weight in layer.weights:
                leaf = "depthwise_kernel" if is_depthwise else weight.name
                weights.append(f"{name}/{leaf}:0")
                group[weights[-1]] = arrays[f"{layer.name}/{weight.name}"]
            group.attrs["weight_names"] = np.array([weight.encode() for weight in weights], "S")
    return path


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path

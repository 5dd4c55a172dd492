"""A trained DeepLabv3 at another output stride or another image size."""

from __future__ import annotations

import math
import re

import keras

from keras_mnv2.mobilenet_v2 import OUTPUT_STRIDES, image_input, strides_and_dilation
from keras_mnv2.segmentation.resizing import AlignCornersResizing

_ATROUS = re.compile(r"aspp[1-9]\d*(_depthwise)?")


def with_output_stride(
    model: keras.Model,
    output_stride: int | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """The network of `model` with copies of its weights, at another output stride or size.

    What was trained at stride 16 is usually evaluated at 8, which is slower and somewhat more
    accurate. Strides of the backbone become dilation or dilation strides, and the rates of the
    atrous branches change with the stride, so that they reach equally far in the image.

    Args:
        model: of `DeepLabV3`, or such a model loaded from a .keras file.
        output_stride: 8, 16 or 32; None for that of `model`.
        input_shape: (height, width, channels), height and width may be None; None for that of
            `model`.

    Returns:
        A new model, independent of `model`, with the same layer names, `trainable` flags, dtype
        policies and weights. It is not compiled.

    Raises:
        ValueError: if `model` is no DeepLabV3, an argument is out of range, or a rate of the
            atrous branches would not be a whole number at `output_stride`.
    """
    stride_before = model_output_stride(model)
    output_stride = stride_before if output_stride is None else output_stride
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride!r} must be one of {OUTPUT_STRIDES}")
    before = model.inputs[0]
    image = image_input(before.shape[1:] if input_shape is None else input_shape)
    if image.shape[3] != before.shape[3]:
        raise ValueError(
            f"input_shape={tuple(input_shape)!r}: the weights of model {model.name!r} are for "
            f"{before.shape[3]} channels"
        )
    (entry,) = (layer for layer in model.layers if isinstance(layer, keras.layers.InputLayer))
    image = keras.Input(image.shape[1:], dtype=before.dtype, name=entry.name)
    backbone = _strides_and_dilation(output_stride)

    def clone(layer):
        config = layer.get_config()
        if layer.name in backbone:
            config["strides"], config["dilation_rate"] = backbone[layer.name]
        elif _ATROUS.fullmatch(layer.name):
            config["dilation_rate"] = _same_reach(layer, stride_before, output_stride)
        return type(layer).from_config(config)

    # Without what `model` was compiled with, which would be cloned too.
    network = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    copy = keras.models.clone_model(network, input_tensors=image, clone_function=clone)
    copy.trainable = model.trainable
    for layer in model.layers:
        twin = copy.get_layer(layer.name)
        twin.trainable = layer.trainable
        twin.set_weights(layer.get_weights())
    return copy


def model_output_stride(model: keras.Model) -> int:
    """Output stride of a DeepLabV3 model: 8, 16 or 32.

    Raises:
        ValueError: if it is no DeepLabV3.
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    blocks = _strides_and_dilation(OUTPUT_STRIDES[0])
    is_deeplab = (
        isinstance(model, keras.Model)
        and {"Conv1", "aspp0", "concat_projection", "logits", *blocks} <= layers.keys()
        and isinstance(layers.get("upsampled_logits"), AlignCornersResizing)
    )
    if not is_deeplab:
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(
            f"{name!r} is not a DeepLabV3 model: give one that keras_mnv2.DeepLabV3 returned, or "
            "that was loaded from its .keras file, not a model around it"
        )
    return math.prod(layers[name].strides[0] for name in ("Conv1", *blocks))


def _strides_and_dilation(output_stride: int) -> dict[str, tuple[int, int]]:
    """Stride and dilation rate of the depthwise layers, by name."""
    rows = enumerate(strides_and_dilation(output_stride))
    return {f"block_{i}_depthwise" if i else "expanded_conv_depthwise": row for i, row in rows}


def _same_reach(layer, stride_before: int, output_stride: int) -> tuple[int, ...]:
    """Dilation rates with which `layer` reaches as far in the image as before."""
    rates = [rate * stride_before for rate in layer.dilation_rate]
    if any(rate % output_stride for rate in rates):
        raise ValueError(
            f"output_stride={output_stride}: {layer.name} has rate {layer.dilation_rate[0]} at "
            f"output stride {stride_before}, which would become {rates[0] / output_stride:g} and "
            "is no whole number"
        )
    return tuple(rate // output_stride for rate in rates)

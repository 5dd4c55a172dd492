"""Atrous spatial pyramid pooling, the head of DeepLabv3 (arXiv 1706.05587, section 3.3).

Layer by layer that of research/deeplab/model.py: ReLU in place of ReLU6, the branches in the order
image pooling, 1x1, 3x3 of rising rates.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_mnv2.layers import BlockOptions, conv_bn, depthwise_bn
from keras_mnv2.segmentation.resizing import AlignCornersResizing

# Distances in image pixels between the taps of the three atrous convolutions: rates 6, 12 and 18
# on a stride-16 map, the same field of view at every other stride.
TAP_DISTANCES = (96, 192, 288)


def resolve_rates(aspp_rates: str | Sequence[int] | None, output_stride: int) -> tuple[int, ...]:
    """Dilation rates of the atrous branches; see `DeepLabV3` for what `aspp_rates` may be."""
    if aspp_rates is None:
        return ()
    if aspp_rates == "auto":
        return tuple(distance // output_stride for distance in TAP_DISTANCES)
    valid = isinstance(aspp_rates, (tuple, list)) and all(
        isinstance(rate, int) and rate > 0 for rate in aspp_rates
    )
    if not valid:
        raise ValueError(
            f"aspp_rates={aspp_rates!r} must be None (no atrous branches), 'auto' (derived from "
            "the output stride) or a tuple of positive whole numbers such as (6, 12, 18)"
        )
    return tuple(aspp_rates)


def atrous_spatial_pyramid_pooling(
    features,
    *,
    rates: Sequence[int],
    filters: int,
    separable: bool,
    dropout: float,
    options: BlockOptions,
):
    """All branches and their projection: [B, h, w, c] -> [B, h, w, filters]."""
    branches = [
        _image_pooling(features, filters, options),
        _relu(conv_bn(features, filters, options, name="aspp0"), "aspp0"),
    ]
    branch = _separable_branch if separable else _atrous_branch
    for index, rate in enumerate(rates, start=1):
        branches.append(branch(features, filters, rate, options, f"aspp{index}"))
    x = keras.layers.Concatenate(name="aspp_concat")(branches)
    x = conv_bn(x, filters, options, name="concat_projection")
    x = _relu(x, "concat_projection")
    return keras.layers.Dropout(dropout, name="concat_projection_dropout")(x) if dropout else x


def _relu(x, prefix: str):
    return keras.layers.ReLU(name=f"{prefix}_relu")(x)


def _image_pooling(features, filters: int, options: BlockOptions):
    """The mean of the whole map, projected and laid out over the map again."""
    x = keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", keepdims=True, name="image_pooling_mean"
    )(features)
    x = _relu(conv_bn(x, filters, options, name="image_pooling"), "image_pooling")
    return AlignCornersResizing(name="image_pooling_resize")(x, features)


def _atrous_branch(features, filters: int, rate: int, options: BlockOptions, name: str):
    x = conv_bn(features, filters, options, name=name, kernel_size=3, dilation_rate=rate)
    return _relu(x, name)


def _separable_branch(features, filters: int, rate: int, options: BlockOptions, name: str):
    """Depthwise and pointwise convolution, each with its own normalization and ReLU."""
    x = depthwise_bn(features, options, name=f"{name}_depthwise", dilation_rate=rate)
    x = _relu(x, f"{name}_depthwise")
    return _relu(conv_bn(x, filters, options, name=f"{name}_pointwise"), f"{name}_pointwise")

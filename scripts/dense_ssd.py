"""The SSD that the paper compares SSDLite with, for counting only (arXiv 1801.04381, Table 5)."""

from __future__ import annotations

import keras

from keras_mnv2 import MobileNetV2
from keras_mnv2.detection.anchors import anchors_per_cell
from keras_mnv2.detection.ssdlite import EXTRA_FILTERS
from keras_mnv2.layers import BlockOptions, conv_bn, relu6


def dense_ssd(num_classes: int, input_shape: tuple[int, int, int]) -> keras.Model:
    """SSD on the features of SSDLite, with ordinary 3x3 convolutions for its separable ones.

    Returns:
        A `keras.Model` from images to a list of class logits and box encodings of each level,
        [B, h, w, anchors * values].
    """
    backbone = MobileNetV2(input_shape, include_top=False)
    options = BlockOptions()
    x = backbone.output
    levels = [backbone.get_layer("block_13_expand_relu").output, x]
    for level, filters in enumerate(EXTRA_FILTERS, start=2):
        x = relu6(conv_bn(x, filters // 2, options, name=f"extra_{level}_reduce"), None)
        x = conv_bn(x, filters, options, name=f"extra_{level}", kernel_size=3, strides=2)
        x = relu6(x, None)
        levels.append(x)
    predictions = [
        keras.layers.Conv2D(anchors * values, 3, padding="same")(features)
        for features, anchors in zip(levels, anchors_per_cell(), strict=True)
        for values in (4, 1 + num_classes)
    ]
    return keras.Model(backbone.input, predictions, name="dense_ssd")

"""Semantic segmentation: Mobile DeepLabv3, align-corners resizing, pixelwise loss."""

from keras_mnv2.segmentation.deeplab_v3 import DeepLabV3
from keras_mnv2.segmentation.losses import PixelwiseCrossEntropy
from keras_mnv2.segmentation.output_stride import model_output_stride, with_output_stride
from keras_mnv2.segmentation.published_complexity import multiply_adds_as_published
from keras_mnv2.segmentation.resizing import AlignCornersResizing

__all__ = [
    "AlignCornersResizing",
    "DeepLabV3",
    "PixelwiseCrossEntropy",
    "model_output_stride",
    "multiply_adds_as_published",
    "with_output_stride",
]

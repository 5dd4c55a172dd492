"""MobileNetV2 for Keras 3 and TensorFlow: backbone, SSDLite, Mobile DeepLabv3."""

from keras_mnv2 import complexity, deployment, detection, segmentation, weights
from keras_mnv2.detection.ssdlite import SSDLite
from keras_mnv2.mobilenet_v2 import MobileNetV2
from keras_mnv2.normalization import BatchNormalization
from keras_mnv2.segmentation.deeplab_v3 import DeepLabV3

__all__ = [
    "BatchNormalization",
    "DeepLabV3",
    "MobileNetV2",
    "SSDLite",
    "complexity",
    "deployment",
    "detection",
    "segmentation",
    "weights",
]

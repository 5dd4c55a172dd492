"""Single-shot detection: anchors, box coder, matching, losses, post-processing, SSDLite."""

from keras_mnv2.detection.anchors import feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.box_coder import decode, encode
from keras_mnv2.detection.losses import (
    BoxLoss,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
)
from keras_mnv2.detection.matching import match_anchors
from keras_mnv2.detection.postprocessing import DetectionPostprocessing
from keras_mnv2.detection.ssdlite import SSDLite, anchors_for, detector
from keras_mnv2.detection.targets import encode_targets

__all__ = [
    "BoxLoss",
    "DetectionPostprocessing",
    "FocalClassificationLoss",
    "HardNegativeClassificationLoss",
    "SSDLite",
    "anchors_for",
    "decode",
    "detector",
    "encode",
    "encode_targets",
    "feature_grid_sizes",
    "match_anchors",
    "ssd_anchors",
]

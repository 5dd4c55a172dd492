"""Results of networks and losses: never in halves, in float64 where all is."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.detection import (
    BoxLoss,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
)
from keras_mnv2.precision import at_least_float32
from keras_mnv2.segmentation import PixelwiseCrossEntropy

SHAPE = (64, 64, 3)


@pytest.fixture
def double():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32",) * 2, ("float64",) * 2],
)
def test_halves_alone_are_widened(dtype, expected):
    assert at_least_float32(keras.ops.ones((2,), dtype)).dtype == expected


def test_networks_and_losses_in_float64(double):
    images = np.random.default_rng(0).integers(0, 256, (1, *SHAPE)).astype("float64")
    probabilities = MobileNetV2(SHAPE, alpha=0.35, classes=3)(images)
    found = SSDLite(2, SHAPE, alpha=0.35)(images)
    logits = DeepLabV3(3, SHAPE, alpha=0.35)(images)
    anchors = found["class_logits"].shape[1]
    labels = np.arange(anchors, dtype="int32")[np.newaxis] % 3
    losses = [
        BoxLoss()(np.ones((1, anchors, 5)), found["box_encodings"]),
        FocalClassificationLoss()(labels, found["class_logits"]),
        HardNegativeClassificationLoss()(labels, found["class_logits"]),
        PixelwiseCrossEntropy()(np.ones((1, *SHAPE[:2]), "uint8"), logits),
    ]
    for tensor in (probabilities, *found.values(), logits, *losses):
        assert tensor.dtype == "float64"
        assert np.isfinite(tensor.numpy()).all()

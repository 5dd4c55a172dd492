"""The imported segmentation network against recorded answers (reference/README.md)."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_mnv2
from keras_mnv2.weights import inspect

IMAGES = ("bird_segmentation", "cat", "grace_hopper")


@pytest.fixture(scope="module")
def checkpoint(reference):
    return reference / "reference" / "deeplab" / "deeplabv3_mnv2_pascal" / "model.ckpt-30000"


def test_inspection(checkpoint):
    info = inspect(checkpoint)
    assert (info.family, info.alpha, info.divisor) == ("DeepLabV3", 1.0, 8)
    assert (info.classes, info.background_class, info.aspp_branches) == (21, 0, 0)
    assert info.parameters == 2_146_645 and info.ignored == 1


def test_logits_and_masks(checkpoint, reference):
    expected = np.load(reference / "reference" / "deeplab" / "expected.npz")
    model = keras_mnv2.DeepLabV3(weights=checkpoint)
    outputs = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    for name in IMAGES:
        logits, upsampled = outputs.predict(expected[f"{name}/image"][None], verbose=0)
        np.testing.assert_allclose(logits[0], expected[f"{name}/logits"], atol=2e-3)
        mask = upsampled[0].argmax(-1)
        assert (mask == expected[f"{name}/mask"]).mean() >= 0.999

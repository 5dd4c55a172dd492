"""Class maps of whole pictures against those of the published 8-bit model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import keras_mnv2
from tasks.common.images import read_rgb
from tasks.segmentation.inference import make_predictor, segment

SIZE = (513, 513)


@pytest.fixture(scope="module")
def predictor(reference):
    checkpoint = reference / "reference" / "deeplab" / "deeplabv3_mnv2_pascal" / "model.ckpt-30000"
    return make_predictor(keras_mnv2.DeepLabV3(weights=checkpoint))


def test_agreement_with_the_8_bit_model(reference, predictor):
    recorded = np.load(reference / "reference" / "deeplab" / "voc_mini_val_masks_uint8_model.npz")
    folder = reference / "data" / "voc_mini" / "VOCdevkit" / "VOC2012" / "JPEGImages"
    agreement = []
    # Both orientations; the last one is smaller than the network's input.
    for image_id in [*sorted(recorded.files)[:5], "000000003845"]:
        image = read_rgb(folder / f"{image_id}.jpg")
        expected = Image.fromarray(recorded[image_id])
        expected = expected.resize(image.shape[1::-1], Image.Resampling.NEAREST)
        agreement.append(np.mean(segment(predictor, image, SIZE) == np.asarray(expected)))
    assert np.mean(agreement) >= 0.985
    assert min(agreement) >= 0.95


def test_a_picture_of_the_input_size_is_segmented_as_it_is(reference, predictor):
    expected = np.load(reference / "reference" / "deeplab" / "expected.npz")
    class_map = segment(predictor, expected["cat/image"], SIZE)
    assert np.mean(class_map == expected["cat/mask"]) >= 0.999

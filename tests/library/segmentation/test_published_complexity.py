import pytest

import keras_mnv2
from keras_mnv2.segmentation import multiply_adds_as_published

VOC_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
CITYSCAPES_SCALES = (0.75, 1.0, 1.25)
CITYSCAPES = {"num_classes": 19, "input_shape": (1025, 2049, 3)}
DM05 = {"alpha": 0.5, "divisor": 1}
DM05_DIVISOR_8 = {"alpha": 0.5}


def one_model(scales, flip=False, **arguments):
    model = keras_mnv2.DeepLabV3(**arguments)
    return multiply_adds_as_published(model, scales=scales, flip=flip)


@pytest.mark.parametrize(
    ("arguments", "billions", "published"),
    [
        ({}, 2.7480, 2.75),
        ({"aspp_rates": "auto"}, 5.8286, 5.8),
        (DM05, 0.8739, 0.88),
        ({**DM05, "output_stride": 8}, 2.8313, 2.84),
        (DM05_DIVISOR_8, 0.9168, None),
        ({**DM05_DIVISOR_8, "output_stride": 8}, 2.8741, None),
        (CITYSCAPES, 21.2780, 21.27),
    ],
)
def test_single_scale(arguments, billions, published):
    counted = one_model((1.0,), **arguments) / 1e9
    assert counted == pytest.approx(billions, abs=5e-5)
    if published:
        assert counted == pytest.approx(published, rel=0.008)


@pytest.mark.parametrize(
    ("arguments", "scales", "billions", "published"),
    [
        ({}, VOC_SCALES, 152.5918, 152.59),
        ({"aspp_rates": "auto"}, VOC_SCALES, 387.5439, 387),
        (CITYSCAPES, CITYSCAPES_SCALES, 433.2982, 433.24),
    ],
)
def test_stride_8_multi_scale_and_flip(arguments, scales, billions, published):
    counted = one_model(scales, flip=True, output_stride=8, **arguments) / 1e9
    assert counted == pytest.approx(billions, abs=5e-5)
    assert counted == pytest.approx(published, rel=0.002)


def test_open_size_needs_an_image_size():
    model = keras_mnv2.DeepLabV3(input_shape=(None, None, 3), alpha=0.35)
    fixed = keras_mnv2.DeepLabV3(input_shape=(65, 97, 3), alpha=0.35)
    expected = multiply_adds_as_published(fixed)
    assert multiply_adds_as_published(model, (65, 97)) == expected
    with pytest.raises(ValueError, match="image_size"):
        multiply_adds_as_published(model)
    with pytest.raises(ValueError, match="scales"):
        multiply_adds_as_published(fixed, scales=(0.5, 0))

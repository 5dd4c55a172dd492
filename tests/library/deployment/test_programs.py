"""What is exported: networks of every kind as programs from RGB 0..255 to named outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.programs import (
    classification_program,
    detection_program,
    segmentation_program,
)
from keras_mnv2.detection import anchors_for, detector

SMALL = {"input_shape": (64, 48, 3), "alpha": 0.35}
OPEN = {"input_shape": (None, None, 3), "alpha": 0.35}


def classifier(**options) -> keras.Model:
    return MobileNetV2(**{**SMALL, "classes": 3, **options})


def pictures(height: int = 64, width: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def test_a_classifier_gets_the_range_that_it_wants():
    images = pictures()
    for model, seen in (
        (classifier(), images / 127.5 - 1),
        (classifier(include_preprocessing=True), images.astype("float32")),
        (keras.Sequential([keras.Input((64, 48, 3)), classifier()]), images / 127.5 - 1),
    ):
        program = classification_program(model, ("a", "b", "c"))
        expected = model.predict(seen, verbose=0)
        for dtype in ("uint8", "float32"):
            found = program.predict(images.astype(dtype))
            assert found.keys() == {"probabilities"} == program.description.outputs.keys()
            np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert program.description.input_size == (64, 48)
    assert program.description.label_names == ("a", "b", "c")
    assert program.description.format is None


def test_segmentation():
    model = DeepLabV3(num_classes=4, **SMALL)
    images = pictures()
    logits = model.predict(images, verbose=0)
    found = segmentation_program(model, output="logits").predict(images)["logits"]
    np.testing.assert_allclose(found, logits, atol=1e-6)
    found = segmentation_program(model).predict(images)["class_map"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, logits.argmax(-1))
    many = segmentation_program(DeepLabV3(num_classes=300, aspp_filters=8, **SMALL))
    assert many.predict(images)["class_map"].dtype == np.int32


def test_detection():
    model = SSDLite(num_classes=2, **SMALL)
    images = pictures()
    program = detection_program(model, ("a", "b"), (3, 5))
    raw = model.predict(images, verbose=0)
    for name, found in program.predict(images).items():
        np.testing.assert_allclose(found, raw[name], atol=1e-6)
    assert program.description.postprocessing == "none"
    assert program.description.category_ids == (3, 5)
    np.testing.assert_array_equal(np.float32(program.description.anchors), anchors_for(model))

    options = {"score_threshold": 0.49, "iou_threshold": 0.5, "max_detections": 7}
    program = detection_program(model, postprocessing="nms", **options)
    expected = detector(model, **options).predict(images, verbose=0)
    found = program.predict(images)
    assert found.keys() == expected.keys() == program.description.outputs.keys()
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    for name, value in options.items():
        assert getattr(program.description, name) == value


def test_an_open_size_is_fixed():
    for build, model in (
        (classification_program, MobileNetV2(**OPEN, classes=3, include_preprocessing=True)),
        (segmentation_program, DeepLabV3(num_classes=3, **OPEN)),
        (detection_program, SSDLite(num_classes=2, **OPEN)),
    ):
        with pytest.raises(DeploymentError, match="open: give input_size="):
            build(model)
        program = build(model, input_size=(64, 48))
        assert program.description.input_size == (64, 48)
        assert program.network.input_shape == (None, 64, 48, 3)
        assert all(len(value) == 2 for value in program.predict(pictures()).values())
        # The layers are those of the model, so that training it on changes the program.
        assert program.network.get_layer("Conv1") is model.get_layer("Conv1")


@pytest.mark.filterwarnings("error:The structure of:UserWarning")
def test_an_input_in_a_list_is_one_input():
    model = classifier(include_preprocessing=True)
    program = classification_program(keras.Model([model.input], model.output))
    found = program.predict(pictures())["probabilities"]
    np.testing.assert_allclose(found, model.predict(pictures(), verbose=0), atol=1e-6)


def test_a_network_in_halves_is_exported_in_floats():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = SSDLite(num_classes=2, **SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    program = detection_program(model)
    assert {layer.compute_dtype for layer in program.network.layers} == {"float32"}
    expected = model.predict(pictures(), verbose=0)
    for name, found in program.predict(pictures()).items():
        np.testing.assert_allclose(found, expected[name], atol=2e-2)


def test_other_descriptions():
    program = classification_program(classifier())
    described = program.described(source={"file": "a.keras"})
    assert described.description.source == {"file": "a.keras"}
    assert described.network is program.network and program.description.source is None


class Subclassed(keras.Model):
    """Has no input that is known, built or not."""

    def call(self, images):
        return keras.ops.softmax(keras.ops.mean(images, axis=(1, 2)))


def built_subclass():
    model = Subclassed()
    model.build((None, 8, 8, 3))
    return model


@pytest.mark.parametrize(
    "model",
    [
        Subclassed(),
        built_subclass(),
        keras.Sequential([keras.layers.Conv2D(3, 1), keras.layers.Softmax()]),
        "model.keras",
    ],
)
def test_a_model_without_a_known_input(model):
    for build in (classification_program, segmentation_program, detection_program):
        with pytest.raises(DeploymentError, match="is no functional or Sequential Keras model"):
            build(model)


def test_a_model_of_another_kind():
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    with pytest.raises(DeploymentError, match="expected is one input"):
        classification_program(keras.Model([one, two], [one, two]))
    with pytest.raises(DeploymentError, match="expected is one input"):
        segmentation_program(keras.Model(two, two))
    detecting = SSDLite(num_classes=2, **SMALL)
    with pytest.raises(DeploymentError, match="no image classifier"):
        classification_program(detecting)
    with pytest.raises(DeploymentError, match="no image classifier.*predictions"):
        classification_program(classifier(classifier_activation=None))
    with pytest.raises(DeploymentError, match="no segmentation network"):
        segmentation_program(classifier())
    for model in (classifier(), detector(detecting)):
        with pytest.raises(DeploymentError, match="is no detector"):
            detection_program(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_names": ("a",)}, "label_names has 1 entries, the model has 2 classes"),
        ({"category_ids": (1, 2, 3)}, "category_ids has 3 entries"),
        ({"anchors": np.zeros((5, 4))}, "has outputs for .* anchors"),
        ({"input_size": (64, 64)}, "takes images of 64x48"),
        ({"input_size": (64.5, 48)}, "input_size=.* must be two positive whole numbers"),
        ({"postprocessing": "fast"}, "postprocessing='fast'"),
        ({"iou_threshold": 2.0}, "iou_threshold must lie in"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        detection_program(SSDLite(num_classes=2, **SMALL), **options)


def test_bad_output_of_a_segmenter():
    with pytest.raises(DeploymentError, match="output='scores' must be one of"):
        segmentation_program(DeepLabV3(num_classes=3, **SMALL), output="scores")

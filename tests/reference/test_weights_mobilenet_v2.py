"""The imported ImageNet classifiers against recorded answers (reference/README.md)."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mnv2
from keras_mnv2.weights import inspect, load_weights

H5 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
CHECKPOINT = "mobilenet_v2_1.0_224/mobilenet_v2_1.0_224.ckpt"


@pytest.fixture(scope="module")
def files(reference):
    return reference / "reference" / "classification"


@pytest.fixture(scope="module")
def expected(files):
    return np.load(files / "expected.npz")


@pytest.fixture(scope="module")
def from_h5(files):
    return keras_mnv2.MobileNetV2(weights=files / H5)


@pytest.fixture(scope="module")
def from_checkpoint(files):
    return keras_mnv2.MobileNetV2(weights=files / CHECKPOINT)


def test_inspection(files):
    slim, applications = inspect(files / CHECKPOINT), inspect(files / H5)
    assert (slim.classes, slim.outputs, slim.background_class) == (1000, 1001, 0)
    assert (applications.classes, applications.outputs) == (1000, 1000)
    for info in (slim, applications):
        assert (info.family, info.alpha, info.divisor) == ("MobileNetV2", 1.0, 8)
        assert info.input_size == (224, 224)


def test_probabilities(from_h5, from_checkpoint, expected):
    images = expected["images"] / np.float32(127.5) - 1
    for model in (from_h5, from_checkpoint):
        found = model.predict(images, verbose=0)
        np.testing.assert_allclose(found, expected["probabilities"], atol=1e-4)


def test_both_files_hold_the_same_network(from_h5, from_checkpoint):
    for here, there in zip(from_h5.weights, from_checkpoint.weights, strict=True):
        np.testing.assert_array_equal(here.numpy(), there.numpy(), err_msg=here.path)


def test_top_5_of_all_images(from_h5, expected, reference):
    found = []
    for file in expected["files"]:
        path = reference / "data" / "imagenet_mini" / str(file)
        image = tf.io.decode_jpeg(tf.io.read_file(str(path)), channels=3)
        image = tf.image.resize(tf.image.central_crop(image, 0.875), (224, 224))
        found.append(np.round(image.numpy()) / np.float32(127.5) - 1)
    probabilities = from_h5.predict(np.stack(found), batch_size=25, verbose=0)
    top5 = np.argsort(-probabilities, axis=-1)[:, :5]
    assert len(top5) == 250
    np.testing.assert_array_equal(top5, expected["top5"])


def test_without_top(files, from_h5, expected):
    backbone = keras_mnv2.MobileNetV2(include_top=False, pooling="avg", weights=files / CHECKPOINT)
    images = expected["images"][:2] / np.float32(127.5) - 1
    pooled = keras.Model(from_h5.input, from_h5.get_layer("predictions").input)
    np.testing.assert_allclose(
        backbone.predict(images, verbose=0), pooled.predict(images, verbose=0), atol=1e-5
    )


def test_ten_classes(files, from_h5):
    model = keras_mnv2.MobileNetV2(classes=10)
    before = [weight.numpy() for weight in model.get_layer("predictions").weights]
    report = load_weights(model, files / H5)
    assert report.skipped == ("predictions/kernel", "predictions/bias")
    for here, there in zip(model.get_layer("predictions").weights, before, strict=True):
        np.testing.assert_array_equal(here.numpy(), there)
    for here, there in zip(model.weights[:-2], from_h5.weights[:-2], strict=True):
        np.testing.assert_array_equal(here.numpy(), there.numpy())

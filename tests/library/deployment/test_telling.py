"""Images that make the answers differ, without which any file would agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.deployment.description import PRECISIONS, DeploymentError
from keras_mnv2.deployment.sample_pictures import sample_images
from keras_mnv2.deployment.telling import difference, made_up_images, with_telling_ones
from keras_mnv2.deployment.verification import verify


def leaning(program, logit, gain=1.0):
    """The program with a network of one layer that leans to class 0, as trained ones to background.

    Quick, and no less sensitive to its images than a trained network.
    """
    height, width = program.description.input_size
    kernel = np.random.default_rng(2).normal(size=(8, 8, 3, 3)).astype("float32")

    def network(images, training):
        logits = gain * tf.nn.conv2d(images / 255 - 0.5, kernel, 4, "SAME")
        logits += tf.one_hot(0, 3, on_value=logit)
        return tf.image.resize(logits, (height, width))

    return dataclasses.replace(program, network=network)


@pytest.fixture(scope="module")
def segmenter(programs):
    """With three classes; of pictures that nobody took it says class 0."""
    segmenter = leaning(programs["class_map"], 20.0)
    images = sample_images(segmenter.description.input_size)
    assert not segmenter.predict(images)["class_map"].any()
    return segmenter


def background(images):
    return {"class_map": np.zeros(images.shape[:3], np.uint8)}


def test_made_up_images_provoke_several_classes(segmenter):
    images = made_up_images(segmenter)
    outputs = segmenter.predict(images)
    assert images.dtype == np.uint8 and len(images) == 2
    assert len(np.unique(outputs["class_map"])) > 1
    assert difference(segmenter, images, outputs) >= 0.25
    np.testing.assert_array_equal(images, made_up_images(segmenter))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_of_background_alone_is_refused(precision, segmenter):
    description = dataclasses.replace(segmenter.description, precision=precision)
    photos = sample_images(description.input_size, 3)
    for images in (None, photos):
        with pytest.raises(DeploymentError, match="does not give the answers"):
            verify(segmenter, background, description, images)
        assert verify(segmenter, segmenter.predict, description, images) == (1, True)


def test_photos_with_much_background_are_no_excuse(programs):
    """Half of the pixels would be enough in 8 bits, and the background alone is as many."""
    program = programs["class_map"]
    maps = np.zeros((1, *program.description.input_size), np.uint8)
    maps[:, :20] = 1
    known = dataclasses.replace(
        program, network=lambda *_, **__: None, finish=lambda _: {"class_map": tf.constant(maps)}
    )
    description = dataclasses.replace(program.description, precision="int8")
    photos = sample_images(description.input_size, 1)
    assert np.mean(maps == 0) > 0.75
    with pytest.raises(DeploymentError, match=r"agreement 0\.79.* expected is 0\.845"):
        verify(known, background, description, photos)
    nearly = np.where(np.arange(97)[:, None] < 8, 0, maps)
    assert verify(known, lambda _: {"class_map": nearly}, description, photos).is_telling


def test_photos_on_which_all_is_background_are_followed_by_made_up_images(segmenter, programs):
    photos = sample_images(segmenter.description.input_size, 3)
    images = with_telling_ones(segmenter, photos)
    np.testing.assert_array_equal(images[:3], photos)
    np.testing.assert_array_equal(images[3:], made_up_images(segmenter))
    assert with_telling_ones(segmenter, images) is images
    assert with_telling_ones(programs["nms"], photos) is photos


def test_a_network_that_says_the_same_of_all_pixels(programs):
    """Of one that cannot tell pixels apart, any constant file is right."""
    images = sample_images(programs["class_map"].description.input_size)
    flat = leaning(programs["class_map"], 1.0, gain=0.0)
    assert verify(flat, flat.predict, flat.description) == (1, False)
    np.testing.assert_array_equal(made_up_images(flat), images)
    # Of one that could, photos have to show it.
    certain = leaning(programs["class_map"], 5000.0)
    with pytest.raises(DeploymentError, match=r"give photos .*--compare-images"):
        verify(certain, certain.predict, certain.description)
    assert verify(certain, certain.predict, certain.description, images) == (1, False)


def test_a_classifier_that_is_sure_is_provoked(programs):
    program = programs["classification"]

    kernel = np.random.default_rng(2).normal(size=(64 * 96 * 3, 3)).astype("float32") / 10

    def network(images, training):
        logits = tf.reshape(images / 255 - 0.5, [len(images), -1]) @ kernel
        return tf.nn.softmax(logits + tf.one_hot(1, 3, on_value=50.0))

    sure = dataclasses.replace(program, network=network)
    images = sample_images(program.description.input_size)
    assert difference(sure, images, sure.predict(images)) < 0.1
    images = made_up_images(sure)
    assert difference(sure, images, sure.predict(images)) >= 0.25

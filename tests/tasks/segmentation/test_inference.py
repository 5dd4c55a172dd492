from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_mnv2
from keras_mnv2.segmentation import with_output_stride
from tasks.segmentation.inference import at_original_size, make_predictor, segment


@pytest.fixture(scope="module")
def images():
    """Two pictures with large structures."""
    coarse = np.random.default_rng(0).integers(256, size=(2, 5, 4, 3))
    return tf.image.resize(coarse, (65, 49)).numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def model(images):
    """A narrow network of fixed size whose class maps have several regions."""
    keras.utils.set_random_seed(0)
    model = keras_mnv2.DeepLabV3(5, (65, 49, 3), alpha=0.2, aspp_filters=8, bn_momentum=0.0)
    model(images, training=True)  # takes over the statistics of these images
    kernel = np.random.default_rng(0).normal(size=(1, 1, 8, 5))
    model.get_layer("logits").set_weights([kernel, np.zeros(5)])
    return model


def resized(x, height, width):
    return tf.raw_ops.ResizeBilinear(
        images=tf.cast(x, tf.float32), size=[height, width], align_corners=True
    )


def assert_highest(class_maps, scores):
    """Exactly, but for the few pixels that the rounding of a graph could decide."""
    second, first = np.moveaxis(np.sort(scores, axis=-1)[..., -2:], -1, 0)
    is_clear = first - second > 1e-3
    assert is_clear.mean() > 0.98
    np.testing.assert_array_equal(class_maps.numpy()[is_clear], scores.argmax(-1)[is_clear])


def test_a_single_scale_is_the_class_of_the_highest_logit(model, images):
    class_maps = make_predictor(model)(images)
    assert class_maps.dtype == tf.uint8
    logits = model(images, training=False).numpy()
    assert_highest(class_maps, logits)
    assert len(np.unique(class_maps)) > 1
    assert_highest(make_predictor(model)(images[:1]), logits[:1])


@pytest.mark.parametrize(
    ("scales", "flip", "sizes"),
    [
        ((1.0,), True, [(65, 49)]),
        ((0.5,), False, [(33, 25)]),
        ((0.75, 1, 1.3), True, [(49, 37), (65, 49), (84, 63)]),
    ],
)
def test_several_versions_are_averaged_after_the_softmax(model, images, scales, flip, sizes):
    open_model = with_output_stride(model, input_shape=(None, None, 3))
    coarse = keras.Model(open_model.input, open_model.get_layer("logits").output)
    versions = []
    for size in sizes:
        scaled = resized(images, *size)
        versions.append(coarse(scaled, training=False))
        if flip:
            versions.append(coarse(scaled[:, :, ::-1], training=False)[:, :, ::-1])
    mean = np.mean([tf.nn.softmax(resized(x, 65, 49)).numpy() for x in versions], axis=0)
    class_maps = make_predictor(model, scales, flip)(images)
    assert_highest(class_maps, mean)
    assert (class_maps.numpy() != make_predictor(model)(images).numpy()).any()


def test_mirrored_pictures_have_mirrored_class_maps(model, images):
    predictor = make_predictor(model, (1.0, 1.5), flip=True)
    mirrored = predictor(images[:, :, ::-1]).numpy()[:, :, ::-1]
    assert (mirrored == predictor(images).numpy()).mean() > 0.995


def test_a_tie_goes_to_the_lowest_class(images):
    model = keras_mnv2.DeepLabV3(5, (65, 49, 3), alpha=0.1, aspp_filters=8)
    bias = np.array([-1, 2, 0, 2, 2], np.float32)
    model.get_layer("logits").set_weights([np.zeros((1, 1, 8, 5)), bias])
    for options in ({}, {"scales": (0.5, 1.0), "flip": True}):
        assert (make_predictor(model, **options)(images).numpy() == 1).all()


def test_an_open_model_takes_every_size(model, images):
    open_model = with_output_stride(model, input_shape=(None, None, 3))
    for predictor in (make_predictor(open_model), make_predictor(open_model, (0.5,))):
        assert predictor(images).shape == (2, 65, 49)
        assert predictor(images[:, :40, :30]).shape == (2, 40, 30)


def test_single_scale_follows_the_training(images):
    model = keras_mnv2.DeepLabV3(5, (65, 49, 3), alpha=0.1, aspp_filters=8)
    predictors = make_predictor(model), make_predictor(model, flip=True)
    for label in (2, 4):
        bias = np.eye(5)[label]
        model.get_layer("logits").set_weights([np.zeros((1, 1, 8, 5)), bias])
        for predictor in predictors:
            assert (predictor(images).numpy() == label).all()


@pytest.mark.parametrize("height_width", [(65, 49), (30, 20), (130, 98), (7, 300), (1, 1)])
def test_segment_gives_a_class_map_of_the_size_of_the_picture(height_width):
    def red_is_class_1_and_padding_2(batch):
        is_padding = batch[..., 1] == 128
        return tf.where(is_padding, np.uint8(2), tf.cast(batch[..., 0] > 127, tf.uint8))

    height, width = height_width
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :, 0] = 255
    class_map = segment(red_is_class_1_and_padding_2, image, (65, 49))
    assert class_map.dtype == np.uint8 and class_map.shape == height_width
    # No padding is left in it, and the edge is where it was, to a pixel of the network's input.
    assert set(np.unique(class_map)) <= {0, 1}
    off = (class_map != (image[..., 0] == 255)).any(axis=0).sum()
    assert off <= -(-width // 49)


def test_back_to_the_original_size_is_nearest_by_pixel_centres():
    class_map = np.array([[1, 2, 9], [3, 4, 9], [9, 9, 9]], np.uint8)
    doubled = at_original_size(class_map, (2, 2), (4, 4))
    np.testing.assert_array_equal(doubled, np.kron([[1, 2], [3, 4]], np.ones((2, 2))))
    ids = np.random.default_rng(0).integers(256, size=(13, 17), dtype=np.uint8)
    expected = np.array(Image.fromarray(ids).resize((29, 41), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(at_original_size(ids, np.array([13, 17]), (41, 29)), expected)


def test_refuses_bad_scales_and_too_many_classes(model):
    for scales in ((), (0.0, 1.0), (-1.0,), (float("nan"),), (float("inf"),)):
        with pytest.raises(ValueError, match="scales="):
            make_predictor(model, scales)
    many = keras_mnv2.DeepLabV3(256, (33, 33, 3), alpha=0.1, aspp_filters=8)
    with pytest.raises(ValueError, match="256 classes"):
        make_predictor(many)

"""Suppression by LiteRT's builtin operations against `DetectionPostprocessing`."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.deployment.description import Description
from keras_mnv2.deployment.litert.postprocessing import builtin_nms, custom_op
from keras_mnv2.detection import DetectionPostprocessing, feature_grid_sizes, ssd_anchors

litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="the runtime is absent: pip install ai-edge-litert"
)

ANCHORS = ssd_anchors(feature_grid_sizes((160, 96)), (160, 96))
OPTIONS = {
    "scale_factors": (10.0, 10.0, 5.0, 5.0),
    "score_threshold": 1e-8,
    "iou_threshold": 0.6,
    "max_detections": 100,
    "max_detections_per_class": 100,
}


def raw_outputs(classes: int, seed: int = 0, anchors: int = len(ANCHORS)) -> dict[str, np.ndarray]:
    """For one image; many boxes lie partly or wholly outside of it."""
    random = np.random.default_rng(seed)
    codes = random.normal(0, 6, (1, anchors, 4)).astype(np.float32)
    logits = random.normal(-2, 3, (1, anchors, 1 + classes)).astype(np.float32)
    return {"box_encodings": codes, "class_logits": logits}


def expected_detections(raw, anchors, options) -> dict[str, np.ndarray]:
    layer = DetectionPostprocessing(anchors, **options)
    return {name: value.numpy() for name, value in layer(raw).items()}


def described(anchors, options) -> Description:
    return Description(
        task="detection", input_size=(160, 96), outputs={}, anchors=anchors, **options
    )


def in_litert(finish, raw, anchors, options, num_threads: int = 1) -> dict[str, np.ndarray]:
    description = described(anchors, options)

    @tf.function(autograph=False)
    def run(box_encodings, class_logits):
        outputs = {"box_encodings": box_encodings, "class_logits": class_logits}
        return finish(outputs, description)

    function = run.get_concrete_function(
        *(tf.TensorSpec(value.shape, value.dtype, name) for name, value in raw.items())
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.allow_custom_ops = finish is custom_op
    content = converter.convert()
    interpreter = litert.Interpreter(model_content=content, num_threads=num_threads)
    return interpreter.get_signature_runner()(**raw)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("classes", [1, 2, 7, 40])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"score_threshold": 0.3, "iou_threshold": 0.3},
        {"max_detections": 7, "max_detections_per_class": 4},
        {"max_detections": 500, "max_detections_per_class": 30},
        {"score_threshold": 0.999999},
    ],
)
def test_the_same_detections(classes, changes):
    """In TensorFlow's operations of the same names, which take no conversion."""
    raw, options = raw_outputs(classes), OPTIONS | changes
    found = builtin_nms(
        {name: tf.constant(value) for name, value in raw.items()}, described(ANCHORS, options)
    )
    found = {name: value.numpy() for name, value in found.items()}
    assert_same(found, expected_detections(raw, ANCHORS, options))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_in_litert(num_threads):
    raw = raw_outputs(7)
    found = in_litert(builtin_nms, raw, ANCHORS, OPTIONS, num_threads)
    assert_same(found, expected_detections(raw, ANCHORS, OPTIONS))


def test_the_first_are_right_even_if_candidates_run_out():
    """All boxes in one place: every class has one survivor, among many candidates."""
    anchors = np.float32([[0.2, 0.2, 0.8, 0.8]] * 300)
    raw = raw_outputs(40, anchors=300)
    raw["box_encodings"][:] = 0
    found = in_litert(builtin_nms, raw, anchors, OPTIONS)
    expected = expected_detections(raw, anchors, OPTIONS)
    count = found["num_detections"][0]
    assert 20 < count <= expected["num_detections"][0] == 40
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_allclose(found[name][0, :count], expected[name][0, :count], atol=2e-6)
        assert not found[name][0, count:].any()


def test_pairs_of_equal_scores_all_take_part():
    """As those of an untrained network, or of one that says nothing of a picture."""
    raw = raw_outputs(7)
    raw["class_logits"][:] = -3
    options = OPTIONS | {"iou_threshold": 1.0, "max_detections": 500}
    found = in_litert(builtin_nms, raw, ANCHORS, options)
    assert found["num_detections"] == [500]
    np.testing.assert_allclose(found["scores"], tf.sigmoid(np.float32(-3)), rtol=1e-6)


def test_one_object_does_not_crowd_out_the_others():
    """Even if few detections are asked for, and one object has most of the best anchors."""
    anchors = np.float32([[0.1, 0.1, 0.6, 0.6]] * 400 + [[0.7, 0.7, 0.9, 0.9]])
    raw = raw_outputs(1, anchors=401)
    raw["box_encodings"][:] = 0
    raw["class_logits"][0, :, 1] = 2 - np.arange(401) / 401
    options = OPTIONS | {"max_detections": 2}
    expected = expected_detections(raw, anchors, options)
    assert expected["num_detections"] == [2]
    assert_same(in_litert(builtin_nms, raw, anchors, options), expected)


def test_boxes_that_overlap_by_just_the_threshold_stay():
    anchors = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.25, 1]])
    raw = {
        "box_encodings": np.zeros((1, 3, 4), np.float32),
        "class_logits": np.float32([[[0, 3], [0, 2], [0, 1]]]),
    }
    options = OPTIONS | {"iou_threshold": 0.5, "max_detections": 3}
    expected = expected_detections(raw, anchors, options)
    assert expected["num_detections"] == [3]
    assert_same(in_litert(builtin_nms, raw, anchors, options), expected)


def test_the_custom_operation():
    raw = raw_outputs(7)
    # Inside of the image, where it does the same.
    raw["box_encodings"] /= 20
    anchors = 0.25 + 0.5 * ANCHORS
    found = in_litert(custom_op, raw, anchors, OPTIONS)
    expected = expected_detections(raw, anchors, OPTIONS)
    assert_same(found, {name: expected[name].astype(np.float32) for name in found})

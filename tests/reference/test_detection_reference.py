"""Parity of anchors, box decoding and post-processing with the original frozen SSDLite graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_mnv2.detection.anchors import feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.box_coder import decode, encode
from keras_mnv2.detection.postprocessing import DetectionPostprocessing

KINDS = ["per_class", "class_agnostic"]


@pytest.fixture(scope="module")
def arrays(reference):
    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(reference / "reference" / "ssdlite" / f"{name}.npz") as file:
            return {key: file[key] for key in file.files if key not in ("images", "image")}

    return load


def anchors_at(side: int) -> np.ndarray:
    return ssd_anchors(feature_grid_sizes((side, side)), (side, side))


def assert_same_detections(boxes, scores, expected_boxes, expected_scores):
    """Row by row, but rows whose expected scores are ties may be exchanged."""
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5, rtol=0)
    left = list(range(len(expected_boxes)))
    for row, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        match = next(
            (
                other
                for other in left
                if abs(expected_scores[other] - score) <= 1e-6
                and np.abs(expected_boxes[other] - box).max() <= 1e-5
            ),
            None,
        )
        assert match is not None, f"row {row} has no counterpart"
        left.remove(match)


def check(inputs, expected, side=300, nms="per_class"):
    layer = DetectionPostprocessing(anchors_at(side), nms=nms)
    found = {name: ops.convert_to_numpy(value) for name, value in layer(inputs).items()}
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
    assert not found["classes"].any()
    for image in range(len(found["boxes"])):
        assert_same_detections(
            found["boxes"][image],
            found["scores"][image],
            expected["detection_boxes"][image],
            expected["detection_scores"][image],
        )


def test_anchors_are_bitwise_those_of_the_graph(arrays):
    np.testing.assert_array_equal(anchors_at(300), arrays("outputs")["anchors"])
    np.testing.assert_array_equal(anchors_at(320), arrays("outputs_320")["anchors_generated"])


@pytest.mark.parametrize("height, width", [(240, 320), (512, 256)])
def test_anchors_of_oblong_images_are_bitwise_those_of_the_graph(reference, height, width):
    frozen = reference / "reference" / "ssdlite" / "frozen_inference_graph.pb"
    graph_def = tf.compat.v1.GraphDef.FromString(frozen.read_bytes())
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(graph_def, ["Concatenate/concat"])
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        generator = "MultipleGridAnchorGenerator"
        sides = {f"{generator}/ToFloat:0": height, f"{generator}/ToFloat_1:0": width}
        expected = session.run("Concatenate/concat:0", sides)
    grids = feature_grid_sizes((300, 300))
    np.testing.assert_array_equal(ssd_anchors(grids, (height, width)), expected)


def test_decoded_boxes(arrays):
    expected = arrays("outputs")
    boxes = ops.convert_to_numpy(decode(expected["box_encodings"], anchors_at(300)))
    np.testing.assert_allclose(boxes, expected["decoded_boxes"], atol=1e-5, rtol=0)
    codes = encode(expected["decoded_boxes"], anchors_at(300))
    np.testing.assert_allclose(codes, expected["box_encodings"], atol=1e-3)


@pytest.mark.parametrize("nms", KINDS)
def test_detections_of_eight_photos(arrays, nms):
    expected = arrays("outputs")
    inputs = {name: expected[name] for name in ("box_encodings", "class_logits")}
    check(inputs, expected, nms=nms)


@pytest.mark.parametrize("nms", KINDS)
def test_detections_of_the_synthetic_image(arrays, nms):
    expected = arrays("synthetic")
    inputs = {name: expected[name] for name in ("box_encodings", "class_logits")}
    check(inputs, expected, nms=nms)


@pytest.mark.parametrize("nms", KINDS)
def test_boxes_without_area_are_dropped(arrays, nms):
    expected = {name: np.asarray(value)[None] for name, value in arrays("prune_case").items()}
    assert expected["num_detections"] == [98]
    inputs = {name: expected[name] for name in ("box_encodings", "class_logits")}
    check(inputs, expected, nms=nms)


@pytest.mark.parametrize("nms", KINDS)
def test_detections_at_320(arrays, nms):
    stored = arrays("outputs_320")
    inputs = {name: stored[name] for name in ("box_encodings", "class_logits")}
    expected = {
        name: stored[f"{name}_generated"]
        for name in ("num_detections", "detection_boxes", "detection_scores")
    }
    check(inputs, expected, side=320, nms=nms)

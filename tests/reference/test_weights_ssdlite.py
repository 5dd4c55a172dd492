"""The imported person detector against the original graph (ssdlite/README.md)."""

from __future__ import annotations

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_mnv2
from keras_mnv2.detection.postprocessing import DetectionPostprocessing
from keras_mnv2.detection.ssdlite import anchors_for, detector
from keras_mnv2.weights import inspect

PERSON = 1


@pytest.fixture(scope="module")
def files(reference):
    return reference / "reference" / "ssdlite"


@pytest.fixture(scope="module")
def graph_path(files):
    return files / "frozen_inference_graph.pb"


def imported(graph_path, height, width):
    return keras_mnv2.SSDLite(1, (height, width, 3), weights=graph_path)


@pytest.fixture(scope="module")
def model(graph_path):
    return imported(graph_path, 300, 300)


@pytest.fixture(scope="module")
def original(graph_path):
    """Function from fetches and feeds, both by tensor name, to arrays of the original graph."""
    graph_def = tf.compat.v1.GraphDef.FromString(graph_path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    session = tf.compat.v1.Session(graph=graph)
    yield session.run
    session.close()


def assert_same_detections(found: dict, boxes, scores, count) -> None:
    """Boxes and scores within 1e-5, in the same order but for swaps of equal scores."""
    assert int(found["num_detections"]) == int(count)
    count = int(count)
    np.testing.assert_allclose(found["scores"][:count], scores[:count], atol=1e-5)
    assert not found["scores"][count:].any() and not found["boxes"][count:].any()
    for rank in range(count):
        ties = np.abs(scores[:count] - scores[rank]) <= 1e-5
        distance = np.abs(found["boxes"][:count][ties] - boxes[rank]).max(-1)
        assert distance.min() <= 1e-5, rank


def test_inspection(graph_path):
    info = inspect(graph_path)
    assert (info.family, info.alpha, info.divisor, info.classes) == ("SSDLite", 1.0, 8, 1)
    assert info.input_size == (300, 300) and info.parameters == 3_095_878


def test_features(model, files):
    inputs, expected = np.load(files / "inputs.npz"), np.load(files / "features.npz")
    rows = [list(inputs["image_id"]).index(i) for i in expected["image_id"]]
    layers = ["block_13_expand_relu", "out_relu", *(f"extra_{j}_expand_relu" for j in range(2, 6))]
    features = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    found = features.predict(inputs["images"][rows], verbose=0)
    for level, feature in enumerate(found):
        np.testing.assert_allclose(feature, expected[f"level{level}"], atol=1e-4)


def test_predictions_and_detections(model, files):
    images, expected = np.load(files / "inputs.npz")["images"], np.load(files / "outputs.npz")
    found = model.predict(images, verbose=0)
    np.testing.assert_allclose(found["box_encodings"], expected["box_encodings"], atol=1e-4)
    np.testing.assert_allclose(found["class_logits"], expected["class_logits"], atol=5e-4)
    np.testing.assert_array_equal(anchors_for(model), expected["anchors"])
    detections = detector(model).predict(images, verbose=0)
    for row in range(len(images)):
        assert_same_detections(
            {name: values[row] for name, values in detections.items()},
            expected["detection_boxes"][row],
            expected["detection_scores"][row],
            expected["num_detections"][row],
        )


def test_detections_without_area_are_dropped(model, files):
    case = np.load(files / "prune_case.npz")
    layer = DetectionPostprocessing(anchors_for(model))
    outputs = {name: case[name][None] for name in ("box_encodings", "class_logits")}
    found = {name: np.array(values)[0] for name, values in layer(outputs).items()}
    assert_same_detections(
        found, case["detection_boxes"], case["detection_scores"], case["num_detections"]
    )
    assert int(found["num_detections"]) == 98


def test_synthetic_image(model, files):
    case = np.load(files / "synthetic.npz")
    i, j, c = np.ogrid[:300, :300, :3]
    rings = ((i - 150) ** 2 + (j - 150) ** 2) // (40 + 20 * c)
    image = ((i * (c + 1) + 2 * j + rings) % 256).astype("uint8")[None]
    assert hashlib.sha256(image.tobytes()).hexdigest() == str(case["image_sha256"])
    found = model.predict(image, verbose=0)
    np.testing.assert_allclose(found["box_encodings"], case["box_encodings"], atol=1e-4)
    np.testing.assert_allclose(found["class_logits"], case["class_logits"], atol=5e-4)
    detections = detector(model).predict(image, verbose=0)
    assert_same_detections(
        {name: values[0] for name, values in detections.items()},
        case["detection_boxes"][0],
        case["detection_scores"][0],
        case["num_detections"][0],
    )


def test_at_320(graph_path, files):
    expected = np.load(files / "outputs_320.npz")
    model = imported(graph_path, 320, 320)
    found = model.predict(expected["images"], verbose=0)
    np.testing.assert_allclose(found["box_encodings"], expected["box_encodings"], atol=1e-4)
    np.testing.assert_allclose(found["class_logits"], expected["class_logits"], atol=5e-4)
    np.testing.assert_allclose(anchors_for(model), expected["anchors_generated"], atol=1e-6)
    detections = detector(model).predict(expected["images"], verbose=0)
    for row in range(len(expected["images"])):
        assert_same_detections(
            {name: values[row] for name, values in detections.items()},
            expected["detection_boxes_generated"][row],
            expected["detection_scores_generated"][row],
            expected["num_detections_generated"][row],
        )


def test_at_256_by_352(graph_path, files, original):
    image = tf.image.resize(np.load(files / "inputs.npz")["images"][:2], (256, 352)).numpy()
    fetches = {"box_encodings": "Squeeze:0", "class_logits": "concat_1:0"}
    expected = original(fetches, {"Preprocessor/sub:0": image * np.float32(2 / 255) - 1})
    found = imported(graph_path, 256, 352).predict(image, verbose=0)
    np.testing.assert_allclose(found["box_encodings"], expected["box_encodings"], atol=1e-4)
    np.testing.assert_allclose(found["class_logits"], expected["class_logits"], atol=5e-4)


def coco_mini_persons(folder):
    """All photos of both splits, and one COCO data set of their persons."""
    photos, images, annotations = {}, [], []
    for split in ("train2017", "val2017"):
        content = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
        for image in content["images"]:
            photos[image["id"]] = folder / split / image["file_name"]
            images.append(image)
        annotations += [a for a in content["annotations"] if a["category_id"] == PERSON]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    categories = [{"id": PERSON, "name": "person"}]
    return photos, {"images": images, "annotations": annotations, "categories": categories}


def coco_results(image_id, size, boxes, scores, count) -> list[dict]:
    width, height = size
    results = []
    for box, score in zip(boxes[: int(count)], scores, strict=False):
        ymin, xmin, ymax, xmax = (box * [height, width, height, width]).tolist()
        results.append(
            {
                "image_id": image_id,
                "category_id": PERSON,
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "score": float(score),
            }
        )
    return results


def average_precision(ground_truth: dict, results: list[dict]) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = ground_truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def test_average_precision_on_coco_mini(model, original, reference):
    pytest.importorskip("pycocotools")
    photos, ground_truth = coco_mini_persons(reference / "data" / "coco_mini")
    there, here = [], []
    network = detector(model)
    outputs = ("detection_boxes", "detection_scores", "num_detections")
    for image_id, path in photos.items():
        with Image.open(path) as photo:
            image = np.asarray(photo.convert("RGB"))[None]
        size = image.shape[2], image.shape[1]
        found = original([f"{name}:0" for name in outputs], {"image_tensor:0": image})
        there += coco_results(image_id, size, *(values[0] for values in found))
        # The graph's own resizing: bilinear, without the half-pixel shift of TensorFlow 2.
        resized = tf.raw_ops.ResizeBilinear(images=image, size=[300, 300])
        found = network.predict_on_batch(resized.numpy())
        values = (found[name][0] for name in ("boxes", "scores", "num_detections"))
        here += coco_results(image_id, size, *values)
    assert len(photos) == 122
    expected = average_precision(ground_truth, there)
    assert expected > 0.1
    found = average_precision(ground_truth, here)
    assert found == pytest.approx(expected, abs=0.002)

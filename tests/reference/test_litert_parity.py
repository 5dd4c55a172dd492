"""LiteRT files of the real networks against Keras, on real photos."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mnv2 import MobileNetV2, SSDLite, weights
from keras_mnv2.deployment.litert.export import export_litert
from keras_mnv2.deployment.programs import (
    Program,
    classification_program,
    detection_program,
    segmentation_program,
)
from keras_mnv2.deployment.running import load
from tasks.common.images import read_rgb

pytest.importorskip("ai_edge_litert", reason="the runtime is absent: pip install ai-edge-litert")

NUM_CLASSES = 80


def photos(files, size: tuple[int, int]) -> np.ndarray:
    """uint8 [n, *size, 3], the whole of each photo."""
    return np.stack(
        [
            np.asarray(Image.fromarray(read_rgb(file)).resize(size[::-1], Image.BILINEAR))
            for file in files
        ]
    )


def both(program: Program, path, images: np.ndarray) -> tuple[dict, dict]:
    """Outputs of the exported file and of the program."""
    export_litert(program, path, images=images[:2])
    return load(path)(images), predicted(program, images)


def predicted(program: Program, images: np.ndarray) -> dict[str, np.ndarray]:
    parts = [program.predict(images[i : i + 8]) for i in range(0, len(images), 8)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_classification(reference, tmp_path):
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    model = MobileNetV2(weights=reference / "reference" / "classification" / file)
    files = sorted((reference / "data" / "imagenet_mini" / "images").glob("*/*"))[::5]
    images = photos(files, (224, 224))
    found, expected = both(classification_program(model), tmp_path / "c.tflite", images)
    # More than one class, and sure of them.
    assert len(set(expected["probabilities"].argmax(-1))) > 30
    assert np.median(expected["probabilities"].max(-1)) > 0.5
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def person_detector(reference):
    graph = reference / "reference" / "ssdlite" / "frozen_inference_graph.pb"
    return weights.import_model(graph, input_size=(320, 320))


def with_many_classes(model: keras.Model, images: np.ndarray) -> keras.Model:
    """A detector of made-up classes which fire where the real one of persons sees structure."""
    many = SSDLite(num_classes=NUM_CLASSES, input_shape=model.input_shape[1:])
    random = np.random.default_rng(0)
    heads = {f"class_head_{level}" for level in range(6)}
    for layer in many.layers:
        if layer.weights:
            values = model.get_layer(layer.name).get_weights()
            layer.set_weights(_widened(values, random) if layer.name in heads else values)
    # Some classes are sure of themselves in one of ten photos, others never.
    best = many.predict(images, verbose=0)["class_logits"].max(axis=1)
    shift = np.quantile(best, 0.9, axis=0) - random.uniform(-1, 2, best.shape[1])
    for name in heads:
        kernel, bias = many.get_layer(name).get_weights()
        many.get_layer(name).set_weights([kernel, bias - np.tile(shift, len(bias) // len(shift))])
    return many


def _widened(values, random):
    kernel, bias = values
    kernel = kernel.reshape(kernel.shape[2], -1, 2)
    background, person = kernel[..., :1], kernel[..., 1:]
    noise = random.normal(0, person.std(), (*person.shape[:2], NUM_CLASSES))
    kernel = np.concatenate([background, 0.6 * person + 0.8 * noise], axis=-1)
    bias = bias.reshape(-1, 2)
    bias = np.concatenate([bias[:, :1], np.repeat(bias[:, 1:], NUM_CLASSES, axis=1)], axis=1)
    return [kernel.reshape(1, 1, len(kernel), -1), bias.reshape(-1)]


def different_images(found, expected) -> list[int]:
    """Images with detections that have no counterpart; rows whose scores are ties may change."""
    return [
        image
        for image, count in enumerate(expected["num_detections"])
        if found["num_detections"][image] != count or not same_rows(found, expected, image, count)
    ]


def same_rows(found, expected, image: int, count: int) -> bool:
    left = set(range(count))
    for row in range(count):
        same = [
            other
            for other in left
            if found["classes"][image, other] == expected["classes"][image, row]
            and abs(found["scores"][image, other] - expected["scores"][image, row]) < 1e-4
            and np.abs(found["boxes"][image, other] - expected["boxes"][image, row]).max() < 1e-4
        ]
        if not same:
            return False
        left.remove(same[0])
    return True


def assert_same_detections(program: Program, path, images: np.ndarray) -> dict[str, np.ndarray]:
    """A file detects what the program does, but for boxes whose scores are ties.

    Of two boxes that overlap and score the same to the seventh digit, rounding decides which one
    survives, and with it which others. Where that happens, in one image of twenty at most, the
    detections must be what the program makes of the encodings and logits of the file.

    Returns:
        The program's detections.
    """
    found, expected = both(program, path, images)
    raw = detection_program(program.network)
    given, exact = both(raw, path.with_name(f"raw_{path.name}"), images)
    for name in exact:
        np.testing.assert_allclose(given[name], exact[name], atol=1e-4, rtol=0)
    undecided = different_images(found, expected)
    assert len(undecided) <= len(images) / 20, undecided
    if undecided:
        again = program.finish({name: tf.constant(given[name][undecided]) for name in given})
        same = {name: value[undecided] for name, value in found.items()}
        assert not different_images(same, {name: value.numpy() for name, value in again.items()})
    return expected


def coco_photos(reference) -> np.ndarray:
    folder = reference / "data" / "coco_mini" / "val2017"
    return photos(sorted(folder.glob("*.jpg")), (320, 320))


def test_person_detector(reference, person_detector, tmp_path):
    images = coco_photos(reference)
    program = detection_program(person_detector, ["person"], postprocessing="nms")
    expected = assert_same_detections(program, tmp_path / "person.tflite", images)
    assert (expected["scores"][:, 0] > 0.5).sum() > 15


def test_person_detector_with_the_custom_operation(reference, person_detector, tmp_path):
    images = coco_photos(reference)[:12]
    program = detection_program(person_detector, ["person"], postprocessing="custom_op")
    expected = assert_same_detections(program, tmp_path / "person.tflite", images)
    assert expected["num_detections"].tolist() == 12 * [100]


def test_detector_of_eighty_classes(reference, person_detector, tmp_path):
    images = coco_photos(reference)[::2]
    model = with_many_classes(person_detector, images)
    program = detection_program(model, postprocessing="nms")
    expected = assert_same_detections(program, tmp_path / "many.tflite", images)
    assert len(np.unique(expected["classes"][expected["scores"] > 0.5])) > 30


def test_segmentation(reference, tmp_path):
    checkpoint = reference / "reference" / "deeplab" / "deeplabv3_mnv2_pascal" / "model.ckpt-30000"
    program = segmentation_program(weights.import_model(checkpoint))
    folder = reference / "data" / "voc_mini" / "VOCdevkit" / "VOC2012" / "JPEGImages"
    images = photos(sorted(folder.glob("*.jpg"))[::32], (513, 513))
    found, expected = both(program, tmp_path / "s.tflite", images)
    assert len(np.unique(expected["class_map"])) > 2
    same = (found["class_map"] == expected["class_map"]).mean(axis=(1, 2))
    assert same.min() >= 0.999

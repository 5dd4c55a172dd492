"""What the imported networks lose in 8 bits, judged by the evaluations of the tasks.

The representative images are others than those of the evaluation.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.deployment.litert.export import export_litert
from keras_mnv2.deployment.programs import (
    classification_program,
    detection_program,
    segmentation_program,
)
from keras_mnv2.deployment.quantization.bias_correction import channel_errors
from keras_mnv2.deployment.quantization.layer_report import layer_errors
from keras_mnv2.deployment.quantization.quantize import quantize
from keras_mnv2.deployment.running import load
from keras_mnv2.weights import import_model
from tasks.classification import data as classification_data
from tasks.classification import evaluate as classification
from tasks.classification import inference
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.images import decode, encode_upright
from tasks.detection import data as detection_data
from tasks.detection import evaluate as detection
from tasks.detection.model import make_detector
from tasks.detection.recipes import DetectionRecipe
from tasks.segmentation.geometry import fit

pytest.importorskip(
    "ai_edge_litert.interpreter", reason="the runtime is absent: pip install ai-edge-litert"
)

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"


def photos(folder, count: int) -> list[tf.Tensor]:
    """The first pictures of a folder, encoded."""
    paths = sorted(folder.glob("*.jpg"))[:count]
    assert len(paths) == count
    return [tf.constant(encode_upright(path)) for path in paths]


def test_the_classifier_loses_at_most_1_5_points(reference, tmp_path):
    folder = reference / "data" / "imagenet_mini"
    recipe = ClassificationRecipe(
        dataset="class_directory",
        validation_images=str(folder),
        validation_list=str(folder / "labels.txt"),
        class_names=str(folder / "imagenet1000_classes.txt"),
        data_dir=str(tmp_path / "data"),
    )
    program = classification_program(
        import_model(reference / "reference" / "classification" / WEIGHTS)
    )
    views = [
        classification_data.central_view(encoded, recipe)[tf.newaxis]
        for encoded in photos(reference / "data" / "coco_mini" / "train2017", 72)
    ]
    export = export_litert(
        program,
        tmp_path / "int8.tflite",
        "int8",
        input_dtype="uint8",
        representative=views,
        images=np.concatenate(views[:4]),
    )
    assert export.path.stat().st_size < 4.2e6
    source = classification_data.open_source(recipe)
    predictor = inference.make_predictor(load(export.path))
    results = classification.evaluate(predictor, source, recipe, recipe.validation_split)
    metrics = results.metrics()
    assert metrics["num_examples"] == 250
    # 0.900 and 0.988 in float, see tests/tasks/classification/test_imagenet_mini.py.
    assert metrics["top1"] >= 0.900 - 0.015
    assert metrics["top5"] >= 0.988 - 0.008


@pytest.fixture(scope="module")
def detector(reference):
    return import_model(reference / "reference" / "ssdlite" / "frozen_inference_graph.pb")


@pytest.fixture(scope="module")
def persons(reference, tmp_path_factory):
    """The recipe of coco_mini, 300x300, for persons only."""
    folder = reference / "data" / "coco_mini"
    return DetectionRecipe(
        dataset="coco_directory",
        validation_images=str(folder / "val2017"),
        validation_annotations=str(folder / "annotations" / "instances_val2017.json"),
        data_dir=str(tmp_path_factory.mktemp("coco")),
        categories=("person",),
        height=300,
        width=300,
    )


@pytest.fixture(scope="module")
def detector_views(reference, persons):
    encoded = photos(reference / "data" / "coco_mini" / "train2017", 72)
    return np.stack([detection_data.resized(decode(one), persons) for one in encoded])


def test_the_detector_loses_at_most_0_015_average_precision(
    detector, detector_views, persons, tmp_path
):
    pytest.importorskip("pycocotools")
    export = export_litert(
        detection_program(detector, ("person",), (1,)),
        tmp_path / "int8.tflite",
        "int8",
        input_dtype="uint8",
        representative=[detector_views],
        images=detector_views[:4],
    )
    source = detection_data.open_source(persons)
    found = [
        detection.evaluate(make_detector(model, persons), source, persons, "validation")[0]["AP"]
        for model in (detector, load(export.path))
    ]
    assert found[0] > 0.2
    assert found[1] >= found[0] - 0.015


def test_the_report_names_the_layer_that_bias_correction_mends(detector, detector_views):
    """The kernels of the first depthwise convolution nearly cancel, rounding shifts their sums."""
    found = quantize(detection_program(detector), [detector_views[:8]], bias_correction=False)
    uncorrected = layer_errors(found, found.images[:4])
    before, *others = sorted(uncorrected, key=lambda row: row.own_error, reverse=True)
    assert before.layer == "expanded_conv_depthwise" and before.own_error > 2
    assert all(row.own_error < 1 for row in others)
    # More than half of the variance of the error.
    assert before.own_bias**2 > 0.5 * before.own_error**2
    errors = channel_errors(found.comparing(accumulated=False), found.layers, found.images)
    corrected = dataclasses.replace(found, bias_errors=errors)
    after = {row.layer: row for row in layer_errors(corrected, found.images[:4])}
    assert after[before.layer].own_error < 0.6 * before.own_error
    # All that follows has less of an error: the class logits have half of its power, in decibels 3.
    last = next(row for row in uncorrected if row.layer == "class_head_0")
    assert after["class_head_0"].ratio > last.ratio + 3


def test_98_percent_of_the_pixels_are_the_same(reference, tmp_path):
    folder = reference / "data" / "voc_mini" / "VOCdevkit" / "VOC2012"

    def fitted(split: str, step: int) -> tuple[np.ndarray, list]:
        names = (folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        paths = [folder / "JPEGImages" / f"{name}.jpg" for name in names[::step]]
        found = [fit(decode(tf.constant(encode_upright(path))), (513, 513)) for path in paths]
        return np.stack([image for image, _ in found]), [valid.numpy() for _, valid in found]

    program = segmentation_program(
        import_model(reference / "reference" / "deeplab" / "deeplabv3_mnv2_pascal")
    )
    representative, _ = fitted("train", 4)
    export = export_litert(
        program,
        tmp_path / "int8.tflite",
        "int8",
        input_dtype="uint8",
        representative=[representative],
        images=representative[:2],
    )
    model, (images, valid) = load(export.path), fitted("val", 4)
    assert len(representative) == 14 and len(images) == 10
    equal = total = 0
    for image, (height, width) in zip(images, valid, strict=True):
        same = (
            model(image[np.newaxis])["class_map"] == program.predict(image[np.newaxis])["class_map"]
        )
        equal += same[0, :height, :width].sum()
        total += height * width
    assert equal / total >= 0.98

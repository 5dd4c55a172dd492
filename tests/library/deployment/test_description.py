"""What an exported file says of itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from keras_mnv2.deployment.description import DeploymentError, Description, sidecar_path
from keras_mnv2.detection import ssd_anchors

ANCHORS = ssd_anchors([(3, 3)] * 6)

DETECTOR = Description(
    task="detection",
    format="litert",
    precision="int8",
    input_size=[300, 320],
    input_dtype="uint8",
    label_names=["person", "naïve “cat”"],
    category_ids=[1, 17],
    outputs={"boxes": "float32 [1, 100, 4]"},
    postprocessing="nms",
    box_format="ymin, xmin, ymax, xmax, normalised",
    anchors=ANCHORS,
    scale_factors=(10.0, 10.0, 5.0, 5.0),
    score_threshold=1e-8,
    iou_threshold=0.6,
    max_detections=100,
    max_detections_per_class=100,
    source={"file": "detector.keras", "sha256": "00ff"},
    accuracy={"mAP": 0.221},
)


def test_what_is_read_is_what_was_written():
    text = DETECTOR.to_json()
    assert Description.from_json(text) == DETECTOR
    assert Description.from_json(text.encode()) == DETECTOR
    # Bit for bit, in no more digits than that takes.
    assert np.array_equal(np.float32(DETECTOR.anchors), ANCHORS)
    assert len(json.dumps(DETECTOR.anchors)) < 13 * ANCHORS.size


def test_the_text_has_a_line_a_field():
    names = [field.name for field in dataclasses.fields(Description)]
    lines = DETECTOR.to_json().splitlines()
    assert [line.split('"')[1] for line in lines[1:-1]] == names
    assert json.loads(DETECTOR.to_json())["input_size"] == [300, 320]


def test_a_program_that_is_not_exported_has_no_text():
    with pytest.raises(DeploymentError, match="format is not set"):
        dataclasses.replace(DETECTOR, format=None).to_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "pose"),
        ("format", "coreml"),
        ("precision", "int4"),
        ("input_dtype", "float64"),
        ("postprocessing", "soft"),
        ("input_size", (300,)),
        ("input_size", (300, 0)),
        ("input_size", (300, None)),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises(DeploymentError, match=f"{name}="):
        dataclasses.replace(DETECTOR, **{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-9], "is no JSON"),
        (lambda text: "[1]", "is no JSON object"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "has version 2, .* reads vers"),
        (lambda text: "{}", "has version None"),
        (lambda text: text.replace('"task"', '"duty"'), "lacks task and has the unknown duty"),
        (lambda text: text.replace('"int8"', '"int3"'), "precision='int3'"),
        (lambda text: text.replace("[1, 17]", "5"), "is damaged"),
        (lambda text: text.replace('"anchors": [', '"anchors": [[], '), "is damaged"),
    ],
)
def test_other_texts_are_refused(change, message):
    with pytest.raises(DeploymentError, match=message):
        Description.from_json(change(DETECTOR.to_json()))


def test_fields_that_came_later_may_be_missing():
    lines = DETECTOR.to_json().splitlines(keepends=True)
    older = "".join(line for line in lines if '"quantization"' not in line)
    assert older != DETECTOR.to_json() and Description.from_json(older) == DETECTOR


def test_the_place_for_people():
    assert sidecar_path("runs/detector.tflite") == Path("runs/detector.tflite.json")
    assert sidecar_path("runs/served/") == Path("runs/served.json")

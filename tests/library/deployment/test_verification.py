"""The comparison that an export must pass, and the names that files get after it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tiny_programs import make_program, random_images

from keras_mnv2.deployment.agreement import agreement
from keras_mnv2.deployment.checksum import NO_CHECKSUM, with_checksum
from keras_mnv2.deployment.description import (
    DeploymentError,
    Description,
    sidecar_path,
)
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.sample_pictures import sample_images
from keras_mnv2.deployment.staging import staged
from keras_mnv2.deployment.verification import verify

ANY = Description(task="classification", format="litert", input_size=(8, 8), outputs={})


def detections(boxes, scores, classes):
    return {
        "boxes": np.float32([boxes]),
        "scores": np.float32([scores]),
        "classes": np.int32([classes]),
        "num_detections": np.int32([np.count_nonzero(scores)]),
    }


def test_agreement_of_probabilities_is_that_of_the_worst_image():
    expected = {"probabilities": np.float32([[0.5, 0.5, 0], [1, 0, 0]])}
    found = {"probabilities": np.float32([[0.5, 0.5, 0], [0.7, 0.2, 0.1]])}
    assert agreement(ANY, expected, found) == pytest.approx(0.7)
    assert agreement(ANY, expected, expected) == 1


def test_agreement_of_class_maps_and_of_logits():
    expected = {"class_map": np.uint8([[[0, 1], [2, 3]]])}
    assert agreement(ANY, expected, {"class_map": np.uint8([[[0, 1], [2, 0]]])}) == 0.75
    expected = {"box_encodings": np.float32([[-4, 1]]), "class_logits": np.float32([[2, 1]])}
    found = {"box_encodings": np.float32([[-4, 2]]), "class_logits": np.float32([[2, 0]])}
    assert agreement(ANY, expected, found) == 0.5


@pytest.mark.parametrize("broken", ["box_encodings", "class_logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_agrees_with_nothing(broken, value):
    expected = {"box_encodings": np.float32([[-4, 1]]), "class_logits": np.float32([[2, 1]])}
    found = expected | {broken: np.float32([[1, value]])}
    assert agreement(ANY, expected, found) == 0
    assert agreement(ANY, found, found) == 0
    boxes = [[0, 0, 0.5, 0.5]]
    assert agreement(ANY, detections(boxes, [0.5], [1]), detections(boxes, [value], [1])) == 0
    probabilities = {"probabilities": np.float32([[1, 0], [0, 1]])}
    other = {"probabilities": np.float32([[1, 0], [0, value]])}
    assert agreement(ANY, probabilities, other) == 0


def test_agreement_of_detections_is_weighted_by_score():
    boxes = [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0, 0]]
    expected = detections(boxes, [0.75, 0.25, 0], [1, 0, 0])
    assert agreement(ANY, expected, expected) == 1
    for found, score in (
        (detections(boxes, [0.75, 0.25, 0], [1, 2, 0]), 0.75),
        (detections(boxes, [0.75, 0, 0], [1, 0, 0]), 1.5 / 1.75),
        (detections(boxes[::-1], [0.75, 0.25, 0], [1, 0, 0]), 0.25),
        (detections(boxes, [0.74, 0.25, 0], [1, 0, 0]), 1.0),
        (detections(boxes, [0.25, 0.25, 0], [1, 0, 0]), 1 / 3),
        (detections(boxes, [0, 0, 0], [0, 0, 0]), 0.0),
    ):
        assert agreement(ANY, expected, found) == pytest.approx(score, abs=1e-6)


def test_outputs_of_another_shape_are_an_error():
    with pytest.raises(DeploymentError, match="the exported file returns .*scores"):
        agreement(ANY, {"probabilities": np.zeros((1, 3))}, {"scores": np.zeros((1, 3))})
    with pytest.raises(DeploymentError, match=r"the exported file returns .*\(1, 4\)"):
        agreement(ANY, {"probabilities": np.zeros((1, 3))}, {"probabilities": np.zeros((1, 4))})


@pytest.fixture(scope="module")
def program():
    return make_program("nms")


def test_what_differs_from_the_program_is_refused(program):
    description = dataclasses.replace(program.description, format="litert")
    images = random_images(program)
    reached, is_telling = verify(program, program.predict, description, images)
    assert reached > 0.9999 and is_telling

    def changed(**changes):
        def run(images):
            found = program.predict(images)
            return found | {name: change(found[name]) for name, change in changes.items()}

        return run

    for run in (
        changed(classes=lambda classes: (classes + 1) % 3),
        changed(boxes=lambda boxes: boxes[..., [1, 0, 3, 2]]),
        changed(scores=lambda scores: scores / 2),
        changed(num_detections=lambda number: number // 2, scores=lambda scores: scores * 0),
    ):
        with pytest.raises(DeploymentError, match="does not give the answers"):
            verify(program, run, description, images)


def test_of_equal_scores_any_choice_will_do(program):
    """Where an untrained network scores all the same, rounding decides which boxes survive."""
    images = random_images(program)

    def flat(images, training):
        raw = program.network(images, training=training)
        return raw | {"class_logits": 0 * raw["class_logits"]}

    even = dataclasses.replace(program, network=flat)
    layer = program.finish
    config = layer.get_config() | {"anchors": layer.anchors[::-1].tolist()}
    backwards = type(layer).from_config(config)

    def run(images):
        raw = {name: value[:, ::-1] for name, value in flat(images, training=False).items()}
        return {name: value.numpy() for name, value in backwards(raw).items()}

    description = dataclasses.replace(program.description, format="litert")
    assert agreement(description, even.predict(images), run(images)) < 0.9
    assert verify(even, run, description, images).agreement > 0.9999


@pytest.mark.parametrize("count", [1, 2])
def test_what_constant_answers_prove(count):
    """A file with the same answers for all images may be one of any other such network."""
    answers = {
        "brightness": lambda x: tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)) / 9),
        "constant": lambda x: tf.fill([len(x), 3], 1 / 3),
    }
    images = sample_images((8, 8), count)
    for name, network in answers.items():
        program = Program(lambda x, training, f=network: f(x), lambda y: {"probabilities": y}, ANY)
        assert verify(program, program.predict, ANY, images) == (1, name == "brightness")
    classes = {
        "brightness": lambda x: tf.cast(x[..., 0] > 128, tf.uint8),
        "constant": lambda x: tf.zeros(x.shape[:3], tf.uint8),
    }
    maps = dataclasses.replace(ANY, task="segmentation")
    for name, network in classes.items():
        program = Program(lambda x, training, f=network: f(x), lambda y: {"class_map": y}, maps)
        assert verify(program, program.predict, maps, images) == (1, name == "brightness")


def test_detections_without_difference(program):
    images = random_images(program)
    description = dataclasses.replace(program.description, format="litert")

    def flat(images, training):
        return {k: 0 * v for k, v in program.network(images, training=training).items()}

    even = dataclasses.replace(program, network=flat)
    assert verify(even, even.predict, description, images) == (1, False)


def test_sample_images():
    images = sample_images((40, 60), count=3)
    assert images.shape == (3, 40, 60, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, sample_images((40, 60), count=3))
    assert images.std() > 30 and not np.array_equal(images[0], images[1])


def test_files_appear_whole_with_their_description(tmp_path):
    path = tmp_path / "deep" / "model.tflite"
    for content in ("first", "second"):
        with staged(path, ANY) as temporary:
            temporary.write_bytes(with_checksum(f"{content} {NO_CHECKSUM}".encode()))
            assert temporary.name == path.name and temporary != path
        assert path.read_text().startswith(content)
        assert Description.from_json(sidecar_path(path).read_text()) == ANY
    with pytest.raises(KeyError), staged(path, ANY) as temporary:
        temporary.write_text("third")
        raise KeyError
    assert path.read_text().startswith("second")
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, path.name + ".json"]


def test_a_folder_takes_no_name_of_others(tmp_path):
    description = dataclasses.replace(ANY, format="saved_model")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "a.tflite").mkdir()
    for path, kind in ((tmp_path / "photos", description), (tmp_path / "a.tflite", ANY)):
        with pytest.raises(DeploymentError, match="is a folder already"), staged(path, kind):
            pytest.fail("must not begin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tflite", "photos"]

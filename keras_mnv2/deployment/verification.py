"""Whether an exported file gives the answers of the Keras program that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.programs import Program
from keras_mnv2.detection.box_coder import decode
from keras_mnv2.detection.iou import pairwise_iou

Outputs = Mapping[str, np.ndarray]

# Least agreement that an export must reach, by task. Float files differ by rounding only. Eight
# bits are checked against gross errors: what they cost is for an evaluation on real data to say.
_LEAST = {
    "float32": {"classification": 0.9999, "segmentation": 0.999, "detection": 0.999},
    "float16": {"classification": 0.9, "segmentation": 0.9, "detection": 0.9},
    "dynamic": {"classification": 0.5, "segmentation": 0.5, "detection": 0.5},
    "int8": {"classification": 0.5, "segmentation": 0.5, "detection": 0.5},
}

# Of two detections that are taken for the same.
_LEAST_IOU = 0.8
_SCORE_DIFFERENCE = 0.05
# Between a detection of a file and the network's own score for its class.
_ROUNDING = {"float32": 2e-3, "float16": 0.05, "dynamic": 0.05, "int8": 0.05}
# Detections that score less could as well be of another class or place.
_TELLING_SCORE = 0.3
# Detections of different images that agree by less are different ones.
_TELLING_DIFFERENCE = 0.1

_PROVOKING_STEPS = 8
_PROVOKING_STEP = 4.0


class Verified(NamedTuple):
    """What a comparison of a file with its program has shown.

    Attributes:
        agreement: from 0 to 1 (equal).
        is_telling: whether the program's own answers for different images agree less than that.
            Those of a network that was never trained, or gives constants, may not; then any file
            would agree.
    """

    agreement: float
    is_telling: bool


def verify(
    program: Program,
    run: Callable[[np.ndarray], Outputs],
    description: Description,
    images: np.ndarray | None = None,
    least: float | None = None,
) -> Verified:
    """Compares an exported file with its program.

    Args:
        program: that was exported.
        run: the file, from uint8 [B, height, width, 3] to its outputs.
        description: of the file.
        images: uint8 [B, height, width, 3], best photos of the kind that the file is for; by
            default made-up ones, in which a detector finds something.
        least: agreement to be reached; by default what the precision should give.

    Returns:
        The agreement: that of `agreement`, but for detections the share that the network's own
        outputs bear out. Where scores are equal, rounding decides which boxes survive, and with
        them which others; so each detection must be one of the network's boxes with the score
        that it has for the class, and the scores must be those of the program's detections.

    Raises:
        DeploymentError: (a ValueError) if it is too low, or if nothing is detected on `images`,
            so that the comparison says nothing.
    """
    is_detector = description.postprocessing in ("nms", "custom_op")
    if images is None:
        images = made_up_images(program)
    else:
        _check_images(images, description.input_size)
    expected, found = program.predict(images), run(images)
    reached = agreement(description, expected, found)
    if is_detector:
        reached = _borne_out(program, images, expected, found, _ROUNDING[description.precision])
    if least is None:
        least = _LEAST[description.precision][description.task]
    if not reached >= least:
        raise DeploymentError(
            "the exported file does not give the answers of the Keras model: agreement "
            f"{reached:.4f} (1 is equal), expected is {least} or more. Nothing was written"
        )
    return Verified(reached, _is_telling(program, images, expected, reached))


def _is_telling(program: Program, images: np.ndarray, expected: Outputs, reached: float) -> bool:
    if len(images) > 1:
        others = {name: np.roll(value, 1, axis=0) for name, value in expected.items()}
    else:
        others = program.predict(255 - images)
    between_images = agreement(program.description, expected, others)
    if "boxes" in expected:
        # By measures that leave some room, and with which `reached` does not compare.
        return between_images < 1 - _TELLING_DIFFERENCE
    return between_images < reached


def agreement(description: Description, expected: Outputs, found: Outputs) -> float:
    """How far two results of a program agree, from 0 (nothing in common) to 1 (equal).

    - Probabilities: 1 less the total variation distance (half the sum of all differences), of
      the worst image.
    - Class maps: share of equal pixels.
    - Detections: share that have a counterpart of the same class, about the same score and box in
      the other result, weighted by score.
    - Logits and box encodings: 1 less the largest difference in units of the largest value.

    Values that are infinite or no numbers agree with nothing.

    Raises:
        DeploymentError: (a ValueError) if the outputs are not of the same names and shapes.
    """
    shapes = [{name: np.shape(value) for name, value in side.items()} for side in (expected, found)]
    if shapes[0] != shapes[1]:
        raise DeploymentError(f"the exported file returns {shapes[1]}, the program {shapes[0]}")
    # Which comparisons below would let pass.
    if not all(np.isfinite(value).all() for side in (expected, found) for value in side.values()):
        return 0.0
    if "probabilities" in expected:
        difference = np.abs(expected["probabilities"] - found["probabilities"])
        return float(1 - 0.5 * difference.sum(-1).max())
    if "class_map" in expected:
        return float(np.mean(expected["class_map"] == found["class_map"]))
    if "boxes" in expected:
        return _detection_agreement(expected, found)
    largest = [
        np.abs(expected[name] - found[name]).max() / max(np.abs(expected[name]).max(), 1e-6)
        for name in expected
    ]
    return float(1 - max(largest))


def made_up_images(program: Program) -> np.ndarray:
    """`sample_images` of a program's input size, in which a detector should find something.

    Returns:
        uint8 [2, height, width, 3].
    """
    images = sample_images(program.description.input_size)
    if program.description.postprocessing in (None, "none"):
        return images
    sees_something = program.predict(images)["scores"].max() >= _TELLING_SCORE
    return images if sees_something else _provoking(program, images)


def sample_images(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Made-up pictures, the same each time: smooth colours and sharp-edged patches.

    Returns:
        uint8 [count, *size, 3].
    """
    height, width = size
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    images = tf.image.resize(coarse, size, method="bicubic").numpy()
    for image in images:
        for _ in range(12):
            top, left = random.integers(0, height), random.integers(0, width)
            rows, columns = random.integers(1, height // 2 + 2), random.integers(1, width // 2 + 2)
            patch = image[top : top + rows, left : left + columns]
            patch[:] = 0.5 * patch + 0.5 * random.uniform(0, 255, 3)
    images += random.normal(0, 4, images.shape)
    return np.clip(images, 0, 255).round().astype("uint8")


def _provoking(program: Program, images: np.ndarray) -> np.ndarray:
    """`images`, changed until the detector is sure to see something (arXiv 1412.6572)."""
    pixels = tf.cast(images, tf.float32)
    for _ in range(_PROVOKING_STEPS):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = program.network(pixels, training=False)["class_logits"][..., 1:]
            best = tf.math.top_k(tf.reshape(logits, [len(images), -1]), 20).values
        steps = tf.sign(tape.gradient(best, pixels))
        pixels = tf.clip_by_value(pixels + _PROVOKING_STEP * steps, 0, 255)
    return pixels.numpy().round().astype("uint8")


def _detection_agreement(expected: Outputs, found: Outputs) -> float:
    matched = total = 0.0
    for here, there in ((expected, found), (found, expected)):
        for image in range(len(here["boxes"])):
            boxes, scores, classes = _detections(here, image)
            others, other_scores, other_classes = _detections(there, image)
            same = (
                (np.asarray(pairwise_iou(boxes, others)) >= _LEAST_IOU)
                & (np.abs(scores[:, None] - other_scores) <= _SCORE_DIFFERENCE)
                & (classes[:, None] == other_classes)
            )
            matched += scores[same.any(axis=1)].sum()
            total += scores.sum()
    return float(matched / total) if total else 1.0


def _check_images(images: np.ndarray, size: tuple[int, int]) -> None:
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if len(shape) != 4 or shape[1:] != (*size, 3) or not shape[0] or dtype != np.uint8:
        raise DeploymentError(
            f"images must be uint8 [B, {size[0]}, {size[1]}, 3], B at least 1, got {dtype} "
            f"{list(shape)}"
        )


def _borne_out(
    program: Program, images: np.ndarray, expected: Outputs, found: Outputs, rounding: float
) -> float:
    if not expected["num_detections"].any():
        raise DeploymentError(
            f"nothing scores more than score_threshold={program.description.score_threshold} in "
            "the images that file and model are compared on, which proves nothing: give photos of "
            "what the detector is for (images=), or a lower threshold. Nothing was written"
        )
    raw = program.network(tf.cast(images, tf.float32), training=False)
    anchors = np.asarray(program.description.anchors, np.float32)
    candidates = decode(raw["box_encodings"], anchors, program.description.scale_factors)
    candidates = np.clip(candidates, 0, 1)
    logits = raw["class_logits"].numpy()[..., 1:]
    matched = difference = total = 0.0
    for image in range(len(images)):
        boxes, scores, classes = _detections(found, image)
        in_class = tf.sigmoid(logits[image].T[classes]).numpy()
        same = (np.asarray(pairwise_iou(boxes, candidates[image])) >= _LEAST_IOU) & (
            np.abs(scores[:, None] - in_class) <= rounding
        )
        matched += scores[same.any(axis=1)].sum()
        # Best first, zero where there is none.
        wanted, given = expected["scores"][image], found["scores"][image]
        if (
            program.description.postprocessing == "custom_op"
            and 2 * len(boxes) > (wanted > 0).sum()
        ):
            # Of the boxes that it returns some are dropped, others do not take their place.
            wanted = np.where(given > 0, wanted, 0)
        difference += np.abs(wanted - given).sum()
        total += max(wanted.sum(), given.sum())
    return float(min(matched / max(found["scores"].sum(), 1e-12), 1 - difference / total))


def _detections(outputs: Outputs, image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = int(outputs["num_detections"][image])
    return tuple(outputs[name][image][:count] for name in ("boxes", "scores", "classes"))

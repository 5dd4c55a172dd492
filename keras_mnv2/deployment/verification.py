"""Whether an exported file gives the answers of the Keras program that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.agreement import LEAST_IOU, Outputs, agreement, detections
from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.telling import (
    TELLING_DIFFERENCE,
    difference,
    made_up_images,
    with_telling_ones,
)
from keras_mnv2.detection.box_coder import decode
from keras_mnv2.detection.iou import pairwise_iou

# Least agreement that an export must reach, by task. Float files differ by rounding only. Eight
# bits are checked against gross errors: what they cost is for an evaluation on real data to say.
_LEAST = {
    "float32": {"classification": 0.9999, "segmentation": 0.999, "detection": 0.999},
    "float16": {"classification": 0.9, "segmentation": 0.9, "detection": 0.9},
    "dynamic": {"classification": 0.5, "segmentation": 0.5, "detection": 0.5},
    "int8": {"classification": 0.5, "segmentation": 0.5, "detection": 0.5},
}
# Photos are background for the most part. Of the other pixels, the share that must be right.
_LEAST_OF_OTHERS = 0.25

# Between a detection of a file and the network's own score for its class.
_ROUNDING = {"float32": 2e-3, "float16": 0.05, "dynamic": 0.05, "int8": 0.05}


class Verified(NamedTuple):
    """What a comparison of a file with its program has shown.

    Attributes:
        agreement: from 0 to 1 (equal).
        is_telling: whether the program's own answers for different images (in class maps, for
            different pixels) agree less than that. Those of a network that was never trained, or
            gives constants, do not; then any file would agree.
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
            default those of `made_up_images`, which are added to photos on which the answers
            hardly differ.
        least: agreement to be reached; by default what the precision should give, and of class
            maps more than a file gets that says the most frequent class everywhere.

    Returns:
        The agreement: that of `agreement`, but for detections the share that the network's own
        outputs bear out. Where scores are equal, rounding decides which boxes survive, and with
        them which others; so each detection must be one of the network's boxes with the score
        that it has for the class, and the scores must be those of the program's detections.

    Raises:
        DeploymentError: (a ValueError) if it is too low, or if nothing is detected on `images`,
            or only one class in made-up pictures, so that the comparison says nothing.
    """
    is_detector = description.postprocessing in ("nms", "custom_op")
    if images is None:
        images = made_up_images(program)
    else:
        _check_images(images, description.input_size)
        images = with_telling_ones(program, images)
    expected, found = program.predict(images), run(images)
    reached = agreement(description, expected, found)
    if is_detector:
        reached = _borne_out(program, images, expected, found, _ROUNDING[description.precision])
    differing = difference(program, images, expected)
    if least is None:
        least = _LEAST[description.precision][description.task]
        if "class_map" in expected:
            least = max(least, 1 - (1 - _LEAST_OF_OTHERS) * differing)
    if not reached >= least:
        raise DeploymentError(
            "the exported file does not give the answers of the Keras model: agreement "
            f"{reached:.4f} (1 is equal), expected is {least:g} or more. Nothing was written"
        )
    return Verified(reached, _is_telling(expected, differing, reached))


def _is_telling(outputs: Outputs, differing: float, reached: float) -> bool:
    if "boxes" in outputs:
        # By measures that leave some room, and with which `reached` does not compare.
        return differing > TELLING_DIFFERENCE
    return 1 - differing < reached


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
        boxes, scores, classes = detections(found, image)
        in_class = tf.sigmoid(logits[image].T[classes]).numpy()
        same = (np.asarray(pairwise_iou(boxes, candidates[image])) >= LEAST_IOU) & (
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

"""How far two results of a program agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.detection.iou import pairwise_iou

Outputs = Mapping[str, np.ndarray]

# Of two detections that are taken for the same.
LEAST_IOU = 0.8
_SCORE_DIFFERENCE = 0.05


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


def detections(outputs: Outputs, image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and classes of what is found in an image."""
    count = int(outputs["num_detections"][image])
    return tuple(outputs[name][image][:count] for name in ("boxes", "scores", "classes"))


def _detection_agreement(expected: Outputs, found: Outputs) -> float:
    matched = total = 0.0
    for here, there in ((expected, found), (found, expected)):
        for image in range(len(here["boxes"])):
            boxes, scores, classes = detections(here, image)
            others, other_scores, other_classes = detections(there, image)
            same = (
                (np.asarray(pairwise_iou(boxes, others)) >= LEAST_IOU)
                & (np.abs(scores[:, None] - other_scores) <= _SCORE_DIFFERENCE)
                & (classes[:, None] == other_classes)
            )
            matched += scores[same.any(axis=1)].sum()
            total += scores.sum()
    return float(matched / total) if total else 1.0

"""How far the answers of a model and of its exported file agree, added up image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from keras_mnv2.deployment.agreement import agreement
from keras_mnv2.deployment.description import Description

# Coordinates of boxes, and scores, that count as equal.
EQUAL = 1e-4

Outputs = Mapping[str, np.ndarray]


class Comparison(Protocol):
    """What is added up of one kind of answers."""

    def add(self, expected: Outputs, found: Outputs, valid: np.ndarray | None) -> None:
        """Counts in the answers for one image, arrays [1, ...].

        Args:
            expected: of the model.
            found: of the file.
            valid: (height, width) of the picture in the image, where the rest is padding.
        """

    def figures(self) -> dict[str, str]:
        """Name -> figure, for people."""


def comparison_for(description: Description) -> Comparison:
    """What compares answers of this kind."""
    if "boxes" in description.outputs:
        return Detections(description)
    return ClassMaps() if "class_map" in description.outputs else Values()


class Values:
    """Probabilities, logits, box encodings."""

    def __init__(self):
        self._largest: dict[str, float] = defaultdict(float)
        self._same_class: list[bool] = []

    def add(self, expected: Outputs, found: Outputs, valid: np.ndarray | None) -> None:
        for name, value in expected.items():
            difference = float(np.abs(value - found[name]).max())
            # Not `max`, which would forget what is no number.
            self._largest[name] = float(np.maximum(self._largest[name], difference))
        if "probabilities" in expected:
            best = [side["probabilities"].argmax(-1) for side in (expected, found)]
            self._same_class += (best[0] == best[1]).tolist()

    def figures(self) -> dict[str, str]:
        figures = {
            f"largest difference of {name}": f"{value:.1e}" for name, value in self._largest.items()
        }
        if self._same_class:
            figures["images with the same best class"] = f"{np.mean(self._same_class):.4%}"
        return figures


class ClassMaps:
    """Classes of the pixels that are no padding."""

    def __init__(self):
        self._equal = self._total = 0
        self._worst = 1.0

    def add(self, expected: Outputs, found: Outputs, valid: np.ndarray | None) -> None:
        same = expected["class_map"] == found["class_map"]
        if valid is not None:
            same = same[:, : valid[0], : valid[1]]
        self._equal += int(same.sum())
        self._total += same.size
        self._worst = min(self._worst, float(same.mean()))

    def figures(self) -> dict[str, str]:
        return {
            "equal pixels": f"{self._equal / self._total:.5%}",
            "in the worst image": f"{self._worst:.5%}",
        }


class Detections:
    """Boxes with class and score; of equal scores any may come first."""

    def __init__(self, description: Description):
        self._description = description
        self._images: list[tuple[Outputs, Outputs]] = []

    def add(self, expected: Outputs, found: Outputs, valid: np.ndarray | None) -> None:
        self._images.append((expected, found))

    def figures(self) -> dict[str, str]:
        totals, equal, equal_images = [0, 0], 0, 0
        largest = np.zeros(2)
        for sides in self._images:
            counts = [int(side["num_detections"][0]) for side in sides]
            differences = _equal_detections(*sides)
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            equal += len(differences)
            equal_images += counts == 2 * [len(differences)]
            largest = np.max([largest, *differences], axis=0)
        share = agreement(self._description, *map(_joined, zip(*self._images, strict=True)))
        shown = [f"{value:.1e}" if equal else "-" for value in largest]
        return {
            "detections of the model, of the file": f"{totals[0]}, {totals[1]}",
            f"equal ones, class and to {EQUAL:g} box and score": f"{equal}",
            "images in which all are equal": f"{equal_images} of {len(self._images)}",
            "largest difference of boxes among equal ones": shown[0],
            "largest difference of scores among equal ones": shown[1],
            "agreement by score (IoU 0.8, score to 0.05)": f"{share:.4%}",
        }


def _joined(images: tuple[Outputs, ...]) -> Outputs:
    return {name: np.concatenate([image[name] for image in images]) for name in images[0]}


def _equal_detections(expected: Outputs, found: Outputs) -> list[np.ndarray]:
    """Largest differences (of box, of score) of each detection that both have, each used once."""
    here, there = (
        [side[name][0, : int(side["num_detections"][0])] for name in ("boxes", "scores", "classes")]
        for side in (found, expected)
    )
    differences = np.stack(
        [
            np.abs(here[0][:, None] - there[0]).max(axis=-1),
            np.abs(here[1][:, None] - there[1]),
        ],
        axis=-1,
    )
    distances = np.where(here[2][:, None] == there[2], differences.max(axis=-1), np.inf)
    pairs = []
    for row, distance in enumerate(distances):
        if not distance.size:
            break
        nearest = int(distance.argmin())
        if distance[nearest] <= EQUAL:
            pairs.append(differences[row, nearest])
            distances[:, nearest] = np.inf
    return pairs

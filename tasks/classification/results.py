"""Accuracy of a classifier over a whole data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# Below the smallest float32 probability there is no telling how wrong a classifier is.
_SMALLEST = 1e-38


@dataclasses.dataclass(frozen=True)
class Results:
    """What a classifier said of each example, in the order of the data set.

    Attributes:
        label_names: of the classifier's n classes.
        labels: int [examples], the true classes.
        best: int [examples, min(5, n)], the classes of highest probability, the highest first; of
            equal ones the lower class comes first.
        best_probability: float32 [examples], of the first of these.
        true_probability: float32 [examples], of the true class.
    """

    label_names: tuple[str, ...]
    labels: np.ndarray
    best: np.ndarray
    best_probability: np.ndarray
    true_probability: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """Cross entropy of each example, float [examples]."""
        return -np.log(np.maximum(self.true_probability, _SMALLEST))

    def confusion(self) -> np.ndarray:
        """Examples by true class (rows) and predicted class (columns), int [n, n]."""
        n = len(self.label_names)
        return np.bincount(n * self.labels + self.best[:, 0], minlength=n * n).reshape(n, n)

    def metrics(self) -> dict[str, Any]:
        """top1, top5, balanced_accuracy (mean over classes with examples), loss, num_examples.

        Also "accuracy_per_class", by name; None for a class without examples.
        """
        hits = self.best == self.labels[:, np.newaxis]
        confusion = self.confusion()
        totals = confusion.sum(axis=1)
        per_class = np.diag(confusion) / np.maximum(totals, 1)
        return {
            "top1": float(hits[:, 0].mean()),
            "top5": float(hits.any(axis=1).mean()),
            "balanced_accuracy": float(per_class[totals > 0].mean()),
            "cross_entropy": float(self.losses.mean()),
            "num_examples": len(self.labels),
            "accuracy_per_class": {
                name: float(accuracy) if total else None
                for name, accuracy, total in zip(self.label_names, per_class, totals, strict=True)
            },
        }


def collect(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], label_names: Sequence[str]
) -> Results:
    """Results of (probabilities [batch, n], labels [batch]), batch by batch."""
    rows = []
    for probabilities, labels in batches:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        each = np.arange(len(labels))
        rows.append((labels, best, probabilities[each, best[:, 0]], probabilities[each, labels]))
    return Results(tuple(label_names), *map(np.concatenate, zip(*rows, strict=True)))

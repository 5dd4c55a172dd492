"""Accuracy of a classifier over a whole data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tasks.common.workers import gather_in_order

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

    def accuracy_per_class(self) -> dict[str, float | None]:
        """Share of each class that was recognized, None for a class without examples."""
        confusion = self.confusion()
        totals = confusion.sum(axis=1)
        return {
            name: float(hits / total) if total else None
            for name, hits, total in zip(self.label_names, np.diag(confusion), totals, strict=True)
        }

    def largest_confusions(self, count: int = 10) -> list[tuple[str, str, int]]:
        """The most frequent errors first: true class, predicted class, number of examples."""
        errors = self.confusion()
        np.fill_diagonal(errors, 0)
        largest = np.argsort(-errors, axis=None, kind="stable")[:count]
        return [
            (self.label_names[true], self.label_names[predicted], int(errors[true, predicted]))
            for true, predicted in zip(*np.unravel_index(largest, errors.shape), strict=True)
            if errors[true, predicted]
        ]

    def metrics(self) -> dict[str, Any]:
        """top1, top5, balanced_accuracy (mean over classes with examples), loss, num_examples."""
        hits = self.best == self.labels[:, np.newaxis]
        per_class = [x for x in self.accuracy_per_class().values() if x is not None]
        return {
            "top1": float(hits[:, 0].mean()),
            "top5": float(hits.any(axis=1).mean()),
            "balanced_accuracy": float(np.mean(per_class)),
            "cross_entropy": float(self.losses.mean()),
            "num_examples": len(self.labels),
        }


def collect(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], label_names: Sequence[str]
) -> Results:
    """Results of (probabilities [batch, n], labels [batch]), batch by batch.

    Of workers that train together each has the batches of its share, and all get all results.
    """
    rows = []
    for probabilities, labels in batches:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        each = np.arange(len(labels))
        values = labels, best, probabilities[each, best[:, 0]], probabilities[each, labels]
        rows += zip(*values, strict=True)
    columns = zip(*gather_in_order(rows), strict=True)
    return Results(tuple(label_names), *map(np.stack, columns))

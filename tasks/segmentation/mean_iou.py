"""Mean intersection over union of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.datasets.masks import VOID


class ConfusionMatrix:
    """Counts, over all images, how many pixels of each class were taken for which.

    One matrix over the whole data set, as PASCAL VOC defines its score: not the mean of the
    scores of single images. Memory does not grow with the number of images. Pixels whose ground
    truth is void (255) do not count, whatever was predicted there.

    Attributes:
        label_names: name of each class; the position is the class id.
        matrix: int64 [K, K], rows ground truth, columns prediction, pixels.

    Args:
        label_names: unique, 1 to 255 of them.

    Raises:
        ValueError: if there are none, too many, or the same name twice.
    """

    def __init__(self, label_names: Sequence[str]):
        self.label_names = list(label_names)
        if not 1 <= len(self.label_names) <= VOID:
            raise ValueError(
                f"{len(self.label_names)} label names: a mask has room for 1 to {VOID} classes, "
                f"{VOID} being void"
            )
        repeated = sorted({n for n in self.label_names if self.label_names.count(n) > 1})
        if repeated:
            raise ValueError(f"label names must be unique, but these are repeated: {repeated}")
        self.matrix = np.zeros([len(self.label_names)] * 2, np.int64)

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image.

        Args:
            truth: uint8 [h, w], class ids 0..K-1 and 255 for void.
            prediction: integers [h, w], class ids 0..K-1.

        Raises:
            ValueError: for other types or values, or shapes that differ; nothing is added then.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        if truth.dtype != np.uint8 or truth.ndim != 2 or prediction.dtype.kind not in "iu":
            raise ValueError(
                f"ground truth {truth.dtype} {list(truth.shape)}, prediction {prediction.dtype} "
                f"{list(prediction.shape)}: expected uint8 [height, width] and integers"
            )
        if truth.shape != prediction.shape:
            raise ValueError(
                f"ground truth is {truth.shape[0]} x {truth.shape[1]}, the prediction has shape "
                f"{list(prediction.shape)}: compare at the original size of the image"
            )
        classes = len(self.label_names)
        valid = truth != VOID
        truth = truth[valid].astype(np.int64)
        _check_range("ground truth", truth, classes, f", or {VOID} for void")
        _check_range("prediction", prediction, classes, "")
        pairs = truth * classes + prediction[valid].astype(np.int64)
        self.matrix += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def metrics(self) -> dict[str, Any]:
        """Figures over all images that were added, fractions in 0..1.

        Of a class c let tp be the pixels of c that were taken for c, truth the pixels of c, and
        predicted the pixels taken for c. A class is present if truth > 0.

        Returns:
            "mIOU": mean of IoU = tp / (truth + predicted - tp) over the classes present.
            "mIOU_present_or_predicted": the mean over classes present or predicted anywhere; one
                that is predicted although absent counts as 0. Never more than "mIOU".
            "pixel_accuracy": sum of tp / sum of truth, over all classes.
            "mean_accuracy": mean of tp / truth over the classes present.
            "IoU_per_class": dict from label name to IoU, None if neither present nor predicted.
            "classes_present", "classes_present_or_predicted": how many the means are over.

        Raises:
            ValueError: if no pixel counted.
        """
        hits, truth, predicted = self.matrix.diagonal(), self.matrix.sum(1), self.matrix.sum(0)
        if not truth.any():
            raise ValueError(
                f"no pixel to measure: no image was added, or all their pixels are void ({VOID}); "
                "use a split that has annotations"
            )
        union = truth + predicted - hits
        present, seen = truth > 0, union > 0
        iou = hits / np.maximum(union, 1)
        return {
            "mIOU": float(iou[present].mean()),
            "mIOU_present_or_predicted": float(iou[seen].mean()),
            "pixel_accuracy": float(hits.sum() / truth.sum()),
            "mean_accuracy": float((hits[present] / truth[present]).mean()),
            "IoU_per_class": {
                name: float(value) if is_seen else None
                for name, value, is_seen in zip(self.label_names, iou, seen, strict=True)
            },
            "classes_present": int(present.sum()),
            "classes_present_or_predicted": int(seen.sum()),
        }


def _check_range(what: str, values: np.ndarray, classes: int, also: str) -> None:
    if values.size and not 0 <= values.min() <= values.max() < classes:
        wrong = values[(values < 0) | (values >= classes)].flat[0]
        raise ValueError(f"{what} has class {wrong}, but classes go from 0 to {classes - 1}{also}")

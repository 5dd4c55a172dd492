"""Average precision of detections by the COCO API, and detections as COCO results.

The API is faster-coco-eval, which gives the figures of pycocotools in a fraction of the time.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

# Classes of an implementation of the API: the index of annotations, and the evaluation.
Api = tuple[type, type]

# In the order of COCOeval.stats.
METRICS = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)


class CocoEvaluator:
    """Collects ground truth and detections, and lets the COCO API evaluate them.

    Both may come in any order, also interleaved; every image of the ground truth counts, with
    detections or without. Only boxes are kept, no images.

    Args:
        category_ids: id in the COCO files of each label, for example 1..90 with holes.
        label_names: name of each label; unique.

    Raises:
        ValueError: where the two do not describe the same labels.
    """

    def __init__(self, category_ids: Sequence[int], label_names: Sequence[str]):
        if len(category_ids) != len(label_names):
            raise ValueError(
                f"category_ids ({len(category_ids)}) and label_names ({len(label_names)}) must "
                "have one entry for each label"
            )
        for what, values in (("category_ids", category_ids), ("label_names", label_names)):
            repeated = sorted({str(v) for v in values if list(values).count(v) > 1})
            if repeated:
                raise ValueError(f"{what} must be unique, but these are repeated: {repeated}")
        self.category_ids = np.array(category_ids, np.int64)
        self.label_names = list(label_names)
        self._sizes: dict[int, tuple[int, int]] = {}
        self._ground_truth: dict[int, tuple[np.ndarray, ...]] = {}
        self._detections: dict[int, tuple[np.ndarray, ...]] = {}

    def add_ground_truth(
        self,
        image_id: int,
        height: int,
        width: int,
        boxes: np.ndarray,
        labels: np.ndarray,
        areas: np.ndarray,
        is_crowd: np.ndarray,
    ) -> None:
        """Adds the objects of one image.

        Args:
            image_id: integer, unique in the set.
            height, width: of the original image, pixels.
            boxes: float [n, 4], normalised [ymin, xmin, ymax, xmax]; n may be 0.
            labels: int [n], 0-based.
            areas: float [n], pixels^2 of the original image; decide on small, medium and large.
            is_crowd: bool [n].

        Raises:
            ValueError: if the image was added before, a value is not finite or a label is out
                of range.
        """
        image_id = int(image_id)
        if image_id in self._sizes:
            raise ValueError(
                f"ground truth of image {image_id} was added before: "
                "evaluate each image once, do not repeat the data set"
            )
        boxes, labels = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(labels, np.int64)
        self._check(image_id, boxes, labels)
        self._sizes[image_id] = (int(height), int(width))
        self._ground_truth[image_id] = (
            boxes,
            labels,
            np.asarray(areas, np.float64),
            np.asarray(is_crowd, bool),
        )

    def add_detections(
        self,
        image_ids: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        num_detections: np.ndarray,
    ) -> None:
        """Adds the detections of a batch of images.

        Args:
            image_ids: int [batch].
            boxes: float [batch, max, 4], normalised [ymin, xmin, ymax, xmax].
            scores: float [batch, max].
            classes: int [batch, max], labels, 0-based.
            num_detections: int [batch], how many of each row are meant; the rest is padding.

        Raises:
            ValueError: if an image was added before, a value is not finite or a class is out of
                range.
        """
        rows = (np.asarray(x) for x in (image_ids, boxes, scores, classes, num_detections))
        for image_id, box, score, label, count in zip(*rows, strict=True):
            image_id = int(image_id)
            if image_id in self._detections:
                raise ValueError(
                    f"detections of image {image_id} were added before: "
                    "evaluate each image once, do not repeat the data set"
                )
            box, score = box[:count].astype(np.float64), score[:count].astype(np.float64)
            label = label[:count].astype(np.int64)
            self._check(image_id, box, label)
            if not np.isfinite(score).all():
                raise ValueError(f"image {image_id} has a score that is not finite")
            self._detections[image_id] = (box, label, score)

    def _check(self, image_id: int, boxes: np.ndarray, labels: np.ndarray) -> None:
        if boxes.shape != (len(labels), 4):
            raise ValueError(
                f"image {image_id} has boxes of shape {list(boxes.shape)} for {len(labels)} labels"
            )
        if not np.isfinite(boxes).all():
            raise ValueError(f"image {image_id} has a box that is not finite")
        wrong = labels[(labels < 0) | (labels >= len(self.label_names))]
        if wrong.size:
            raise ValueError(
                f"image {image_id} has label {wrong[0]}, but labels go from 0 to "
                f"{len(self.label_names) - 1} (0-based, without background)"
            )

    def annotations(self) -> list[dict[str, Any]]:
        """All ground truth as the annotations of a COCO file, without their ids."""
        return [
            {
                "image_id": image_id,
                "category_id": int(self.category_ids[label]),
                "bbox": bbox,
                "area": float(area),
                "iscrowd": int(crowd),
            }
            for image_id, (boxes, *fields) in self._ground_truth.items()
            for bbox, label, area, crowd in zip(
                pixel_boxes(boxes, self._sizes[image_id]), *fields, strict=True
            )
        ]

    def results(self) -> list[dict[str, Any]]:
        """All detections in the COCO results format, boxes [x, y, width, height] in pixels.

        Raises:
            ValueError: if there are detections for an image without ground truth.
        """
        unknown = [image_id for image_id in self._detections if image_id not in self._sizes]
        if unknown:
            raise ValueError(
                f"detections for {len(unknown)} images that have no ground truth, "
                f"first: image {unknown[0]}; add_ground_truth of every image, also of empty ones"
            )
        return [
            result
            for image_id, detections in self._detections.items()
            for result in coco_results(
                image_id, self._sizes[image_id], *detections, self.category_ids
            )
        ]

    def evaluate(self, api: Api = (COCO, COCOeval_faster)) -> dict[str, Any]:
        """Runs the COCO API.

        Args:
            api: COCO and COCOeval of another implementation, such as pycocotools.

        Returns:
            The twelve figures of COCO by the names in `METRICS`, fractions in 0..1 (as in the API,
            -1 for a size of which the set has no object), and `AP_per_class`, a dict from label
            name to AP, None for a class without ground truth.

        Raises:
            ValueError: if there is no ground truth, or detections of an unknown image.
        """
        annotations = self.annotations()
        if all(annotation["iscrowd"] for annotation in annotations):
            raise ValueError(
                f"no ground truth in the {len(self._sizes)} images added (crowd regions do not "
                "count), so there is no average precision; use a split that has annotations"
            )
        detections = self.results()
        for detection in detections:
            detection["area"] = detection["bbox"][2] * detection["bbox"][3]
        make_index, make_evaluation = api
        truth, found = make_index(), make_index()
        # pycocotools tells on the console how far it is.
        with contextlib.redirect_stdout(io.StringIO()):
            self._fill(truth, annotations)
            self._fill(found, detections)
            coco_eval = make_evaluation(truth, found, "bbox")
            coco_eval.evaluate()
            coco_eval.accumulate()
            coco_eval.summarize()
        metrics: dict[str, Any] = dict(zip(METRICS, coco_eval.stats.tolist(), strict=True))
        metrics["AP_per_class"] = self._ap_per_class(coco_eval)
        return metrics

    def _fill(self, coco: Any, annotations: list[dict[str, Any]]) -> None:
        """Fills an index with ground truth or detections.

        `COCO.loadRes` fails on an empty list, and gives every detection a polygon that takes most
        of the memory.
        """
        for number, annotation in enumerate(annotations, start=1):  # The API takes id 0 as no match
            annotation["id"] = number
        coco.dataset = {
            "images": [
                {"id": image_id, "height": height, "width": width}
                for image_id, (height, width) in self._sizes.items()
            ],
            "categories": [
                {"id": int(category_id), "name": name}
                for category_id, name in zip(self.category_ids, self.label_names, strict=True)
            ],
            "annotations": annotations,
        }
        coco.createIndex()

    def _ap_per_class(self, coco_eval: Any) -> dict[str, float | None]:
        # [IoU threshold, recall, category, area, detections per image]: all sizes, 100 detections.
        precision = coco_eval.eval["precision"][:, :, :, 0, -1]
        columns = {int(c): column for column, c in enumerate(coco_eval.params.catIds)}
        ap = {}
        for name, category_id in zip(self.label_names, self.category_ids, strict=True):
            values = precision[:, :, columns[int(category_id)]]
            values = values[values > -1]
            ap[name] = float(values.mean()) if values.size else None
        return ap


def pixel_boxes(boxes: np.ndarray, size: Sequence[int]) -> list[list[float]]:
    """Normalised [ymin, xmin, ymax, xmax] to COCO's [x, y, width, height] in pixels.

    Args:
        boxes: float [n, 4].
        size: (height, width) of the original image.
    """
    ymin, xmin, ymax, xmax = (boxes * np.tile(size, 2)).T
    return np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1).tolist()


def coco_results(
    image_id: int,
    size: Sequence[int],
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Detections of one image as COCO results, boxes [x, y, width, height] in pixels.

    Args:
        image_id: of the COCO files.
        size: (height, width) of the original image.
        boxes: float [n, 4], normalised [ymin, xmin, ymax, xmax].
        labels: int [n], 0-based.
        scores: float [n].
        category_ids: id in the COCO files of each label.
    """
    return [
        {
            "image_id": image_id,
            "category_id": int(category_ids[label]),
            "bbox": bbox,
            "score": float(score),
        }
        for bbox, label, score in zip(pixel_boxes(boxes, size), labels, scores, strict=True)
    ]

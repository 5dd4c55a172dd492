"""Pictures with boxes drawn on them: detections, ground truth, anchors.

Images are uint8 [height, width, 3] RGB, boxes float [n, 4] normalised [ymin, xmin, ymax, xmax];
boxes may reach outside the image. No function changes its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw, ImageFont

from tasks.common.pictures import Color, canvas_of, class_color, text_color


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    label_names: Sequence[str],
    min_score: float = 0.0,
) -> np.ndarray:
    """Draws boxes with class and score in per cent, the best ones on top.

    Args:
        image: uint8 [height, width, 3].
        boxes: float [n, 4]; without padding (cut to `num_detections`).
        scores: float [n], 0..1.
        classes: int [n], 0-based labels.
        label_names: name of each label.
        min_score: detections below are left out.

    Returns:
        uint8 [height, width, 3], a new array.

    Raises:
        ValueError: if the image is not uint8 [height, width, 3], a box is not finite or a class
            has no name.
    """
    scores, classes = np.asarray(scores), np.asarray(classes)
    order = np.argsort(scores, kind="stable")
    order = order[scores[order] >= min_score]
    names = [f"{_name(classes[i], label_names)} {100 * scores[i]:.0f}%" for i in order]
    return _draw_labelled(image, np.asarray(boxes)[order], classes[order], names)


def draw_ground_truth(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
    is_crowd: np.ndarray | None = None,
) -> np.ndarray:
    """Draws annotated boxes with their class, in the colours of `draw_detections`.

    Args:
        image: uint8 [height, width, 3].
        boxes: float [n, 4].
        labels: int [n], 0-based.
        label_names: name of each label.
        is_crowd: bool [n]; crowd regions say so.

    Returns:
        uint8 [height, width, 3], a new array.

    Raises:
        ValueError: if the image is not uint8 [height, width, 3], a box is not finite or a label
            has no name.
    """
    crowd = np.zeros(len(labels), bool) if is_crowd is None else np.asarray(is_crowd)
    names = [
        _name(label, label_names) + (" (crowd)" if many else "")
        for label, many in zip(labels, crowd, strict=True)
    ]
    return _draw_labelled(image, boxes, labels, names)


def draw_anchors(image: np.ndarray, boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Draws the anchors that are matched to objects (thin, yellow) and the objects (green).

    Args:
        image: uint8 [height, width, 3].
        boxes: float [n, 4], the objects.
        anchors: float [p, 4], the positive anchors.

    Returns:
        uint8 [height, width, 3], a new array.
    """
    canvas, draw = canvas_of(image)
    width = _line_width(image)
    for anchor in _pixel_boxes(anchors, image):
        draw.rectangle(anchor, outline=(255, 220, 0), width=max(1, width // 2))
    for box in _pixel_boxes(boxes, image):
        draw.rectangle(box, outline=(0, 230, 60), width=width)
    return np.array(canvas)


def _draw_labelled(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    canvas, draw = canvas_of(image)
    width = _line_width(image)
    font = ImageFont.load_default(size=max(10, round(0.024 * _mean_side(image))))
    boxes = _pixel_boxes(boxes, image)
    for box, label in zip(boxes, labels, strict=True):
        draw.rectangle(box, outline=class_color(int(label)), width=width)
    # All names after all boxes: no line runs through a name.
    for box, label, name in zip(boxes, labels, names, strict=True):
        _draw_name(draw, canvas.size, box, name, class_color(int(label)), font)
    return np.array(canvas)


def _draw_name(
    draw: ImageDraw.ImageDraw,
    canvas_size: tuple[int, int],
    box: tuple[int, int, int, int],
    name: str,
    color: Color,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Name on a plate above the box, inside it where there is no room, never outside the image."""
    pad = max(1, round(font.size / 6))
    ascent, descent = font.getmetrics()
    plate_width = round(draw.textlength(name, font=font)) + 2 * pad
    plate_height = ascent + descent + pad
    left = max(0, min(box[0], canvas_size[0] - plate_width))
    top = box[1] - plate_height if box[1] >= plate_height else box[1]
    top = max(0, min(top, canvas_size[1] - plate_height))
    draw.rectangle((left, top, left + plate_width - 1, top + plate_height - 1), fill=color)
    draw.text((left + pad, top + pad // 2), name, font=font, fill=text_color(color))


def _pixel_boxes(boxes: np.ndarray, image: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Normalised boxes to (left, top, right, bottom), the outermost pixels that they contain."""
    height, width = image.shape[:2]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("cannot draw a box whose coordinates are not finite")
    # Far outside looks like just outside, but PIL walks along every pixel of a line.
    scaled = np.clip(boxes, -1.0, 2.0) * [height, width, height, width]
    ymin, xmin, ymax, xmax = np.round(scaled).astype(int).T
    right, bottom = np.maximum(xmax - 1, xmin), np.maximum(ymax - 1, ymin)
    return [tuple(box) for box in np.stack([xmin, ymin, right, bottom], axis=-1).tolist()]


def _mean_side(image: np.ndarray) -> float:
    return float(np.sqrt(image.shape[0] * image.shape[1]))


def _line_width(image: np.ndarray) -> int:
    return max(1, round(0.004 * _mean_side(image)))


def _name(label: int, label_names: Sequence[str]) -> str:
    if not 0 <= label < len(label_names):
        raise ValueError(f"no name for label {label}: there are {len(label_names)} label names")
    return label_names[label]

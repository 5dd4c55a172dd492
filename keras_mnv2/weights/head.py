"""Class heads: which outputs of a file belong to which outputs of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_mnv2.weights.labels import COCO_CATEGORY_IDS


def matching_columns(
    family: str, file_outputs: int, model_outputs: int
) -> tuple[Sequence[int] | None, str]:
    """Columns of the file's class logits for the model's, or None where they do not correspond.

    Beside equal counts two pairs are known. slim's ImageNet networks have a background in front
    of the 1,000 classes, which keras.applications does not have. The Object Detection API numbers
    COCO classes by their category ids 1 to 90, of which ten are not in use, where COCO data sets
    have 80 contiguous labels.

    Returns:
        The columns, and a remark for people if the correspondence is not one to one.
    """
    if file_outputs == model_outputs:
        return range(file_outputs), ""
    if family == "MobileNetV2" and (file_outputs, model_outputs) == (1001, 1000):
        return range(1, 1001), "the background class of 1001 was dropped"
    if family == "SSDLite" and (file_outputs, model_outputs) == (91, 81):
        return (0, *COCO_CATEGORY_IDS), "the 80 COCO categories were taken out of ids 1 to 90"
    return None, ""


def columns_for(class_columns: Sequence[int], family: str, outputs: int) -> Sequence[int]:
    """`load_weights(class_columns=)` as columns of the logits, SSDLite's background included.

    Raises:
        ValueError: if the file has no such columns.
    """
    # SSDLite's column 0 is the background, which is always taken.
    first = 1 if family == "SSDLite" else 0
    wrong = [column for column in class_columns if not first <= column < outputs]
    if wrong or not class_columns or len(set(class_columns)) < len(class_columns):
        raise ValueError(
            f"class_columns={list(class_columns)!r} must name different columns of the file's "
            f"class logits, {first} to {outputs - 1}"
        )
    return (*range(first), *class_columns)


def take_columns(array: np.ndarray, columns: Sequence[int], outputs: int) -> np.ndarray:
    """Takes `columns` of each group of `outputs` channels in the last axis.

    SSDLite's channel is anchor * outputs + class; the other heads have one group.
    """
    groups = array.reshape(*array.shape[:-1], -1, outputs)
    taken = groups[..., list(columns)]
    return taken.reshape(*array.shape[:-1], -1)

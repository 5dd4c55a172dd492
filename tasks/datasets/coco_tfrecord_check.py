"""Checks all records of COCO TFRecords once, so that none fails in the middle of a training."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image
from tqdm.auto import tqdm

from tasks.datasets.coco_annotations import ROUNDING_PIXELS
from tasks.datasets.coco_json import Problems, is_id

_BOX_SIDES = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))
_LABEL, _AREA, _CROWD = (f"image/object/{name}" for name in ("class/label", "area", "is_crowd"))
_SCALARS = {
    "image/encoded": "bytes_list",
    "image/source_id": "bytes_list",
    "image/filename": "bytes_list",
}
_LISTS = {
    **dict.fromkeys((*_BOX_SIDES, _AREA), "float_list"),
    **dict.fromkeys((_LABEL, _CROWD), "int64_list"),
}
_FRAME_BYTES = 8 + 4 + 4  # length, its checksum and that of the record


def check_records(files: Sequence[str], category_ids: Collection[int]) -> int:
    """Reads and parses every record; of the images only the headers.

    Args:
        files: record files, see `coco_tfrecord.find_files`.
        category_ids: the known ones.

    Returns:
        The number of records.

    Raises:
        AnnotationError: with up to ten of the problems found; each names file and record.
    """
    problems, count = Problems("TFRecord files"), 0
    known = frozenset(category_ids)
    # disable=None: a bar on a terminal only.
    for name in tqdm(files, "Checking TFRecords", disable=None):
        number = size = 0
        try:
            for record in tf.data.TFRecordDataset(name).as_numpy_iterator():
                try:
                    _check_record(record, known)
                except ValueError as error:
                    remedy = "correct it and write the records again"
                    problems.add(f"{name}: record {number}: {error}; {remedy}")
                number += 1
                size += len(record) + _FRAME_BYTES
            # TensorFlow takes a file that ends within the header of a record for complete.
            if size != os.path.getsize(name):
                raise tf.errors.DataLossError(None, None, "incomplete header")
        except tf.errors.DataLossError:
            problems.add(
                f"{name}: record {number} is truncated or damaged, or this is not an uncompressed "
                "TFRecord file; write or fetch it again"
            )
        except tf.errors.OpError as error:
            problems.add(f"{name}: cannot be read ({type(error).__name__}); check path and rights")
        count += number
    problems.raise_any()
    return count


def _check_record(record: bytes, known: frozenset[int]) -> None:
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise ValueError("is not a tf.train.Example") from None
    values = {name: _values(features, name, kind) for name, kind in (_SCALARS | _LISTS).items()}
    source_id = b"".join(values["image/source_id"])
    try:
        for name in _SCALARS:
            if name in features and len(values[name]) != 1:
                raise ValueError(f"{name!r} must be one value, not {len(values[name])}")
        if source_id.isdigit() and not is_id(int(source_id)):
            raise ValueError("'image/source_id' exceeds 64 bits; number the images from 1")
        height, width = _image_size(values["image/encoded"])
        _check_objects(values, height, width, known)
    except ValueError as error:
        raise ValueError(f"(image id {source_id.decode(errors='replace')!r}) {error}") from None


def _values(features: Any, name: str, kind: str) -> Sequence:
    if name not in features:
        return ()
    found = features[name].WhichOneof("kind")
    if found not in (kind, None):
        raise ValueError(f"{name!r} must be a {kind}, not a {found}")
    return getattr(features[name], kind).value


def _image_size(encoded: Sequence[bytes]) -> tuple[int, int]:
    if not encoded or not encoded[0]:
        raise ValueError("'image/encoded' is absent or empty")
    try:
        with Image.open(io.BytesIO(encoded[0]), formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except Exception as error:  # Pillow's plugins raise errors of many types.
        reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({error})"
        raise ValueError(f"'image/encoded' is no JPEG or PNG, or damaged{reason}") from error


def _check_objects(
    values: dict[str, Sequence], height: int, width: int, known: frozenset[int]
) -> None:
    count = len(values[_LABEL])
    for name in (*_BOX_SIDES, _AREA, _CROWD):
        if len(values[name]) != count and (values[name] or name in _BOX_SIDES):
            raise ValueError(f"{name!r} has {len(values[name])} values but {_LABEL!r} has {count}")
    unknown = sorted(set(values[_LABEL]) - known)
    if unknown:
        raise ValueError(
            f"{_LABEL!r} has category ids {unknown[:10]} that are not among the categories, which "
            "are the 80 of COCO or those of the annotations JSON you give"
        )
    if not all(0 <= area < np.inf for area in values[_AREA]):
        raise ValueError(f"{_AREA!r} must be numbers >= 0, not {list(values[_AREA])[:10]}")
    if not set(values[_CROWD]) <= {0, 1}:
        raise ValueError(f"{_CROWD!r} must be 0 or 1, not {list(values[_CROWD])[:10]}")
    for box in zip(*(values[side] for side in _BOX_SIDES), strict=True):
        _check_box(box, height, width)


def _check_box(box: tuple[float, float, float, float], height: int, width: int) -> None:
    """By the rules of `coco_annotations`: no empty box, and none outside by more than rounding."""
    ymin, xmin, ymax, xmax = box
    told = f"'image/object/bbox' yxyx {[round(side, 6) for side in box]}"
    if not (ymin < ymax and xmin < xmax):  # `not`, as NaN compares false
        raise ValueError(f"{told} has no positive width and height")
    y_slack, x_slack = ROUNDING_PIXELS / height, ROUNDING_PIXELS / width
    inside = -y_slack <= ymin < 1 and -x_slack <= xmin < 1
    inside = inside and 0 < ymax <= 1 + y_slack and 0 < xmax <= 1 + x_slack
    if not inside:
        raise ValueError(
            f"{told} lies outside of [0, 1] (x in pixels / {width}, y in pixels / {height})"
        )

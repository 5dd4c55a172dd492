"""Reads COCO TFRecords as tf-models-official's `create_coco_tf_record.py` writes them.

The feature names are those of `official.vision.dataloaders.tf_example_decoder`, which decodes the
image at once; here it stays encoded until the input pipeline needs it.
"""

from __future__ import annotations

import glob
import os
import struct
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tasks.common.images import decode

_OBJECT = "image/object/"
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
    "image/filename": tf.io.FixedLenFeature((), tf.string, ""),
    "image/height": tf.io.FixedLenFeature((), tf.int64, -1),
    "image/width": tf.io.FixedLenFeature((), tf.int64, -1),
    **{
        f"{_OBJECT}bbox/{side}": tf.io.RaggedFeature(tf.float32)
        for side in ("ymin", "xmin", "ymax", "xmax")
    },
    f"{_OBJECT}class/label": tf.io.RaggedFeature(tf.int64),
    f"{_OBJECT}area": tf.io.RaggedFeature(tf.float32),
    f"{_OBJECT}is_crowd": tf.io.RaggedFeature(tf.int64),
}
_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4


def find_files(pattern: str) -> list[str]:
    """The record files of a split, sorted.

    Args:
        pattern: a path or glob pattern such as `/data/coco/train-*-of-00032.tfrecord`.

    Raises:
        ValueError: no file matches.
    """
    files = sorted(glob.glob(str(pattern)))
    if not files:
        raise ValueError(f"no TFRecord file matches {pattern!r}; check the path or the pattern")
    return files


def count_records(files: Sequence[str]) -> int:
    """Counts the records by skipping from one length field to the next, without reading them.

    Raises:
        ValueError: a file ends within a record or is no (uncompressed) TFRecord file.
    """
    count = 0
    for name in files:
        # Unbuffered: a buffer would be filled with images at each step.
        with open(name, "rb", buffering=0) as file:
            size, position = os.fstat(file.fileno()).st_size, 0
            while position < size:
                file.seek(position)
                header = file.read(_LENGTH_BYTES)
                if len(header) == _LENGTH_BYTES:
                    (length,) = struct.unpack("<Q", header)
                    position += _LENGTH_BYTES + length + 2 * _CHECKSUM_BYTES
                if len(header) < _LENGTH_BYTES or position > size:
                    raise ValueError(
                        f"{name}: truncated, or not an uncompressed TFRecord file; write it again"
                    )
                count += 1
    return count


def read_examples(
    files: Sequence[str],
    category_ids: Sequence[int],
    *,
    shuffle_files: bool = False,
    seed: int | None = None,
) -> tf.data.Dataset:
    """The records as elements of a `DetectionSource` (see there).

    Args:
        files: record files, see `find_files`.
        category_ids: category id of each label; iteration fails at a record with another one.
        shuffle_files: read the files in random order, several at a time.
        seed: makes that order reproducible.
    """
    if shuffle_files:
        names = tf.data.Dataset.from_tensor_slices(list(files)).shuffle(len(files), seed)
        records = names.interleave(
            tf.data.TFRecordDataset,
            cycle_length=16,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=seed is not None,
        )
    else:
        records = tf.data.TFRecordDataset(list(files))
    labels = np.full(max(category_ids) + 1, -1, np.int32)
    labels[list(category_ids)] = np.arange(len(category_ids))
    return records.map(
        lambda record: _parse(record, tf.constant(labels)), num_parallel_calls=tf.data.AUTOTUNE
    )


def _parse(record: tf.Tensor, label_of_category: tf.Tensor) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_single_example(record, _FEATURES)
    image = parsed["image/encoded"]
    sides = [parsed[f"{_OBJECT}bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")]
    boxes = tf.stack(sides, axis=-1)
    return {
        "image": image,
        "image_id": _image_id(parsed["image/source_id"], image),
        "filename": parsed["image/filename"],
        "boxes": boxes,
        "labels": _labels(parsed, label_of_category),
        "areas": _areas(parsed, boxes, image),
        "is_crowd": _is_crowd(parsed),
    }


def _image_id(source_id: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """The COCO image id; where a record has no number, a hash as the library's decoder takes."""
    return tf.cond(
        tf.strings.regex_full_match(source_id, "[0-9]+"),
        lambda: tf.strings.to_number(source_id, tf.int64),
        lambda: tf.strings.to_hash_bucket_fast(tf.strings.join([source_id, image]), 2**53),
    )


def _labels(parsed: dict[str, tf.Tensor], label_of_category: tf.Tensor) -> tf.Tensor:
    categories = parsed[f"{_OBJECT}class/label"]
    known = (categories >= 0) & (categories < tf.size(label_of_category, tf.int64))
    labels = tf.gather(label_of_category, tf.where(known, categories, 0))
    labels = tf.where(known, labels, -1)
    check = tf.debugging.assert_non_negative(
        labels,
        "a TFRecord has a category id that is not among the categories; give the annotations "
        "JSON from which the records were made",
        summarize=20,
    )
    with tf.control_dependencies([check]):
        return tf.identity(labels)


def _areas(parsed: dict[str, tf.Tensor], boxes: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    areas = parsed[f"{_OBJECT}area"]
    size = tf.stack([parsed["image/height"], parsed["image/width"]])

    def box_areas() -> tf.Tensor:
        known = tf.reduce_all(size > 0)
        pixels = tf.cond(known, lambda: size, lambda: tf.shape(decode(image), tf.int64)[:2])
        extent = boxes[:, 2:] - boxes[:, :2]
        return tf.reduce_prod(extent * tf.cast(pixels, tf.float32), axis=-1)

    return tf.cond(tf.size(areas) > 0, lambda: areas, box_areas)


def _is_crowd(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    crowd = tf.cast(parsed[f"{_OBJECT}is_crowd"], tf.bool)
    none = tf.zeros_like(parsed[f"{_OBJECT}class/label"], tf.bool)
    return tf.cond(tf.size(crowd) > 0, lambda: crowd, lambda: none)

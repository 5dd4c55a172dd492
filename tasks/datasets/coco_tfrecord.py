"""Reads COCO TFRecords as tf-models-official's `create_coco_tf_record.py` writes them.

The feature names are those of `official.vision.dataloaders.tf_example_decoder`, which decodes the
image at once; here it stays encoded until the input pipeline needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tasks.common.images import decoded_size

_OBJECT = "image/object/"
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
    "image/filename": tf.io.FixedLenFeature((), tf.string, ""),
    **{
        f"{_OBJECT}bbox/{side}": tf.io.RaggedFeature(tf.float32)
        for side in ("ymin", "xmin", "ymax", "xmax")
    },
    f"{_OBJECT}class/label": tf.io.RaggedFeature(tf.int64),
    f"{_OBJECT}area": tf.io.RaggedFeature(tf.float32),
    f"{_OBJECT}is_crowd": tf.io.RaggedFeature(tf.int64),
}


def find_files(pattern: str) -> list[str]:
    """The record files of a split, sorted.

    Args:
        pattern: a path or glob pattern such as `/data/coco/train-*-of-00032.tfrecord`, of any
            file system that TensorFlow reads.

    Raises:
        ValueError: no file matches.
    """
    files = sorted(tf.io.gfile.glob(str(pattern)))
    if not files:
        raise ValueError(f"no TFRecord file matches {pattern!r}; check the path or the pattern")
    return files


def read_examples(
    files: Sequence[str],
    category_ids: Sequence[int],
    *,
    shuffle_files: bool = False,
    seed: int | None = None,
) -> tf.data.Dataset:
    """The records as elements of a `DetectionSource` (see there).

    Args:
        files: record files, see `find_files`, which passed `coco_tfrecord_check.check_records`.
        category_ids: category id of each label, ascending.
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
    ids = np.array(category_ids, np.int64)
    return records.map(lambda record: _parse(record, ids), num_parallel_calls=tf.data.AUTOTUNE)


def _parse(record: tf.Tensor, category_ids: np.ndarray) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_single_example(record, _FEATURES)
    image = parsed["image/encoded"]
    sides = [parsed[f"{_OBJECT}bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")]
    # They may stick out by the rounding of an annotation tool.
    boxes = tf.clip_by_value(tf.stack(sides, axis=-1), 0.0, 1.0)
    return {
        "image": image,
        "image_id": _image_id(parsed["image/source_id"], image),
        "filename": parsed["image/filename"],
        "boxes": boxes,
        "labels": tf.searchsorted(category_ids, parsed[f"{_OBJECT}class/label"]),
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


def _areas(parsed: dict[str, tf.Tensor], boxes: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    areas = parsed[f"{_OBJECT}area"]

    def box_areas() -> tf.Tensor:
        size = tf.cast(decoded_size(image), tf.float32)
        return tf.reduce_prod((boxes[:, 2:] - boxes[:, :2]) * size, axis=-1)

    return tf.cond(tf.size(areas) > 0, lambda: areas, box_areas)


def _is_crowd(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    crowd = tf.cast(parsed[f"{_OBJECT}is_crowd"], tf.bool)
    none = tf.zeros_like(parsed[f"{_OBJECT}class/label"], tf.bool)
    return tf.cond(tf.size(crowd) > 0, lambda: crowd, lambda: none)

"""One door for all detection data sets: TFDS, COCO folders and COCO TFRecords alike."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.datasets import coco_tfrecord
from tasks.datasets import shapes as _shapes  # noqa: F401 - registers the builder
from tasks.datasets.coco_categories import COCO_CATEGORIES
from tasks.datasets.coco_directory import CocoDirectory, CocoDirectoryConfig, CocoFiles
from tasks.datasets.coco_json import check_same_categories, read_categories
from tasks.datasets.coco_tfrecord_check import check_records
from tasks.datasets.source import Source, UnknownSplit, refuse, split_counter
from tasks.datasets.tfds_builders import open_builder, prepare
from tasks.datasets.tfds_detection import check_features, read_examples, tfds_categories


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionSource(Source):
    """A detection data set, with encoded images.

    The elements of `examples` are dicts: "image": scalar string, the encoded JPEG or PNG, see
    `tasks.common.images.decode`; "image_id": int64; "filename": string; "boxes": float32 [n, 4],
    normalised yxyx; "labels": int32 [n], contiguous from 0; "areas": float32 [n], pixels;
    "is_crowd": bool [n]. Boxes without extent, of which COCO in TFDS has a few, are left out.

    Attributes:
        category_ids: one for each contiguous label; results and evaluation are in these.
    """

    category_ids: tuple[int, ...]

    def examples(
        self, split: str, *, shuffle_files: bool = False, seed: int | None = None
    ) -> tf.data.Dataset:
        examples = super().examples(split, shuffle_files=shuffle_files, seed=seed)
        return examples.map(_without_empty_boxes, num_parallel_calls=tf.data.AUTOTUNE)


def open_detection_source(
    dataset: str,
    *,
    data_dir: str | None = None,
    train_images: str | None = None,
    train_annotations: str | None = None,
    validation_images: str | None = None,
    validation_annotations: str | None = None,
    train_records: str | None = None,
    validation_records: str | None = None,
    drop_invalid_boxes: bool = False,
) -> DetectionSource:
    """Opens a data set by name and prepares it where that is due.

    Args:
        dataset: "shapes" or "shapes/CONFIG" (drawn on the spot), "coco_directory",
            "coco_tfrecord", or a TFDS detection data set such as "coco/2017".
        data_dir: where prepared data sets are kept; default as in TFDS (the environment variable
            TFDS_DATA_DIR, else ~/tensorflow_datasets).
        train_images: folder, with "coco_directory".
        train_annotations: COCO instances JSON, with "coco_directory". With "coco_tfrecord" it
            tells the categories of all splits; they are the 80 of COCO without it.
        validation_images: as `train_images`.
        validation_annotations: as `train_annotations`.
        train_records: path or pattern of TFRecord files, with "coco_tfrecord".
        validation_records: as `train_records`.
        drop_invalid_boxes: with "coco_directory", leave out boxes without extent or outside of
            their image instead of refusing the data set.

    Raises:
        ValueError: unknown data set, arguments that do not belong to it, missing or unusable
            files (`AnnotationError`).
        UnavailableError: a TFDS data set could not be downloaded and prepared.
    """
    images = {"train_images": train_images, "validation_images": validation_images}
    annotations = {
        "train_annotations": train_annotations,
        "validation_annotations": validation_annotations,
    }
    records = {"train_records": train_records, "validation_records": validation_records}
    drop = {"drop_invalid_boxes": drop_invalid_boxes}
    if dataset == "coco_directory":
        refuse(dataset, records)
        return _open_coco_directory(data_dir, **images, **annotations, **drop)
    if dataset == "coco_tfrecord":
        refuse(dataset, images | drop)
        return _open_coco_tfrecord(**records, **annotations)
    refuse(dataset, images | annotations | records | drop)
    suggestions = (
        "'shapes', 'coco_directory', 'coco_tfrecord' or the name of a TFDS detection data set "
        "such as 'coco/2017'"
    )
    return _from_builder(dataset, open_builder(dataset, data_dir, suggestions))


def _from_builder(name: str, builder: tfds.core.DatasetBuilder) -> DetectionSource:
    check_features(name, builder)
    prepare(name, builder, own_files="read COCO files you have with 'coco_directory'")
    label_names, category_ids = tfds_categories(name, builder)
    return DetectionSource(
        name=name,
        label_names=label_names,
        category_ids=category_ids,
        splits=tuple(builder.info.splits),
        count=split_counter(builder),
        read=lambda split, shuffle_files, seed: read_examples(builder, split, shuffle_files, seed),
    )


def _open_coco_directory(
    data_dir: str | None,
    *,
    train_images: str | None,
    train_annotations: str | None,
    validation_images: str | None,
    validation_annotations: str | None,
    drop_invalid_boxes: bool,
) -> DetectionSource:
    pairs = {
        "train": (train_images, train_annotations),
        "validation": (validation_images, validation_annotations),
    }
    for split, pair in pairs.items():
        if any(pair) and not all(pair):
            raise ValueError(
                f"coco_directory needs both {split}_images and {split}_annotations, or neither; "
                f"got {pair[0]!r} and {pair[1]!r}"
            )
    files = {split: CocoFiles(*map(str, pair)) for split, pair in pairs.items() if all(pair)}
    config = CocoDirectoryConfig(**files, drop_invalid_boxes=drop_invalid_boxes)
    return _from_builder("coco_directory", CocoDirectory(config=config, data_dir=data_dir))


def _open_coco_tfrecord(
    *,
    train_records: str | None,
    validation_records: str | None,
    train_annotations: str | None,
    validation_annotations: str | None,
) -> DetectionSource:
    patterns = {"train": train_records, "validation": validation_records}
    files = {
        split: coco_tfrecord.find_files(pattern) for split, pattern in patterns.items() if pattern
    }
    if not files:
        raise ValueError("coco_tfrecord needs train_records, validation_records or both")
    annotations = [path for path in (train_annotations, validation_annotations) if path]
    found = {str(path): read_categories(path) for path in annotations}
    check_same_categories(found)
    categories = next(iter(found.values()), COCO_CATEGORIES)
    category_ids = tuple(categories)

    def files_of(split: str | tuple[str, ...]) -> Sequence[str]:
        if isinstance(split, tuple):  # one of `parts`
            return split
        if split not in files:
            raise UnknownSplit("only TFDS data sets have slices such as train[:100]")
        return files[split]

    @functools.cache
    def count(split: str | tuple[str, ...]) -> int:
        return check_records(files_of(split), category_ids)

    def parts(split: str, number: int) -> list[tuple[str, ...]]:
        paths = files_of(split)
        if len(paths) < number:
            raise ValueError(
                f"split {split!r} of coco_tfrecord has {len(paths)} files, too few for {number} "
                "workers with a part each: leave out --shard-files, or write more files"
            )
        return [tuple(paths[index::number]) for index in range(number)]

    return DetectionSource(
        name="coco_tfrecord",
        label_names=tuple(categories.values()),
        category_ids=category_ids,
        splits=tuple(files),
        count=count,
        read=lambda split, shuffle_files, seed: coco_tfrecord.read_examples(
            files_of(split), category_ids, shuffle_files=shuffle_files, seed=seed
        ),
        parts=parts,
    )


def _without_empty_boxes(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    boxes = example["boxes"]
    has_extent = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    kept = {
        key: tf.boolean_mask(example[key], has_extent)
        for key in ("boxes", "labels", "areas", "is_crowd")
    }
    return example | kept

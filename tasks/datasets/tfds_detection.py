"""Reads detection data sets of TFDS in one form."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.common.images import decoded_size
from tasks.datasets.coco_categories import COCO_CATEGORY_IDS, COCO_LABEL_NAMES
from tasks.datasets.tfds_builders import read_features


def check_features(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Raises a ValueError for a data set that is not one for detection, before it is fetched."""
    features = builder.info.features
    names = set(getattr(features, "keys", tuple)())
    objects = features["objects"] if "objects" in names else None
    if "image" not in names or not {"bbox", "label"} <= set(getattr(objects, "keys", tuple)()):
        raise ValueError(
            f"TFDS data set {name!r} is not for object detection: it needs the features 'image' "
            f"and 'objects' with 'bbox' and 'label', and has {sorted(names)}"
        )


def tfds_categories(
    name: str, builder: tfds.core.DatasetBuilder
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Label names and category ids of a prepared data set: COCO's own ids, else 1, 2, 3, ..."""
    labels = builder.info.features["objects"]["label"]
    names = tuple(labels.names)
    ids = (builder.info.metadata or {}).get("category_ids")
    if ids is not None:
        return names, tuple(ids)
    if builder.name == "coco":
        if names != COCO_LABEL_NAMES:
            raise ValueError(
                f"the labels of {name!r} in {builder.data_dir} are not the 80 of COCO in their "
                "order; delete that folder and prepare the data set again"
            )
        return names, COCO_CATEGORY_IDS
    return names, tuple(range(1, len(names) + 1))


def read_examples(
    builder: tfds.core.DatasetBuilder, split: str, shuffle_files: bool, seed: int | None
) -> tf.data.Dataset:
    """A split of a prepared data set as elements of a `DetectionSource` (see there)."""
    features = builder.info.features
    wanted = {"image", "image/filename", "image/id", "objects"} & set(features)
    examples = read_features(builder, wanted, ["image"], split, shuffle_files, seed)
    return examples.map(_to_element, num_parallel_calls=tf.data.AUTOTUNE)


def _to_element(example: dict) -> dict[str, tf.Tensor]:
    objects = example["objects"]
    image, boxes = example["image"], objects["bbox"]
    if "image/id" in example:
        image_id = example["image/id"]
    else:  # the same in each run and order
        image_id = tf.strings.to_hash_bucket_fast(example["tfds_id"], 2**53)
    if "area" in objects:
        areas = tf.cast(objects["area"], tf.float32)
    else:
        size = tf.cast(decoded_size(image), tf.float32)
        areas = tf.reduce_prod((boxes[:, 2:] - boxes[:, :2]) * size, axis=-1)
    return {
        "image": image,
        "image_id": image_id,
        "filename": example.get("image/filename", example["tfds_id"]),
        "boxes": boxes,
        "labels": tf.cast(objects["label"], tf.int32),
        "areas": areas,
        "is_crowd": objects.get("is_crowd", tf.zeros_like(objects["label"], tf.bool)),
    }

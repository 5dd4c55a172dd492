"""Opens, prepares and reads detection data sets of TFDS in one form."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.common.images import decoded_size
from tasks.datasets.coco_categories import COCO_CATEGORY_IDS, COCO_LABEL_NAMES


class UnavailableError(ValueError):
    """A data set that could not be fetched; the message says why and what to do."""


def open_builder(name: str, data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    """The builder of a registered data set; nothing is downloaded.

    Raises:
        ValueError: TFDS knows no such data set, config or version.
    """
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, TypeError) as error:
        try:
            builder_class = tfds.builder_cls(re.split("[/:]", name)[0])
        except ValueError:  # its message lists all of TFDS or explains its syntax
            raise ValueError(
                f"unknown data set {name!r}; use 'shapes', 'coco_directory', 'coco_tfrecord' or "
                "the name of a TFDS detection data set such as 'coco/2017'"
            ) from None
        raise ValueError(
            f"cannot open data set {name!r}; its configs are "
            f"{sorted(builder_class.builder_configs)} and its version is {builder_class.VERSION}"
        ) from error


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


def prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Downloads and prepares the data set unless it is.

    Raises:
        UnavailableError: with the cause and what to do, e.g. without network.
    """
    if builder.is_prepared():
        return
    print(f"preparing data set {name} in {builder.data_dir}", flush=True)
    if not sys.stderr.isatty():  # a progress bar in a log file is thousands of lines
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's notes about itself
            builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError) as error:
        raise UnavailableError(
            f"data set {name!r} could not be downloaded and prepared in {builder.data_dir}: "
            f"{error}. Check the network and the free disk space, copy a prepared data set "
            "there, or read COCO files you have with 'coco_directory'"
        ) from error


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
    examples = builder.as_dataset(
        split=split,
        shuffle_files=shuffle_files,
        # Reads nothing else, such as masks, and leaves the image encoded.
        decoders=tfds.decode.PartialDecoding(
            {key: True for key in wanted}, {"image": tfds.decode.SkipDecoding()}
        ),
        # Caching is the pipeline's business.
        read_config=tfds.ReadConfig(shuffle_seed=seed, try_autocache=False, add_tfds_id=True),
    )
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

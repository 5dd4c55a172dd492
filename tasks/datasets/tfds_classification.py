"""Reads classification data sets of TFDS in one form, and `shapes` object by object."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.common.images import decode
from tasks.datasets.object_crops import square_windows
from tasks.datasets.source import split_counter
from tasks.datasets.tfds_builders import read_features

# Side of the square around an object of `shapes`: 1.25 times the longer side of its box.
CONTEXT = 0.25


def check_features(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Raises a ValueError for a data set that is not one for classification, before its fetch."""
    features = builder.info.features
    names = set(getattr(features, "keys", tuple)())
    if (
        not {"image", "label"} <= names
        or not isinstance(features["image"], tfds.features.Image)
        or not isinstance(features["label"], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"TFDS data set {name!r} is not for image classification: it needs the features "
            f"'image' (an Image) and 'label' (a ClassLabel), and has {sorted(names)}"
        )


def read_examples(
    builder: tfds.core.DatasetBuilder, split: str, shuffle_files: bool, seed: int | None
) -> tf.data.Dataset:
    """A split of a prepared data set as elements of a `ClassificationSource` (see there)."""
    file_names = {"image/filename", "file_name"} & set(builder.info.features)
    wanted = {"image", "label"} | file_names
    examples = read_features(builder, wanted, ["image"], split, shuffle_files, seed)

    def to_element(example: dict) -> dict[str, tf.Tensor]:
        label = _label(builder, split, example)
        name = next((example[key] for key in sorted(file_names)), example["tfds_id"])
        return {"image": example["image"], "label": label, "filename": name}

    return examples.map(to_element, num_parallel_calls=tf.data.AUTOTUNE)


def read_labels(builder: tfds.core.DatasetBuilder, split: str) -> tf.data.Dataset:
    """The labels of `read_examples` alone."""
    examples = read_features(builder, ["label"], [], split, False, None)
    return examples.map(lambda example: _label(builder, split, example))


def _label(builder: tfds.core.DatasetBuilder, split: str, example: dict) -> tf.Tensor:
    label = tf.cast(example["label"], tf.int32)
    # TFDS marks them with -1, e.g. in the test split of imagenet2012.
    tf.debugging.assert_non_negative(
        label,
        f"split {split} of data set {builder.info.full_name} has images without a label; "
        "use another split",
    )
    return label


def object_counter(builder: tfds.core.DatasetBuilder) -> Callable[[str], int]:
    """`Source.count` for objects instead of images; reads the boxes of a split once."""
    count_images = split_counter(builder)

    @functools.cache
    def count(split: str) -> int:
        if count_images(split) <= 0:  # which TFDS cannot read
            return 0
        examples = read_features(builder, ["objects"], [], split, False, None)
        sizes = examples.map(lambda example: tf.size(example["objects"]["label"]))
        return int(sizes.reduce(0, lambda total, size: total + size))

    return count


def read_objects(
    builder: tfds.core.DatasetBuilder, split: str, shuffle_files: bool, seed: int | None
) -> tf.data.Dataset:
    """The objects of a prepared detection data set as elements of a `ClassificationSource`."""
    wanted = ["image", "image/filename", "objects"]
    examples = read_features(builder, wanted, ["image"], split, shuffle_files, seed)
    return examples.map(_cut_out_objects, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def read_object_labels(builder: tfds.core.DatasetBuilder, split: str) -> tf.data.Dataset:
    """The labels of `read_objects` alone."""
    examples = read_features(builder, ["objects"], [], split, False, None)
    return examples.map(lambda example: tf.cast(example["objects"]["label"], tf.int32)).unbatch()


def _cut_out_objects(example: dict) -> dict[str, tf.Tensor]:
    image, objects = decode(example["image"]), example["objects"]
    windows = square_windows(objects["bbox"], tf.shape(image)[:2], CONTEXT)

    def encode(window: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.crop_to_bounding_box(image, *tf.unstack(window))
        return tf.io.encode_jpeg(pixels, quality=95, chroma_downsampling=False)

    numbers = tf.as_string(tf.range(1, tf.shape(windows)[0] + 1))
    return {
        "image": tf.map_fn(encode, windows, fn_output_signature=tf.TensorSpec([], tf.string)),
        "label": tf.cast(objects["label"], tf.int32),
        "filename": tf.strings.join([example["image/filename"], numbers], "#"),
    }

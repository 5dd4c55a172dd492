"""One door for all classification data sets: TFDS, class folders and the objects of `shapes`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.common.wording import SHOWN_PROBLEMS, first_of
from tasks.datasets import shapes as _shapes  # noqa: F401 - registers the builder
from tasks.datasets.class_directory import ClassDirectory, ClassDirectoryConfig, ClassFiles
from tasks.datasets.class_files import ClassDirectoryError
from tasks.datasets.source import Source, refuse, split_counter
from tasks.datasets.tfds_builders import open_builder, prepare
from tasks.datasets.tfds_classification import (
    check_features,
    object_counter,
    read_examples,
    read_labels,
    read_object_labels,
    read_objects,
)
from tasks.datasets.tfds_detection import tfds_categories

_OWN_FILES = "read folders of pictures you have with 'class_directory'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationSource(Source):
    """A classification data set, with encoded images.

    The elements of `examples` are dicts: "image": scalar string, the encoded JPEG or PNG, see
    `tasks.common.images.decode`; "label": int32 scalar, contiguous from 0; "filename": string.

    Attributes:
        read_labels: split -> labels of `examples` alone, without their images. Use `labels`.
        skipped: names of the unreadable files that were left out, by split.
    """

    read_labels: Callable[[str], tf.data.Dataset] = dataclasses.field(repr=False)
    skipped: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, repr=False)

    def labels(self, split: str) -> tf.data.Dataset:
        """The labels of a split in its order, int32 scalars; no image is decoded or cut out.

        Raises:
            ValueError: as `num_examples`.
        """
        self.num_examples(split)
        return self.read_labels(split)


def open_classification_source(
    dataset: str,
    *,
    data_dir: str | None = None,
    train_images: str | None = None,
    validation_images: str | None = None,
    train_list: str | None = None,
    validation_list: str | None = None,
    class_names: str | None = None,
    skip_broken: bool = False,
) -> ClassificationSource:
    """Opens a data set by name and prepares it where that is due.

    Args:
        dataset: "shapes" or "shapes/CONFIG" (drawn on the spot; every object is an example of its
            own, in a square with a quarter of context), "class_directory", or a TFDS
            classification data set such as "imagenet2012" or "imagenette/320px-v2".
        data_dir: where prepared data sets are kept; default as in TFDS (the environment variable
            TFDS_DATA_DIR, else ~/tensorflow_datasets).
        train_images: folder with a folder of pictures per class, with "class_directory".
        validation_images: as `train_images`.
        train_list: instead of class folders, a file whose lines have a path relative to
            `train_images`, a tab or space, and a class index.
        validation_list: as `train_list`.
        class_names: with lists, a file with the names of all classes, one a line.
        skip_broken: with "class_directory", leave out unreadable pictures, and say how many,
            instead of refusing the data set.

    Raises:
        ValueError: unknown data set, arguments that do not belong to it, missing or unusable
            files (`ClassDirectoryError`).
        UnavailableError: a TFDS data set could not be downloaded and prepared.
    """
    images = {"train": train_images, "validation": validation_images}
    lists = {"train": train_list, "validation": validation_list}
    options = {"class_names": class_names, "skip_broken": skip_broken}
    if dataset == "class_directory":
        return _open_class_directory(data_dir, images, lists, **options)
    given = {f"{split}_images": path for split, path in images.items()}
    given |= {f"{split}_list": path for split, path in lists.items()}
    refuse(dataset, given | options)
    suggestions = (
        "'shapes', 'class_directory' or the name of a TFDS classification data set such as "
        "'imagenet2012'"
    )
    builder = open_builder(dataset, data_dir, suggestions)
    if builder.name == "shapes":
        return _open_shapes(dataset, builder)
    return _from_builder(dataset, builder)


def _open_class_directory(
    data_dir: str | None,
    images: dict[str, str | None],
    lists: dict[str, str | None],
    *,
    class_names: str | None,
    skip_broken: bool,
) -> ClassificationSource:
    for split, path in lists.items():
        if path and not images[split]:
            raise ClassDirectoryError(
                f"{split}_list needs {split}_images, the folder its paths are relative to"
            )
    files = {
        split: ClassFiles(str(folder), str(lists[split]) if lists[split] else None)
        for split, folder in images.items()
        if folder
    }
    config = ClassDirectoryConfig(
        **files, class_names=str(class_names) if class_names else None, skip_broken=skip_broken
    )
    source = _from_builder("class_directory", ClassDirectory(config=config, data_dir=data_dir))
    for split, names in source.skipped.items():
        if names:
            some = first_of(names, SHOWN_PROBLEMS)
            print(f"{len(names)} unreadable pictures of {split} were left out: {some}", flush=True)
    return source


def _open_shapes(name: str, builder: tfds.core.DatasetBuilder) -> ClassificationSource:
    prepare(name, builder, _OWN_FILES)
    return ClassificationSource(
        name=name,
        label_names=tfds_categories(name, builder)[0],
        splits=tuple(builder.info.splits),
        count=object_counter(builder),
        read=lambda split, shuffle_files, seed: read_objects(builder, split, shuffle_files, seed),
        read_labels=lambda split: read_object_labels(builder, split),
    )


def _from_builder(name: str, builder: tfds.core.DatasetBuilder) -> ClassificationSource:
    check_features(name, builder)
    prepare(name, builder, _OWN_FILES)
    skipped = (builder.info.metadata or {}).get("skipped", {})
    return ClassificationSource(
        name=name,
        label_names=tuple(builder.info.features["label"].names),
        splits=tuple(builder.info.splits),
        count=split_counter(builder),
        read=lambda split, shuffle_files, seed: read_examples(builder, split, shuffle_files, seed),
        read_labels=lambda split: read_labels(builder, split),
        skipped={split: tuple(names) for split, names in skipped.items()},
    )

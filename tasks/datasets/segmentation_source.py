"""One door for all segmentation data sets: drawn shapes, PASCAL VOC and folders of masks."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.datasets import shapes as _shapes  # noqa: F401 - registers the builder
from tasks.datasets.mask_directory import MaskDirectory, MaskDirectoryConfig, MaskFolders
from tasks.datasets.masks import VOID
from tasks.datasets.source import Source, UnknownSplit, refuse, split_counter
from tasks.datasets.tfds_builders import open_builder, prepare, read_features
from tasks.datasets.voc_files import splits_of_parts
from tasks.datasets.voc_segmentation import VocSegmentation, VocSegmentationConfig

_OWN_FILES = "read images and masks you have with 'mask_directory'"
_SUGGESTIONS = "'shapes', 'voc_segmentation' or 'mask_directory'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationSource(Source):
    """A data set whose images have a label for each pixel.

    The elements of `examples` are dicts of scalar strings: "image": the encoded JPEG or PNG, see
    `tasks.common.images.decode`; "mask": 8-bit grey PNG of the same size with class ids and 255
    for void, see `tasks.datasets.masks.decode_mask`; "filename".
    """


def open_segmentation_source(
    dataset: str,
    *,
    data_dir: str | None = None,
    voc_root: str | None = None,
    sbd_root: str | None = None,
    train_images: str | None = None,
    train_masks: str | None = None,
    validation_images: str | None = None,
    validation_masks: str | None = None,
    labels: str | None = None,
    ignore_label: int = VOID,
) -> SegmentationSource:
    """Opens a data set by name and prepares it where that is due.

    Args:
        dataset: "shapes" or "shapes/CONFIG" (drawn on the spot; background and ten classes),
            "mask_directory", or "voc_segmentation" with the splits train, val, trainval and,
            given SBD, train_aug. Without folders its archive is downloaded, and with
            "voc_segmentation/2012_sbd" that of SBD as well.
        data_dir: where prepared data sets are kept; default as in TFDS (the environment variable
            TFDS_DATA_DIR, else ~/tensorflow_datasets).
        voc_root: with "voc_segmentation", the folder VOCdevkit or VOC2012.
        sbd_root: with "voc_segmentation", the folder benchmark_RELEASE or the `dataset` in it.
        train_images: folder, with "mask_directory".
        train_masks: folder of PNGs with the images' names, with "mask_directory".
        validation_images: as `train_images`.
        validation_masks: as `train_masks`.
        labels: text file with one class name a line, with "mask_directory"; see
            `mask_labels.read_mask_labels`.
        ignore_label: with "mask_directory", the mask value of pixels without a label.

    Raises:
        ValueError: unknown data set, arguments that do not belong to it, missing or unusable
            files.
        UnavailableError: the data set could not be downloaded and prepared.
    """
    roots = {"voc_root": voc_root, "sbd_root": sbd_root}
    folders = {
        "train_images": train_images,
        "train_masks": train_masks,
        "validation_images": validation_images,
        "validation_masks": validation_masks,
    }
    meaning = {"labels": labels, "ignore_label": None if ignore_label == VOID else ignore_label}
    if dataset == "mask_directory":
        refuse(dataset, roots)
        return _open_mask_directory(data_dir, **folders, labels=labels, ignore_label=ignore_label)
    refuse(dataset, folders | meaning)
    if dataset == "voc_segmentation" and (voc_root or sbd_root):
        return _open_voc_folders(data_dir, voc_root=voc_root, sbd_root=sbd_root)
    refuse(dataset, roots)
    openers = {"shapes": _open_shapes, "voc_segmentation": _open_voc}
    opener = openers.get(re.split("[/:]", dataset)[0])
    if opener is None:
        raise ValueError(f"unknown data set {dataset!r}; use {_SUGGESTIONS}")
    return opener(dataset, open_builder(dataset, data_dir, _SUGGESTIONS))


def _open_shapes(name: str, builder: tfds.core.DatasetBuilder) -> SegmentationSource:
    prepare(name, builder, _OWN_FILES)

    def read(split: str, shuffle_files: bool, seed: int | None) -> tf.data.Dataset:
        wanted = ["image", "image/filename", "objects", "instance_mask"]
        examples = read_features(builder, wanted, ["image"], split, shuffle_files, seed)
        return examples.map(_with_class_mask, num_parallel_calls=tf.data.AUTOTUNE)

    return SegmentationSource(
        name=name,
        label_names=("background", *builder.info.features["objects"]["label"].names),
        splits=tuple(builder.info.splits),
        count=split_counter(builder),
        read=read,
    )


def _with_class_mask(example: dict) -> dict[str, tf.Tensor]:
    labels = tf.cast(example["objects"]["label"], tf.uint8) + 1
    class_of_instance = tf.concat([tf.zeros([1], tf.uint8), labels], axis=0)
    mask = tf.gather(class_of_instance, tf.cast(example["instance_mask"], tf.int32))
    return {
        "image": example["image"],
        # As the masks of all data sets; a fast compression, since it is decoded right away.
        "mask": tf.io.encode_png(mask, compression=1),
        "filename": example["image/filename"],
    }


def _open_mask_directory(
    data_dir: str | None,
    *,
    train_images: str | None,
    train_masks: str | None,
    validation_images: str | None,
    validation_masks: str | None,
    labels: str | None,
    ignore_label: int,
) -> SegmentationSource:
    pairs = {
        "train": (train_images, train_masks),
        "validation": (validation_images, validation_masks),
    }
    for split, pair in pairs.items():
        if any(pair) and not all(pair):
            raise ValueError(
                f"mask_directory needs both {split}_images and {split}_masks, or neither; "
                f"got {pair[0]!r} and {pair[1]!r}"
            )
    if not labels:
        raise ValueError("mask_directory needs labels, a text file with one class name a line")
    folders = {split: MaskFolders(*map(str, pair)) for split, pair in pairs.items() if all(pair)}
    config = MaskDirectoryConfig(labels=str(labels), ignore_label=ignore_label, **folders)
    return _from_builder("mask_directory", MaskDirectory(config=config, data_dir=data_dir))


def _open_voc_folders(
    data_dir: str | None, *, voc_root: str | None, sbd_root: str | None
) -> SegmentationSource:
    roots = {"voc_root": voc_root, "sbd_root": sbd_root}
    config = VocSegmentationConfig(**{key: str(root) for key, root in roots.items() if root})
    return _open_voc("voc_segmentation", VocSegmentation(config=config, data_dir=data_dir))


def _open_voc(name: str, builder: tfds.core.DatasetBuilder) -> SegmentationSource:
    """The stored parts as the splits that they make up."""
    source = _from_builder(
        name, builder, "give the extracted archives with voc_root and sbd_root (--voc-root, ...)"
    )
    splits = splits_of_parts(source.splits)

    def stored(split: Any) -> Any:
        if not isinstance(split, str):  # what `Source.parts` made of one
            return split
        terms = [term.strip() for term in split.split("+")]
        for term in terms:
            whole = term.partition("[")[0]
            if whole == "train_aug" and whole not in splits:
                raise UnknownSplit(
                    "train_aug needs the SBD annotations: sbd_root or 'voc_segmentation/2012_sbd'"
                )
            if whole != term and "+" in splits.get(whole, ""):
                sliced = splits[whole].replace("+", "[:10%]+")
                raise UnknownSplit(f"{whole} is {splits[whole]}: slice these, as in {sliced}[:10%]")
        return "+".join(splits.get(term, term) for term in terms)

    return dataclasses.replace(
        source,
        splits=tuple(splits),
        count=lambda split: source.count(stored(split)),
        read=lambda split, shuffle_files, seed: source.read(stored(split), shuffle_files, seed),
        parts=lambda split, count: source.parts(stored(split), count),
    )


def _from_builder(
    name: str, builder: tfds.core.DatasetBuilder, own_files: str = _OWN_FILES
) -> SegmentationSource:
    prepare(name, builder, own_files)

    def read(split: str, shuffle_files: bool, seed: int | None) -> tf.data.Dataset:
        encoded = ["image", "segmentation_mask"]
        wanted = [*encoded, "image/filename"]
        examples = read_features(builder, wanted, encoded, split, shuffle_files, seed)
        return examples.map(_renamed, num_parallel_calls=tf.data.AUTOTUNE)

    return SegmentationSource(
        name=name,
        label_names=tuple(builder.info.features["segmentation_mask"].names),
        splits=tuple(builder.info.splits),
        count=split_counter(builder),
        read=read,
    )


def _renamed(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        "image": example["image"],
        "mask": example["segmentation_mask"],
        "filename": example["image/filename"],
    }

"""All kinds of segmentation data sets come through one door in one form."""

from __future__ import annotations

import numpy as np
import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds
from mask_files import mask_of, write_folders, write_sbd, write_voc

from tasks.common.images import decode
from tasks.datasets.masks import decode_mask
from tasks.datasets.segmentation_source import open_segmentation_source
from tasks.datasets.tfds_builders import UnavailableError

ELEMENT_SPEC = {key: tf.TensorSpec([], tf.string) for key in ("image", "mask", "filename")}


def read(source, split, **options):
    examples = source.examples(split, **options)
    assert examples.element_spec == ELEMENT_SPEC
    return {example["filename"].decode(): example for example in examples.as_numpy_iterator()}


def class_values(example):
    mask = decode_mask(example["mask"])
    assert mask.shape == (*decode(example["image"]).shape[:2], 1)
    return set(np.unique(mask))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def tiny(data_dir):
    return open_segmentation_source("shapes/tiny", data_dir=data_dir)


def test_shapes(tiny):
    assert tiny.label_names[:3] == ("background", "circle", "square")
    assert len(tiny.label_names) == 11
    assert [tiny.num_examples(split) for split in tiny.splits] == [64, 32, 32]


def test_masks_of_shapes_are_the_labels_of_their_objects(tiny, data_dir):
    examples = read(tiny, "validation")
    for element in tfds.as_numpy(tfds.load("shapes/tiny", split="validation", data_dir=data_dir)):
        example = examples.pop(element["image/filename"].decode())
        expected = np.zeros((96, 96, 1), np.uint8)
        for k, label in enumerate(element["objects"]["label"], start=1):
            expected[element["instance_mask"] == k] = 1 + label
        np.testing.assert_array_equal(decode_mask(example["mask"]), expected)
        assert decode(example["image"]).shape == (96, 96, 3)
    assert not examples


def test_order_is_the_same_in_each_run(tiny):
    assert list(read(tiny, "train")) == list(read(tiny, "train"))
    runs = [list(read(tiny, "train", shuffle_files=True, seed=3)) for _ in range(2)]
    assert runs[0] == runs[1] and sorted(runs[0]) == sorted(read(tiny, "train"))


def test_slices_as_in_tfds(tiny):
    assert tiny.num_examples("train[:10]") == len(read(tiny, "train[:10]")) == 10


@pytest.mark.parametrize("split", ["val", "train["])
def test_unknown_split(tiny, split):
    for function in (tiny.num_examples, tiny.examples):
        with pytest.raises(ValueError, match=r"no split .*'train'.*'validation'"):
            function(split)


def test_mask_directory(tmp_path):
    files = write_folders(tmp_path)
    source = open_segmentation_source(
        "mask_directory",
        data_dir=str(tmp_path / "tfds"),
        train_images=files["images"],
        train_masks=files["masks"],
        validation_images=files["images"],
        validation_masks=files["masks"],
        labels=files["labels"],
        ignore_label=9,
    )
    assert source.label_names == ("road", "car", "sky")
    assert source.splits == ("train", "validation")
    for split in source.splits:
        assert source.num_examples(split) == 2
        examples = read(source, split)
        assert examples["a.jpg"]["image"] == (files["images"] / "a.jpg").read_bytes()
        assert class_values(examples["a.jpg"]) == {0, 1, 255}
        assert class_values(examples["b.png"]) == {0, 2, 255}


def test_directory_without_labels_or_masks(tmp_path):
    files = write_folders(tmp_path)
    with pytest.raises(ValueError, match="needs labels, a text file"):
        open_segmentation_source(
            "mask_directory", train_images=files["images"], train_masks=files["masks"]
        )
    with pytest.raises(ValueError, match="both train_images and train_masks.*None"):
        open_segmentation_source(
            "mask_directory", train_images=files["images"], labels=files["labels"]
        )
    with pytest.raises(ValueError, match="train, validation or both"):
        open_segmentation_source("mask_directory", labels=files["labels"])


def voc(tmp_path, with_sbd=True):
    roots = {"voc_root": write_voc(tmp_path, ["a", "b"], ["c"], ["d"])}
    if with_sbd:
        roots["sbd_root"] = write_sbd(tmp_path, ["a", "d"], ["c"])
    return open_segmentation_source("voc_segmentation", data_dir=tmp_path / "tfds", **roots)


def test_splits_of_voc(tmp_path):
    source = voc(tmp_path)
    assert source.splits == ("train", "val", "trainval", "train_aug")
    assert source.label_names[0] == "background" and len(source.label_names) == 21
    members = {"train": "ab", "val": "c", "trainval": "abc", "train_aug": "abd"}
    for split, names in members.items():
        examples = read(source, split)
        assert sorted(examples) == [f"{name}.jpg" for name in names]
        assert source.num_examples(split) == len(names)
    assert class_values(read(source, "train_aug")["a.jpg"]) == {0, 1, 255}
    assert class_values(read(source, "train_aug")["d.jpg"]) == {0, 20}
    np.testing.assert_array_equal(
        decode_mask(read(source, "trainval")["c.jpg"]["mask"])[..., 0], mask_of(0, 3, 255)
    )
    assert source.num_examples("train_aug + val") == len(read(source, "train_aug + val")) == 4
    assert source.num_examples("train[:1]+val") == 2


def test_slices_of_splits_that_have_parts(tmp_path):
    source = voc(tmp_path)
    advice = r"train_aug is train\+train_aug_rest: slice these, .*train\[:10%\]\+train_aug_rest\["
    for function in (source.num_examples, source.examples):
        with pytest.raises(ValueError, match=advice):
            function("train_aug[:2]")


def test_voc_without_sbd(tmp_path):
    source = voc(tmp_path, with_sbd=False)
    assert source.splits == ("train", "val", "trainval")
    with pytest.raises(ValueError, match=r"no split 'train_aug'.*needs the SBD.*2012_sbd"):
        source.examples("train_aug")


@pytest.mark.parametrize("dataset", ["voc_segmentation", "voc_segmentation/2012_sbd"])
def test_no_network(tmp_path, monkeypatch, dataset):
    def fail(*args, **kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests.Session, "send", fail)
    message = rf"'{dataset}' could not be .*no route to host.*voc_root and sbd_root"
    with pytest.raises(UnavailableError, match=message):
        open_segmentation_source(dataset, data_dir=tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord*"))


@pytest.mark.parametrize(
    ("dataset", "arguments"),
    [
        ("shapes", {"voc_root": "a"}),
        ("shapes/tiny", {"labels": "a"}),
        ("shapes", {"ignore_label": 0}),
        ("voc_segmentation", {"train_images": "a", "train_masks": "b"}),
        ("voc_segmentation/2012", {"voc_root": "a"}),
        ("mask_directory", {"voc_root": "a", "sbd_root": "b"}),
    ],
)
def test_arguments_of_other_data_sets(dataset, arguments, tmp_path):
    names = ", ".join(arguments)
    with pytest.raises(ValueError, match=f"{names}: does not apply to data set '{dataset}'"):
        open_segmentation_source(dataset, data_dir=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_unknown_data_sets(tmp_path):
    for name in ("nope", "coco/2017", "mask_directory/x", ""):
        with pytest.raises(ValueError, match=f"unknown data set '{name}'; use 'shapes'"):
            open_segmentation_source(name, data_dir=tmp_path)
    for name in ("shapes/huge", "voc_segmentation/2007"):
        with pytest.raises(ValueError, match=f"cannot open data set '{name}'; its configs are"):
            open_segmentation_source(name, data_dir=tmp_path)

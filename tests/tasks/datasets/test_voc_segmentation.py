"""The TFDS builder `voc_segmentation`: its splits from lists, VOC's masks before those of SBD."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from mask_files import mask_of, write_image, write_mask, write_sbd, write_voc

from tasks.datasets import voc_segmentation
from tasks.datasets.file_digest import file_digest
from tasks.datasets.masks import MaskError
from tasks.datasets.voc_files import splits_of_parts
from tasks.datasets.voc_segmentation import VocSegmentation, VocSegmentationConfig

TRAIN, VAL, OTHERS = ["2007_01", "2007_02"], ["2008_01"], ["2009_01", "2009_02"]


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path, TRAIN, VAL, OTHERS)


@pytest.fixture
def sbd(tmp_path):
    """One image of VOC's train, that of its val, and two that VOC has no mask for."""
    return write_sbd(tmp_path, ["2009_02", "2007_01"], ["2008_01", "2009_01"])


def prepare(tmp_path, voc_root, sbd_root=None):
    roots = {"voc_root": str(voc_root), "sbd_root": sbd_root and str(sbd_root)}
    builder = VocSegmentation(
        config=VocSegmentationConfig(**roots), data_dir=str(tmp_path / "tfds")
    )
    builder.download_and_prepare()
    return builder


def masks(builder, split):
    return {
        example["image/filename"].decode().removesuffix(".jpg"): example["segmentation_mask"]
        for example in tfds.as_numpy(builder.as_dataset(split=split))
    }


def refuse(tmp_path, message, *roots):
    """Expects the error, and that nothing was written."""
    with pytest.raises(MaskError, match=message) as caught:
        prepare(tmp_path, *roots)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tfds").exists()


@pytest.mark.parametrize("inner", ["", "VOC2012"])
def test_train_and_val(tmp_path, voc, inner):
    builder = prepare(tmp_path, voc / inner)
    assert set(builder.info.splits) == {"train", "val"}
    train = masks(builder, "train")
    assert sorted(train) == TRAIN
    np.testing.assert_array_equal(train["2007_02"][..., 0], mask_of(0, 2, 255))
    assert list(masks(builder, "val")) == VAL
    names = builder.info.features["segmentation_mask"].names
    assert (len(names), names[0], names[20]) == (21, "background", "tvmonitor")


@pytest.mark.parametrize("inner", ["", "dataset"])
def test_train_aug(tmp_path, voc, sbd, inner):
    builder = prepare(tmp_path, voc, sbd / inner)
    splits = splits_of_parts(builder.info.splits)
    assert set(splits) == {"train", "val", "trainval", "train_aug"}
    found = masks(builder, splits["train_aug"])
    assert sorted(found) == sorted([*TRAIN, *OTHERS])
    # The annotation of SBD has 0 and 20 in all its images.
    np.testing.assert_array_equal(found["2007_01"][..., 0], mask_of(0, 1, 255))
    np.testing.assert_array_equal(found["2009_01"][..., 0], mask_of(0, 20))
    assert sorted(masks(builder, splits["trainval"])) == sorted([*TRAIN, *VAL])


def test_own_masks_come_before_those_of_sbd(tmp_path, voc, sbd):
    write_mask(voc / "VOC2012/SegmentationClass/2009_01.png", mask_of(0, 7, 255))
    found = masks(prepare(tmp_path, voc, sbd), "train_aug_rest")
    np.testing.assert_array_equal(found["2009_01"][..., 0], mask_of(0, 7, 255))
    np.testing.assert_array_equal(found["2009_02"][..., 0], mask_of(0, 20))


@pytest.mark.parametrize(
    ("present", "splits"),
    [
        (["train"], {"train": 2}),
        (["val"], {"val": 1}),
        (["train", "val"], {"train": 2, "val": 1, "trainval": 3}),
        (["trainval"], {"trainval": 3}),
        (["train", "trainval"], {"train": 2, "trainval": 3}),
    ],
)
def test_some_of_the_lists(tmp_path, voc, present, splits):
    for path in (voc / "VOC2012/ImageSets/Segmentation").iterdir():
        if path.stem not in present:
            path.unlink()
    builder = prepare(tmp_path, voc)
    parts = splits_of_parts(builder.info.splits)
    assert {name: builder.info.splits[parts[name]].num_examples for name in parts} == splits


def test_any_change_gives_another_copy(voc, sbd):
    def name(**roots):
        return VocSegmentationConfig(**{key: str(root) for key, root in roots.items()}).name

    before = {name(voc_root=voc), name(voc_root=voc, sbd_root=sbd), name(sbd_root=sbd)}
    assert len(before) == 3 and name(voc_root=voc) in before
    write_image(voc / "VOC2012/JPEGImages/new.jpg")
    (sbd / "dataset/train.txt").write_text("2009_02\n")
    after = {name(voc_root=voc), name(voc_root=voc, sbd_root=sbd), name(sbd_root=sbd)}
    assert len(before | after) == 6


def test_lists_that_name_missing_files(tmp_path, voc, sbd):
    shutil.move(voc / "VOC2012/JPEGImages/2009_02.jpg", tmp_path)
    refuse(tmp_path, r"dataset/train\.txt: names 1 files .*JPEGImages \(2009_02\.jpg\)", voc, sbd)
    shutil.move(tmp_path / "2009_02.jpg", voc / "VOC2012/JPEGImages")
    (sbd / "dataset/cls/2009_01.mat").unlink()
    refuse(tmp_path, r"dataset/val\.txt: names 1 files .*cls \(2009_01\.mat\)", voc, sbd)
    (voc / "VOC2012/SegmentationClass/2007_02.png").unlink()
    refuse(tmp_path, r"train\.txt: names 1 files .*SegmentationClass \(2007_02\.png\)", voc)
    path = voc / "VOC2012/ImageSets/Segmentation/val.txt"
    path.write_text("".join(f"absent{number}\n" for number in range(5)))
    (path.parent / "trainval.txt").unlink()
    write_mask(voc / "VOC2012/SegmentationClass/2007_02.png", mask_of(0))
    refuse(
        tmp_path, r"val\.txt: names 5 files .*\(absent0\.jpg, absent1\.jpg, absent2\.jpg, \.\.", voc
    )


def test_lists_that_disagree(tmp_path, voc, sbd):
    lists = voc / "VOC2012/ImageSets/Segmentation"
    (lists / "trainval.txt").write_text("2007_01\n2008_01\n")
    refuse(tmp_path, r"trainval\.txt: misses 2007_02", voc)
    (lists / "val.txt").write_text("2007_02\n")
    refuse(tmp_path, r"train\.txt and .*val\.txt both name 2007_02", voc)
    (lists / "val.txt").write_text("2008_01\n2008_01\n")
    refuse(tmp_path, r"val\.txt: names 2008_01 more than once", voc)
    (lists / "val.txt").write_text("\n")
    refuse(tmp_path, r"val\.txt: the split list is empty", voc)
    (lists / "val.txt").unlink()
    (lists / "trainval.txt").unlink()
    refuse(tmp_path, r"train_aug needs train\.txt and val\.txt", voc, sbd)
    (lists / "train.txt").unlink()
    refuse(tmp_path, r"Segmentation: there is no train\.txt, val\.txt or trainval\.txt", voc)


def test_sbd_without_new_images_or_lists(tmp_path, voc):
    sbd = write_sbd(tmp_path, ["2007_01"], ["2008_01"])
    refuse(tmp_path, "nothing to add", voc, sbd)
    (sbd / "dataset/val.txt").unlink()
    refuse(tmp_path, r"dataset/val\.txt: there is no such split list", voc, sbd)


def test_damaged_annotation(tmp_path, voc, sbd):
    (sbd / "dataset/cls/2009_01.mat").write_bytes(b"no annotation" * 20)
    refuse(tmp_path, r"cls/2009_01\.mat: cannot read GTcls\.Segmentation", voc, sbd)


def test_masks_are_checked(tmp_path, voc):
    write_mask(voc / "VOC2012/SegmentationClass/2007_01.png", mask_of(0, 21))
    refuse(tmp_path, r"2007_01\.png .*2007_01\.jpg\): value 21 .* the 21 classes \(0 to 20\)", voc)


def test_wrong_folders(tmp_path, voc, sbd):
    refuse(tmp_path, r"absent: there is no folder ImageSets/Segm.*VOCdevkit", tmp_path / "absent")
    refuse(tmp_path, r"there is no folder cls in it; .*benchmark_RELEASE", voc, tmp_path)
    shutil.rmtree(voc / "VOC2012/SegmentationClass")
    refuse(tmp_path, r"VOC2012: there is no folder SegmentationClass in it", voc)


class Downloads:
    """Stands for the download manager of TFDS; the archives are extracted already."""

    def __init__(self, folder):
        self.folder = folder
        self.urls = []

    def download(self, url):
        self.urls.append(url)
        return self.folder / "archive"

    def extract(self, path):
        assert path == self.folder / "archive"
        return self.folder

    def download_and_extract(self, url):
        return self.extract(self.download(url))


@pytest.mark.parametrize("config", ["2012", "2012_sbd"])
def test_archives(tmp_path, voc, sbd, config, monkeypatch):
    (tmp_path / "archive").write_bytes(b"archive")
    monkeypatch.setattr(voc_segmentation, "_SBD_MD5", file_digest(tmp_path / "archive", "md5"))
    downloads = Downloads(tmp_path)
    builder = VocSegmentation(config=config, data_dir=str(tmp_path / "tfds"))
    parts = builder._split_generators(downloads)
    with_sbd = config == "2012_sbd"
    assert set(parts) == {"train", "val"} | ({"train_aug_rest"} if with_sbd else set())
    assert [key for key, _ in parts["train"]] == TRAIN
    names = ["VOCtrainval_11-May-2012.tar"] + ["benchmark.tgz"] * with_sbd
    assert [url.rsplit("/", 1)[-1] for url in downloads.urls] == names


def test_url_of_voc_is_one_that_tfds_checks():
    infos = tfds.builder_cls("voc").url_infos
    assert infos[voc_segmentation._VOC_URL].size == 1999639040


def test_another_archive_than_that_of_sbd(tmp_path, voc):
    (tmp_path / "archive").write_bytes(b"a page that tells of an error")
    builder = VocSegmentation(config="2012_sbd", data_dir=str(tmp_path / "tfds"))
    with pytest.raises(OSError, match=r"archive from .*benchmark\.tgz is not the published"):
        builder._split_generators(Downloads(tmp_path))


def test_real_photographs(tmp_path, reference):
    builder = prepare(tmp_path, reference / "data/voc_mini/VOCdevkit")
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 56, "val": 39}
    values = set()
    for mask in masks(builder, "val").values():
        values |= set(np.unique(mask))
    # Of the data's README: val has no cow (10) and no dog (12).
    assert values == {*range(21), 255} - {10, 12}

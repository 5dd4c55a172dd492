"""The TFDS builder `mask_directory`: exact content, never a stale copy, nothing half-written."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from mask_files import mask_of, write_folders, write_image, write_mask
from PIL import Image

from tasks.common.images import read_rgb
from tasks.datasets.mask_directory import MaskDirectory, MaskDirectoryConfig, MaskFolders
from tasks.datasets.masks import MaskError


def config_of(files, **options):
    folders = MaskFolders(str(files["images"]), str(files["masks"]))
    options = {"train": folders, "ignore_label": 9} | options
    return MaskDirectoryConfig(labels=str(files["labels"]), **options)


def prepare(data_dir, config):
    builder = MaskDirectory(data_dir=data_dir, config=config)
    builder.download_and_prepare()
    return builder


def read(builder, split="train"):
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return {example["image/filename"].decode(): example for example in examples}


def refuse(tmp_path, files, message, **options):
    """Expects the error, and that nothing was written."""
    with pytest.raises(MaskError, match=message) as caught:
        prepare(tmp_path / "tfds", config_of(files, **options))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tfds").exists()


def test_content(tmp_path):
    files = write_folders(tmp_path)
    builder = prepare(tmp_path / "tfds", config_of(files))
    assert builder.info.features["segmentation_mask"].names == ["road", "car", "sky"]
    examples = read(builder)
    assert set(examples) == {"a.jpg", "b.png"}
    expected = {"a.jpg": mask_of(0, 1, 255), "b.png": mask_of(2, 255, 0, size=(10, 6))}
    for name, mask in expected.items():
        np.testing.assert_array_equal(examples[name]["segmentation_mask"][..., 0], mask)
    np.testing.assert_array_equal(examples["b.png"]["image"], read_rgb(files["images"] / "b.png"))


def test_both_splits(tmp_path):
    files = write_folders(tmp_path / "train")
    other = write_folders(tmp_path / "validation")
    (other["images"] / "b.png").unlink()
    (other["masks"] / "b.png").unlink()
    validation = MaskFolders(str(other["images"]), str(other["masks"]))
    builder = prepare(tmp_path / "tfds", config_of(files, validation=validation))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 2,
        "validation": 1,
    }


def test_other_files_in_the_folders_do_not_matter(tmp_path):
    files = write_folders(tmp_path)
    (files["images"] / "notes.txt").write_text("notes")
    (files["masks"] / "colours.json").write_text("{}")
    (files["masks"] / "._a.png").write_bytes(b"of a file manager")
    assert len(read(prepare(tmp_path / "tfds", config_of(files)))) == 2


def test_a_prepared_copy_is_opened_again(tmp_path, monkeypatch):
    files = write_folders(tmp_path)
    prepare(tmp_path / "tfds", config_of(files))
    monkeypatch.setattr("tasks.datasets.mask_directory.check_pairs", None)  # must not be needed
    builder = prepare(tmp_path / "tfds", config_of(files))
    assert builder.info.features["segmentation_mask"].names == ["road", "car", "sky"]
    assert builder.info.splits["train"].num_examples == 2


def test_any_change_gives_another_copy(tmp_path):
    files = write_folders(tmp_path)
    names = [config_of(files).name, config_of(files, ignore_label=8).name]

    def changed():
        name = config_of(files).name
        new = name not in names
        names.append(name)
        return new

    assert not changed()
    files["labels"].write_text("road\ntruck\nsky\n")
    assert changed()
    os.utime(files["masks"] / "a.png", ns=(1, 1))
    assert changed()
    (files["images"] / "b.png").rename(files["images"] / "c.png")
    assert changed()
    folders = MaskFolders(str(files["images"]), str(files["masks"]))
    assert config_of(files, train=None, validation=folders).name not in names


def test_images_are_stored_as_a_person_sees_them(tmp_path):
    files = write_folders(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(sideways).save(files["images"] / "b.png", exif=exif)
    example = read(prepare(tmp_path / "tfds", config_of(files)))["b.png"]
    np.testing.assert_array_equal(example["image"], np.rot90(sideways, -1))


def test_mask_of_an_image_before_its_rotation(tmp_path):
    files = write_folders(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 10)).save(files["images"] / "b.png", exif=exif)
    refuse(
        tmp_path,
        files,
        r"masks/b\.png: the mask has 6 x 10 pixels .*images/b\.png is displayed with 10 x 6; "
        r".*unrotated pixels; remove the tag",
    )


def test_mask_of_another_size(tmp_path):
    files = write_folders(tmp_path)
    write_image(files["images"] / "a.jpg", (8, 13))
    refuse(tmp_path, files, r"masks/a\.png: .*12 x 8 .*images/a\.jpg .* 13 x 8; label the image")


def test_values_beyond_the_classes(tmp_path):
    files = write_folders(tmp_path)
    write_mask(files["masks"] / "a.png", mask_of(0, 3))
    refuse(
        tmp_path,
        files,
        r"masks/a\.png \(mask of .*images/a\.jpg\): value 3 \(48 pixels\): neither .* ignore label",
    )
    refuse(tmp_path, files, r"a\.png .* \(1 more files have problems\)", ignore_label=255)


def test_unreadable_image_and_coloured_mask(tmp_path):
    files = write_folders(tmp_path)
    write_image(files["masks"] / "a.png")
    refuse(tmp_path, files, r"masks/a\.png: holds colours")
    (files["images"] / "a.jpg").write_bytes(b"no picture")
    refuse(tmp_path, files, r"images/a\.jpg: not an image")


def test_images_and_masks_that_do_not_match(tmp_path):
    files = write_folders(tmp_path)
    (files["masks"] / "a.png").rename(files["masks"] / "a_mask.png")
    refuse(tmp_path, files, r"images: 1 of 2 images have no mask in .*masks \(a\.jpg\).* NAME\.png")
    (files["images"] / "a.jpg").unlink()
    refuse(tmp_path, files, r"masks: 1 of 2 masks have no image in .*images \(a_mask\.png\)")
    write_image(files["images"] / "b.jpg")
    refuse(tmp_path, files, r"images: several images share a name \(b\)")


def test_missing_paths(tmp_path):
    files = write_folders(tmp_path)
    refuse(tmp_path, files | {"images": tmp_path / "absent"}, r"absent: there is no such folder")
    refuse(tmp_path, files, "train, validation or both", train=None)
    (tmp_path / "empty").mkdir()
    refuse(tmp_path, files | {"images": tmp_path / "empty"}, "empty: there are no pictures")


def test_interrupted_preparation_leaves_nothing_usable(tmp_path, monkeypatch):
    files = write_folders(tmp_path)
    generate = MaskDirectory._generate_examples

    def interrupt(self, pairs):
        yield from list(generate(self, pairs))[:1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MaskDirectory, "_generate_examples", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "tfds", config_of(files))
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))
    assert len(read(prepare(tmp_path / "tfds", config_of(files)))) == 2

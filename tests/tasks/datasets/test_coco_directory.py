"""The TFDS builder `coco_directory`: exact content, never a stale copy, nothing half-written."""

from __future__ import annotations

import json
import os

import coco_files
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tasks.common.images import read_rgb
from tasks.datasets.coco_directory import CocoDirectory, CocoDirectoryConfig, CocoFiles
from tasks.datasets.coco_json import AnnotationError


def config_of(images, path, **options):
    return CocoDirectoryConfig(train=CocoFiles(str(images), str(path)), **options)


def prepare(data_dir, config):
    builder = CocoDirectory(data_dir=data_dir, config=config)
    builder.download_and_prepare()
    return builder


def read(builder, split="train"):
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return {int(example["image/id"]): example for example in examples}


def test_content(tmp_path):
    images, path = coco_files.write(tmp_path)
    builder = prepare(tmp_path / "tfds", config_of(images, path))
    assert builder.info.features["objects"]["label"].names == ["car", "dog", "cup"]
    assert builder.info.metadata["category_ids"] == [3, 18, 90]
    examples = read(builder)
    assert set(examples) == {5, 7}
    assert examples[5]["image/filename"] == b"a.jpg"
    np.testing.assert_array_equal(examples[7]["image"], read_rgb(images / "b.png"))
    objects = examples[5]["objects"]
    np.testing.assert_array_equal(objects["label"], [2, 0])
    np.testing.assert_array_equal(objects["id"], [11, 12])
    np.testing.assert_array_equal(objects["is_crowd"], [False, True])
    np.testing.assert_allclose(objects["area"], [321.5, 12])
    np.testing.assert_allclose(objects["bbox"], [[0.1, 0.1, 0.7, 0.3], [0, 0, 1, 1]])
    assert examples[7]["objects"]["bbox"].shape == (0, 4)


def test_a_prepared_copy_is_opened_again_with_names_and_ids(tmp_path, monkeypatch):
    images, path = coco_files.write(tmp_path)
    prepare(tmp_path / "tfds", config_of(images, path))
    monkeypatch.setattr("tasks.datasets.coco_directory.read_split", None)  # must not be needed
    builder = prepare(tmp_path / "tfds", config_of(images, path))
    assert builder.info.features["objects"]["label"].names == ["car", "dog", "cup"]
    assert builder.info.metadata["category_ids"] == [3, 18, 90]
    assert builder.info.splits["train"].num_examples == 2


def test_any_change_gives_another_copy(tmp_path):
    images, path = coco_files.write(tmp_path)
    names = [config_of(images, path).name, config_of(images, path, drop_invalid_boxes=True).name]

    def changed():
        name = config_of(images, path).name
        new = name not in names
        names.append(name)
        return new

    assert not changed()
    data = json.loads(path.read_text())
    data["annotations"][0]["bbox"][0] = 11
    path.write_text(json.dumps(data))
    assert changed()
    (images / "more").mkdir()
    Image.new("RGB", (4, 4)).save(images / "more" / "c.png")
    assert changed()
    (images / "more" / "c.png").rename(images / "more" / "d.png")
    assert changed()
    os.utime(images / "a.jpg", ns=(1, 1))
    assert changed()
    (images / "b.png").unlink()
    assert changed()
    files = CocoFiles(str(images), str(path))
    assert CocoDirectoryConfig(validation=files).name not in names


def test_name_does_not_depend_on_the_place(tmp_path):
    images, path = coco_files.write(tmp_path / "here")
    before = config_of(images, path).name
    (tmp_path / "here").rename(tmp_path / "there")
    there = tmp_path / "there"
    assert config_of(there / images.name, there / path.name).name == before


def test_link_to_a_folder_above_ends(tmp_path):
    images, path = coco_files.write(tmp_path)
    (images / "loop").symlink_to(images, target_is_directory=True)
    assert config_of(images, path).name


def test_images_are_stored_as_a_person_sees_them(tmp_path):
    data = coco_files.content()
    images, path = coco_files.write(tmp_path, data)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    Image.fromarray(sideways).save(images / "b.png", exif=exif)
    example = read(prepare(tmp_path / "tfds", config_of(images, path)))[7]
    np.testing.assert_array_equal(example["image"], np.rot90(sideways, -1))


def test_nothing_is_written_for_a_bad_data_set(tmp_path):
    data = coco_files.content()
    data["annotations"][0]["category_id"] = 4
    images, path = coco_files.write(tmp_path, data)
    with pytest.raises(AnnotationError, match="annotation id 11"):
        prepare(tmp_path / "tfds", config_of(images, path))
    assert not (tmp_path / "tfds").exists()


def test_interrupted_preparation_leaves_nothing_usable(tmp_path, monkeypatch):
    images, path = coco_files.write(tmp_path)
    builder = CocoDirectory(data_dir=tmp_path / "tfds", config=config_of(images, path))

    def interrupt(self, images, labels):
        yield from list(generate(self, images, labels))[:1]
        raise KeyboardInterrupt

    generate = CocoDirectory._generate_examples
    with monkeypatch.context() as patch:
        patch.setattr(CocoDirectory, "_generate_examples", interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.download_and_prepare()
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))
    assert not CocoDirectory(
        data_dir=tmp_path / "tfds", config=builder.builder_config
    ).is_prepared()
    assert len(read(prepare(tmp_path / "tfds", builder.builder_config))) == 2


def test_splits_with_different_categories(tmp_path):
    train = CocoFiles(*map(str, coco_files.write(tmp_path / "train")))
    data = coco_files.content()
    data["categories"][0]["name"] = "cat"
    validation = CocoFiles(*map(str, coco_files.write(tmp_path / "validation", data)))
    config = CocoDirectoryConfig(train=train, validation=validation)
    with pytest.raises(AnnotationError, match=r"different categories.*18.*list the same ids"):
        prepare(tmp_path / "tfds", config)


def test_missing_paths(tmp_path):
    images, path = coco_files.write(tmp_path)
    with pytest.raises(AnnotationError, match="cannot read the annotations"):
        config_of(images, tmp_path / "absent.json")
    with pytest.raises(AnnotationError, match="no such folder"):
        config_of(tmp_path / "absent", path)
    with pytest.raises(AnnotationError, match="train, validation or both"):
        CocoDirectoryConfig()

"""The TFDS builder `class_directory`: exact content, never a stale copy, nothing half-written."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tasks.common.images import read_rgb
from tasks.datasets.class_directory import ClassDirectory, ClassDirectoryConfig, ClassFiles
from tasks.datasets.class_files import ClassDirectoryError


def write(folder, *names):
    """Small noise pictures in the format of their extension."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).integers(0, 256, (6, 9, 3), np.uint8)
        Image.fromarray(noise).save(path)
    return folder


def config_of(folder, **options):
    return ClassDirectoryConfig(train=ClassFiles(str(folder)), **options)


def prepare(data_dir, config):
    builder = ClassDirectory(data_dir=data_dir, config=config)
    builder.download_and_prepare()
    return builder


def read(builder, split="train"):
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return {example["image/filename"].decode(): example for example in examples}


@pytest.fixture
def pets(tmp_path):
    return write(tmp_path / "pets", "dog/1.jpg", "dog/2.png", "cat/1.jpg", "ape/3.bmp")


def test_content(tmp_path, pets):
    builder = prepare(tmp_path / "tfds", config_of(pets))
    assert builder.info.features["label"].names == ["ape", "cat", "dog"]
    assert builder.info.metadata["skipped"] == {"train": []}
    examples = read(builder)
    labels = {name: int(example["label"]) for name, example in examples.items()}
    assert labels == {"ape/3.bmp": 0, "cat/1.jpg": 1, "dog/1.jpg": 2, "dog/2.png": 2}
    for name in ("ape/3.bmp", "dog/2.png"):
        np.testing.assert_array_equal(examples[name]["image"], read_rgb(pets / name))


def test_pictures_are_stored_as_a_person_sees_them(tmp_path, pets):
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.random.default_rng(0).integers(0, 256, (8, 5, 3), np.uint8)
    Image.fromarray(sideways).save(pets / "cat/1.png", exif=exif)
    example = read(prepare(tmp_path / "tfds", config_of(pets)))["cat/1.png"]
    np.testing.assert_array_equal(example["image"], np.rot90(sideways, -1))


def test_a_prepared_copy_is_opened_again(tmp_path, pets, monkeypatch):
    (pets / "dog/broken.jpg").write_bytes(b"nothing")
    config = config_of(pets, skip_broken=True)
    prepare(tmp_path / "tfds", config)
    monkeypatch.setattr("tasks.datasets.class_directory._read_splits", None)  # not needed
    builder = prepare(tmp_path / "tfds", config_of(pets, skip_broken=True))
    assert builder.info.features["label"].names == ["ape", "cat", "dog"]
    assert builder.info.metadata["skipped"] == {"train": ["dog/broken.jpg"]}
    assert builder.info.splits["train"].num_examples == 4


def test_any_change_gives_another_copy(pets):
    names = [config_of(pets).name, config_of(pets, skip_broken=True).name]

    def changed(config=None):
        name = (config or config_of(pets)).name
        new = name not in names
        names.append(name)
        return new

    assert not changed()
    write(pets, "dog/4.jpg")
    assert changed()
    (pets / "dog/4.jpg").rename(pets / "cat/4.jpg")
    assert changed()
    os.utime(pets / "cat/4.jpg", ns=(1, 1))
    assert changed()
    (pets / "cat/4.jpg").unlink()
    assert not changed()  # as at first
    (pets / "empty").mkdir()
    assert changed()
    assert changed(ClassDirectoryConfig(validation=ClassFiles(str(pets))))
    files = {"images": str(pets), "list_file": str(pets.parent / "list.txt")}
    class_names = pets.parent / "names.txt"

    def listed():
        return ClassDirectoryConfig(train=ClassFiles(**files), class_names=str(class_names))

    (pets.parent / "list.txt").write_text("cat/1.jpg 0")
    class_names.write_text("cat")
    assert changed(listed()) and not changed(listed())
    (pets.parent / "list.txt").write_text("cat/1.jpg 0\n")
    assert changed(listed())
    class_names.write_text("cats")
    assert changed(listed())


def test_name_does_not_depend_on_the_place(pets):
    before = config_of(pets).name
    pets.rename(pets.parent / "there")
    assert config_of(pets.parent / "there").name == before


def test_both_splits(tmp_path, pets):
    validation = write(tmp_path / "val", "ape/a.jpg", "cat/b.jpg", "dog/c.jpg")
    config = config_of(pets, validation=ClassFiles(str(validation)))
    builder = prepare(tmp_path / "tfds", config)
    assert {name: int(e["label"]) for name, e in read(builder, "validation").items()} == {
        "ape/a.jpg": 0,
        "cat/b.jpg": 1,
        "dog/c.jpg": 2,
    }
    (validation / "cat/b.jpg").rename(validation / "dog/b.jpg")
    (validation / "cat").rmdir()
    write(validation, "emu/d.jpg")
    with pytest.raises(ClassDirectoryError, match=r"pets lacks 'emu'\n  .*val lacks 'cat'"):
        prepare(tmp_path / "tfds", config_of(pets, validation=ClassFiles(str(validation))))


def test_an_empty_class_folder(tmp_path, pets):
    prepare(tmp_path / "tfds", config_of(pets))
    (pets / "emu").mkdir()  # although no file has changed
    with pytest.raises(ClassDirectoryError, match="pets: unusable class folders .*\n  'emu' is em"):
        prepare(tmp_path / "tfds", config_of(pets))


def break_files(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"no picture")


def test_unreadable_pictures_are_all_told(tmp_path, pets):
    validation = write(tmp_path / "val", "ape/a.jpg", "cat/b.jpg", "dog/c.jpg")
    names = [f"dog/broken{number:02}.jpg" for number in range(9)]
    break_files(pets, *names)
    break_files(validation, "ape/x.jpg", "cat/y.jpg")
    (validation / "dog/gone.jpg").symlink_to(tmp_path / "absent.jpg")
    config = config_of(pets, validation=ClassFiles(str(validation)))
    with pytest.raises(ClassDirectoryError) as error:
        prepare(tmp_path / "tfds", config)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("unreadable pictures; ") and "(--skip-broken) (12):" in lines[0]
    for line, name in zip(lines[1:10], names, strict=True):
        assert f"{pets / name}: not an image in a known format" in line
    assert str(validation / "ape/x.jpg") in lines[10] and lines[11:] == ["  ... and 2 more"]
    assert not (tmp_path / "tfds").exists()

    config = config_of(pets, validation=ClassFiles(str(validation)), skip_broken=True)
    builder = prepare(tmp_path / "tfds", config)
    assert builder.info.metadata["skipped"] == {
        "train": names,
        "validation": ["ape/x.jpg", "cat/y.jpg", "dog/gone.jpg"],
    }
    assert set(read(builder)) == {"ape/3.bmp", "cat/1.jpg", "dog/1.jpg", "dog/2.png"}
    assert set(read(builder, "validation")) == {"ape/a.jpg", "cat/b.jpg", "dog/c.jpg"}


def test_a_class_without_readable_picture(tmp_path, pets):
    break_files(pets, "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(
        ClassDirectoryError, match=r"class folders without any readable picture.*\(1\):\n  'cat'$"
    ):
        prepare(tmp_path / "tfds", config_of(pets, skip_broken=True))
    assert not (tmp_path / "tfds").exists()


def lists(folder, lines, names="ape\ncat\ndog\nemu\n", **options):
    (folder / "list.txt").write_text("\n".join(lines))
    (folder / "names.txt").write_text(names)
    files = ClassFiles(str(folder / "pets"), str(folder / "list.txt"))
    return ClassDirectoryConfig(train=files, class_names=str(folder / "names.txt"), **options)


def test_lists(tmp_path, pets):
    builder = prepare(tmp_path / "tfds", lists(tmp_path, ["dog/2.png 3", "cat/1.jpg 1"]))
    assert builder.info.features["label"].names == ["ape", "cat", "dog", "emu"]
    labels = {name: int(example["label"]) for name, example in read(builder).items()}
    assert labels == {"dog/2.png": 3, "cat/1.jpg": 1}


def test_unusable_lists(tmp_path, pets):
    break_files(pets, "cat/1.jpg")
    for lines, options, message in (
        (["dog/1.jpg 4"], {}, "line 1 has class index 4, but there are 4 classes"),
        (["dog/1.jpg 3", "dog/9.jpg 3"], {}, "dog/9.jpg: there is no such image file"),
        (["dog/1.jpg 3", "cat/1.jpg 1"], {}, "cat/1.jpg: not an image in a known format"),
        (["cat/1.jpg 1"], {"skip_broken": True}, "pets: none of the pictures is readable"),
    ):
        with pytest.raises(ClassDirectoryError, match=message):
            prepare(tmp_path / "tfds", lists(tmp_path, lines, **options))
    assert not (tmp_path / "tfds").exists()
    config = lists(tmp_path, ["dog/1.jpg 3", "cat/1.jpg 1", "cat/no.jpg 1"], skip_broken=True)
    builder = prepare(tmp_path / "tfds", config)
    assert builder.info.metadata["skipped"] == {"train": ["cat/1.jpg", "cat/no.jpg"]}
    assert set(read(builder)) == {"dog/1.jpg"}


def test_a_list_to_validate_on_has_only_classes_that_are_trained(tmp_path, pets):
    listed = tmp_path / "validation.txt"
    validation = ClassFiles(str(pets), str(listed))
    listed.write_text("ape/3.bmp 0\ndog/1.jpg 3\n")
    message = (
        r"validation.txt: classes of which .*list.txt has no readable picture.*\(1\):\n  'ape'"
    )
    (pets / "dog/broken.jpg").write_bytes(b"")  # no picture is looked at before
    with pytest.raises(ClassDirectoryError, match=message):
        few = ["dog/2.png 3", "dog/broken.jpg 3"]
        prepare(tmp_path / "tfds", lists(tmp_path, few, validation=validation))
    lines = ["dog/2.png 3", "cat/1.jpg 0"]  # of the other list a class may be missing
    config = lists(tmp_path, [*lines, "dog/1.jpg 2"], validation=validation)
    assert set(read(prepare(tmp_path / "tfds", config), "validation")) == {"ape/3.bmp", "dog/1.jpg"}
    break_files(pets, "cat/1.jpg")  # the only one of class 0
    options = {"validation": validation, "skip_broken": True}
    with pytest.raises(ClassDirectoryError, match=message):
        prepare(tmp_path / "tfds", lists(tmp_path, lines, **options))


def test_interrupted_preparation_leaves_nothing_usable(tmp_path, pets, monkeypatch):
    def interrupt(self, folder, files):
        yield from list(generate(self, folder, files))[:1]
        raise KeyboardInterrupt

    generate = ClassDirectory._generate_examples
    with monkeypatch.context() as patch:
        patch.setattr(ClassDirectory, "_generate_examples", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "tfds", config_of(pets))
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))
    builder = ClassDirectory(data_dir=tmp_path / "tfds", config=config_of(pets))
    assert not builder.is_prepared()
    assert len(read(prepare(tmp_path / "tfds", config_of(pets)))) == 4


def test_odd_file_names(tmp_path, pets):
    """Names are bytes; one that is no UTF-8 is as good a picture."""
    name = os.fsdecode(b"dog/caf\xe9 #1.png")
    (pets / "dog/2.png").rename(pets / name)
    examples = read(prepare(tmp_path / "tfds", config_of(pets)))
    assert int(examples["dog/caf\ufffd #1.png"]["label"]) == 2


def test_configs_without_sense(tmp_path, pets):
    names, listed = tmp_path / "names.txt", tmp_path / "list.txt"
    names.write_text("cat")
    listed.write_text("cat/1.jpg 0")
    with pytest.raises(ClassDirectoryError, match="needs pictures of train, validation or both"):
        ClassDirectoryConfig()
    with pytest.raises(ClassDirectoryError, match="absent: there is no such folder of pictures"):
        config_of(tmp_path / "absent")
    with pytest.raises(ClassDirectoryError, match=r"class_names None and train_list '.*list.txt'"):
        ClassDirectoryConfig(train=ClassFiles(str(pets), str(listed)))
    with pytest.raises(ClassDirectoryError, match=r"names.txt' and validation_list None"):
        ClassDirectoryConfig(
            train=ClassFiles(str(pets), str(listed)),
            validation=ClassFiles(str(pets)),
            class_names=str(names),
        )
    with pytest.raises(ClassDirectoryError, match="absent.txt: cannot read the file"):
        ClassDirectoryConfig(train=ClassFiles(str(pets), "absent.txt"), class_names=str(names))
    with pytest.raises(ClassDirectoryError, match="absent.txt: cannot read the file"):
        ClassDirectoryConfig(train=ClassFiles(str(pets), str(listed)), class_names="absent.txt")

"""All kinds of classification data sets come through one door in one form."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tasks.common.images import decode
from tasks.datasets.class_files import ClassDirectoryError
from tasks.datasets.classification_source import open_classification_source
from tasks.datasets.detection_source import open_detection_source
from tasks.datasets.tfds_builders import UnavailableError, read_features

ELEMENT_SPEC = {
    "image": tf.TensorSpec([], tf.string),
    "label": tf.TensorSpec([], tf.int32),
    "filename": tf.TensorSpec([], tf.string),
}


def read(source, split, **options):
    examples = source.examples(split, **options)
    assert examples.element_spec == ELEMENT_SPEC
    return {example["filename"].decode(): example for example in examples.as_numpy_iterator()}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def tiny(data_dir):
    return open_classification_source("shapes/tiny", data_dir=data_dir)


def test_every_object_of_shapes_is_an_example(tiny, data_dir):
    scenes = open_detection_source("shapes/tiny", data_dir=data_dir)
    assert tiny.label_names == scenes.label_names and len(tiny.label_names) == 10
    assert tiny.splits == scenes.splits and tiny.skipped == {}
    examples = read(tiny, "validation")
    objects = [
        (f"{scene['filename'].decode()}#{number}", scene, number - 1)
        for scene in scenes.examples("validation").as_numpy_iterator()
        for number in range(1, len(scene["labels"]) + 1)
    ]
    assert list(examples) == [name for name, *_ in objects]  # in the order of the scenes
    assert tiny.num_examples("validation") == len(objects) > 32
    for name, scene, index in objects:
        example = examples[name]
        assert example["label"] == scene["labels"][index]
        image, crop = (decode(item["image"]).numpy() for item in (scene, example))
        box = scene["boxes"][index] * 96
        side = max(box[2] - box[0], box[3] - box[1]) * 1.25
        assert crop.shape[0] == crop.shape[1] == min(round(float(side)), 96)
        top, left = (
            int(np.clip(round(float(box[i] + box[i + 2] - len(crop)) / 2), 0, 96 - len(crop)))
            for i in (0, 1)
        )
        pixels = image[top : top + len(crop), left : left + len(crop)]
        expected = tf.io.encode_jpeg(pixels, quality=95, chroma_downsampling=False)
        assert example["image"] == expected.numpy()


def test_slices_of_shapes(tiny):
    names = list(read(tiny, "train"))
    assert tiny.num_examples("train") == len(names)
    part, rest = read(tiny, "train[:10]"), read(tiny, "train[10:]")
    assert tiny.num_examples("train[:10]") == len(part) < len(names)
    assert [*part, *rest] == names
    assert tiny.num_examples("train+test") == len(names) + tiny.num_examples("test")
    for function in (tiny.num_examples, tiny.examples):
        with pytest.raises(ValueError, match="no split 'val'; it has"):
            function("val")
        with pytest.raises(ValueError, match=r"split 'train\[5:3\]' .* is empty"):
            function("train[5:3]")


def test_objects_are_counted_once(data_dir, monkeypatch):
    source = open_classification_source("shapes/tiny", data_dir=data_dir)
    count = source.num_examples("test")
    monkeypatch.setattr("tasks.datasets.tfds_classification.read_features", None)
    assert source.num_examples("test") == count


def labels_of(source, split):
    """Of the examples, and read alone."""
    labels = source.labels(split)
    assert labels.element_spec == ELEMENT_SPEC["label"]
    of_examples = [example["label"] for example in source.examples(split).as_numpy_iterator()]
    return of_examples, list(labels.as_numpy_iterator())


def test_labels_are_read_without_images(tiny, tmp_path, register, monkeypatch):
    for split in ("train", "validation[3:]"):
        of_examples, alone = labels_of(tiny, split)
        assert alone == of_examples and len(set(alone)) == 10
    register("labelled")
    source = open_classification_source("labelled", data_dir=tmp_path)
    of_examples, alone = labels_of(source, "train")
    assert alone == of_examples and sorted(alone) == [0, 1, 1]
    wanted = []

    def noted(builder, features, *rest):
        wanted.extend(features)
        return read_features(builder, features, *rest)

    monkeypatch.setattr("tasks.datasets.tfds_classification.read_features", noted)
    for other in (tiny, source):
        other.labels("train")
    assert wanted == ["objects", "label"]
    with pytest.raises(ValueError, match="no split 'val'; it has"):
        source.labels("val")


def test_order_is_the_same_in_each_run(tiny):
    runs = [list(read(tiny, "train", shuffle_files=True, seed=3)) for _ in range(2)]
    assert runs[0] == runs[1] and sorted(runs[0]) == sorted(read(tiny, "train"))


def builder_of(name, image=None, label=None, more=None, labels=(1, 0, 1)):
    """The class of a TFDS data set of small grey pictures."""
    features = {
        "image": image or tfds.features.Image(shape=(4, 5, 1)),
        "label": label or tfds.features.ClassLabel(names=["even", "odd"]),
    }
    features |= {key: tfds.features.Text() for key in more or ()}

    class Grey(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for key, label in enumerate(labels):
                example = {"image": np.full((4, 5, 1), key, np.uint8), "label": label}
                yield key, example | {name: f"{key}.png" for name in more or ()}

    Grey.name = name
    return Grey


@pytest.fixture
def register(monkeypatch):
    def patch(name, **options):
        builder_class = builder_of(name, **options)
        monkeypatch.setattr(
            "tasks.datasets.classification_source.open_builder",
            lambda name, data_dir, suggestions: builder_class(data_dir=data_dir),
        )

    return patch


@pytest.mark.parametrize("feature", ["file_name", "image/filename"])
def test_grey_tfds_pictures(tmp_path, register, feature):
    register("grey", more=[feature])
    source = open_classification_source("grey", data_dir=tmp_path)
    assert source.label_names == ("even", "odd") and source.splits == ("train",)
    assert source.num_examples("train[:2]") == 2
    examples = read(source, "train")
    assert set(examples) == {"0.png", "1.png", "2.png"}
    for number, label in enumerate((1, 0, 1)):
        example = examples[f"{number}.png"]
        assert example["label"] == label
        pixels = decode(example["image"]).numpy()
        np.testing.assert_array_equal(pixels, np.full((4, 5, 3), number))


def test_tfds_without_file_names(tmp_path, register):
    register("nameless")
    names = set(read(open_classification_source("nameless", data_dir=tmp_path), "train"))
    assert len(names) == 3 and all(name.startswith("nameless-train") for name in names)


def test_images_without_label(tmp_path, register):
    register("unlabelled", labels=(-1, -1))
    source = open_classification_source("unlabelled", data_dir=tmp_path)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="split train .*images without a label"
    ):
        read(source, "train")
    with pytest.raises(tf.errors.InvalidArgumentError, match="images without a label"):
        list(source.labels("train"))


@pytest.mark.parametrize(
    "features",
    [
        {"label": tfds.features.Text()},
        {"label": tfds.features.Sequence(tfds.features.ClassLabel(names=["a"]))},
        {"image": tfds.features.Tensor(shape=(4, 5, 1), dtype=np.uint8)},
    ],
)
def test_other_features_are_refused(tmp_path, register, features):
    register("other", **features)
    with pytest.raises(ValueError, match="'other' is not for image classification: it needs"):
        open_classification_source("other", data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        ("shapes/tiny", {"train_images": "x"}, "train_images: does not apply to data set 'shapes"),
        ("mnist", {"class_names": "x"}, "class_names: does not apply to data set 'mnist'"),
        ("mnist", {"validation_list": "x"}, "validation_list: does not apply"),
        ("mnist", {"skip_broken": True}, "skip_broken: does not apply"),
        ("class_directory", {}, "needs pictures of train, validation or both"),
        ("class_directory", {"train_list": "x"}, "train_list needs train_images"),
        ("class_directory", {"train_images": "absent"}, "absent: there is no such folder"),
        ("no_such_data_set", {}, "unknown data set 'no_such_data_set'; use 'shapes'"),
        ("coco/2017", {}, "'coco/2017' is not for image classification"),
        ("shapes/huge", {}, r"configs are \['192'"),
    ],
)
def test_bad_arguments(tmp_path, dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_classification_source(dataset, data_dir=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def picture(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4)).save(path)


def test_class_directory(tmp_path, capsys):
    for name in ("train/cat/1.jpg", "train/dog/2.png", "val/cat/3.gif", "val/dog/4.jpg"):
        picture(tmp_path / name)
    folders = {"train_images": tmp_path / "train", "validation_images": str(tmp_path / "val")}
    options = folders | {"data_dir": str(tmp_path / "tfds")}
    source = open_classification_source("class_directory", **options)
    assert source.label_names == ("cat", "dog") and source.splits == ("train", "validation")
    assert source.skipped == {"train": (), "validation": ()}
    assert "left out" not in capsys.readouterr().out
    train = read(source, "train")
    assert {name: int(e["label"]) for name, e in train.items()} == {"cat/1.jpg": 0, "dog/2.png": 1}
    assert train["cat/1.jpg"]["image"] == (tmp_path / "train/cat/1.jpg").read_bytes()
    assert decode(read(source, "validation")["cat/3.gif"]["image"]).shape == (4, 6, 3)
    for number in range(12):
        (tmp_path / f"val/dog/broken{number:02}.jpg").write_bytes(b"")
    with pytest.raises(ClassDirectoryError, match=r"--skip-broken\) \(12\):\n.*broken00.*is empty"):
        open_classification_source("class_directory", **options)
    for _ in range(2):  # when it is prepared and when the copy is opened again
        source = open_classification_source("class_directory", skip_broken=True, **options)
        assert len(source.skipped["validation"]) == 12 and not source.skipped["train"]
        assert source.num_examples("validation") == 2
        told = capsys.readouterr().out
        assert "12 unreadable pictures of validation were left out: dog/broken00.jpg, " in told
        assert "dog/broken09.jpg, ...\n" in told and "of train" not in told


def test_imagenet_by_its_list(reference, tmp_path):
    root = reference / "data/imagenet_mini"
    source = open_classification_source(
        "class_directory",
        data_dir=tmp_path,
        validation_images=root,
        validation_list=root / "labels.txt",
        class_names=root / "imagenet1000_classes.txt",
    )
    assert len(source.label_names) == 1000 and source.splits == ("validation",)
    assert source.label_names[0] == "tench, Tinca tinca"
    examples = read(source, "validation")
    with open(root / "labels.txt", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    labels = {name: int(example["label"]) for name, example in examples.items()}
    assert labels == {row[0]: int(row[1]) for row in rows} and len(labels) == 250
    assert sorted(labels.values()) == list(range(0, 1000, 4))
    for row in rows:
        assert source.label_names[int(row[1])].startswith(row[3])


def test_files_that_no_program_may_fetch(tmp_path):
    folder = tmp_path / "downloads" / "manual"
    files = rf"{folder}.*ILSVRC2012_img_train\.tar.*register.*'class_directory'$"
    for _ in range(2):  # without the folder, and without the files in it
        with pytest.raises(UnavailableError, match=f"'imagenet2012' needs files.*{files}"):
            open_classification_source("imagenet2012", data_dir=tmp_path)
        files = rf"{folder}/ILSVRC2012_img_val\.tar.*'class_directory'$"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "other.tar").write_bytes(b"")
    assert not list(tmp_path.rglob("*.tfrecord*"))

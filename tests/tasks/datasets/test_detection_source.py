"""All kinds of data sets come through one door in one form."""

from __future__ import annotations

import json
from types import SimpleNamespace

import coco_files
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tasks.common.images import decode, read_rgb
from tasks.datasets import detection_source, tfds_detection
from tasks.datasets.coco_categories import COCO_CATEGORY_IDS, COCO_LABEL_NAMES
from tasks.datasets.coco_json import AnnotationError
from tasks.datasets.detection_source import open_detection_source
from tasks.datasets.tfds_builders import UnavailableError

ELEMENT_SPEC = {
    "image": tf.TensorSpec([], tf.string),
    "image_id": tf.TensorSpec([], tf.int64),
    "filename": tf.TensorSpec([], tf.string),
    "boxes": tf.TensorSpec([None, 4], tf.float32),
    "labels": tf.TensorSpec([None], tf.int32),
    "areas": tf.TensorSpec([None], tf.float32),
    "is_crowd": tf.TensorSpec([None], tf.bool),
}


def read(source, split, **options):
    examples = source.examples(split, **options)
    assert examples.element_spec == ELEMENT_SPEC
    return {int(example["image_id"]): example for example in examples.as_numpy_iterator()}


def mini(folder, *splits):
    """Arguments that open coco_mini as a COCO directory."""
    root = folder / "data/coco_mini"
    short = {"train": "train2017", "validation": "val2017"}
    images = {f"{split}_images": str(root / short[split]) for split in splits}
    return images | {
        f"{split}_annotations": str(root / f"annotations/instances_{short[split]}.json")
        for split in splits
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_detection_source("shapes/tiny", data_dir=tmp_path_factory.mktemp("tfds"))


def test_shapes(tiny):
    assert tiny.label_names[:2] == ("circle", "square") and len(tiny.label_names) == 10
    assert tiny.category_ids == tuple(range(1, 11))
    assert [tiny.num_examples(split) for split in ("train", "validation", "test")] == [64, 32, 32]
    examples = read(tiny, "train")
    assert len(examples) == 64
    for example in examples.values():
        assert decode(example["image"]).shape == (96, 96, 3)
        assert 1 <= len(example["labels"]) <= 8 and example["labels"].max() < 10
        extent = (example["boxes"][:, 2:] - example["boxes"][:, :2]).prod(axis=-1) * 96 * 96
        assert (example["areas"] <= extent + 1e-2).all() and (example["areas"] > 0).all()
        assert not example["is_crowd"].any()


def test_slices_as_in_tfds(tiny):
    assert tiny.num_examples("train[:10]") == len(read(tiny, "train[:10]")) == 10
    assert tiny.num_examples("train[50%:]") == 32
    assert tiny.num_examples("train+test") == len(read(tiny, "train+test")) == 96


@pytest.mark.parametrize("split", ["val", "train[", "", "train[:10"])
def test_unknown_split(tiny, split):
    for function in (tiny.num_examples, tiny.examples):
        with pytest.raises(ValueError, match=r"no split .*'train'.*'validation'"):
            function(split)


def test_empty_split(tiny):
    for split in ("train[:0]", "train[5:3]"):
        for function in (tiny.num_examples, tiny.examples):
            with pytest.raises(ValueError, match="is empty"):
                function(split)


def test_order_is_the_same_in_each_run(tiny):
    assert list(read(tiny, "train")) == list(read(tiny, "train"))
    runs = [list(read(tiny, "train", shuffle_files=True, seed=3)) for _ in range(2)]
    assert runs[0] == runs[1] and sorted(runs[0]) == sorted(read(tiny, "train"))


def test_data_dir_of_the_environment(tmp_path, monkeypatch):
    """TFDS reads TFDS_DATA_DIR when it is imported."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    open_detection_source("shapes/tiny")
    assert (tmp_path / "shapes/tiny/1.0.0").is_dir()


def test_coco_directory(tmp_path):
    images, path = coco_files.write(tmp_path)
    source = open_detection_source(
        "coco_directory",
        data_dir=str(tmp_path / "tfds"),
        train_images=images,
        train_annotations=path,
        validation_images=images,
        validation_annotations=path,
    )
    assert source.label_names == ("car", "dog", "cup")
    assert source.category_ids == (3, 18, 90)
    assert source.splits == ("train", "validation")
    for split in source.splits:
        assert source.num_examples(split) == 2
        example = read(source, split)[5]
        assert example["image"] == (images / "a.jpg").read_bytes()
        np.testing.assert_array_equal(example["labels"], [2, 0])
        np.testing.assert_array_equal(example["is_crowd"], [False, True])
        assert read(source, split)[7]["boxes"].shape == (0, 4)


def test_only_one_split_of_a_directory(tmp_path):
    images, path = coco_files.write(tmp_path)
    files = {"validation_images": images, "validation_annotations": path}
    source = open_detection_source("coco_directory", data_dir=tmp_path / "tfds", **files)
    assert source.splits == ("validation",)
    with pytest.raises(ValueError, match=r"no split 'train'; it has \['validation'\]"):
        source.examples("train")


def test_directory_changed_between_two_openings(tmp_path):
    images, path = coco_files.write(tmp_path)
    options = {"data_dir": tmp_path / "tfds", "train_images": images, "train_annotations": path}
    before = read(open_detection_source("coco_directory", **options), "train")[5]
    data = coco_files.content()
    data["annotations"][0]["bbox"] = [0, 0, 50, 25]
    path.write_text(json.dumps(data))
    after = read(open_detection_source("coco_directory", **options), "train")[5]
    np.testing.assert_allclose(before["boxes"][0], [0.1, 0.1, 0.7, 0.3])
    np.testing.assert_allclose(after["boxes"][0], [0, 0, 0.5, 0.5])


def test_dropping_invalid_boxes(tmp_path):
    data = coco_files.content()
    data["annotations"].append(coco_files.annotation(13, bbox=[1, 1, 0, 5]))
    images, path = coco_files.write(tmp_path, data)
    options = {"data_dir": tmp_path / "tfds", "train_images": images, "train_annotations": path}
    with pytest.raises(AnnotationError, match="--drop-invalid-boxes"):
        open_detection_source("coco_directory", **options)
    source = open_detection_source("coco_directory", drop_invalid_boxes=True, **options)
    assert len(read(source, "train")[5]["labels"]) == 2


def tfrecords(folder, categories, boxes):
    """One record file with one picture whose objects have these category ids and yxyx boxes."""
    picture = tf.io.encode_png(np.zeros((10, 20, 3), np.uint8)).numpy()

    def numbers(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    sides = ("ymin", "xmin", "ymax", "xmax")
    feature = {
        f"image/object/bbox/{side}": numbers([box[n] for box in boxes])
        for n, side in enumerate(sides)
    }
    feature["image/encoded"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
    feature["image/source_id"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"3"]))
    feature["image/object/class/label"] = tf.train.Feature(
        int64_list=tf.train.Int64List(value=categories)
    )
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    path = str(folder / "train-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(example.SerializeToString())
    return path


def test_coco_tfrecord(tmp_path):
    tfrecords(tmp_path, [90, 1], [(0, 0, 0.5, 0.5), (0.2, 0.2, 0.7, 0.9)])
    source = open_detection_source("coco_tfrecord", train_records=str(tmp_path / "train-*"))
    assert source.label_names == COCO_LABEL_NAMES and source.category_ids == COCO_CATEGORY_IDS
    assert source.num_examples("train") == 1
    example = read(source, "train")[3]
    np.testing.assert_array_equal(example["labels"], [79, 0])
    np.testing.assert_allclose(example["areas"], [50, 70], rtol=1e-6)
    for split in ("validation", "train[:1]"):
        with pytest.raises(ValueError, match="no split .*only TFDS data sets have slices"):
            source.num_examples(split)


@pytest.mark.parametrize("function", ["num_examples", "examples"])
def test_bad_tfrecords_are_no_missing_split(tmp_path, function):
    path = tfrecords(tmp_path, [90], [(0, 0, 0.5, 0.0)])
    source = open_detection_source("coco_tfrecord", train_records=path)
    with pytest.raises(AnnotationError, match="record 0: .* has no positive width and height"):
        getattr(source, function)("train")
    (tmp_path / "train-00000-of-00001.tfrecord").write_bytes(b"no records, but some other file")
    with pytest.raises(AnnotationError, match="record 0 is truncated or damaged"):
        getattr(source, function)("train")


def test_tfrecords_are_checked_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(detection_source, "check_records", lambda *args: calls.append(args) or 7)
    path = tfrecords(tmp_path, [90], [(0, 0, 0.5, 0.5)])
    source = open_detection_source("coco_tfrecord", train_records=path, validation_records=path)
    assert not calls
    assert [source.num_examples(split) for split in ("train", "train", "validation")] == [7] * 3
    assert calls == [([path], COCO_CATEGORY_IDS)] * 2


def test_coco_tfrecord_with_other_categories(tmp_path):
    _, annotations = coco_files.write(tmp_path)
    path = tfrecords(tmp_path, [90, 18], [(0, 0, 0.5, 0.5), (0.2, 0.2, 0.4, 0.9)])
    source = open_detection_source(
        "coco_tfrecord", validation_records=path, validation_annotations=annotations
    )
    assert source.label_names == ("car", "dog", "cup")
    np.testing.assert_array_equal(read(source, "validation")[3]["labels"], [2, 1])
    data = coco_files.content()
    data["categories"][1]["name"] = "bus"
    _, others = coco_files.write(tmp_path / "other", data)
    both = {"train_annotations": annotations, "validation_annotations": others}
    with pytest.raises(AnnotationError, match=r"list different categories.*\(3, 'bus'\)"):
        open_detection_source("coco_tfrecord", validation_records=path, **both)
    both["validation_annotations"] = annotations
    assert open_detection_source("coco_tfrecord", train_records=path, **both).splits == ("train",)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        ("shapes/tiny", {"train_images": "x"}, "train_images: does not apply to data set 'shapes"),
        ("coco/2017", {"drop_invalid_boxes": True}, "drop_invalid_boxes: does not apply"),
        ("coco_tfrecord", {"validation_images": "x"}, "validation_images: does not apply"),
        ("coco_directory", {"train_records": "x"}, "train_records: does not apply"),
        ("coco_directory", {"train_images": "x"}, "both train_images and train_annotations"),
        ("coco_directory", {}, "train, validation or both"),
        ("coco_tfrecord", {}, "train_records, validation_records or both"),
        ("no_such_data_set", {}, "unknown data set 'no_such_data_set'; use 'shapes'"),
        ("", {}, "unknown data set ''; use 'shapes'"),
        ("/tmp", {}, "unknown data set '/tmp'; use 'shapes'"),
        ("shapes/huge", {}, r"configs are \['192'"),
        ("shapes:9.9.9", {}, r"cannot open .*'shapes:9.9.9'.* its version is 1.0.0"),
        ("shapes/tiny/nonsense=1", {}, "cannot open data set 'shapes/tiny/nonsense=1'"),
        ("mnist", {}, "'mnist' is not for object detection"),
    ],
)
def test_bad_arguments(tmp_path, dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_detection_source(dataset, data_dir=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_failed_download(tmp_path, monkeypatch):
    def fail(self, dl_manager):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(tfds.builder_cls("coco"), "_split_generators", fail)
    with pytest.raises(
        UnavailableError, match=r"'coco/2017' could not be downloaded.*not known.*Check"
    ):
        open_detection_source("coco/2017", data_dir=tmp_path)


def test_data_set_without_ids_areas_and_crowds(tmp_path):
    """VOC as TFDS has it: ids come from the record, areas from the boxes."""

    class Plain(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            objects = {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=["a", "b"]),
            }
            features = {"image": tfds.features.Image(), "objects": tfds.features.Sequence(objects)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            item = {"bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5), "label": "b"}
            for key in range(3):
                yield key, {"image": np.zeros((10, 20, 3), np.uint8), "objects": [item]}

    source = open_detection_source("plain", data_dir=str(tmp_path))
    examples = read(source, "train")
    assert source.category_ids == (1, 2) and len(examples) == 3
    assert set(read(source, "train")) == set(examples)
    for example in examples.values():
        np.testing.assert_allclose(example["areas"], [50])
        np.testing.assert_array_equal(example["is_crowd"], [False])


def test_real_photographs(reference, tmp_path):
    source = open_detection_source(
        "coco_directory", data_dir=tmp_path, **mini(reference, "train", "validation")
    )
    assert source.label_names == COCO_LABEL_NAMES and source.category_ids == COCO_CATEGORY_IDS
    for split, name, images, boxes, crowds, labels in (
        ("train", "train2017", 72, 678, 7, 71),
        ("validation", "val2017", 50, 318, 1, 58),
    ):
        assert source.num_examples(split) == images
        examples = read(source, split)
        annotations = reference / f"data/coco_mini/annotations/instances_{name}.json"
        expected = json.loads(annotations.read_text())
        assert set(examples) == {image["id"] for image in expected["images"]}
        assert sum(len(example["labels"]) for example in examples.values()) == boxes
        assert sum(example["is_crowd"].sum() for example in examples.values()) == crowds
        assert len({int(n) for e in examples.values() for n in e["labels"]}) == labels
        for record in expected["images"]:
            example = examples[record["id"]]
            assert example["filename"].decode() == record["file_name"]
            own = [a for a in expected["annotations"] if a["image_id"] == record["id"]]
            ids = [source.category_ids[label] for label in example["labels"]]
            assert ids == [a["category_id"] for a in own]
            np.testing.assert_allclose(example["areas"], [a["area"] for a in own], rtol=1e-6)
            size = np.array([record["height"], record["width"]] * 2)
            top, left, bottom, right = (example["boxes"] * size).T
            pixels = np.stack([left, top, right - left, bottom - top], axis=-1)
            np.testing.assert_allclose(pixels, [a["bbox"] for a in own], atol=0.02)
    first = next(iter(examples.values()))
    path = reference / "data/coco_mini/val2017" / first["filename"].decode()
    np.testing.assert_array_equal(decode(first["image"]), read_rgb(path))


def test_coco_2017_of_tfds_agrees_with_the_directory(reference, tmp_path, monkeypatch):
    """TFDS's own code prepares the small pack as if it were the download; both ways agree."""
    root = reference / "data/coco_mini"

    def local_files(self, dl_manager):
        for split, folder in (("train", "train2017"), ("validation", "val2017")):
            yield tfds.core.SplitGenerator(
                name=split,
                gen_kwargs={
                    "image_dir": str(root),
                    "annotation_dir": str(root),
                    "split_name": folder,
                    "annotation_type": "bboxes",
                    "panoptic_dir": None,
                },
            )

    builder_class = tfds.builder_cls("coco")
    monkeypatch.setattr(
        builder_class, "_split_generators", lambda self, manager: list(local_files(self, manager))
    )
    source = open_detection_source("coco/2017", data_dir=tmp_path)
    assert source.label_names == COCO_LABEL_NAMES and source.category_ids == COCO_CATEGORY_IDS
    other = open_detection_source(
        "coco_directory", data_dir=tmp_path, **mini(reference, "train", "validation")
    )
    for split in ("train", "validation"):
        ours, theirs = read(source, split), read(other, split)
        assert set(ours) == set(theirs)
        for image_id, example in ours.items():
            expected = theirs[image_id]
            assert example["image"] == expected["image"]
            # TFDS orders by annotation id and cuts the fraction off the areas.
            mine, its = (
                sorted(zip(e["labels"], map(tuple, e["boxes"]), strict=True))
                for e in (example, expected)
            )
            assert [label for label, _ in mine] == [label for label, _ in its]
            np.testing.assert_allclose([b for _, b in mine], [b for _, b in its], atol=1e-5)
            np.testing.assert_allclose(
                np.sort(example["areas"]), np.sort(expected["areas"]), atol=1
            )


def test_coco_labels_in_another_order_are_refused():
    labels = tfds.features.ClassLabel(names=COCO_LABEL_NAMES[::-1])
    info = SimpleNamespace(metadata=None, features={"objects": {"label": labels}})
    builder = SimpleNamespace(name="coco", data_dir="somewhere", info=info)
    with pytest.raises(ValueError, match="not the 80 of COCO in their order"):
        tfds_detection.tfds_categories("coco/2017", builder)

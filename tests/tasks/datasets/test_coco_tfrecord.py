"""TFRecords of tf-models-official are read as its own decoder reads them."""

from __future__ import annotations

import coco_files
import numpy as np
import pytest
from tfrecord_files import record, write

from tasks.common.images import decode
from tasks.datasets.coco_tfrecord import find_files, read_examples
from tasks.datasets.coco_tfrecord_check import check_records


def read(path, category_ids=(3, 18, 90)):
    return list(read_examples([str(path)], category_ids).as_numpy_iterator())


def test_one_record(tmp_path):
    (example,) = read(write(tmp_path / "a", record()))
    assert (example["image_id"], example["filename"]) == (42, b"a.png")
    np.testing.assert_array_equal(decode(example["image"]), np.full((10, 20, 3), 9))
    np.testing.assert_allclose(example["boxes"], [[0.1, 0.2, 0.6, 0.7], [0, 0, 1, 1]])
    np.testing.assert_array_equal(example["labels"], [1, 2])
    np.testing.assert_allclose(example["areas"], [40.5, 100])
    np.testing.assert_array_equal(example["is_crowd"], [False, True])


def test_absent_areas_and_crowds(tmp_path):
    data = record(object__area=None, object__is_crowd=None)
    (example,) = read(write(tmp_path / "a", data))
    np.testing.assert_allclose(example["areas"], [0.25 * 200, 200], rtol=1e-6)
    np.testing.assert_array_equal(example["is_crowd"], [False, False])


def test_record_without_objects(tmp_path):
    names = ("bbox/ymin", "bbox/xmin", "bbox/ymax", "bbox/xmax", "class/label", "area", "is_crowd")
    nothing = {f"object__{name}".replace("/", "__"): None for name in names}
    (example,) = read(write(tmp_path / "a", record(**nothing)))
    assert example["boxes"].shape == (0, 4)
    assert example["labels"].shape == example["areas"].shape == example["is_crowd"].shape == (0,)


def test_boxes_are_clipped(tmp_path):
    sides = {"ymin": [0.1, -0.19], "xmin": [-0.09, 0.0], "ymax": [0.6, 1.19], "xmax": [0.7, 1.05]}
    data = record(**{f"object__bbox__{side}": values for side, values in sides.items()})
    assert check_records([write(tmp_path / "a", data)], (18, 90)) == 1
    (example,) = read(tmp_path / "a")
    np.testing.assert_allclose(example["boxes"], [[0.1, 0, 0.6, 0.7], [0, 0, 1, 1]])


def test_source_ids_that_are_no_numbers(tmp_path):
    path = write(tmp_path / "a", record(source_id=b"x1"), record(source_id=b"x2"))
    first, second = (int(example["image_id"]) for example in read(path))
    assert first != second and 0 <= min(first, second) <= max(first, second) < 2**53


def test_count_and_order_over_files(tmp_path):
    for n in range(3):
        ids = [str(10 * n + k).encode() for k in range(n + 1)]
        write(tmp_path / f"train-{n}.tfrecord", *[record(source_id=i) for i in ids])
    files = find_files(str(tmp_path / "train-*.tfrecord"))
    assert len(files) == 3 and check_records(files, (18, 90)) == 6
    ids = [int(e["image_id"]) for e in read_examples(files, (18, 90)).as_numpy_iterator()]
    assert ids == [0, 10, 11, 20, 21, 22]
    shuffled = read_examples(files, (18, 90), shuffle_files=True, seed=1)
    runs = [[int(e["image_id"]) for e in shuffled.take(6).as_numpy_iterator()] for _ in range(4)]
    assert all(sorted(run) == ids for run in runs) and any(run != ids for run in runs)
    again = read_examples(files, (18, 90), shuffle_files=True, seed=1)
    assert [int(e["image_id"]) for e in again.as_numpy_iterator()] == runs[0]


def test_no_file_matches(tmp_path):
    with pytest.raises(ValueError, match="no TFRecord file matches"):
        find_files(str(tmp_path / "train-*"))


def test_the_library_writes_and_reads_the_same(tmp_path):
    """Written by create_coco_tf_record; read by its decoder and by us."""
    library = pytest.importorskip("official.vision.data.create_coco_tf_record")
    decoder = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    images, _ = coco_files.write(tmp_path)
    data = coco_files.content()
    names = {category["id"]: category["name"] for category in data["categories"]}
    records = []
    for image in data["images"]:
        objects = [item for item in data["annotations"] if item["image_id"] == image["id"]]
        example, _ = library.create_tf_example(
            image, [str(images)], bbox_annotations=objects, id_to_name_map=names
        )
        records.append(example.SerializeToString())
    ours = read(write(tmp_path / "a", *records))
    assert [int(example["image_id"]) for example in ours] == [7, 5]
    for example, item in zip(ours, records, strict=True):
        theirs = decoder.TfExampleDecoder().decode(item)
        assert str(example["image_id"]).encode() == theirs["source_id"].numpy()
        np.testing.assert_array_equal(example["boxes"], theirs["groundtruth_boxes"])
        np.testing.assert_array_equal(example["areas"], theirs["groundtruth_area"])
        np.testing.assert_array_equal(example["is_crowd"], theirs["groundtruth_is_crowd"])
        category_ids = np.array([3, 18, 90])[example["labels"]]
        np.testing.assert_array_equal(category_ids, theirs["groundtruth_classes"])

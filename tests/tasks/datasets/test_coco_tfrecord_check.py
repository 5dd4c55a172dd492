"""Each defect of a record gets a message that names file, record and field."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tfrecord_files import record, write

from tasks.common.images import encode_png
from tasks.datasets.coco_tfrecord_check import check_records


def refusal(path):
    with pytest.raises(ValueError) as caught:
        check_records([str(path)], (3, 18, 90))
    assert str(path) in str(caught.value)
    return str(caught.value)


def objects(**fields):
    return record(**{f"object__{name}": value for name, value in fields.items()})


def test_good_records_are_counted(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(buffer, "JPEG")
    fields = ("bbox__ymin", "bbox__xmin", "bbox__ymax", "bbox__xmax", "class__label", "area")
    nothing = dict.fromkeys((*fields, "is_crowd"))
    goods = [
        record(),
        record(encoded=buffer.getvalue(), source_id=None, filename=None),
        record(source_id=b"image 7"),
        objects(area=None, is_crowd=None),
        objects(**nothing),
    ]
    files = [write(tmp_path / "a", *goods), write(tmp_path / "b", record()), write(tmp_path / "c")]
    assert check_records(files, (3, 18, 90)) == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class__label": [18, 4]}, "category ids [4] that are not among the categories"),
        ({"class__label": [18, -1]}, "category ids [-1]"),
        ({"class__label": [18]}, "'image/object/bbox/ymin' has 2 values but"),
        ({"class__label": None}, "'image/object/class/label' has 0"),
        ({"class__label": [18.0, 90.0]}, "must be a int64_list, not a float_list"),
        ({"bbox__xmax": [0.7]}, "'image/object/bbox/xmax' has 1 values but"),
        ({"bbox__xmax": None}, "'image/object/bbox/xmax' has 0 values but"),
        ({"area": [1.0]}, "'image/object/area' has 1 values but"),
        ({"area": [1.0, -1.0]}, "'image/object/area' must be numbers >= 0"),
        ({"area": [1.0, float("nan")]}, "'image/object/area' must be numbers >= 0"),
        ({"is_crowd": [0]}, "'image/object/is_crowd' has 1 values but"),
        ({"is_crowd": [0, 2]}, "'image/object/is_crowd' must be 0 or 1"),
        ({"bbox__xmax": [0.1, 1.0]}, "[0.1, 0.2, 0.6, 0.1] has no positive width"),
        ({"bbox__xmin": [0.7, 0.0]}, "[0.1, 0.7, 0.6, 0.7] has no positive width"),
        ({"bbox__xmin": [float("nan"), 0.0]}, "has no positive width"),
        ({"bbox__xmax": [float("inf"), 1.0]}, "lies outside of [0, 1]"),
        # The image has 10 x 20 pixels; two pixels are let pass.
        ({"bbox__ymin": [-0.21, 0.0]}, "lies outside of [0, 1]"),
        ({"bbox__xmin": [-0.11, 0.0]}, "lies outside of [0, 1] (x in pixels / 20, y in pixels /"),
        ({"bbox__ymax": [1.21, 1.0]}, "lies outside of [0, 1]"),
        ({"bbox__xmax": [1.11, 1.0]}, "lies outside of [0, 1]"),
        ({"bbox__xmin": [1.01, 0.0], "bbox__xmax": [1.05, 1.0]}, "lies outside of [0, 1]"),
    ],
)
def test_bad_objects(tmp_path, fields, message):
    text = refusal(write(tmp_path / "a", record(), objects(**fields)))
    assert "record 1: " in text and message in text and "1 problem " in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoded": None}, "(image id '42') 'image/encoded' is absent or empty"),
        ({"encoded": b""}, "'image/encoded' is absent or empty"),
        ({"encoded": b"GIF89a, or so"}, "'image/encoded' is no JPEG or PNG, or damaged"),
        ({"encoded": encode_png(np.zeros((2, 2), np.uint8))[:20]}, "or damaged"),
        ({"encoded": b"\xff\xd8\xff"}, "or damaged"),
        ({"encoded": [1]}, "must be a bytes_list"),
        ({"source_id": str(2**63).encode()}, "'image/source_id' exceeds 64 bits"),
        ({"source_id": b"9" * 5000}, "4300 digits"),
    ],
)
def test_bad_image(tmp_path, fields, message):
    text = refusal(write(tmp_path / "a", record(**fields)))
    assert "record 0: " in text and message in text


def test_not_an_example(tmp_path):
    text = refusal(write(tmp_path / "a", record(), b"\xff\xff"))
    assert "record 1: is not a tf.train.Example" in text


def test_damaged_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "a"
    write(path, record(), record())
    data = path.read_bytes()
    changed = bytearray(data)
    changed[-20] ^= 1
    # One that ends within the header of its second record TensorFlow takes for complete.
    for broken in (data[:-1], data[: len(data) // 2 + 4], bytes(changed)):
        path.write_bytes(broken)
        assert "record 1 is truncated or damaged" in refusal(path)
    path.write_bytes(b"\x1f\x8b compressed, or so")
    assert "record 0 is truncated or damaged, or this is not an uncompr" in refusal(path)


def test_folder(tmp_path):
    assert "cannot be read (FailedPreconditionError)" in refusal(tmp_path)


def test_problems_of_several_files_are_told_together(tmp_path):
    bad = objects(class__label=[18, 4])
    files = [write(tmp_path / name, *[bad] * 8) for name in "ab"]
    with pytest.raises(ValueError) as caught:
        check_records(files, (3, 18, 90))
    text = str(caught.value)
    assert "16 problems" in text and "... and 6 more" in text
    assert f"{files[0]}: record 7" in text and f"{files[1]}: record 1" in text

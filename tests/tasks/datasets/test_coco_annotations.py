"""COCO files are read exactly, and each defect gets a message that names record and remedy."""

from __future__ import annotations

import coco_files
import numpy as np
import pytest
from coco_files import annotation
from PIL import Image

from tasks.datasets.coco_annotations import read_split
from tasks.datasets.coco_json import AnnotationError, read_categories


def refusal(tmp_path, data, **options):
    images, path = coco_files.write(tmp_path, data)
    with pytest.raises(AnnotationError) as caught:
        read_split(path, images, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


def data_with(*annotations, **replacements):
    data = coco_files.content()
    data["annotations"] += annotations
    return data | replacements


def test_valid_split(tmp_path):
    images, path = coco_files.write(tmp_path)
    split = read_split(path, images)
    assert list(split.categories.items()) == [(3, "car"), (18, "dog"), (90, "cup")]
    empty, full = split.images
    assert (empty.id, empty.file_name, empty.objects) == (7, "b.png", ())
    assert (full.id, full.path, full.info.height) == (5, images / "a.jpg", 50)
    cup, crowd = full.objects
    assert (cup.id, cup.category_id, cup.area, cup.is_crowd) == (11, 90, 321.5, False)
    assert cup.box == (0.1, 0.1, 0.7, 0.3)
    assert (crowd.category_id, crowd.box, crowd.is_crowd) == (3, (0, 0, 1, 1), True)


def test_area_and_crowd_may_be_absent(tmp_path):
    record = annotation(13, bbox=[1, 2, 3, 4])
    del record["area"], record["iscrowd"]
    images, path = coco_files.write(tmp_path, data_with(record))
    item = read_split(path, images).images[1].objects[-1]
    assert (item.area, item.is_crowd) == (12, False)


def test_rounding_at_the_border_is_clipped(tmp_path):
    record = annotation(13, bbox=[-1.5, 10, 103, 41])
    images, path = coco_files.write(tmp_path, data_with(record))
    assert read_split(path, images).images[1].objects[-1].box == (0.2, 0, 1, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bbox", [1, 2, -3, 4], "no positive width and height"),
        ("bbox", [1, 2, 3, 0], "no positive width and height"),
        ("bbox", [90, 2, 20, 4], "outside of its image of 100 x 50"),
        ("bbox", [200, 2, 3, 4], "outside of its image of 100 x 50"),
        ("bbox", [1, -20, 3, 4], "outside of its image of 100 x 50"),
        ("bbox", [1, 2, 3], "four numbers"),
        ("bbox", [1, 2, 3, float("nan")], "four numbers"),
        ("bbox", [1, 2, 3, 10**400], "four numbers"),
        ("area", 10**400, "'area' must be a number >= 0"),
        ("bbox", None, "four numbers"),
        ("area", -1, "'area' must be a number >= 0"),
        ("iscrowd", 2, "'iscrowd' must be 0 or 1"),
        ("category_id", 4, "'category_id' 4 is not among the categories"),
        ("category_id", "dog", "'category_id' 'dog' is not among the categories"),
        ("image_id", 999, "no image has this 'image_id'"),
        ("image_id", [5], "no image has this 'image_id'"),
    ],
)
def test_bad_annotation(tmp_path, field, value, message):
    text = refusal(tmp_path, data_with(annotation(13, **{field: value})))
    assert "annotation id 13" in text and message in text and "1 problem " in text
    told = "with drop_invalid_boxes (--drop-invalid-boxes)" in text
    assert told == ("outside of" in message or "no positive" in message)


@pytest.mark.parametrize("bbox", [[1, 2, 3, 0], [90, 2, 20, 4], [200, 2, 3, 4]])
def test_invalid_boxes_are_dropped_on_demand(tmp_path, bbox):
    images, path = coco_files.write(tmp_path, data_with(annotation(13, bbox=bbox)))
    split = read_split(path, images, drop_invalid_boxes=True)
    assert [item.id for item in split.images[1].objects] == [11, 12]


def test_duplicate_and_missing_ids(tmp_path):
    assert "annotation id 11 occurs more" in refusal(tmp_path, data_with(annotation(11)))
    assert "annotation number 2: 'id'" in refusal(tmp_path, data_with(annotation(None)))
    assert "annotation number 2: 'id'" in refusal(tmp_path, data_with(annotation(2**70)))
    images = coco_files.content()["images"]
    huge = [images[0], images[1] | {"id": 2**63}]
    text = refusal(tmp_path, data_with(images=huge))
    assert f"image number 1: 'id' must be an integer of at most 64 bits, not {2**63}" in text
    assert "image id 5 occurs more" in refusal(tmp_path, data_with(images=[*images, images[1]]))
    same = [*coco_files.CATEGORIES, {"id": 3, "name": "bus"}]
    assert "category id 3 occurs more" in refusal(tmp_path, data_with(categories=same))
    same = [*coco_files.CATEGORIES, {"id": 4, "name": "car"}]
    assert "'car' occurs 2 times" in refusal(tmp_path, data_with(categories=same))


def test_categories_must_have_names(tmp_path):
    assert "category id 1: 'name'" in refusal(tmp_path, data_with(categories=[{"id": 1}]))
    assert "'categories' is empty" in refusal(tmp_path, data_with(categories=[]))


def test_no_images(tmp_path):
    assert "at least one image" in refusal(tmp_path, data_with(images=[], annotations=[]))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list(tmp_path, key):
    data = coco_files.content()
    del data[key]
    assert f"no list '{key}'" in refusal(tmp_path, data)
    assert f"no list '{key}'" in refusal(tmp_path, data | {key: {"id": 1}})


def test_not_a_coco_file(tmp_path):
    assert "no list 'images'" in refusal(tmp_path, [1, 2])
    assert "'annotations' must be JSON objects" in refusal(tmp_path, data_with(annotations=[3]))


@pytest.mark.parametrize("text", [b'{"images": [', b"", b"\xff\xfe\x00broken"])
def test_invalid_json(tmp_path, text):
    images, path = coco_files.write(tmp_path)
    path.write_bytes(text)
    with pytest.raises(AnnotationError, match="not valid JSON"):
        read_split(path, images)


def test_missing_files(tmp_path):
    images, path = coco_files.write(tmp_path)
    with pytest.raises(AnnotationError, match="no such annotations file"):
        read_split(tmp_path / "absent.json", images)
    with pytest.raises(AnnotationError, match="no such folder of images"):
        read_split(path, tmp_path / "absent")


def test_missing_and_corrupt_images_are_both_told(tmp_path):
    images, path = coco_files.write(tmp_path)
    (images / "b.png").unlink()
    data = (images / "a.jpg").read_bytes()
    (images / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(AnnotationError) as caught:
        read_split(path, images)
    text = str(caught.value)
    assert "2 problems" in text
    assert f"image id 7: {images / 'b.png'}: there is no such image file" in text
    assert f"image id 5: {images / 'a.jpg'}: the image is truncated" in text


def test_image_without_file_name(tmp_path):
    assert "image id 5: 'file_name'" in refusal(tmp_path, data_with(images=[{"id": 5}]))


def test_size_that_differs_from_the_file(tmp_path):
    data = coco_files.content()
    data["images"][0]["width"] = 61
    text = refusal(tmp_path, data)
    assert "image id 7 (b.png)" in text and "40, 61 but the file is displayed with 40, 60" in text


def test_size_may_be_absent(tmp_path):
    data = coco_files.content()
    del data["images"][0]["width"], data["images"][0]["height"]
    images, path = coco_files.write(tmp_path, data)
    assert read_split(path, images).images[0].info.width == 60


def test_exif_rotation(tmp_path):
    """The size as displayed is right; that of the unrotated pixels gets an explanation."""
    data = coco_files.content()
    images, path = coco_files.write(tmp_path, data)
    exif = Image.Exif()
    exif[0x0112] = 6
    # Displayed with 40 x 60 pixels, as the annotations say.
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(images / "b.png", exif=exif)
    assert read_split(path, images).images[0].info.rotated
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(images / "b.png", exif=exif)
    with pytest.raises(AnnotationError, match="EXIF tag rotates it"):
        read_split(path, images)


def test_only_the_first_ten_problems_are_shown(tmp_path):
    text = refusal(tmp_path, data_with(*[annotation(100 + n, category_id=4) for n in range(25)]))
    assert "25 problems" in text and "... and 15 more" in text
    assert "annotation id 109" in text and "annotation id 110" not in text


def test_read_categories(tmp_path):
    _, path = coco_files.write(tmp_path)
    assert list(read_categories(path).items()) == [(3, "car"), (18, "dog"), (90, "cup")]

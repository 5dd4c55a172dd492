"""scripts/crop_objects.py: the right pixels in the right folders, all or nothing."""

from __future__ import annotations

import json

import crop_objects
import numpy as np
import pytest
from PIL import Image

from tasks.datasets.class_files import find_class_files

CATEGORIES = ("cat", "dog", "hot dog")


def crop(*arguments):
    crop_objects.main([str(argument) for argument in arguments])


def write(folder, objects):
    """A COCO data set of two images of 100 x 200; objects: (image id, label, xywh, crowd)."""
    folder.mkdir()
    # The pixel at (y, x) has the colour (y, x, image id).
    y, x = np.mgrid[:100, :200]
    for image_id in (1, 2):
        pixels = np.stack([y, x, np.full_like(x, image_id)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 100, "width": 200} for n in (1, 2)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CATEGORIES, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": CATEGORIES.index(name) + 1,
                "bbox": box,
                "iscrowd": crowd,
            }
            for number, (image_id, name, box, crowd) in enumerate(objects, start=10)
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return folder, path


@pytest.fixture
def train(tmp_path):
    objects = [
        (1, "cat", [60, 20, 40, 40], 0),
        (2, "cat", [0, 0, 20, 60], 0),
        (2, "cat", [10, 10, 31, 31], 0),  # too small
        (1, "dog", [10, 10, 32, 5], 0),
        (1, "dog", [0, 0, 100, 100], 1),
        (2, "hot dog", [100, 50, 50, 50], 0),
        (2, "hot dog", [100, 50, 100, 40], 0),
    ]
    return write(tmp_path / "train", objects)


def test_crops(train, tmp_path, capsys):
    crop(*train, tmp_path / "new/crops")
    assert find_class_files(tmp_path / "new/crops") == {
        "cat": ["cat/1_10.jpg", "cat/2_11.jpg"],
        "dog": ["dog/1_13.jpg"],
        "hot dog": ["hot dog/2_15.jpg", "hot dog/2_16.jpg"],
    }
    assert not [path for path in (tmp_path / "new").iterdir() if path.name != "crops"]
    told = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in told[:3]] == [
        ["2", "cat"],
        ["1", "dog"],
        ["2", "hot dog"],
    ]
    assert told[3].strip() == f"5 in 3 categories: {tmp_path / 'new/crops'}"
    for name, top, left, side in (
        ("cat/1_10", 18, 58, 44),
        ("cat/2_11", 0, 0, 66),  # shifted into the image
        ("dog/1_13", 0, 8, 35),
        ("hot dog/2_15", 45, 98, 55),
    ):
        pixels = np.asarray(Image.open(tmp_path / f"new/crops/{name}.jpg"))
        assert pixels.shape == (side, side, 3)
        y, x = np.mgrid[top : top + side, left : left + side]
        expected = np.stack([y, x, np.full_like(x, int(name.split("/")[1][0]))], axis=-1)
        assert np.abs(pixels.astype(int) - expected).max() <= 4


def test_min_side_and_context(train, tmp_path):
    crop(*train, tmp_path / "crops", "--min-side", 45, "--context", 0)
    assert find_class_files(tmp_path / "crops") == {
        "cat": ["cat/2_11.jpg"],
        "hot dog": ["hot dog/2_15.jpg", "hot dog/2_16.jpg"],
    }
    assert Image.open(tmp_path / "crops/cat/2_11.jpg").size == (60, 60)
    assert Image.open(tmp_path / "crops/hot dog/2_15.jpg").size == (50, 50)


def classes(folder):
    return list(find_class_files(folder))


def test_choice_of_categories(train, tmp_path):
    crop(*train, tmp_path / "two", "--min-instances", 2)
    assert classes(tmp_path / "two") == ["cat", "hot dog"]
    crop(*train, tmp_path / "three", "--min-instances", 3, "--min-side", 31)
    assert classes(tmp_path / "three") == ["cat"]
    crop(*train, tmp_path / "named", "--categories", "dog", "hot dog")
    assert classes(tmp_path / "named") == ["dog", "hot dog"]
    crop(*train, tmp_path / "same", "--categories-from", tmp_path / "two")
    assert classes(tmp_path / "same") == ["cat", "hot dog"]


def test_the_same_categories_in_two_commands(train, tmp_path, capsys):
    objects = [
        (1, "dog", [0, 0, 50, 50], 0),
        (1, "cat", [0, 0, 50, 50], 0),
        (2, "cat", [0, 0, 9, 9], 0),
        (1, "hot dog", [0, 0, 31, 31], 0),  # too small
    ]
    val = write(tmp_path / "val", objects)
    crop(*train, tmp_path / "unaware", "--min-instances", 2)
    with pytest.raises(SystemExit):
        crop(*val, tmp_path / "out", "--categories-from", tmp_path / "unaware")
    told = capsys.readouterr().err
    assert "no objects of hot dog with at least 32 pixels" in told and "--present-in" in told
    assert not (tmp_path / "out").exists()
    crop(*train, tmp_path / "aware", "--min-instances", 2, "--present-in", *val)
    assert "left out, as " in (told := capsys.readouterr().out)
    assert "instances.json has none: hot dog\n" in told
    crop(*val, tmp_path / "out", "--categories-from", tmp_path / "aware")
    assert classes(tmp_path / "out") == classes(tmp_path / "aware") == ["cat"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--categories", "dog", "mouse"], r"no categories ['mouse']; it has ['cat', 'dog'"),
        (["--categories-from", "absent"], "absent: cannot read the folder"),
        (["--min-instances", "9"], "no category has enough objects; lower --min-instances"),
    ],
)
def test_bad_choice(train, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        crop(*train, tmp_path / "out/crops", *options)
    assert error.value.code == 1 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--min-side", "0"],
        ["--context", "-0.1"],
        ["--context", "nan"],
        ["--min-instances", "0"],
        ["--min-instances", "2", "--categories", "cat"],
    ],
)
def test_bad_options(train, tmp_path, options):
    with pytest.raises(SystemExit) as error:
        crop(*train, tmp_path / "crops", *options)
    assert error.value.code == 2


def test_an_output_with_content_is_kept(train, tmp_path, capsys):
    output = tmp_path / "crops"
    output.mkdir()
    (output / "precious.txt").write_text("x")
    with pytest.raises(SystemExit):
        crop(*train, output)
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["precious.txt"]
    (output / "precious.txt").unlink()
    crop(*train, output)  # an empty folder is filled
    assert classes(output) == list(CATEGORIES)


def test_interruption_leaves_nothing(train, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(crop_objects, "_cut_out", fail)
    with pytest.raises(SystemExit):
        crop(*train, tmp_path / "out/crops")
    assert not list((tmp_path / "out").iterdir())


def test_bad_annotations_are_told(train, tmp_path, capsys):
    folder, path = train
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [0, 0, 0, 5]
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        crop(*train, tmp_path / "crops")
    told = capsys.readouterr().err
    assert "annotation id 10" in told and "--drop-invalid-boxes" in told
    crop(*train, tmp_path / "crops", "--drop-invalid-boxes")
    assert find_class_files(tmp_path / "crops")["cat"] == ["cat/2_11.jpg"]


def test_an_empty_folder_has_no_categories(train, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        crop(*train, tmp_path / "crops", "--categories-from", tmp_path / "empty")
    assert "empty: has no folders of categories" in capsys.readouterr().err


def test_a_category_that_is_no_folder_name(train, tmp_path, capsys):
    _, path = train
    path.write_text(path.read_text().replace("hot dog", "hot/dog"))
    with pytest.raises(SystemExit):
        crop(*train, tmp_path / "crops")
    assert "category 'hot/dog' cannot be the name of a folder" in capsys.readouterr().err

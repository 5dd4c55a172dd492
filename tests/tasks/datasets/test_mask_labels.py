"""Class names of masks: plain or numbered files, the ignore label, ids without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from mask_files import mask_of

from tasks.datasets.mask_labels import LabelsError, MaskLabels, read_mask_labels


def read(tmp_path, text, **options):
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    return read_mask_labels(tmp_path / "labels.txt", **options)


@pytest.mark.parametrize("text", ["road\ncar\n", "0 road\n1 car", "\ufeffroad \r\ncar\n\n\n"])
def test_forms(tmp_path, text):
    assert read(tmp_path, text) == MaskLabels(("road", "car"), (0, 1), 255)


def test_names_with_spaces_and_numbers(tmp_path):
    assert read(tmp_path, "2 wheeler\ntraffic light").names == ("2 wheeler", "traffic light")
    assert read(tmp_path, "0 traffic light\n1 4x4").names == ("traffic light", "4x4")


@pytest.mark.parametrize("text", ["0 road\n1 car\n2 void", "road\ncar\nvoid"])
def test_name_of_the_ignore_label_is_no_class(tmp_path, text):
    assert read(tmp_path, text, ignore_label=2) == MaskLabels(("road", "car"), (0, 1), 2)
    assert read(tmp_path, "0 road\n1 car\n255 void") == MaskLabels(("road", "car"), (0, 1), 255)


@pytest.mark.parametrize("text", ["0 void\n1 road\n2 car", "void\nroad\ncar", "1 road\n2 car"])
def test_ignore_label_before_the_classes(tmp_path, text):
    labels = read(tmp_path, text, ignore_label=0)
    assert labels == MaskLabels(("road", "car"), (1, 2), 0)
    np.testing.assert_array_equal(labels.class_ids(mask_of(0, 1, 2)), mask_of(255, 0, 1))


def test_class_ids():
    labels = MaskLabels(("road", "car", "sky"), (0, 1, 2), 11)
    mask = mask_of(2, 11, 0, 1)
    np.testing.assert_array_equal(labels.class_ids(mask), mask_of(2, 255, 0, 1))
    assert labels.class_ids(mask).dtype == np.uint8
    with pytest.raises(ValueError, match=r"values 3, 255 \(48 pixels\).*3 classes \(0 to 2\).* 11"):
        labels.class_ids(mask_of(0, 3, 1, 255))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 class names"),
        ("\n".join(map("class{}".format, range(256))) + "\nmore", "256 class names"),
        ("road\n\ncar", "line 2 is empty"),
        ("road\ncar\nroad", "'road' occurs 2 times"),
        ("0 road\n2 car", "2 stands where 1 should"),
        ("0 road\n0 car", "0 stands where 1 should"),
        ("1 road\n2 car", "1 stands where 0 should"),
    ],
)
def test_unusable_names(tmp_path, text, message):
    with pytest.raises(LabelsError, match=rf"labels\.txt: .*{message}"):
        read(tmp_path, text)


def test_unreadable_names(tmp_path):
    with pytest.raises(LabelsError, match=r"absent\.txt: cannot read the class names"):
        read_mask_labels(tmp_path / "absent.txt")
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00road")
    with pytest.raises(LabelsError, match="not a text file in UTF-8"):
        read_mask_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize("ignore_label", [-1, 256])
def test_ignore_label_beyond_a_byte(tmp_path, ignore_label):
    with pytest.raises(ValueError, match=f"0 to 255, not {ignore_label}"):
        read(tmp_path, "road", ignore_label=ignore_label)

"""The table of COCO's categories."""

from __future__ import annotations

from tasks.datasets.coco_categories import COCO_CATEGORIES, COCO_CATEGORY_IDS, COCO_LABEL_NAMES
from tasks.datasets.coco_json import read_categories


def test_ids_are_sparse_and_ascending():
    assert list(COCO_CATEGORY_IDS) == sorted(set(COCO_CATEGORY_IDS))
    holes = set(range(1, 91)) - set(COCO_CATEGORY_IDS)
    assert holes == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_names():
    assert len(set(COCO_LABEL_NAMES)) == 80
    assert COCO_CATEGORIES[1] == COCO_LABEL_NAMES[0] == "person"
    assert COCO_CATEGORIES[13] == COCO_LABEL_NAMES[11] == "stop sign"
    assert COCO_CATEGORIES[90] == COCO_LABEL_NAMES[79] == "toothbrush"


def test_equals_the_original_annotations(reference):
    folder = reference / "data/coco_mini/annotations"
    for name in ("instances_train2017.json", "instances_val2017.json"):
        assert list(read_categories(folder / name).items()) == list(COCO_CATEGORIES.items())

"""Data sets reduced to some of their categories."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.datasets.category_selection import select_categories
from tasks.datasets.detection_source import open_detection_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_detection_source("shapes/tiny", data_dir=str(tmp_path_factory.mktemp("data")))


def test_objects_of_the_named_categories_stay(source):
    names = [source.label_names[7], source.label_names[2]]
    selected = select_categories(source, names)
    assert selected.label_names == tuple(names)
    assert selected.category_ids == (source.category_ids[7], source.category_ids[2])
    assert selected.num_examples("train") == source.num_examples("train")
    kept = 0
    pairs = zip(
        source.examples("train").as_numpy_iterator(),
        selected.examples("train").as_numpy_iterator(),
        strict=True,
    )
    for before, after in pairs:
        assert before["image_id"] == after["image_id"]
        wanted = np.isin(before["labels"], (7, 2))
        np.testing.assert_array_equal(after["boxes"], before["boxes"][wanted])
        np.testing.assert_array_equal(after["areas"], before["areas"][wanted])
        np.testing.assert_array_equal(np.array([7, 2])[after["labels"]], before["labels"][wanted])
        kept += wanted.sum()
    assert kept > 0


@pytest.mark.parametrize("names", [["oblong"], ["circle", "circle"], []])
def test_names_that_do_not_select_are_refused(source, names):
    with pytest.raises(ValueError, match="circle, square"):
        select_categories(source, names)

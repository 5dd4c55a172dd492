"""The TFDS builder `shapes`: content, determinism, disjoint splits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tasks.datasets.shapes import Shapes, ShapesConfig
from tasks.datasets.shapes_scene import LABEL_NAMES

SMALL = {"image_size": 64, "train": 6, "validation": 5, "test": 4}


def build(data_dir, **options):
    builder = Shapes(data_dir=data_dir, config=ShapesConfig(**{**SMALL, **options}))
    builder.download_and_prepare()
    return builder


def read(builder, split):
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return sorted(examples, key=lambda example: example["image/id"])


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shapes"))


def test_splits_and_labels(builder):
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 6, "validation": 5, "test": 4}
    assert tuple(builder.info.features["objects"]["label"].names) == LABEL_NAMES


def test_examples(builder):
    for example in read(builder, "train"):
        assert example["image"].shape == (64, 64, 3) and example["image"].dtype == np.uint8
        mask, objects = example["instance_mask"][..., 0], example["objects"]
        areas = np.bincount(mask.ravel(), minlength=len(objects["label"]) + 1)[1:]
        np.testing.assert_array_equal(objects["area"], areas)
        for k, box in enumerate(objects["bbox"], start=1):
            rows, columns = np.nonzero(mask == k)
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(box * 64, tight, atol=1e-4)
        assert not objects["is_crowd"].any()


def test_ids_are_unique_over_all_splits(builder):
    examples = [e for split in ("train", "validation", "test") for e in read(builder, split)]
    image_ids = [example["image/id"] for example in examples]
    object_ids = np.concatenate([example["objects"]["id"] for example in examples])
    assert len(set(image_ids)) == 15
    assert len(set(object_ids)) == len(object_ids) and object_ids.min() > 0
    assert examples[0]["image/filename"] == b"train_000001.jpg"


def test_splits_are_disjoint_and_preparation_is_deterministic(builder, tmp_path):
    again = build(tmp_path)
    pictures = []
    for split in ("train", "validation", "test"):
        for one, other in zip(read(builder, split), read(again, split), strict=True):
            np.testing.assert_array_equal(one["image"], other["image"])
            np.testing.assert_array_equal(one["objects"]["bbox"], other["objects"]["bbox"])
            pictures.append(one["image"].tobytes())
    assert len(set(pictures)) == 15


def test_a_longer_split_begins_like_a_shorter_one(builder, tmp_path):
    longer = read(build(tmp_path, train=7), "train")
    for one, other in zip(read(builder, "train"), longer[:6], strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_custom_configs_have_names_of_their_own():
    changes = [{}, {"noise": 0.2}, {"seed": 1}, {"train": 9}, {"test": 9}, {"image_size": 65}]
    names = {ShapesConfig(**{**SMALL, **change}).name for change in changes}
    names |= {config.name for config in Shapes.BUILDER_CONFIGS}
    assert len(names) == len(changes) + len(Shapes.BUILDER_CONFIGS)


def test_default_configuration():
    config = Shapes.BUILDER_CONFIGS[0]
    assert (config.name, config.image_size, config.train, config.noise) == ("192", 192, 3000, 0.0)


def test_empty_split_is_refused():
    with pytest.raises(ValueError, match="validation=0"):
        ShapesConfig(train=5, validation=0)

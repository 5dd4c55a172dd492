"""Which examples and files an export calibrates and measures with."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.common.export import read_pictures, spread
from tasks.datasets.source import Source

# Of 250, four of five: all but the last of each five.
FOUR_OF_FIVE = [number for number in range(250) if number % 5 != 4]
CASES = [
    (250, 200, FOUR_OF_FIVE),
    (10, 4, [0, 2, 5, 7]),
    (7, 3, [0, 2, 4]),
    (6, 1, [0]),
    (6, 6, list(range(6))),
    (6, 100, list(range(6))),
]


def numbers(total):
    return Source(
        name="numbers",
        label_names=("number",),
        splits=("train",),
        count=lambda split: total,
        read=lambda split, shuffle_files, seed: tf.data.Dataset.range(total).map(
            lambda number: {"image/id": number}
        ),
    )


@pytest.mark.parametrize(("total", "count", "expected"), CASES)
def test_examples_are_spread_over_the_split(total, count, expected):
    examples = spread(numbers(total), "train", count).examples("train")
    assert set(examples.element_spec) == {"image/id"}
    assert [int(example["image/id"]) for example in examples] == expected


@pytest.mark.parametrize(("total", "count", "expected"), CASES[1:])
def test_pictures_are_spread_over_the_files(tmp_path, total, count, expected):
    paths = [tmp_path / f"{number}.png" for number in range(total)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(path)
    found = read_pictures(paths, count)
    assert [int(tf.io.decode_png(picture)[0, 0, 0]) for picture in found] == expected

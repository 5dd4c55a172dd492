"""Order and seeds of training examples."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf

from tasks.common.pipeline import seeded_examples
from tasks.common.recipe import TrainingRecipe
from tasks.datasets.source import Source, UnknownSplit

RECIPE = TrainingRecipe(batch_size=2, seed=5)


def count(split):
    if split != "train":
        raise UnknownSplit("only train")
    return 6


SOURCE = Source(
    name="numbers",
    label_names=("number",),
    splits=("train",),
    count=count,
    read=lambda split, shuffle_files, seed: tf.data.Dataset.range(6),
)


def first(number, recipe=RECIPE, first_step=0):
    dataset = seeded_examples(SOURCE, recipe, first_step).take(number)
    return [(int(example), tuple(map(int, seed))) for example, seed in dataset]


@pytest.mark.parametrize("cache", [False, True])
def test_every_epoch_has_every_example_and_every_position_a_seed(cache):
    found = first(12, dataclasses.replace(RECIPE, cache=cache))
    assert sorted(example for example, _ in found[:6]) == list(range(6))
    assert sorted(example for example, _ in found[6:]) == list(range(6))
    assert [seed for _, seed in found] == [(5, number) for number in range(12)]


def test_the_same_seed_repeats_the_order_and_a_resumed_run_does_not():
    assert first(12) == first(12)
    later = first(12, first_step=3)
    assert [example for example, _ in later] != [example for example, _ in first(12)]
    assert [seed for _, seed in later] == [(5, number) for number in range(6, 18)]


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="no split 'holdout'"):
        first(1, dataclasses.replace(RECIPE, train_split="holdout"))

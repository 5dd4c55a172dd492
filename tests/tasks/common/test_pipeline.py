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


@pytest.mark.parametrize("cache", [False, True])
def test_a_resumed_run_sees_what_it_would_have_seen(cache):
    recipe = dataclasses.replace(RECIPE, cache=cache, shuffle_buffer=4)
    whole = first(40, recipe)
    for first_step in (1, 3, 4, 11):
        assert first(12, recipe, first_step) == whole[2 * first_step : 2 * first_step + 12]


def test_epochs_and_seeds_differ_in_order():
    examples = [example for example, _ in first(18)]
    orders = {tuple(examples[i : i + 6]) for i in (0, 6, 12)}
    assert len(orders) == 3
    other = first(18, dataclasses.replace(RECIPE, seed=500))
    assert examples != [example for example, _ in other]


def test_files_are_read_in_another_order_in_each_epoch(monkeypatch):
    def read(split, shuffle_files, seed):
        files = tf.data.Dataset.range(3).shuffle(3, seed=seed)
        return files.flat_map(lambda file: tf.data.Dataset.range(2 * file, 2 * file + 2))

    monkeypatch.setattr("test_pipeline.SOURCE", dataclasses.replace(SOURCE, read=read))
    recipe = dataclasses.replace(RECIPE, shuffle_buffer=1)
    whole = first(60, recipe)
    orders = {tuple(example for example, _ in whole[i : i + 6]) for i in range(0, 60, 6)}
    assert len(orders) > 2 and all(sorted(order) == list(range(6)) for order in orders)
    assert first(20, recipe, 7) == whole[14:34]
    cached = first(60, dataclasses.replace(recipe, cache=True))
    assert len({tuple(example for example, _ in cached[i : i + 6]) for i in range(0, 60, 6)}) == 1


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="no split 'holdout'"):
        first(1, dataclasses.replace(RECIPE, train_split="holdout"))


@pytest.mark.parametrize("first_step", [0, 4])
def test_input_pipelines_share_every_batch(first_step):
    recipe = dataclasses.replace(RECIPE, batch_size=4)
    whole = first(24, recipe, first_step)
    parts = [
        list(seeded_examples(SOURCE, recipe, first_step, context).take(12).as_numpy_iterator())
        for context in (tf.distribute.InputContext(2, index, 2) for index in range(2))
    ]
    for step in range(6):
        batch = [
            (int(example), tuple(map(int, seed)))
            for part in parts
            for example, seed in part[2 * step : 2 * step + 2]
        ]
        assert sorted(batch) == sorted(whole[4 * step : 4 * step + 4])


@pytest.mark.parametrize("first_step", [0, 5])
def test_own_parts_of_the_files(first_step):
    """Each worker sees its half again and again, with seeds that nobody else has."""
    halves = {split: tf.data.Dataset.range(*ends) for split, ends in {0: (0, 3), 1: (3, 6)}.items()}
    source = dataclasses.replace(
        SOURCE,
        count=lambda split: 6 if split == "train" else 3,
        read=lambda split, shuffle_files, seed: halves[split],
        parts=lambda split, number: range(number),
    )
    recipe = dataclasses.replace(RECIPE, shard_files=True)
    contexts = [tf.distribute.InputContext(2, index, 2) for index in range(2)]
    for index, context in enumerate(contexts):
        found = [
            (int(example), int(seed[1]))
            for example, seed in seeded_examples(source, recipe, 0, context).take(12)
        ]
        for epoch in range(4):
            seen = sorted(example for example, _ in found[3 * epoch : 3 * epoch + 3])
            assert seen == [3 * index, 3 * index + 1, 3 * index + 2]
        assert [seed for _, seed in found] == list(range(index, 24, 2))
        resumed = seeded_examples(source, recipe, first_step, context).take(12 - first_step)
        again = [(int(example), int(seed[1])) for example, seed in resumed]
        assert again == found[first_step:]

"""What the pipelines of all tasks share: order, randomness and the use of the processor."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from tasks.common.recipe import TrainingRecipe
from tasks.datasets.source import Source

# The input pipeline of a training that has one only.
WHOLE = tf.distribute.InputContext()


def seeded_examples(
    source: Source,
    recipe: TrainingRecipe,
    first_step: int = 0,
    context: tf.distribute.InputContext = WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled examples of the training split, encoded, each with a seed of its own.

    Order and seeds are functions of the position: augmentation does not depend on the timing of
    threads, and a run that was interrupted sees what it would have seen. To find its place it
    reads at most one epoch of encoded images.

    Of n input pipelines, number i gets the examples i, i + n, ..., so that all together have at
    each step the batch that one alone would have. Each reads all encoded images and decodes its
    own.

    Args:
        source: opened data set.
        recipe: decides split, seed, shuffling and caching.
        first_step: steps that an interrupted run has behind it.
        context: which of how many input pipelines this is.

    Returns:
        Dataset of (example, int32 [2] seed).
    """
    num_examples = source.num_examples(recipe.train_split)
    in_file_order = source.examples(recipe.train_split, shuffle_files=True, seed=recipe.seed)
    if recipe.cache:
        in_file_order = in_file_order.cache()
    buffer = min(recipe.shuffle_buffer, num_examples)

    def shuffled(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone: TensorFlow would ask whether a tensor is 0 if it were 0.
        tf.compat.v1.set_random_seed(1)
        seed = recipe.seed + epoch
        return in_file_order.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)

    first_number = first_step * recipe.batch_size
    first_epoch, seen = divmod(first_number, num_examples)
    examples = tf.data.Dataset.counter(first_epoch).flat_map(shuffled).skip(seen)

    def pair(number: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.stack([tf.cast(recipe.seed, tf.int64), number]), tf.int32)

    seeds = tf.data.Dataset.counter(first_number).map(pair)
    numbered = tf.data.Dataset.zip(examples, seeds)
    return numbered.shard(context.num_input_pipelines, context.input_pipeline_id)


def map_on_all_cores(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """`dataset.map` in order, with as many calls at a time as the process has cores.

    tf.data's own choice (AUTOTUNE) follows the pace at which batches are taken. Where that pauses,
    for an evaluation for instance, it can settle on a single call: once in five runs of
    `scripts/benchmark_input.py`, which pauses between its steps, that halved the throughput.
    """
    return dataset.map(function, num_parallel_calls=_cores())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux only; sees the limits of containers and taskset
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

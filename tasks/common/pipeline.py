"""What the pipelines of all tasks share: order, randomness and the use of the processor."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from tasks.common.data_service import from_data_service
from tasks.common.recipe import TrainingRecipe
from tasks.datasets.source import Source

# The input pipeline of a training that has one only.
WHOLE = tf.distribute.InputContext()
# Epochs that no training sees the end of.
_ENDLESS = 2**62


def training_batches(
    source: Source,
    recipe: TrainingRecipe,
    prepare: Callable,
    first_step: int = 0,
    context: tf.distribute.InputContext = WHOLE,
    finish: Callable | None = None,
) -> tf.data.Dataset:
    """Endless batches for one replica, of examples that are decoded and augmented on all cores.

    With the recipe's `data_service` its workers do that, and all input pipelines take from the one
    stream that they make.

    Args:
        source: opened data set.
        recipe: decides order, batch size and who prepares.
        prepare: from an example and its seed to what is batched.
        first_step: see `seeded_examples`.
        context: see there.
        finish: from the parts of a batch to the batch; as it is by default.
    """
    share = WHOLE if recipe.data_service else context
    examples = map_on_all_cores(seeded_examples(source, recipe, first_step, share), prepare)
    size = context.get_per_replica_batch_size(recipe.batch_size)
    batches = examples.batch(size, drop_remainder=True)
    if finish:
        batches = map_on_all_cores(batches, finish)
    if recipe.data_service:
        batches = from_data_service(batches, recipe.data_service, f"{recipe} {first_step}")
    return batches.prefetch(tf.data.AUTOTUNE)


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
    own. With the recipe's `shard_files` each reads an n-th part of the split, and shuffles that.

    Args:
        source: opened data set.
        recipe: decides split, seed, shuffling and caching.
        first_step: steps that an interrupted run has behind it.
        context: which of how many input pipelines this is.

    Returns:
        Dataset of (example, int32 [2] seed).
    """
    pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
    split = recipe.train_split
    if has_own_part := recipe.shard_files and pipelines > 1:
        split = source.parts(split, pipelines)[pipeline]
    num_examples = source.num_examples(split)
    if recipe.cache:
        cached = source.examples(split, shuffle_files=True, seed=recipe.seed).cache()
    buffer = min(recipe.shuffle_buffer, num_examples)

    # Every how many-th example of the training this pipeline reads, and which is the first.
    stride, offset = (pipelines, pipeline) if has_own_part else (1, 0)

    def shuffled(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone: TensorFlow would ask whether a tensor is 0 if it were 0.
        tf.compat.v1.set_random_seed(1)
        seed = recipe.seed + epoch
        # The files in another order in each epoch, since the buffer mixes those next to each other.
        read = cached if recipe.cache else source.examples(split, shuffle_files=True, seed=seed)
        examples = read.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        numbers = tf.data.Dataset.range(epoch * num_examples, (epoch + 1) * num_examples)
        return tf.data.Dataset.zip(examples, numbers.map(pair))

    def pair(number: tf.Tensor) -> tf.Tensor:
        seed = tf.constant(recipe.seed, tf.int64)
        return tf.cast(tf.stack([seed, stride * number + offset]), tf.int32)

    first_epoch, seen = divmod(first_step * recipe.batch_size // stride, num_examples)
    # No `counter`, which a data service cannot share out: each of its workers would count alone.
    examples = tf.data.Dataset.range(first_epoch, _ENDLESS).flat_map(shuffled).skip(seen)
    return examples if has_own_part else examples.shard(pipelines, pipeline)


def map_on_all_cores(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """`dataset.map` in order, with as many calls at a time as the process has cores.

    tf.data's own choice (AUTOTUNE) follows the pace at which batches are taken. Where that pauses,
    for an evaluation for instance, it can settle on a single call: once in five runs of
    `scripts/benchmark_input.py`, which pauses between its steps, that halved the throughput.
    """
    return dataset.map(function, num_parallel_calls=_cores())


def _cores() -> int:
    # Linux only; sees taskset and the cpusets of containers, but no quotas of processor time.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""The beginning of every task's training pipeline: order and randomness."""

from __future__ import annotations

import tensorflow as tf

from tasks.common.recipe import TrainingRecipe
from tasks.datasets.source import Source


def seeded_examples(source: Source, recipe: TrainingRecipe, first_step: int = 0) -> tf.data.Dataset:
    """Endless shuffled examples of the training split, encoded, each with a seed of its own.

    Seeds belong to positions, so that augmentation does not depend on the timing of threads.

    Args:
        source: opened data set.
        recipe: decides split, seed, shuffling and caching.
        first_step: steps that an interrupted run has behind it. Order and seeds are then other
            ones than at the beginning, so that nothing is seen twice in the same form.

    Returns:
        Dataset of (example, int32 [2] seed).
    """
    num_examples = source.num_examples(recipe.train_split)
    seed = recipe.seed + first_step
    examples = source.examples(recipe.train_split, shuffle_files=True, seed=seed)
    if recipe.cache:
        examples = examples.cache()
    examples = examples.shuffle(min(recipe.shuffle_buffer, num_examples), seed=seed).repeat()

    def pair(number: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.stack([tf.cast(recipe.seed, tf.int64), number]), tf.int32)

    seeds = tf.data.Dataset.counter(first_step * recipe.batch_size).map(pair)
    return tf.data.Dataset.zip(examples, seeds)

"""Makes runs repeat: seeds, and on demand operations that give the same bits each time."""

from __future__ import annotations

import keras
import tensorflow as tf

from tasks.common.recipe import TrainingRecipe


def set_seed(recipe: TrainingRecipe) -> None:
    """Seeds initial weights and random layers; with `deterministic` every operation repeats.

    The latter holds for the whole process and until its end: TensorFlow then picks no algorithm
    whose result depends on the order in which threads finish, and raises UnimplementedError where
    it has no other.
    """
    keras.utils.set_random_seed(recipe.seed)
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()

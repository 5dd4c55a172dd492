"""Things that happen to an example or do not, inside `tf.data`."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def coin(seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Scalar bool, True with the given probability; `seed` is an int32 [2]."""
    return tf.random.stateless_uniform([], seed) < probability


def apply_if(
    condition: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tf.Tensor:
    """function(x) or x itself; the function costs nothing where it is not applied."""
    return tf.cond(condition, lambda: function(x), lambda: x)

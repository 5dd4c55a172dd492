"""What a loss or a layer has to know of the replicas that share a batch under `tf.distribute`."""

from __future__ import annotations

from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def num_replicas() -> int:
    """Replicas that train in step; 1 without a strategy and on other backends than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(value: Any) -> Any:
    """The mean of a tensor's values on all replicas.

    For a loss that is divided by a number that it counts in its batch, such as that of positive
    anchors: Keras adds up the losses of N replicas after division by N, so that a replica's own
    sum over the mean of the counts adds up to the quotient of the whole batch.

    Returns:
        `value` itself where there are no replicas, and outside of what they run.
    """
    if num_replicas() == 1 or tf.distribute.in_cross_replica_context():
        return value
    context = tf.distribute.get_replica_context()
    # A constant, such as the count of a batch without any, has no device to reduce to.
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(value))

"""Batch normalization statistics of several replicas."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from tasks.common.moving_average import MovingAverage


def statistics_averager(
    model: keras.Model, average: MovingAverage | None = None
) -> Callable[[], None]:
    """What gives all replicas the mean of their batch normalization statistics.

    Unless they are synchronized, each replica moves its own by its part of the batch. What is
    evaluated and saved is to be one network, and the same one on all workers.

    Args:
        model: compiled, in the scope of its strategy.
        average: of the model, whose statistics are averaged with them.
    """
    strategy = tf.distribute.get_strategy()
    moving = [
        variable
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and not layer.synchronized
        for variable in layer.non_trainable_variables
    ]
    if strategy.num_replicas_in_sync == 1 or not moving:
        return lambda: None
    if average:
        moving += [average.of(variable) for variable in moving]

    def values() -> tf.Tensor:
        # As one array, so that there is one exchange.
        return tf.concat([tf.reshape(variable.value, [-1]) for variable in moving], 0)

    def assign(means: tf.Tensor) -> None:
        parts = tf.split(means, [math.prod(variable.shape) for variable in moving])
        for variable, part in zip(moving, parts, strict=True):
            variable.assign(tf.reshape(part, variable.shape))

    @tf.function
    def average_all() -> None:
        # Between the replicas: `all_reduce` within them fails where they are several processes.
        means = strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(values), axis=None)
        strategy.run(assign, args=(means,))

    return average_all

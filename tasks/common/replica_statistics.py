"""Batch normalization statistics of several replicas."""

from __future__ import annotations

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

    def on_replica() -> None:
        context = tf.distribute.get_replica_context()
        values = [tf.convert_to_tensor(variable.value) for variable in moving]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)

    return tf.function(lambda: strategy.run(on_replica))

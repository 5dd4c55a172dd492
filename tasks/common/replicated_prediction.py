"""Prediction on all devices that this process trains on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tasks.common.workers import num_workers


def on_replicas(predict: Callable[[tf.Tensor], Any]) -> Callable[[tf.Tensor], Any]:
    """`predict` with each batch split among the replicas of this process.

    Args:
        predict: from images [b, height, width, 3] to tensors whose first axis is that of the
            images, or to a structure of such.

    Returns:
        The same for all of a batch; `predict` itself where there is one replica.
    """
    strategy = tf.distribute.get_strategy()
    count = strategy.num_replicas_in_sync // num_workers()
    if count == 1:
        return predict
    run = tf.function(lambda images: strategy.run(predict, args=(images,)), reduce_retracing=True)

    def predict_all(images: tf.Tensor) -> Any:
        size = int(images.shape[0])
        # The last image is repeated until there is as much for every replica.
        rows = tf.minimum(tf.range(-(-size // count) * count), size - 1)
        parts = tf.split(tf.gather(images, rows), count)
        found = run(
            strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group % count]
            )
        )
        return tf.nest.map_structure(
            lambda values: tf.concat(strategy.experimental_local_results(values), axis=0)[:size],
            found,
        )

    return predict_all

"""Exponential moving average of all weights, batch normalization statistics included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


class MovingAverage(keras.callbacks.Callback):
    """Averages the weights of the model in training; `applied` puts the average in their place.

    As `tf.train.ExponentialMovingAverage` with `num_updates` in slim and DeepLab: the decay is
    min(decay, (1 + step) / (10 + step)), so that the first steps do not linger, and the statistics
    of batch normalization are averaged like any weight, which `use_ema` of a Keras optimizer does
    not do: the weights of one point in time with the statistics of another do not fit together.

    The averages are variables of the optimizer, so that they are saved and restored with it.

    Args:
        model: compiled.
        decay: between 0 and 1.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        super().__init__()
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)
        # Weights that stay as they are need no average.
        moving = [*model.trainable_variables]
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                moving += layer.non_trainable_variables
        averages = [
            optimizer.add_variable_from_reference(variable, name="average") for variable in moving
        ]
        self._pairs = list(zip(moving, averages, strict=True))
        self._decay = decay
        self._update = tf.function(self._move)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if int(self.model.optimizer.iterations) == 0:
            for variable, average in self._pairs:
                average.assign(variable)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._update(tf.cast(self.model.optimizer.iterations.value, tf.float32))

    def _move(self, step: tf.Tensor) -> None:
        share = 1.0 - tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for variable, average in self._pairs:
            average.assign(average + share * (variable - average))

    def of(self, variable: keras.Variable) -> keras.Variable:
        """The average of a variable."""
        return next(average for averaged, average in self._pairs if averaged is variable)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        trained = [variable.numpy() for variable, _ in self._pairs]
        for variable, average in self._pairs:
            variable.assign(average)
        try:
            yield
        finally:
            for (variable, _), value in zip(self._pairs, trained, strict=True):
                variable.assign(value)

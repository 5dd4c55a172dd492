"""The moving average of weights and batch normalization statistics."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tasks.common.moving_average import MovingAverage


def small_model(frozen: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    model.layers[1].trainable = not frozen
    model.compile("adam", "mse", jit_compile=False)
    return model


class Record(keras.callbacks.Callback):
    """All weights after every step."""

    def on_train_begin(self, logs=None):
        self.weights = [self.model.get_weights()]

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


def fit(model: keras.Model, *callbacks, epochs: int = 1):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)), rng.normal(size=(24, 3))
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks])


def test_it_is_the_average_of_all_weights_statistics_included():
    model, record = small_model(), Record()
    average = MovingAverage(model, decay=0.4)
    fit(model, average, record)
    expected = record.weights[0]
    for step, weights in enumerate(record.weights[1:], start=1):
        decay = min(0.4, (1 + step) / (10 + step))
        expected = [
            decay * old + (1 - decay) * new for old, new in zip(expected, weights, strict=True)
        ]
    trained = model.get_weights()
    with average.applied():
        for found, value in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    for found, value in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(found, value)


def test_frozen_weights_keep_their_values():
    model = small_model(frozen=True)
    before = model.layers[1].get_weights()
    average = MovingAverage(model, decay=0.4)
    fit(model, average)
    with average.applied():
        for found, value in zip(model.layers[1].get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, value)


def test_weights_come_back_after_an_error():
    model = small_model()
    average = MovingAverage(model, decay=0.4)
    fit(model, average)
    trained = model.get_weights()
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    for found, value in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(found, value)

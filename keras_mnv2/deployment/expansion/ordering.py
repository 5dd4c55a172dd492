"""A layer that orders computations which nothing else orders."""

from __future__ import annotations

from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_mnv2")
class After(keras.layers.Identity):
    """Returns its first argument, once the second has been computed.

    Programs run what does not depend on each other in any order, or at once. A control dependency
    is an order without a computation: TensorFlow and the LiteRT converter keep to it, and exported
    files hold no operation for it. On other Keras backends nothing but the functional model's own
    order changes.
    """

    def __init__(self, **kwargs):
        # What is handed on unchanged is not cast either.
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: Any, other: Any) -> Any:
        if keras.backend.backend() != "tensorflow":
            return inputs
        with tf.control_dependencies([other]):
            return tf.identity(inputs)

    def compute_output_shape(self, inputs_shape, other_shape):
        return inputs_shape

    def compute_output_spec(self, inputs, other):
        return super().compute_output_spec(inputs)

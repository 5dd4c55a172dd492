"""Class probabilities of images."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.running import DeployedModel
from tasks.classification.data import central_view
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.exported import output_of
from tasks.common.replicated_prediction import on_replicas

Predictor = Callable[[tf.Tensor], tf.Tensor]


def make_predictor(model: keras.Model | DeployedModel) -> Predictor:
    """uint8 [batch, height, width, 3] -> class probabilities float32 [batch, classes].

    A Keras model is used as it is, so that later training counts. A graph is built once, for any
    size of batch.
    """
    if isinstance(model, DeployedModel):
        return output_of(model, "probabilities")
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]

    def predict(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    return on_replicas(tf.function(predict, input_signature=signature))


def classify(predictor: Predictor, encoded: bytes, recipe: ClassificationRecipe) -> np.ndarray:
    """Class probabilities of a picture, the same that evaluation gives it.

    Args:
        predictor: of `make_predictor`.
        encoded: a picture of any size, as `tasks.common.images.encode_upright` gives it.
        recipe: its input size and central crop apply.

    Returns:
        float32 [classes].
    """
    view = central_view(tf.constant(encoded), recipe)
    return predictor(view[tf.newaxis])[0].numpy()

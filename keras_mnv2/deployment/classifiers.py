"""What tells image classifiers apart: their last layer, and the pixels that they take."""

from __future__ import annotations

import keras

from keras_mnv2.deployment.fixed_network import INPUT_NAME, all_layers
from keras_mnv2.mobilenet_v2 import scale_image


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether the last layer, also one inside of a model, is a softmax."""
    last = all_layers(model)[-1]
    return isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is keras.activations.softmax
    )


def taking_rgb(model: keras.Model) -> keras.Model:
    """The model itself, or one that scales 0..255 for it where it does not do so itself.

    Those that tasks train have a Rescaling layer; imported ones and those of keras.applications,
    which take [-1, 1], do not.
    """
    if any(isinstance(layer, keras.layers.Rescaling) for layer in all_layers(model)):
        return model
    image = keras.Input(model.input_shape[1:], name=INPUT_NAME)
    return keras.Model(image, model(scale_image(image)), name=model.name)

"""Runs SavedModels by plain TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.fixed_network import INPUT_NAME
from keras_mnv2.deployment.pixels import pixels_as
from keras_mnv2.deployment.saved_model.description_file import read_description

IMAGES_SIGNATURE = "serving_default"


class SavedModelRunner:
    """An opened SavedModel, see `keras_mnv2.deployment.running.Runner`.

    Args:
        path: of the folder.

    Raises:
        DeploymentError: (a ValueError) if it is damaged or was not exported by keras_mnv2.
    """

    def __init__(self, path: Path):
        self.description = read_description(path)
        try:
            self._loaded = tf.saved_model.load(str(path))
            entry = self._loaded.signatures[IMAGES_SIGNATURE]
            shape = entry.structured_input_signature[1][INPUT_NAME].shape
        except Exception as error:  # of many types, OpError, OSError and ValueError among them
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DeploymentError(f"{path} is damaged: {reason}") from error
        self.input_shape = tuple(shape)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        batch = pixels_as(images, self.description.input_dtype)
        return self.signature(IMAGES_SIGNATURE, {INPUT_NAME: tf.constant(batch)})

    def signature(self, name: str, inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
        """Runs a signature of the SavedModel, of inputs by name."""
        # By way of `_loaded`, which keeps the variables alive.
        outputs = self._loaded.signatures[name](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}

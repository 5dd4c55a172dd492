"""Hardly trained networks whose answers nevertheless depend on the image."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np

from keras_mnv2.deployment.sample_pictures import sample_images
from tasks.common.trained import load_model


def save_lively(run: Path, path: Path, head: str | None = None) -> keras.Model:
    """Saves the network of a run of a few steps, and its label map, as a model file.

    After a few steps moving statistics are still those of the beginning, with which the network
    says the same of all images. Here they are those of images.

    Args:
        run: folder of the training run.
        path: of the `.keras` file.
        head: layer that is drawn anew, where it has learned nothing but the most frequent class.

    Returns:
        The network.
    """
    model = load_model(run / "best.keras")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    if head is not None:
        kernel, bias = model.get_layer(head).weights
        kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
        bias.assign(np.zeros(bias.shape))
    model(sample_images(model.input_shape[1:3], 16).astype("float32"), training=True)
    model.save(path)
    shutil.copy(run / "labels.json", path.with_name(f"{path.name}.labels.json"))
    return model

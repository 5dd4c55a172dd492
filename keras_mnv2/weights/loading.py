"""The one door through which `weights=` of every builder goes."""

from __future__ import annotations

import os

import keras


def load_weights(model: keras.Model, weights: str | os.PathLike) -> None:
    """Loads a weight file into `model`.

    Args:
        weights: path of a Keras weight file (`.weights.h5`, or the legacy `.h5` files of
            keras.applications).

    Raises:
        ValueError: if there is no such file.
    """
    if not os.path.exists(weights):
        raise ValueError(f"weights={os.fspath(weights)!r}: no such file")
    model.load_weights(weights)

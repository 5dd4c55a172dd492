"""Writing weights as a legacy `.h5` file."""

from __future__ import annotations

import os

import h5py
import numpy as np


def write_legacy_h5(path: str | os.PathLike, arrays: dict[str, np.ndarray], **attributes) -> None:
    """Writes `<layer>/<weight>` arrays in the legacy layout, which `keras_h5.read_h5` reads back.

    Args:
        **attributes: text kept beside the weights, such as their source and licence.
    """
    layers: dict[str, list[str]] = {}
    for name in arrays:
        layers.setdefault(name.partition("/")[0], []).append(name)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        file.attrs["backend"] = "tensorflow"
        for key, value in attributes.items():
            file.attrs[key] = value
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = names
            for name in names:
                group.create_dataset(name, data=arrays[name])

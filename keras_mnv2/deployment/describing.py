"""Adds what was measured to the description of an exported file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_mnv2.deployment.description import DeploymentError, sidecar_path
from keras_mnv2.deployment.running import DeployedModel, load
from keras_mnv2.deployment.sample_pictures import sample_images
from keras_mnv2.weights.download import temporary_beside


def add_accuracy(path: str | os.PathLike, accuracy: Mapping[str, Any] | None) -> None:
    """Gives the description of an exported file or folder, in it and beside it, an accuracy.

    Nothing else of the description changes.

    Args:
        path: of the file or SavedModel folder.
        accuracy: figure by name, in place of what there may be.

    Raises:
        DeploymentError: (a ValueError) if it is damaged or no export, or would give other answers.
            It is then left as it was.
    """
    path = Path(path)
    # On one thread, so that sums have one order.
    model = load(path, num_threads=1)
    description = dataclasses.replace(model.description, accuracy=accuracy)
    if description.format == "saved_model":
        from keras_mnv2.deployment.saved_model.description_file import write_description

        write_description(path, description)
    else:
        if description.format == "litert":
            from keras_mnv2.deployment.litert.file import with_description
        else:
            from keras_mnv2.deployment.onnx.export import with_description
        _repack(model, with_description(path.read_bytes(), description))
    with temporary_beside(sidecar_path(path)) as temporary:
        temporary.write_text(description.to_json())
        os.replace(temporary, sidecar_path(path))


def _repack(model: DeployedModel, content: bytes) -> None:
    """Replaces a file by one that gives the same answers, bit by bit."""
    images = sample_images(model.description.input_size, 1)
    with temporary_beside(model.path) as temporary:
        temporary.write_bytes(content)
        before, after = model(images), load(temporary, num_threads=1)(images)
        if not all(np.array_equal(value, after[name]) for name, value in before.items()):
            raise DeploymentError(
                f"{model.path} would give other answers with another description, and is left as "
                "it was"
            )
        os.replace(temporary, model.path)

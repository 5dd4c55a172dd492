"""Exchanges the description of an exported file, to which a measured accuracy is to be added."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_mnv2.deployment.checksum import CHECKSUM_FILE, check_folder, seal_folder
from keras_mnv2.deployment.description import (
    DESCRIPTION_FILE,
    DeploymentError,
    Description,
    sidecar_path,
)
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.verification import sample_images
from keras_mnv2.weights.download import temporary_beside


def describe(path: str | os.PathLike, description: Description) -> None:
    """Gives an exported file or folder another description, in it and beside it.

    Args:
        path: of the file or SavedModel folder.
        description: of the same format.

    Raises:
        DeploymentError: (a ValueError) if the file is damaged, of another format, or would give
            other answers. It is then left as it was.
    """
    path = Path(path)
    if description.format == "saved_model":
        from keras_mnv2.deployment.saved_model.running import read_description

        read_description(path)
        check_folder(path)
        # Who is interrupted here leaves a model without a checksum, not one with a wrong one.
        (path / CHECKSUM_FILE).unlink(missing_ok=True)
        _replace(path / DESCRIPTION_FILE, description.to_json().encode())
        seal_folder(path)
    elif description.format == "litert":
        from keras_mnv2.deployment.litert.file import with_description

        _repack(path, with_description(path.read_bytes(), description), description)
    else:
        from keras_mnv2.deployment.onnx.export import with_description

        _repack(path, with_description(path.read_bytes(), description), description)
    _replace(sidecar_path(path), description.to_json().encode())


def _repack(path: Path, content: bytes, description: Description) -> None:
    """Replaces a file by one that gives the same answers, bit by bit."""
    images = sample_images(description.input_size, 1)
    with temporary_beside(path) as temporary:
        temporary.write_bytes(content)
        # On one thread, so that sums have one order.
        before, after = (load(file, num_threads=1)(images) for file in (path, temporary))
        if not all(np.array_equal(value, after[name]) for name, value in before.items()):
            raise DeploymentError(
                f"{path} would give other answers with another description, and is left as it was"
            )
        os.replace(temporary, path)


def _replace(path: Path, content: bytes) -> None:
    with temporary_beside(path) as temporary:
        temporary.write_bytes(content)
        os.replace(temporary, path)

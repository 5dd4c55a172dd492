"""Exchanges the description of an exported file, to which a measured accuracy is to be added."""

from __future__ import annotations

import os
from pathlib import Path

from keras_mnv2.deployment.description import DESCRIPTION_FILE, Description, sidecar_path
from keras_mnv2.weights.download import temporary_beside


def describe(path: str | os.PathLike, description: Description) -> None:
    """Gives an exported file or folder another description, in it and beside it.

    Args:
        path: of the file or SavedModel folder.
        description: of the same format.

    Raises:
        DeploymentError: (a ValueError) if the file is damaged, or of another format.
    """
    path = Path(path)
    if description.format == "saved_model":
        from keras_mnv2.deployment.saved_model.running import read_description

        read_description(path)
        _replace(path / DESCRIPTION_FILE, description.to_json().encode())
    elif description.format == "litert":
        from keras_mnv2.deployment.litert.file import with_description

        _replace(path, with_description(path.read_bytes(), description))
    else:
        from keras_mnv2.deployment.onnx.export import with_description

        _replace(path, with_description(path.read_bytes(), description))
    _replace(sidecar_path(path), description.to_json().encode())


def _replace(path: Path, content: bytes) -> None:
    with temporary_beside(path) as temporary:
        temporary.write_bytes(content)
        os.replace(temporary, path)

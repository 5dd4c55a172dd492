"""Exported files that appear under their names only when they are complete and proven."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from keras_mnv2.deployment.description import DeploymentError, Description, sidecar_path


@dataclasses.dataclass(frozen=True)
class Export:
    """What an exporter has written.

    Attributes:
        path: of the file or folder; its description for people is at `sidecar_path(path)`.
        description: as the file carries it.
        agreement: with the Keras program, see `keras_mnv2.deployment.verification.agreement`.
        operators: name -> number, of a LiteRT file.
    """

    path: Path
    description: Description
    agreement: float
    operators: Mapping[str, int] | None = None


@contextmanager
def staged(path: str | os.PathLike, description: Description) -> Iterator[Path]:
    """A temporary path to export to; on success it takes the name `path`, else it is removed.

    With it comes the description for people, see `sidecar_path`. What had these names before is
    replaced: a file, or a folder by a folder.

    Args:
        path: of the exported file or folder; its folder is made if need be.
        description: of what is exported.

    Yields:
        A path of the same name, in a temporary folder beside `path`.

    Raises:
        DeploymentError: (a ValueError) if `path` cannot be written.
    """
    path = Path(path)
    text = description.to_json()
    is_folder = description.format == "saved_model"
    if path.is_dir() and not (is_folder and _is_replaceable(path)):
        wanted = "a folder that is empty or an earlier export" if is_folder else "a file"
        raise DeploymentError(f"{path} is a folder already, expected is a new name or {wanted}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export_", dir=path.parent))
    except OSError as error:
        raise DeploymentError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield folder / path.name
        sidecar = folder / sidecar_path(path).name
        sidecar.write_text(text)
        if path.is_dir():
            # A folder can only be renamed to what is not there.
            os.replace(path, folder / "replaced")
        os.replace(folder / path.name, path)
        os.replace(sidecar, sidecar_path(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_replaceable(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() or not any(folder.iterdir())

"""Exported files that appear under their names only when they are complete and proven."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from keras_mnv2.deployment.checksum import check_checksum, require_checksum
from keras_mnv2.deployment.description import DeploymentError, Description, sidecar_path
from keras_mnv2.deployment.saved_model.description_file import foreign_entries, read_description

if TYPE_CHECKING:
    from keras_mnv2.deployment.quantization.quantize import Quantized

_ENDINGS = {"litert": ".tflite", "onnx": ".onnx"}


@dataclasses.dataclass(frozen=True)
class Export:
    """What an exporter has written.

    Attributes:
        path: of the file or folder; its description for people is at `sidecar_path(path)`.
        description: as the file carries it.
        agreement: with the Keras program, see `keras_mnv2.deployment.verification.verify`.
        is_telling: whether that says something, see
            `keras_mnv2.deployment.verification.Verified`.
        operators: name -> number, of a LiteRT or an ONNX file.
        quantized: of an int8 file, for `keras_mnv2.deployment.layer_errors`.
    """

    path: Path
    description: Description
    agreement: float
    is_telling: bool = True
    operators: Mapping[str, int] | None = None
    quantized: Quantized | None = None


@contextmanager
def staged(path: str | os.PathLike, description: Description) -> Iterator[Path]:
    """A temporary path to export to; on success it takes the name `path`, else it is removed.

    With it comes the description for people, see `sidecar_path`. An earlier export that had these
    names is replaced: a file by a file, a folder by a folder. Both names change or none.

    Args:
        path: of the exported file or folder; its folder is made if need be.
        description: of what is exported.

    Yields:
        A path of the same name, in a temporary folder beside `path`.

    Raises:
        DeploymentError: (a ValueError) if `path` or its description cannot be written, or has a
            name that `check_names` refuses; also for an OSError of who writes the export.
    """
    path = Path(path)
    text = description.to_json()
    with ExitStack() as tidying:
        with _named_errors(path):
            check_names(path, description.format)
            for parent in reversed(path.parents):
                if not parent.exists():
                    tidying.callback(_remove_if_empty, parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".export_", dir=path.parent))
            tidying.callback(shutil.rmtree, folder, ignore_errors=True)
        with _named_errors(path):
            yield folder / path.name
            (folder / sidecar_path(path).name).write_text(text)
            _place(folder, path)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeploymentError(f"{path} cannot be written: {error.strerror or error}") from error


def check_names(path: str | os.PathLike, file_format: str) -> None:
    """Finds out before any work whether an export may have the name `path`.

    Raises:
        DeploymentError: (a ValueError) if a file of this format has another ending, or if the
            export or its description would replace what is no export, a damaged one, or a folder
            in which there is anything else.
    """
    path = Path(path)
    ending = _ENDINGS.get(file_format, "")
    if not path.name.endswith(ending):
        raise DeploymentError(f"{path} must end in {ending}")
    # A parent that is missing is made.
    for parent in path.parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise DeploymentError(f"{path} cannot be written: {parent} is no folder")
    is_folder = file_format == "saved_model"
    if path.is_dir():
        if not is_folder:
            raise DeploymentError(f"{path} is a folder already, expected is a new name or a file")
        if any(path.iterdir()):
            _check_replaceable(path)
    elif os.path.lexists(path) and (is_folder or not _is_export(path)):
        raise DeploymentError(
            f"{path} is there already and is no export that this one could replace (or a damaged "
            "one): choose another output name, or move it away"
        )
    sidecar = sidecar_path(path)
    if os.path.lexists(sidecar):
        try:
            Description.from_json(sidecar.read_bytes())
        except (OSError, DeploymentError) as error:
            raise DeploymentError(
                f"{sidecar}, where the description of {path} belongs, is there already and is no "
                "description of an export: choose another output name, or move it away"
            ) from error


def _place(folder: Path, path: Path) -> None:
    """Gives the export in `folder` and its description their names; both or, on error, none."""
    sidecar = sidecar_path(path)
    replaced = Path(tempfile.mkdtemp(dir=folder))
    with ExitStack() as undo:
        if sidecar.exists():
            shutil.copy2(sidecar, replaced / sidecar.name)
            undo.callback(os.replace, replaced / sidecar.name, sidecar)
        else:
            undo.callback(sidecar.unlink, missing_ok=True)
        os.replace(folder / sidecar.name, sidecar)
        if path.is_dir():
            # A folder can only be renamed to what is not there.
            os.replace(path, replaced / path.name)
            undo.callback(os.replace, replaced / path.name, path)
        os.replace(folder / path.name, path)
        undo.pop_all()


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _is_export(file: Path) -> bool:
    try:
        content = file.read_bytes()
        require_checksum(content, str(file))
        check_checksum(content, str(file))
    except (OSError, DeploymentError):
        return False
    return True


def _check_replaceable(folder: Path) -> None:
    """Raises DeploymentError unless a folder is an undamaged export, and holds nothing else."""
    try:
        read_description(folder)
    except DeploymentError as error:
        raise DeploymentError(
            f"{folder} is a folder already and is no export that this one could replace (or a "
            f"damaged one): choose another output name, or move it away ({error})"
        ) from error
    if foreign := foreign_entries(folder):
        raise DeploymentError(
            f"{folder} is a folder already, and besides an earlier export it holds "
            f"{', '.join(foreign)}: choose another output name, or move these away"
        )

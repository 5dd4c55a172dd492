"""The description in the folder of a SavedModel, in one file with the checksum of all of it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from keras_mnv2.deployment.checksum import (
    NO_CHECKSUM,
    check_checksum,
    require_checksum,
    with_checksum,
)
from keras_mnv2.deployment.description import DESCRIPTION_FILE, DeploymentError, Description
from keras_mnv2.weights.download import temporary_beside


def write_description(folder: Path, description: Description) -> None:
    """Gives a SavedModel its description, or another one.

    Who is interrupted leaves the one or the other.
    """
    text = f'{{"checksum": "{NO_CHECKSUM}",\n"description": {description.to_json()}}}\n'
    path = folder / DESCRIPTION_FILE
    path.parent.mkdir(exist_ok=True)
    with temporary_beside(path) as temporary:
        temporary.write_bytes(with_checksum(text.encode(), _digests(folder)))
        os.replace(temporary, path)


def read_description(folder: Path) -> Description:
    """The description in a SavedModel.

    Raises:
        DeploymentError: (a ValueError) if it has none, or the folder is damaged.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeploymentError(
            f"{folder} is a SavedModel that keras_mnv2 did not export: {path} is missing or "
            "unreadable"
        ) from error
    require_checksum(content, str(folder))
    try:
        check_checksum(content, str(folder), _digests(folder))
    except OSError as error:
        raise DeploymentError(f"{folder} cannot be read: {error.strerror or error}") from error
    try:
        return Description.from_json(json.dumps(json.loads(content)["description"]))
    except DeploymentError as error:
        raise DeploymentError(f"{folder}: {error}") from error


def foreign_entries(folder: Path) -> list[str]:
    """What lies in the folder of an undamaged SavedModel and is no part of it, sorted."""
    # Its own files are those that the checksum covers, and the description.
    own = {*_covered(folder), folder / DESCRIPTION_FILE}
    folders = {folder / "assets", folder / "variables", (folder / DESCRIPTION_FILE).parent}
    entries = set(folder.rglob("*")) - own - {entry for entry in folders if entry.is_dir()}
    return sorted(entry.relative_to(folder).as_posix() for entry in entries)


def _digests(folder: Path) -> bytes:
    """The SHA-256 of each file of the SavedModel itself, with its name."""
    lines = [
        f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in _covered(folder)
    ]
    return "".join(lines).encode()


def _covered(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.pb"), *folder.glob("variables/*")])

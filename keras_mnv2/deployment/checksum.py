"""Tells exported files that were damaged, before runtimes that may crash on them open them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from keras_mnv2.deployment.description import DESCRIPTION_FILE, METADATA_NAME, DeploymentError

# Of the metadata entry in which a file carries its seal.
CHECKSUM_NAME = f"{METADATA_NAME}.sha256"
# In the folder of a SavedModel's description.
CHECKSUM_FILE = Path("assets.extra", CHECKSUM_NAME)

_MARK = b"keras_mnv2 sha256 "
_NO_DIGEST = b"0" * 64
_SEAL = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")
# What a file has in that entry until `sealed` puts its digest there.
UNSEALED = (_MARK + _NO_DIGEST).decode()


def sealed(content: bytes) -> bytes:
    """A file with the SHA-256 of all else in place of the digits of its seal."""
    seal = _SEAL.search(content)
    return content[: seal.start(1)] + _digest(content, seal) + content[seal.end(1) :]


def check_seal(content: bytes, source: str) -> None:
    """Raises DeploymentError, which names `source`, if a file has a seal that does not fit it.

    Those without a seal, which others have written, pass.
    """
    seal = _SEAL.search(content)
    if seal and seal[1] != _digest(content, seal):
        raise _damaged(source)


def _digest(content: bytes, seal: re.Match) -> bytes:
    whole = content[: seal.start(1)] + _NO_DIGEST + content[seal.end(1) :]
    return hashlib.sha256(whole).hexdigest().encode()


def seal_folder(folder: Path) -> None:
    """Writes the SHA-256 of a SavedModel and its description into it."""
    (folder / CHECKSUM_FILE).write_text(_digest_of_folder(folder))


def check_folder(folder: Path) -> None:
    """Raises DeploymentError if a SavedModel has a checksum that does not fit it."""
    try:
        expected = (folder / CHECKSUM_FILE).read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DeploymentError(f"{folder} cannot be read: {error.strerror or error}") from error
    if expected != _digest_of_folder(folder).encode():
        raise _damaged(str(folder))


def _digest_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    files = [*folder.glob("*.pb"), *folder.glob("variables/*"), folder / DESCRIPTION_FILE]
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _damaged(source: str) -> DeploymentError:
    return DeploymentError(
        f"{source} is damaged, or another program has changed it: its checksum is not that of the "
        "export. Export the model again"
    )

"""Tells exported files that were damaged, before runtimes that may crash on them open them."""

from __future__ import annotations

import hashlib
import re

from keras_mnv2.deployment.description import METADATA_NAME, DeploymentError

# Of the metadata entry in which a file carries its checksum.
CHECKSUM_NAME = f"{METADATA_NAME}.sha256"

_MARK = b"keras_mnv2 sha256 "
_NO_DIGITS = b"0" * 64
_CHECKSUM = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")
# What a file has in that entry until `with_checksum` puts the digits there.
NO_CHECKSUM = (_MARK + _NO_DIGITS).decode()


def with_checksum(content: bytes, others: bytes = b"") -> bytes:
    """A file with the SHA-256 of all else in place of the digits of its checksum.

    Args:
        content: of the file, in which NO_CHECKSUM occurs.
        others: what the checksum covers besides.
    """
    place = _CHECKSUM.search(content)
    return content[: place.start(1)] + _digits(content, place, others) + content[place.end(1) :]


def check_checksum(content: bytes, source: str, others: bytes = b"") -> None:
    """Raises DeploymentError, which names `source`, if a file has a checksum that does not fit it.

    Those without a checksum, which others have written, pass.
    """
    place = _CHECKSUM.search(content)
    if place and place[1] != _digits(content, place, others):
        raise DeploymentError(
            f"{source} is damaged, or another program has changed it: its checksum is not that of "
            "the export. Export the model again"
        )


def require_checksum(content: bytes, source: str) -> None:
    """Raises DeploymentError, which names `source`, if a file has no checksum."""
    if not _CHECKSUM.search(content):
        raise DeploymentError(
            f"{source} has no checksum, by which damage is told; another program has removed it, "
            "as keras_mnv2 exports nothing without. Export the model again"
        )


def _digits(content: bytes, place: re.Match, others: bytes) -> bytes:
    whole = content[: place.start(1)] + _NO_DIGITS + content[place.end(1) :]
    return hashlib.sha256(whole + others).hexdigest().encode()

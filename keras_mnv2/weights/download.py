"""Published files in the Keras cache: fetched once, verified ever after.

No list of checksums is published with these files. The first download is therefore trusted once it
proves to be the network that it should be, over https; its SHA-256 is recorded beside it, and a
file that no longer agrees is refused.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import keras

from keras_mnv2.weights.registry import PublishedWeights
from keras_mnv2.weights.tensors import WeightsError

MAX_BYTES = 512 * 2**20
TIMEOUT_SECONDS = 30
_PIECE = 2**18


def cache_folder() -> Path:
    """Where keras.applications keeps its files: `$KERAS_HOME/models`, else `~/.keras/models`."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return Path(os.path.expanduser(home)) / "models"


def fetch(entry: PublishedWeights, check: Callable[[Path], None], folder: Path) -> Path:
    """Returns the file of `entry` in the cache, downloading it where it is not there yet.

    Args:
        check: raises if a file is not what `entry` says. It runs before a file is taken into the
            cache, and on a file without a record, which somebody else put there.
        folder: of the cache.

    Raises:
        WeightsError: if the file cannot be had, or changed since it first came.
    """
    path = folder / entry.file_name
    with cache_errors(folder):
        if path.is_file():
            return _verified(entry, path, check)
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            digest = _download(entry, path, temporary)
            _check_pinned(entry, digest, entry.url)
            try:
                check(temporary)
            except WeightsError as error:
                reason = str(error).replace(str(temporary), "what came")
                raise WeightsError(f"{entry.url}: {reason}") from error
            os.replace(temporary, path)
        write_record(path, {**asdict(entry), "sha256": digest, "bytes": path.stat().st_size})
    return path


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the file system into one that names the cache."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"cannot use the cache {folder} ({error.strerror or error}); set KERAS_HOME to a "
            "folder with room that you may write to"
        ) from error


def _verified(entry: PublishedWeights, path: Path, check: Callable[[Path], None]) -> Path:
    digest = sha256(path)
    _check_pinned(entry, digest, str(path))
    recorded = read_record(path).get("sha256")
    if recorded is None:
        check(path)
        write_record(path, {**asdict(entry), "sha256": digest, "bytes": path.stat().st_size})
    elif recorded != digest:
        raise WeightsError(
            f"{path}: SHA-256 {digest} is not the {recorded} recorded when it first came; the file "
            f"was changed. Delete it and {record_path(path).name} to download it again"
        )
    return path


def _check_pinned(entry: PublishedWeights, digest: str, source: str) -> None:
    if entry.sha256 is not None and digest != entry.sha256:
        raise WeightsError(f"{source}: SHA-256 {digest}, expected {entry.sha256}; refused")


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, to be renamed to it; removed if it still exists."""
    # Not by tempfile, whose files nobody else may read, not even when renamed.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


class _StaysEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but from https to nothing else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise WeightsError(
                f"{req.full_url}: redirects to {newurl}, which is not https; refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(entry: PublishedWeights, path: Path, target: Path) -> str:
    """Downloads to `target` with a progress bar and returns the SHA-256."""
    digest = hashlib.sha256()
    with open(target, "wb") as file:
        for piece in _pieces(entry, path):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _pieces(entry: PublishedWeights, path: Path) -> Iterator[bytes]:
    try:
        opener = urllib.request.build_opener(_StaysEncrypted)
        with opener.open(entry.url, timeout=TIMEOUT_SECONDS) as response:
            announced = response.headers.get("Content-Length")
            announced = int(announced) if announced and announced.isdigit() else None
            progress = keras.utils.Progbar(announced, unit_name="byte")
            print(f"Downloading {entry.url}")
            received = 0
            while piece := response.read(_PIECE):
                received += len(piece)
                if max(received, announced or 0) > MAX_BYTES:
                    raise WeightsError(f"{entry.url}: more than {MAX_BYTES:,} bytes; refused")
                yield piece
                progress.update(received)
        if announced is not None and received < announced:
            raise OSError(f"the connection ended after {received:,} of {announced:,} bytes")
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"weights={entry.name!r}: cannot download {entry.url} ({error}). Without a network, "
            f"get that file by other means and put it at {path}, then call again"
        ) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """Where the origin and checksum of a cached file are recorded."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> dict:
    """The record of a cached file, empty if there is none."""
    try:
        record = json.loads(record_path(path).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: Path, record: dict) -> None:
    """Writes the record of a cached file, whole or not at all."""
    target = record_path(path)
    with temporary_beside(target) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
        os.replace(temporary, target)

"""Safe reading of released `.tar.gz` archives: only what is wanted, bounded, nowhere else."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from keras_mnv2.weights.tensors import WeightsError

MAX_MEMBERS = 1_000
MAX_MEMBER_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 2**30
# Of all headers together; tarfile keeps them in memory, extended ones whole.
MAX_HEADER_BYTES = 4 * 2**20
# tarfile reads extended headers in one piece, of whatever length they announce.
_MAX_READ = 2**20


class _Bounded:
    """A decompressing stream that refuses to be read beyond the limits."""

    def __init__(self, stream: gzip.GzipFile, source: str, max_read: int) -> None:
        self._stream, self._source, self._left = stream, source, max_read

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_READ:
            raise WeightsError(f"{self._source}: an archive with a header of {size:,} bytes")
        if self._stream.tell() + size > MAX_TOTAL_BYTES + _MAX_READ:
            raise _too_long(self._source)
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError(f"{self._source}: an archive with far too long headers; refused")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > MAX_TOTAL_BYTES:
            raise _too_long(self._source)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _too_long(source: str) -> WeightsError:
    return WeightsError(f"{source}: unpacks to more than {MAX_TOTAL_BYTES:,} bytes; refused")


@contextmanager
def extracted(path: str | os.PathLike, wanted) -> Iterator[Path]:
    """Extracts members of a .tar.gz into a temporary folder, which is removed afterwards.

    Nothing is written but the wanted members, under their bare file names.

    Args:
        wanted: function from the names of all files in it to those to extract.

    Raises:
        WeightsError: if the archive is damaged, too large, or holds a path or a link that could
            lead outside of a folder. Then nothing at all is extracted.
    """
    source = os.fspath(path)
    with tempfile.TemporaryDirectory(prefix="keras_mnv2_") as folder:
        try:
            names = wanted(_list(path, source))
            if names:
                _extract(path, source, set(names), Path(folder))
        except WeightsError:
            raise
        except Exception as error:  # tarfile and zlib raise many kinds on damaged files
            raise WeightsError(
                f"{source}: not a readable .tar.gz archive ({str(error)[:200]}); it is damaged or "
                "cut short, get it again"
            ) from error
        yield Path(folder)


@contextmanager
def _members(
    path: str | os.PathLike, source: str, max_read: int = 2 * MAX_TOTAL_BYTES
) -> Iterator[Iterator]:
    with gzip.open(path, "rb") as stream:
        with tarfile.open(fileobj=_Bounded(stream, source, max_read), mode="r:") as archive:
            yield archive
        # The checksum stands at the very end, behind what tarfile reads.
        rest = _Bounded(stream, source, 2 * MAX_TOTAL_BYTES)
        while rest.read(_MAX_READ):
            pass


def _list(path: str | os.PathLike, source: str) -> list[str]:
    names, total = [], 0
    # Data is skipped here, so that all that is read are headers.
    with _members(path, source, MAX_HEADER_BYTES) as archive:
        for count, member in enumerate(archive):
            _check(member, source)
            total += member.size
            if count >= MAX_MEMBERS:
                raise WeightsError(f"{source}: an archive of more than {MAX_MEMBERS} members")
            if member.size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
                raise _too_long(source)
            if member.isfile():
                names.append(member.name)
    if not names:
        raise WeightsError(f"{source}: an archive without files")
    return names


def _check(member: tarfile.TarInfo, source: str) -> None:
    name = member.name
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name:
        raise WeightsError(
            f"{source}: holds {name!r}, a path that leads outside of its folder; refused"
        )
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise WeightsError(f"{source}: holds {name!r}, a link, device or sparse file; refused")


def _extract(path: str | os.PathLike, source: str, names: set[str], folder: Path) -> None:
    with _members(path, source) as archive:
        for member in archive:
            if member.name in names and member.isfile():
                target = folder / PurePosixPath(member.name).name
                with archive.extractfile(member) as data, open(target, "xb") as file:
                    shutil.copyfileobj(data, file, _MAX_READ // 2)
                if target.stat().st_size != member.size:
                    raise WeightsError(f"{source}: {member.name} is cut short, get it again")

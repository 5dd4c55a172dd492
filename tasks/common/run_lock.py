"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tasks.common.run_folder import LOCK_NAME, RunFolderError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process gets here for the same folder.

    The folder is made, and removed if nothing comes into it. The lock belongs to the process: if
    that is killed, the system lifts it, and the file that is left keeps nobody out.

    Raises:
        RunFolderError: if another process has the lock; names it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    try:
        with _lock(path):
            try:
                yield
            finally:
                # While it is locked, so that it is this process's own.
                path.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # of folders that are not empty
            for each in made:
                each.rmdir()


def _lock(path: Path) -> TextIO:
    """The lock file, opened and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise RunFolderError(_who_holds(file, path.parent)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            print(
                f"{path.parent} is on a file system without locks ({error.strerror}): nothing "
                "keeps a second training out of it",
                flush=True,
            )
            return file
        if _is_still_there(file, path):
            _write_holder(file, path)
            return file
        # The process that had it has removed it in between.
        file.close()


def _write_holder(file: TextIO, path: Path) -> None:
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except OSError as error:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it would write once more
            file.close()
        raise RunFolderError(
            f"nothing can be written into {path.parent} ({error.strerror}): make space, or give "
            "another --run-dir"
        ) from error


def _is_still_there(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _who_holds(file: TextIO, folder: Path) -> str:
    file.seek(0)
    # It may have the lock, and not have written that yet.
    holder = file.read().strip() or "another process"
    return (
        f"{holder} is training in {folder} just now: wait until it has ended, end it (by Ctrl-C, "
        "or kill with its number), or give another --run-dir"
    )

"""Keeps what native converters and runtimes tell of their progress off the console."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
# Two threads would put each other's file in the place of the console.
_LOCK = threading.RLock()
# Lines of level information or warning, as absl and TensorFlow mark them, and what LiteRT's
# quantizer says each time.
_NOISE = re.compile(
    rb"[IW]\d{4} [\d:.]+ |\d{4}-\d\d-\d\d [\d:.]+: [IW] |fully_quantize: |INFO: |"
    rb"WARNING: All log messages before absl::InitializeLog"
)


@contextmanager
def without_noise() -> Iterator[None]:
    """Holds back what native code writes to standard error while the block runs.

    Afterwards all of it is shown that is no mere note; if the block raises, everything is. Files
    are redirected for the whole process, since native code knows nothing of `sys.stderr`.
    """
    with _LOCK, tempfile.TemporaryFile() as swallowed:
        try:
            console = os.dup(_STDERR)
        except OSError:  # There is none, so nobody is disturbed.
            yield
            return
        failed = True
        try:
            _flush()
            os.dup2(swallowed.fileno(), _STDERR)
            yield
            failed = False
        finally:
            _flush()
            os.dup2(console, _STDERR)
            os.close(console)
            swallowed.seek(0)
            for line in swallowed:
                if failed or not _NOISE.match(line):
                    os.write(_STDERR, line)


def _flush() -> None:
    # A notebook's or a closed one may have nothing to flush.
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()

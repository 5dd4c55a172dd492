"""Ctrl-C and SIGTERM: the process ends with a message, at a moment that suits it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        number: of the signal.
        status: to exit with, as shells count it: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int, message: str | None = None) -> None:
        self.number, self.status = signal.Signals(number), 128 + number
        super().__init__(message or f"interrupted ({self.number.name})")


@contextlib.contextmanager
def left_to_the_system() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM end the process at once, without a word.

    Python calls its own handlers only when it comes back from C++, where a process may wait long.
    """
    before = _set_handlers(signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _set_handlers(handler: Any) -> dict[int, Any]:
    """Those that were there before."""
    # Python lets no other thread do this.
    is_main = threading.current_thread() is threading.main_thread()
    return {number: signal.signal(number, handler) for number in SIGNALS * is_main}


class Signals:
    """Within its `with`, SIGINT and SIGTERM raise `Interrupted`: at once, or when that is safe.

    Attributes:
        postponed: whether a signal is kept in `pending` instead. A second one raises all the same.
        pending: number of the signal that is waiting, or None.
    """

    def __init__(self) -> None:
        self.postponed = False
        self.pending: int | None = None

    def __enter__(self) -> Signals:
        self._before = _set_handlers(self._receive)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises `Interrupted` if a signal is waiting."""
        if self.pending is not None:
            raise Interrupted(self.pending)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it nothing is postponed."""
        before, self.postponed = self.postponed, False
        try:
            self.check()
            yield
        finally:
            self.postponed = before

    def _receive(self, number: int, frame: object) -> None:
        if self.postponed and self.pending is None:
            self.pending = number
            return
        self.pending = number
        # Cleaning up is not to be interrupted by the same.
        self.postponed = True
        raise Interrupted(number)

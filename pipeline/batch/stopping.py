"""Signals during a batch: the first drains, the second stops.

SIGINT/SIGTERM ─▶ handler ─▶ pipe ─▶ whoever waits for messages wakes, and looks at ``level``
    1: nothing more is begun, what runs goes on to its end
    2: what runs is asked to stop, and after a while killed
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

DRAINING = 1
STOPPING = 2


class Stop:
    """How urgently a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._asked: list[int] = []

    def fileno(self) -> int:
        """Can be read when somebody asked."""
        return self._reader

    def ask(self, signal_number: int) -> None:
        """Ask once more.  May be called in a signal handler."""
        with suppress(OSError):
            os.write(self._writer, bytes([signal_number]))

    @property
    def level(self) -> int:
        """0, ``DRAINING`` or ``STOPPING``."""
        with suppress(BlockingIOError):
            self._asked += os.read(self._reader, 64)
        return min(len(self._asked), STOPPING)

    @property
    def signal(self) -> int:
        """The first one's number."""
        return self._asked[0] if self._asked else signal.SIGINT

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A ``Stop`` that SIGINT and SIGTERM ask while the context is open."""
    stop = Stop()

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        stop.ask(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        stop.close()

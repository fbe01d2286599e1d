"""Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.stage import Cancellation


@contextmanager
def cancel_on_signals() -> Iterator[Cancellation]:
    """A ``Cancellation`` that SIGINT and SIGTERM set while the context is open."""
    cancellation = Cancellation()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if cancellation.is_set():
            os._exit(128 + number)
        cancellation.set(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

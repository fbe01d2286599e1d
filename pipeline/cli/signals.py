"""Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends at once.

    signal ─▶ handler ─▶ pipe ─▶ listener ─▶ Cancellation is set ─▶ the job stops at its next piece
                                     └─ still here after GRACE_S, or a second signal ─▶ os._exit

A job that waits for the answer of a dead network, or for a dead file system, has no next piece.  What it
leaves behind is what a kill leaves, from which the same command continues too.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pipeline.errors import Interrupted
from pipeline.stage import Cancellation

GRACE_S = 8.0
"""Seconds of an orderly stop: less than the ten after which containers and CI systems kill."""


@contextmanager
def cancel_on_signals() -> Iterator[Cancellation]:
    """A ``Cancellation`` that SIGINT and SIGTERM set while the context is open."""
    cancellation = Cancellation()
    reader, writer = os.pipe()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame  # a handler may interrupt whoever holds the lock of a Cancellation: only write
        os.write(writer, bytes([number]))

    listener = threading.Thread(target=_listen, args=(reader, cancellation), daemon=True)
    listener.start()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, cancellation: Cancellation) -> None:
    """Until the context is closed: pass the first signal on, and see that it is obeyed."""
    first = os.read(reader, 1)
    if not first:
        return
    cancellation.set(first[0])
    answered, _, _ = select.select([reader], [], [], GRACE_S)
    second = os.read(reader, 1) if answered else first
    if not second:
        return
    if not answered:
        error = Interrupted(first[0])
        with suppress(OSError):
            os.write(2, f"imgprep: {error.message}, without waiting; {error.hint}\n".encode())
    os._exit(128 + second[0])

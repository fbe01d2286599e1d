"""A disk that an NBD server serves, read by several threads at once.

    thread ──▶ a connection of its own ──▶ IN_FLIGHT requests of REQUEST bytes, answered in any order
                                            └─▶ a slot's buffer ──copied──▶ the caller's

Threads are enough: libnbd's Python binding releases the interpreter's lock while it waits and copies
(measured with libnbd 1.14: while another thread did nothing but blocking reads of 2 MiB, a thread that
woke every millisecond was never late by more than 13 ms), and on two cores 1, 2 and 4 connections read
1.7, 2.0 and 2.3 GB/s, nbdcopy 1.6 to 1.9: the copying in qemu-nbd and the kernel is the limit.
Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConversionFailed, ToolError
from pipeline.source import Extent, merged
from pipeline.text import clean

REQUEST = 256 * 1024  # bytes of one read request: eight of them fit a processor's cache
SECTOR = 512
IN_FLIGHT = 8  # requests on one connection that are not answered yet
STATUS_WINDOW = 1 << 30  # bytes of the disk that one block status request asks about
STALLED_S = 120.0  # without an answer to a read
_ZERO = 2  # NBD_STATE_ZERO of base:allocation


class NbdView:
    """``pipeline.source.DiskView`` over an NBD server on a unix socket."""

    def __init__(self, socket_path: Path, name: str, connections: int) -> None:
        """``name`` is the source's, for messages.  Connects once, to learn the size."""
        self._socket = str(socket_path)
        self._name = name
        self._free: queue.LifoQueue[Any | None] = queue.LifoQueue()
        for _ in range(connections):
            self._free.put(None)
        with self._handle() as handle:
            self.size: int = handle.get_size()

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        self.fetch([(offset, memoryview(buffer))])
        return bytes(buffer)

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset.

        All requests share one connection and are in flight together.  Raises ``ConversionFailed``
        when the server reports an error or goes silent.
        """
        with self._handle() as handle, _staging() as slots:
            _Fetch(handle, self._name, parts, slots).run()

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Contiguous, ascending, covering the range; unknown allocation counts as data."""
        end = self.size if length is None else min(self.size, offset + length)
        return merged(self._told(offset, end))

    def _told(self, offset: int, end: int) -> Iterator[Extent]:
        while offset < end:
            found = self._status(offset, min(end - offset, STATUS_WINDOW))
            yield from found
            offset = found[-1].offset + found[-1].length

    def _status(self, offset: int, length: int) -> list[Extent]:
        found: list[Extent] = []
        first = offset // SECTOR * SECTOR
        whole = -(-(offset + length) // SECTOR) * SECTOR - first

        def take(_context: str, at: int, entries: list[int], _error: int) -> int:
            for size, flags in zip(entries[::2], entries[1::2], strict=True):
                # The server may tell about more than was asked.
                low, high = max(at, offset), min(at + size, offset + length)
                if low < high:
                    found.append(Extent(low, high - low, "zero" if flags & _ZERO else "data"))
                at += size
            return 0

        with self._handle() as handle:
            if not handle.can_meta_context("base:allocation"):
                return [Extent(offset, length, "data")]
            try:
                handle.block_status(whole, first, take)
            except _nbd().Error as error:
                raise _failed(self._name, offset, length, str(error.string)) from error
        if not found:
            raise _failed(self._name, offset, length, "the server told no allocation")
        return found

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """A connection of its own for one thread; one that failed is not used again."""
        handle = self._free.get()
        try:
            if handle is None:
                handle = self._connect()
            yield handle
        except BaseException:
            self._free.put(None)
            raise
        self._free.put(handle)

    def _connect(self) -> Any:
        nbd = _nbd()
        handle = nbd.NBD()
        handle.add_meta_context("base:allocation")
        # Buffers are ours, and one whose read failed is never looked at: no need to clear them.
        handle.set_pread_initialize(False)
        try:
            handle.connect_unix(self._socket)
        except nbd.Error as error:
            raise ToolError(
                "nbd-connect-failed",
                f"{self._name}: qemu-nbd does not answer: {error.string}",
                hint="run 'imgprep doctor'",
            ) from error
        return handle

    def close(self) -> None:
        """Drop the connections that are not in use."""
        while True:
            try:
                self._free.get_nowait()
            except queue.Empty:
                return


class _Slot:
    """A buffer that one request at a time is answered into.

    libnbd's Python binding (seen in 1.14) never lets go of a buffer that it was given once, so the
    same few are used again and again, and the views of them by length too.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(REQUEST))
        self._shared: dict[int, Any] = {}

    def shared(self, length: int) -> Any:
        """The first ``length`` bytes as libnbd wants them."""
        if length not in self._shared:
            self._shared[length] = _nbd().Buffer.from_buffer(self.view[:length])
        return self._shared[length]


_idle_slots: queue.SimpleQueue[list[_Slot]] = queue.SimpleQueue()


@contextlib.contextmanager
def _staging() -> Iterator[list[_Slot]]:
    """``IN_FLIGHT`` slots for one thread; there are never more than threads reading at once."""
    try:
        slots = _idle_slots.get_nowait()
    except queue.Empty:
        slots = [_Slot() for _ in range(IN_FLIGHT)]
    try:
        yield slots
    finally:
        _idle_slots.put(slots)


@dataclass(frozen=True)
class _Request:
    """One read under way."""

    offset: int  # a multiple of SECTOR, as the length is
    skip: int  # bytes of the answer before the wanted ones
    target: memoryview
    slot: _Slot


class _Fetch:
    """Reads in flight on one connection."""

    def __init__(
        self, handle: Any, name: str, parts: Sequence[tuple[int, memoryview]], slots: list[_Slot]
    ) -> None:
        self._handle = handle
        self._name = name
        self._waiting = _requests(parts)
        self._free = list(slots)
        self._pending: dict[int, _Request] = {}  # by libnbd's cookie

    def run(self) -> None:
        try:
            self._run()
        except _nbd().Error as error:
            raise self._failure(str(error.string)) from error

    def _run(self) -> None:
        deadline = time.monotonic() + STALLED_S
        while self._submit():
            if self._handle.poll(1000) == 0 and time.monotonic() > deadline:
                raise self._failure("no answer for two minutes")
            if self._collect():
                deadline = time.monotonic() + STALLED_S

    def _submit(self) -> bool:
        """Keep the connection busy; False when everything has arrived."""
        while self._free:
            request = next(self._waiting, None)
            if request is None:
                break
            offset, skip, target = request
            slot = self._free.pop()
            length = -(-(skip + len(target)) // SECTOR) * SECTOR
            cookie = self._handle.aio_pread(slot.shared(length), offset)
            self._pending[cookie] = _Request(offset, skip, target, slot)
        return bool(self._pending)

    def _collect(self) -> bool:
        done = [item for item in self._pending if self._handle.aio_command_completed(item)]
        for cookie in done:
            request = self._pending.pop(cookie)
            end = request.skip + len(request.target)
            request.target[:] = request.slot.view[request.skip : end]
            self._free.append(request.slot)
        return bool(done)

    def _failure(self, why: str) -> ConversionFailed:
        first = min(self._pending.values(), key=lambda item: item.offset, default=None)
        offset, length = (first.offset, len(first.target)) if first else (0, 0)
        return _failed(self._name, offset, length, why)


def _requests(parts: Sequence[tuple[int, memoryview]]) -> Iterator[tuple[int, int, memoryview]]:
    """Offset, bytes to skip, and buffer of every request.

    qemu-nbd serves some formats (VHDX, VDI) by whole sectors only; every disk is a number of them.
    """
    for offset, buffer in parts:
        done = 0
        while done < len(buffer):
            skip = (offset + done) % SECTOR
            count = min(REQUEST - skip, len(buffer) - done)
            yield offset + done - skip, skip, buffer[done : done + count]
            done += count


def _failed(name: str, offset: int, length: int, why: str) -> ConversionFailed:
    return ConversionFailed(
        "source-data-unreadable",
        f"{name}: reading {length} bytes of the disk at offset {offset} failed: {clean(why)}",
        hint="the image is damaged or cut short, or its storage fails; "
        "copy it again and compare checksums",
    )


def _nbd() -> Any:
    try:
        import nbd
    except ImportError as error:
        raise ToolError(
            "tool-missing",
            "libnbd's Python binding is not installed",
            hint="install python3-libnbd, and use the system's Python",
        ) from error
    return nbd

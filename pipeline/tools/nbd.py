"""The guest-visible disk of any container, read through a confined qemu-nbd.

    Source.fd ──inherited──▶ qemu-nbd ──unix socket in a private directory──▶ libnbd handles
                             read-only, no network,                          one a reading thread, each
                             format and backing=null told                    with several requests in flight

Raw images and fixed VHDs need no server: ``pipeline.fileview`` reads them where they lie.

Threads are enough: libnbd's Python binding releases the interpreter's lock while it waits and copies
(measured with libnbd 1.14: while another thread did nothing but blocking reads of 2 MiB, a thread that
woke every millisecond was never late by more than 13 ms), and on two cores 1, 2 and 4 connections read
1.7, 2.0 and 2.3 GB/s, nbdcopy 1.6 to 1.9: the copying in qemu-nbd and the kernel is the limit.
Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConversionFailed, ToolError
from pipeline.fileview import FileView
from pipeline.model import JsonObject
from pipeline.source import Extent, Source
from pipeline.text import clean
from pipeline.tools import command, qemu_img
from pipeline.tools.command import MIB, Limits, Sandbox
from pipeline.tools.mapped import MappedView, Runs

REQUEST = 256 * 1024  # bytes of one read request: eight of them fit a processor's cache
SECTOR = 512
IN_FLIGHT = 8  # requests on one connection that are not answered yet
STATUS_WINDOW = 1 << 30  # bytes of the disk that one block status request asks about
STARTING_S = 20.0  # until qemu-nbd listens
STALLED_S = 120.0  # without an answer to a read
LIMITS = Limits(memory=2048 * MIB, file_size=0)
_ZERO = 2  # NBD_STATE_ZERO of base:allocation
_SOCKET_PATH_MAX = 100  # sockaddr_un holds 108 with its NUL


@contextlib.contextmanager
def serve(
    source: Source, container: JsonObject, *, scratch: Path, shared: int = 8
) -> Iterator[Path]:
    """Serve the disk, read-only, to up to ``shared`` clients at a time; yields the socket's path.

    ``container``: the source's ``container`` facts, which say how to open it.  The server is killed
    when the block ends.  Raises ``ToolError`` when it does not start.
    """
    image = qemu_img.ImageSpec.of(source, container)
    with _private_directory(scratch) as directory:
        path = directory / "nbd"
        argv = ["qemu-nbd", "--read-only", "--persistent", f"--shared={shared}"]
        argv += [f"--socket={path}", image.argument]
        sandbox = Sandbox(fds=image.fds, sockets=(directory,))
        with command.background(argv, limits=LIMITS, sandbox=sandbox) as server:
            _await_listening(path, server)
            yield path


@contextlib.contextmanager
def open_view(
    source: Source,
    container: JsonObject,
    *,
    scratch: Path,
    connections: int = 4,
    direct: bool = False,
) -> Iterator[FileView | NbdView | MappedView]:
    """The disk behind a container, to be read from up to ``connections`` threads at once.

    ``direct``: for somebody who reads all data, so that it pays to ask qemu-img first where it lies
    in the file (``pipeline.tools.mapped``).  Raises ``ToolError`` when qemu-nbd does not start,
    ``ConversionFailed`` when its disk has another size than the facts say.
    """
    size = container.get("virtual_size")
    if qemu_img.lies_in_file(container):
        yield FileView(source, source.size if size is None else size)
        return
    runs = _runs(source, container) if direct else None
    if runs is not None and not runs.needs_server:
        require_size(source.name, runs.size, size)
        yield MappedView(source, runs, None)
        return
    with serve(source, container, scratch=scratch, shared=connections) as path:
        view = NbdView(path, source.name, connections)
        try:
            require_size(source.name, view.size, size)
            same = runs is not None and runs.size == view.size
            yield MappedView(source, runs, view) if runs is not None and same else view
        finally:
            view.close()


def _runs(source: Source, container: JsonObject) -> Runs | None:
    """Where the data lies; None when the map is too long to be worth it."""
    try:
        found = qemu_img.map_(qemu_img.ImageSpec.of(source, container))
    except ToolError as error:
        if error.code != "tool-output-limit":
            raise
        return None
    return Runs(found, source.size)


def require_size(name: str, size: int, expected: int | None) -> None:
    """Raise ``ConversionFailed`` unless the disk has the size that our own parser read."""
    if expected is None or -(-expected // 512) * 512 == size:
        return
    raise ConversionFailed(
        "disk-size-disagrees",
        f"{name}: the headers say {expected} bytes, qemu opens {size}",
        hint="the image is damaged or made to deceive; export it again",
    )


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
        run: Extent | None = None
        while offset < end:
            for extent in self._status(offset, min(end - offset, STATUS_WINDOW)):
                if run is not None and run.kind == extent.kind:
                    run = Extent(run.offset, run.length + extent.length, run.kind)
                    continue
                if run is not None:
                    yield run
                run = extent
            assert run is not None
            offset = run.offset + run.length
        if run is not None:
            yield run

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


@contextlib.contextmanager
def _private_directory(scratch: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="nbd-", dir=scratch))
    if len(str(directory)) + len("/nbd") > _SOCKET_PATH_MAX:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="imgprep-nbd-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _await_listening(path: Path, server: command.Background) -> None:
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        if not server.alive():
            server.wait(1.0)
            raise server.failure()
        if _listens(path):
            return
        time.sleep(0.002)
    raise ToolError(
        "tool-timeout",
        f"qemu-nbd did not listen after {STARTING_S:.0f} s: {server.stderr.strip()[-200:]}",
        hint="the machine is overloaded, or the storage that holds the image hangs",
    )


def _listens(path: Path) -> bool:
    """Whether the server greets: its socket is there before it has opened the image."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            return probe.recv(8) == b"NBDMAGIC"
        except (FileNotFoundError, ConnectionError, TimeoutError):
            return False

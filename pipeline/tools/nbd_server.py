"""A disk view served over NBD, read-only: for qemu-img, when what it reads is no file.

    qemu-img (confined) ──unix socket──▶ a thread a connection ──▶ DiskView.fetch, DiskView.extents

handshake    S "NBDMAGIC" "IHAVEOPT" flags(2)      C flags(4)
option       C "IHAVEOPT" option(4) length(4) data
             S 0003E889045565A9 option(4) type(4) length(4) data
request      C 25609513 flags(2) type(2) cookie(8) offset(8) length(4)
reply        S 67446698 error(4) cookie(8) data                                  simple
             S 668E33EF flags(2) type(2) cookie(8) length(4) payload             structured

https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

Spoken is what a reader needs: GO and EXPORT_NAME, structured replies, ``base:allocation`` for the
zeros that nobody has to read.  Whatever else is asked for is refused in the protocol's own way.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ImgprepError
from pipeline.source import DiskView
from pipeline.tools import nbd

SECTOR = 512  # a disk's end is rounded up to it with zeros, as qemu-nbd does
MAX_READ = 32 << 20  # bytes of one request, which the protocol lets a client expect
MAX_OPTION = 64 << 10  # bytes of one option
WINDOW = 1 << 30  # bytes that one answer about allocation covers at the most
_EXTENTS = 1024  # … and runs of them

_IHAVEOPT, _REPLY = b"IHAVEOPT", 0x0003E889045565A9
_REQUEST, _SIMPLE, _STRUCTURED = 0x25609513, 0x67446698, 0x668E33EF
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_EXPORT_NAME, _ABORT, _INFO, _GO, _STRUCTURED_REPLY, _LIST_META, _SET_META = 1, 2, 6, 7, 8, 9, 10
_ACK, _INFORMATION, _META = 1, 3, 4
_UNSUPPORTED, _INVALID = 0x80000001, 0x80000003
_READ, _DISCONNECT, _BLOCK_STATUS = 0, 2, 7
_TRANSMISSION = 0x1 | 0x2 | 0x100  # has flags, read-only, several connections see the same
_DONE, _ONE_EXTENT = 1, 1 << 3
_DATA, _STATUS, _ERROR = 1, 5, 0x8001
_HOLE_AND_ZERO = 3
_CONTEXT, _CONTEXT_ID = b"base:allocation", 1


@contextlib.contextmanager
def serving(view: DiskView, path: Path) -> Iterator[None]:
    """Serve ``view`` on a new unix socket ``path`` until the block ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = _Server(view, listener)
        accepting = threading.Thread(target=server.accept, name="nbd-accept")
        accepting.start()
        try:
            yield
        finally:
            server.stop()
            accepting.join()


@contextlib.contextmanager
def serving_in(scratch: Path, view: DiskView) -> Iterator[Path]:
    """Serve ``view`` on a socket in a private directory of ``scratch``; yields the socket's path."""
    with nbd.private_directory(scratch) as directory, serving(view, directory / "nbd"):
        yield directory / "nbd"


class _Server:
    def __init__(self, view: DiskView, listener: socket.socket) -> None:
        self._view = view
        self._listener = listener
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # stopped
                break
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), name="nbd-serve")
            self._threads.append(thread)
            thread.start()
        for thread in self._threads:
            thread.join()

    def _talk(self, connection: socket.socket) -> None:
        # A client that hangs up or talks nonsense only ends its own connection.
        with contextlib.suppress(OSError, EOFError, struct.error), connection:
            _Conversation(connection, self._view).run()
        with self._lock:
            self._open.discard(connection)

    def stop(self) -> None:
        """End every conversation; who waits for an answer gets none."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Request(NamedTuple):
    flags: int
    type: int
    cookie: int
    offset: int
    length: int


class _Conversation:
    """One client."""

    def __init__(self, connection: socket.socket, view: DiskView) -> None:
        self._connection = connection
        self._view = view
        self._size = -(-view.size // SECTOR) * SECTOR
        self._structured = False
        self._allocation = False

    def run(self) -> None:
        """Talk until the client has enough.  Raises ``OSError``, ``EOFError`` when it hangs up."""
        self._send(struct.pack(">8s8sH", b"NBDMAGIC", _IHAVEOPT, _FIXED_NEWSTYLE | _NO_ZEROES))
        (flags,) = struct.unpack(">I", self._receive(4))
        if self._negotiate(no_zeroes=bool(flags & _NO_ZEROES)):
            while self._serve(_Request(*struct.unpack(">4xHHQQI", self._receive_request()))):
                pass

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return bytes(data)

    def _send(self, *parts: bytes | bytearray) -> None:
        for part in parts:
            self._connection.sendall(part)

    # ------------------------------------------------------------------------------------ options

    def _negotiate(self, *, no_zeroes: bool) -> bool:
        """Answer options; True when the disk is to be served."""
        while True:
            magic, option, length = struct.unpack(">8sII", self._receive(16))
            if magic != _IHAVEOPT or length > MAX_OPTION:
                return False
            data = self._receive(length)
            if option == _EXPORT_NAME:
                padding = b"" if no_zeroes else bytes(124)
                self._send(struct.pack(">QH", self._size, _TRANSMISSION), padding)
                return True
            if option == _ABORT:
                self._reply(option, _ACK)
                return False
            if self._answer(option, data):
                return True

    def _answer(self, option: int, data: bytes) -> bool:
        if option == _STRUCTURED_REPLY and not data:
            self._structured = True
            self._reply(option, _ACK)
        elif option in (_GO, _INFO):
            self._reply(option, _INFORMATION, struct.pack(">HQH", 0, self._size, _TRANSMISSION))
            self._reply(option, _ACK)
            return option == _GO
        elif option in (_SET_META, _LIST_META) and self._structured:
            self._meta(option, data)
        else:
            known = option in (_SET_META, _LIST_META, _STRUCTURED_REPLY)
            self._reply(option, _INVALID if known else _UNSUPPORTED)
        return False

    def _meta(self, option: int, data: bytes) -> None:
        """The one context there is, when it is asked for or, in a list, nothing certain is."""
        (at,) = struct.unpack_from(">I", data)
        (count,) = struct.unpack_from(">I", data, 4 + at)
        at, found = at + 8, count == 0 and option == _LIST_META
        for _ in range(count):
            (length,) = struct.unpack_from(">I", data, at)
            query = data[at + 4 : at + 4 + length]
            found = found or query in (_CONTEXT, b"base:" if option == _LIST_META else _CONTEXT)
            at += 4 + length
        if found:
            self._reply(option, _META, struct.pack(">I", _CONTEXT_ID) + _CONTEXT)
        if option == _SET_META:
            self._allocation = found
        self._reply(option, _ACK)

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._send(struct.pack(">QIII", _REPLY, option, kind, len(data)), data)

    # ----------------------------------------------------------------------------------- requests

    def _receive_request(self) -> bytes:
        raw = self._receive(28)
        if raw[:4] != struct.pack(">I", _REQUEST):
            raise EOFError
        return raw

    def _serve(self, request: _Request) -> bool:
        if request.type == _DISCONNECT:
            return False
        inside = request.length > 0 and request.offset + request.length <= self._size
        if request.type == _READ and inside and request.length <= MAX_READ:
            self._read(request)
        elif request.type == _BLOCK_STATUS and inside and self._allocation:
            self._status(request)
        elif request.type in (_READ, _BLOCK_STATUS):
            self._fail(request, errno.EINVAL, "this range cannot be read")
        else:
            # What a write would send behind its request is not known to be small: hang up.
            self._fail(request, errno.EPERM, "the disk is read-only")
            return False
        return True

    def _read(self, request: _Request) -> None:
        data = bytearray(request.length)
        inside = max(0, min(request.length, self._view.size - request.offset))
        try:
            if inside:
                self._view.fetch([(request.offset, memoryview(data)[:inside])])
        except ImgprepError as error:
            self._fail(request, errno.EIO, error.message)
            return
        if self._structured:
            head = struct.pack(">Q", request.offset)
            self._chunk(request, _DATA, head, data)
        else:
            self._send(struct.pack(">IIQ", _SIMPLE, 0, request.cookie), data)

    def _status(self, request: _Request) -> None:
        try:
            runs = self._runs(request.offset, min(request.length, WINDOW))
        except ImgprepError as error:
            self._fail(request, errno.EIO, error.message)
            return
        wanted = runs[:1] if request.flags & _ONE_EXTENT else runs
        payload = b"".join(struct.pack(">II", length, flags) for length, flags in wanted)
        self._chunk(request, _STATUS, struct.pack(">I", _CONTEXT_ID), payload)

    def _runs(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Lengths and states of what begins at ``offset``."""
        found: list[tuple[int, int]] = []
        inside = max(0, min(length, self._view.size - offset))
        for extent in self._view.extents(offset, inside) if inside else ():
            found.append((extent.length, _HOLE_AND_ZERO if extent.kind == "zero" else 0))
            if len(found) == _EXTENTS:
                return found
        if inside < length:
            found.append((length - inside, _HOLE_AND_ZERO))
        return found

    def _chunk(self, request: _Request, kind: int, *parts: bytes | bytearray) -> None:
        length = sum(len(part) for part in parts)
        head = struct.pack(">IHHQI", _STRUCTURED, _DONE, kind, request.cookie, length)
        self._send(head, *parts)

    def _fail(self, request: _Request, number: int, words: str) -> None:
        if self._structured:
            said = words.encode()[:1000]
            self._chunk(request, _ERROR, struct.pack(">IH", number, len(said)), said)
        else:
            self._send(struct.pack(">IIQ", _SIMPLE, number, request.cookie))

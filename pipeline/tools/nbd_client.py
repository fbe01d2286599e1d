"""One connection to an NBD server on a unix socket: handshake, reads in flight, allocation.

    server                                         client
    "NBDMAGIC" "IHAVEOPT" flags(2)             ──▶
                                               ◀── flags(4)
                                               ◀── "IHAVEOPT" option(4) length(4) data
    3e889045565a9(8) option(4) type(4) length(4) ──▶
    ────────────── options: structured replies, the context base:allocation, go ──────────────
                                               ◀── 25609513 flags(2) type(2) cookie(8) offset(8) length(4)
    67446698 error(4) cookie(8) [data]         ──▶ a simple reply, or chunks of a structured one:
    668e33ef flags(2) type(2) cookie(8) length(4) payload ──▶

What arrives is put straight into the caller's buffer.  The server parses an untrusted image, so nothing
that it says is believed: every length and offset must lie in what was asked for.
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GREETING = b"NBDMAGIC"
IN_FLIGHT = 8  # requests that are not answered yet
STALLED_S = 120  # without an answer
_OPTION = b"IHAVEOPT"
_OPTION_REPLY = 0x0003E889045565A9
_REQUEST = struct.Struct(">IHHQQI")
_REQUEST_MAGIC = 0x25609513
_SIMPLE, _CHUNK = 0x67446698, 0x668E33EF
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_GO, _STRUCTURED, _SET_CONTEXT = 7, 8, 10  # options
_ACK, _INFO, _CONTEXT, _ERROR_REPLY = 1, 3, 4, 1 << 31  # replies to an option
_READ, _STATUS = 0, 7  # requests
_NONE, _DATA, _HOLE, _EXTENTS, _ERROR_CHUNK = 0, 1, 2, 5, 1 << 15  # chunks
_DONE = 1
_LARGEST = 1 << 20  # bytes of a reply that is no data: names, messages, extents
_ALLOCATION = b"base:allocation"


class NbdError(Exception):
    """The server said no, went away, went silent, or broke the protocol."""


class Connection:
    """A connection for one thread; one that raised ``NbdError`` must not be used again."""

    def __init__(self, path: Path | str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._cookie = 0
        self._structured = False
        self._context: int | None = None  # the server's number for base:allocation
        self.size = 0  # bytes
        try:
            # Limits of the kernel, not of Python: those make the socket one that never waits for all.
            limit = struct.pack("@ll", STALLED_S, 0)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
            self._socket.connect(str(path))
            self._greet()
        except OSError as error:
            self.close()
            raise NbdError(_words(error)) from error
        except NbdError:
            self.close()
            raise

    def close(self) -> None:
        """End it without another word."""
        self._socket.close()

    # ------------------------------------------------------------------------------------ requests

    def fetch(self, requests: Iterator[tuple[int, memoryview]]) -> Iterator[int]:
        """Fill each buffer from its offset; yields the index of each request when it is answered.

        Up to ``IN_FLIGHT`` requests are under way at a time, and are answered in any order.
        """
        waiting = enumerate(requests)
        pending: dict[int, _Read] = {}  # by cookie
        while True:
            while len(pending) < IN_FLIGHT and (following := next(waiting, None)) is not None:
                index, (offset, buffer) = following
                cookie = self._ask(_READ, offset, len(buffer))
                pending[cookie] = _Read(index, offset, buffer, len(buffer))
            if not pending:
                return
            done = self._receive(pending)
            if done is not None:
                yield pending.pop(done).index

    def status(self, offset: int, length: int) -> list[tuple[int, int]] | None:
        """Length and flags of runs from ``offset`` on, at least one; None: the server does not tell."""
        if self._context is None:
            return None
        expected = self._ask(_STATUS, offset, length)
        found: list[tuple[int, int]] = []
        while True:
            flags, kind, cookie, size = self._chunk(self._number(4))
            if cookie != expected:
                raise NbdError("the server answered what was not asked")
            if kind == _EXTENTS:
                found = self._extents(size)
            elif not self._is_empty(kind, size):
                raise NbdError("the server told no allocation")
            if flags & _DONE:
                if not found:
                    raise NbdError("the server told no allocation")
                return found

    def _ask(self, kind: int, offset: int, length: int) -> int:
        self._cookie += 1
        self._send(_REQUEST.pack(_REQUEST_MAGIC, 0, kind, self._cookie, offset, length))
        return self._cookie

    def _receive(self, pending: dict[int, _Read]) -> int | None:
        """Take one reply, or one chunk of one; the cookie, when it was the last of a read."""
        magic = self._number(4)
        if magic == _SIMPLE:
            error, cookie = self._number(4), self._number(8)
            read = _known(pending, cookie)
            if error:
                raise NbdError(_errno(error))
            self._fill(read.buffer)
            return cookie
        flags, kind, cookie, length = self._chunk(magic)
        read = _known(pending, cookie)
        if kind in (_DATA, _HOLE):
            self._part(read, kind, length)
        elif not self._is_empty(kind, length):
            raise NbdError(f"the server answered with an unknown chunk ({kind})")
        if not flags & _DONE:
            return None
        if read.left:
            raise NbdError("the server left out a part of the data")
        return cookie

    def _part(self, read: _Read, kind: int, length: int) -> None:
        """Data: offset (8) and bytes; a hole: offset (8) and length (4)."""
        if kind == _HOLE and length == 12:
            offset, count = struct.unpack(">QI", self._exactly(12))
        elif kind == _DATA and length > 8:
            offset, count = self._number(8), length - 8
        else:
            raise NbdError("the server broke the protocol")
        start = offset - read.offset
        if not 0 <= start <= start + count <= len(read.buffer) or count > read.left:
            raise NbdError("the server sent data that was not asked for")
        target = read.buffer[start : start + count]
        if kind == _DATA:
            self._fill(target)
        else:
            target[:] = bytes(count)
        read.left -= count

    def _chunk(self, magic: int) -> tuple[int, int, int, int]:
        """Flags, kind, cookie and length of a structured reply's chunk."""
        if magic != _CHUNK or not self._structured:
            raise NbdError("the server broke the protocol")
        flags, kind, cookie, length = struct.unpack(">HHQI", self._exactly(16))
        return flags, kind, cookie, length

    def _is_empty(self, kind: int, length: int) -> bool:
        """Whether a chunk says nothing.  Raises what an error chunk says: error (4), length (2), text."""
        if kind & _ERROR_CHUNK and 6 <= length <= _LARGEST:
            payload = self._exactly(length)
            said = payload[6 : 6 + int.from_bytes(payload[4:6], "big")].decode("utf-8", "replace")
            raise NbdError(said or _errno(int.from_bytes(payload[:4], "big")))
        return kind == _NONE and length == 0

    def _extents(self, size: int) -> list[tuple[int, int]]:
        """Context (4), then length (4) and flags (4) of each run."""
        if not 12 <= size <= _LARGEST or size % 8 != 4:
            raise NbdError("the server broke the protocol")
        payload = self._exactly(size)
        if int.from_bytes(payload[:4], "big") != self._context:
            raise NbdError("the server answered what was not asked")
        return list(struct.iter_unpack(">II", payload[4:]))

    # ----------------------------------------------------------------------------------- handshake

    def _greet(self) -> None:
        if self._exactly(8) != GREETING or self._exactly(8) != _OPTION:
            raise NbdError("it is no NBD server")
        flags = self._number(2)
        if not flags & _FIXED_NEWSTYLE:
            raise NbdError("the server speaks an old protocol")
        self._send(struct.pack(">I", _FIXED_NEWSTYLE | (flags & _NO_ZEROES)))
        self._structured = self._option(_STRUCTURED, b"") is not None
        if self._structured:
            name = struct.pack(">I", len(_ALLOCATION)) + _ALLOCATION
            self._option(_SET_CONTEXT, struct.pack(">II", 0, 1) + name)
        if self._option(_GO, struct.pack(">IH", 0, 0)) is None or self.size == 0:
            raise NbdError("the server offers no disk")

    def _option(self, option: int, data: bytes) -> bool | None:
        """Negotiate one thing; None when the server refuses it."""
        self._send(_OPTION + struct.pack(">II", option, len(data)) + data)
        while True:
            magic, answered, kind, length = struct.unpack(">QIII", self._exactly(20))
            if magic != _OPTION_REPLY or answered != option or length > _LARGEST:
                raise NbdError("the server broke the protocol")
            payload = self._exactly(length)
            if kind & _ERROR_REPLY:
                return None
            if kind == _ACK:
                return True
            if kind == _INFO and length >= 12 and payload[:2] == b"\0\0":
                self.size = int.from_bytes(payload[2:10], "big")
            elif kind == _CONTEXT and payload[4:] == _ALLOCATION:
                self._context = int.from_bytes(payload[:4], "big")

    # ---------------------------------------------------------------------------------------- bytes

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise NbdError(_words(error)) from error

    def _number(self, width: int) -> int:
        return int.from_bytes(self._exactly(width), "big")

    def _exactly(self, length: int) -> bytes:
        data = bytearray(length)
        self._fill(memoryview(data))
        return bytes(data)

    def _fill(self, buffer: memoryview) -> None:
        while buffer:
            try:
                count = self._socket.recv_into(buffer, 0, socket.MSG_WAITALL)
            except OSError as error:
                raise NbdError(_words(error)) from error
            if count == 0:
                raise NbdError("the server went away")
            buffer = buffer[count:]


@dataclass
class _Read:
    """One read under way."""

    index: int
    offset: int
    buffer: memoryview
    left: int  # bytes that have not arrived


def _known(pending: dict[int, _Read], cookie: int) -> _Read:
    if cookie not in pending:
        raise NbdError("the server answered what was not asked")
    return pending[cookie]


def _words(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return f"no answer for {STALLED_S} seconds"
    return error.strerror or str(error)


def _errno(number: int) -> str:
    return os.strerror(number)

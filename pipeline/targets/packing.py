"""What an artifact is wrapped in for a cloud: gzip, or one member of a tar in gzip.

    artifact ──▶ (tar) ──cut into BLOCK bytes──▶ N threads, a gzip member each ──in order──▶ file
                   │
                   └ header, the disk as ``disk.raw``, padding, two empty records (old GNU format)

The members are independent (RFC 1952, 2.2: a file is a series of members), hold no time and no name, and
are cut at fixed places: the same artifact gives the same bytes on any number of cores, any gunzip reads
them, and a job that was killed continues behind the last member that is whole.  It costs about 0.1 %
against one stream, since each member starts without a dictionary.

The packed size is not known before it is made, and stores want sizes and checksums first.  So the packed
artifact is a file in the job's directory: it takes as much room there as it has in the end, and none for
what is not packed.

Old GNU tar header, 512 bytes (https://www.gnu.org/software/tar/manual/html_node/Standard.html): name at
0 (100), mode 100 (8), uid 108, gid 116, size 124 (12, above 8 GiB in base 256), mtime 136, checksum 148,
type 156, magic "ustar  " at 257.  Python's ``tarfile`` writes it.
"""

from __future__ import annotations

import functools
import os
import struct
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from pipeline.source import Reader
from pipeline.stage import Cancellation, Notebook

BLOCK = 4 << 20  # bytes of the unpacked stream in one gzip member
LEVEL = 6
MEMBER = "disk.raw"  # what Google's import wants the only member of the tar to be called
_RECORD = 512
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no name, no time, unknown system
_WRITTEN_DOWN = 64  # members between two notes from which a killed job continues
_NOTE = "pack"
_ZEROS = bytes(BLOCK)


class Stream(Protocol):
    """What is packed."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end."""
        ...


class TarOf:
    """The tar with one member, as bytes that can be read at any offset."""

    def __init__(self, member: Reader) -> None:
        info = tarfile.TarInfo(MEMBER)
        info.size, info.mode = member.size, 0o644
        self._member = member
        self._header = info.tobuf(tarfile.GNU_FORMAT)
        filled = len(self._header) + -(-member.size // _RECORD) * _RECORD + 2 * _RECORD
        self.size = -(-filled // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def read(self, offset: int, length: int) -> bytes:
        """See ``Stream``."""
        end = min(offset + length, self.size)
        parts = [self._header[offset:end]]
        start = len(self._header)
        first, last = max(offset, start), min(end, start + self._member.size)
        if first < last:
            parts.append(self._member.read(first - start, last - first))
        found = b"".join(parts)
        return found + bytes(max(0, end - offset - len(found)))


def stream_of(artifact: Reader, packing: str) -> Stream:
    """What the gzip members are made of."""
    return TarOf(artifact) if packing == "tar.gz" else artifact


def member(data: bytes) -> bytes:
    """One gzip member."""
    return _zeros() if data == _ZEROS else _member(data)


@functools.cache
def _zeros() -> bytes:
    """Most of many disks is holes."""
    return _member(_ZEROS)


def _member(data: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    return _HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def pack(
    stream: Stream,
    path: Path,
    *,
    notebook: Notebook,
    key: str,
    threads: int,
    cancellation: Cancellation,
    progress: Callable[[int, int], None],
) -> None:
    """Write the packed stream to ``path``, or go on with what a killed job wrote there.

    ``key`` names the content: notes of another one are not believed.  Raises what reading the stream
    raises, ``Interrupted`` when ``cancellation`` is set, ``OSError`` when the file cannot be written.
    """
    done, offset = _continued(path, notebook, key)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(handle, offset)
        os.lseek(handle, offset, os.SEEK_SET)
        for number, packed in _members(stream, done, threads):
            cancellation.check()
            _write(handle, packed)
            offset += len(packed)
            progress(min((number + 1) * BLOCK, stream.size), stream.size)
            if (number + 1) % _WRITTEN_DOWN == 0:
                os.fdatasync(handle)
                notebook.save(_NOTE, {"key": key, "members": number + 1, "offset": offset})
        os.fsync(handle)
    finally:
        os.close(handle)


def _continued(path: Path, notebook: Notebook, key: str) -> tuple[int, int]:
    """How many members are whole, and where the next one begins."""
    note = notebook.load(_NOTE)
    if not isinstance(note, dict) or note.get("key") != key or not path.exists():
        return 0, 0
    members, offset = note.get("members"), note.get("offset")
    if not isinstance(members, int) or not isinstance(offset, int):
        return 0, 0
    return (members, offset) if path.stat().st_size >= offset else (0, 0)


def _members(stream: Stream, first: int, threads: int) -> Iterator[tuple[int, bytes]]:
    """The members from ``first`` on, in order; a few ahead of who takes them."""

    def made(number: int) -> bytes:
        return member(stream.read(number * BLOCK, BLOCK))

    waiting: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pack") as pool:
        try:
            for number in range(first, -(-stream.size // BLOCK)):
                waiting.append((number, pool.submit(made, number)))
                if len(waiting) > 2 * threads:
                    at, future = waiting.popleft()
                    yield at, future.result()
            while waiting:
                at, future = waiting.popleft()
                yield at, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]

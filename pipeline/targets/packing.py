"""What an artifact is wrapped in for a cloud: gzip, or one member of a tar in gzip.

    artifact ──▶ (tar) ──cut into BLOCK bytes──▶ N threads, a gzip member each ──in order──▶ file
                   │
                   └ the disk as ``disk.raw`` without its holes (``sparse_tar``)

The members are independent (RFC 1952, 2.2: a file is a series of members), hold no time and no name, and
are cut at fixed places: the same artifact gives the same bytes on any number of cores, any gunzip reads
them, and a job that was killed continues behind the last member that is whole.  It costs about 0.1 %
against one stream, since each member starts without a dictionary.

The packed size is not known before it is made, and stores want sizes and checksums first.  So the packed
artifact is a file in the job's directory: it takes as much room there as it has in the end, and none for
what is not packed.
"""

from __future__ import annotations

import functools
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.stage import Cancellation, Notebook
from pipeline.targets import sparse_tar, zero_scan
from pipeline.targets.artifact import OpenArtifact

BLOCK = 4 << 20  # bytes of the unpacked stream in one gzip member
LEVEL = 6
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


def stream_of(
    artifact: OpenArtifact, packing: str, *, threads: int, cancellation: Cancellation
) -> Stream:
    """What the gzip members are made of; raises what reading the artifact raises.

    The holes of a tar are what holds only zeros, wherever the artifact's file has its own: so they
    are the same of every copy.
    """
    if packing != "tar.gz":
        return artifact
    data = zero_scan.blocks_with_data(artifact.extents())
    blocks = zero_scan.nonzero_blocks(_Parts(artifact), data, threads, cancellation, _untold)
    return sparse_tar.SparseTar(artifact, sparse_tar.runs(blocks, artifact.size))


@dataclass(frozen=True)
class _Parts:
    """An artifact as ``zero_scan.Scanned``."""

    artifact: OpenArtifact

    @property
    def size(self) -> int:
        return self.artifact.size

    def fetch(self, wanted: Sequence[tuple[int, memoryview]]) -> None:
        for offset, buffer in wanted:
            self.artifact.read_into(offset, buffer)


def _untold(_done: int, _total: int) -> None:
    """The scan takes no time beside the packing."""


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

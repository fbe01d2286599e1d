"""A reader that counts: no parser may read more than the budget, at any file size.

    file  |■■■■■■■■ head 64 KiB |............ any range ............| tail 4 KiB ■|
               read once, shared by all signatures                     read once

Nearly every signature lies in the head or the tail, so identifying a plain file takes two reads.
"""

from __future__ import annotations

from pipeline.errors import ImgprepError
from pipeline.source import Reader

READ_BUDGET = 4 << 20
"""Bytes that all parsers together may read of one file."""

HEAD = 64 << 10
TAIL = 4 << 10


class BoundedReader:
    """Reads through to another reader, at most ``budget`` bytes in all.

    Ranges outside of the file read as nothing, so that no offset of a hostile header can matter.
    Raises ``ImgprepError`` ``read-budget`` when a parser asks for more: a bug of that parser.
    """

    def __init__(self, reader: Reader, budget: int = READ_BUDGET) -> None:
        self._reader = reader
        self._budget = budget
        self._head: bytes | None = None
        self._tail: bytes | None = None
        self.bytes_read = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._reader.size

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the file."""
        size = self.size
        if offset < 0 or offset >= size or length <= 0:
            return b""
        end = min(size, offset + length)
        if end <= HEAD:
            if self._head is None:
                self._head = self._fetch(0, min(HEAD, size))
            return self._head[offset:end]
        start = size - TAIL
        if offset >= start:
            if self._tail is None:
                self._tail = self._fetch(start, TAIL)
            return self._tail[offset - start : end - start]
        return self._fetch(offset, end - offset)

    def _fetch(self, offset: int, length: int) -> bytes:
        if self.bytes_read + length > self._budget:
            raise ImgprepError(
                "read-budget",
                f"a parser asked for {length} bytes at offset {offset} after {self.bytes_read}; "
                f"{self._budget} bytes are allowed for one file",
                hint="please report this file: identifying an image must never read so much",
            )
        self.bytes_read += length
        return self._reader.read(offset, length)


def padded(reader: Reader, offset: int, length: int) -> bytes:
    """Exactly ``length`` bytes at ``offset``; what lies beyond the end of the file reads as zeros."""
    return reader.read(offset, length).ljust(length, b"\0")

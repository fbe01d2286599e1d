"""A disk that lies in its file as it is: raw images, and fixed VHDs in front of their footer.

    file   ├──────── the disk, ``size`` bytes ────────┤ footer of a fixed VHD ┤
           data ░░░ hole ░░░ data                       not part of the disk

Read with preadv(2) through the source's one descriptor; holes are found with SEEK_DATA and SEEK_HOLE
(lseek(2)) and never read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from pipeline.errors import ConversionFailed
from pipeline.source import Extent, Place, Source


class FileView:
    """``pipeline.source.DiskView`` of the first ``size`` bytes of a source."""

    def __init__(self, source: Source, size: int) -> None:
        self.size = size
        self._source = source

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        self.fetch([(offset, memoryview(buffer))])
        return bytes(buffer)

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset.

        Raises ``ConversionFailed`` when the file ends early or cannot be read.
        """
        for offset, buffer in parts:
            done = 0
            while done < len(buffer):
                done += self._read_some(offset + done, buffer[done:])

    def _read_some(self, offset: int, buffer: memoryview) -> int:
        try:
            count = os.preadv(self._source.fd, [buffer], offset)
        except OSError as error:
            raise _unreadable(self._source, offset, len(buffer), error.strerror or "") from error
        if count == 0:
            raise _unreadable(self._source, offset, len(buffer), "the file ends there")
        return count

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Contiguous, ascending, covering the range; holes of the file are zeros."""
        end = self.size if length is None else min(self.size, offset + length)
        while offset < end:
            data = min(end, self._seek(offset, os.SEEK_DATA, end))
            if data > offset:
                yield Extent(offset, data - offset, "zero")
            if data < end:
                hole = min(end, self._seek(data, os.SEEK_HOLE, end))
                yield Extent(data, hole - data, "data")
                data = hole
            offset = data

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """See ``pipeline.source.Placed``."""
        yield Place(offset, length, offset)

    def _seek(self, offset: int, whence: int, end: int) -> int:
        try:
            return os.lseek(self._source.fd, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data up to the end of the file
                return self._end_of_hole(offset, end)
            # A file system without holes says EINVAL: everything is data.
            return offset if whence == os.SEEK_DATA else end

    def _end_of_hole(self, offset: int, end: int) -> int:
        # A file that was cut short has no data there either, but must not read as zeros.
        if os.lseek(self._source.fd, 0, os.SEEK_END) < end:
            raise _unreadable(self._source, offset, end - offset, "the file ends before the disk")
        return end


def _unreadable(source: Source, offset: int, length: int, why: str) -> ConversionFailed:
    return ConversionFailed(
        "source-data-unreadable",
        f"{source.path}: reading {length} bytes at offset {offset} of the file failed: {why}",
        hint="the image is cut short or its storage fails; copy it again and compare checksums",
    )

"""A disk that lies in its file as it is, wherever that file is.

a local file    FileView    holes of the file are zeros
at an address   RangeView   a server tells of no holes: everything is data
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.fileview import FileView
from pipeline.remote.source import RemoteSource
from pipeline.source import DiskView, Extent, Source


def view_of(source: Source, size: int) -> DiskView:
    """The first ``size`` bytes of a source."""
    return RangeView(source, size) if isinstance(source, RemoteSource) else FileView(source, size)


class RangeView:
    """``pipeline.source.DiskView`` by requests for ranges."""

    def __init__(self, source: RemoteSource, size: int) -> None:
        """Raises ``SourceError`` where the server gives no ranges."""
        source.require_ranges()
        self.size = size
        self._source = source

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        return self._source.read(offset, max(0, min(length, self.size - offset)))

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset; raises what ``Origin.read`` does."""
        for offset, buffer in parts:
            buffer[:] = self._source.read(offset, len(buffer))

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """One run of data."""
        end = self.size if length is None else min(self.size, offset + length)
        if offset < end:
            yield Extent(offset, end - offset, "data")

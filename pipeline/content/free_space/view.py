"""A disk whose free runs read as zeros: what deleted files left behind is not there.

    disk      ███ deleted ███ file ░hole░ deleted ███
    free          ░░░░░░░                ░░░░░░░
    view      ███ 0000000 ███ file ░hole░ 0000000 ███      its zero runs are known without reading

The disk itself is not changed, and nothing is copied.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pipeline.content.free_space import FreeSpace
from pipeline.content.free_space.base import KeptError, Span, merged
from pipeline.errors import SourceError
from pipeline.source import DiskView, Extent, Place, Placed

_WINDOW = 64 << 20  # bytes of the disk whose free runs are remembered together
_WINDOWS = 16
_WORTH = 64 << 10  # bytes of a free run from which on two reads are better than one


class ZeroedView:
    """``pipeline.source.DiskView`` of a disk without what is free on it."""

    def __init__(self, view: DiskView, free: FreeSpace) -> None:
        self.size = view.size
        self._view = view
        self._free = free
        self._window = lru_cache(_WINDOWS)(self._load)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        self.fetch([(offset, memoryview(buffer))])
        return bytes(buffer)

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset, and zeros where it is free."""
        wanted: list[tuple[int, memoryview]] = []
        small: list[memoryview] = []
        for offset, buffer in parts:
            at = offset
            for low, high in self._between(offset, offset + len(buffer)):
                part = buffer[low - offset : high - offset]
                if high - low < _WORTH:
                    small.append(part)
                    continue
                part[:] = bytes(len(part))
                if at < low:
                    wanted.append((at, buffer[at - offset : low - offset]))
                at = high
            if at < offset + len(buffer):
                wanted.append((at, buffer[at - offset :]))
        if wanted:
            self._view.fetch(wanted)
        for part in small:
            part[:] = bytes(len(part))

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Contiguous, ascending, covering the range; unknown allocation counts as data."""
        end = self.size if length is None else min(self.size, offset + length)
        at = offset
        for low, high in merged(self._data(offset, end)):
            if at < low:
                yield Extent(at, low - at, "zero")
            yield Extent(low, high - low, "data")
            at = high
        if at < end:
            yield Extent(at, end - at, "zero")

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """See ``pipeline.source.Placed``."""
        at, end = offset, offset + length
        for low, high in merged(self._between(offset, end)):
            if at < low:
                yield from self._kept(at, low - at)
            yield Place(low, high - low, None)
            at = high
        if at < end:
            yield from self._kept(at, end - at)

    def _kept(self, offset: int, length: int) -> Iterator[Place]:
        if isinstance(self._view, Placed):
            yield from self._view.places(offset, length)
        else:
            yield Place(offset, length, None)

    def _data(self, offset: int, end: int) -> Iterator[Span]:
        for extent in self._view.extents(offset, end - offset) if offset < end else ():
            if extent.kind == "zero":
                continue
            at, stop = extent.offset, extent.offset + extent.length
            for low, high in self._between(at, stop):
                if at < low:
                    yield at, low
                at = high
            if at < stop:
                yield at, stop

    def _between(self, low: int, high: int) -> Iterator[Span]:
        """Free spans of a range, from the windows."""
        while low < high:
            number = low // _WINDOW
            stop = min(high, (number + 1) * _WINDOW)
            ends = self._window(number)
            index = bisect_right(ends, low)
            if index % 2:
                yield low, min(stop, ends[index])
                index += 1
            while index < len(ends) and ends[index] < stop:
                yield ends[index], min(stop, ends[index + 1])
                index += 2
            low = stop

    def _load(self, number: int) -> array[int]:
        """Where the free runs of a window begin and end, by turns."""
        found = array("Q")
        with self._free.lock:
            start = number * _WINDOW
            try:
                for low, high in self._free.between(start, min(self.size, start + _WINDOW)):
                    found.append(low)
                    found.append(high)
            except KeptError as error:
                raise SourceError(
                    "source-changed",
                    f"a file system on the disk is not any more what it was: {error}",
                    hint="stop the virtual machine or the copy that writes to it, then run again",
                ) from error
        return found

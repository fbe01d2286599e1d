"""The disk of a container whose data lies uncompressed in its file: read there, without a server.

    qemu-img map   disk  │ data │ zero │ data        │ data, compressed │
                           │              │             │
                   file    ▼ offset       ▼ offset      └──▶ qemu-nbd, started only for these

One copy out of the page cache instead of three, and no second process that competes for the cores.
Which bytes belong where is still qemu's word; a run that would reach beyond the end of the file is
left to qemu-nbd as well.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from pipeline.fileview import FileView
from pipeline.source import Extent, Place, Source, merged
from pipeline.tools.qemu_img import Run

_SERVED, _ZERO = -1, -2


class Server(Protocol):
    """What reads the runs that do not lie in the file as they are."""

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset."""
        ...


class Runs:
    """The map, 24 bytes a run."""

    def __init__(self, runs: Iterable[Run], file_size: int) -> None:
        self._starts, self._ends = array("Q"), array("Q")
        self._where = array("q")  # offset in the file, or one of the two above
        for run in runs:
            self._starts.append(run.start)
            self._ends.append(run.start + run.length)
            self._where.append(_place(run, file_size))

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._ends[-1] if self._ends else 0

    def pieces(self, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
        """``(offset, length, where)`` for the runs in a range; ``where`` is moved along."""
        index = bisect_right(self._starts, offset) - 1
        while offset < end:
            stop = min(end, self._ends[index])
            where = self._where[index]
            moved = where + offset - self._starts[index] if where >= 0 else where
            yield offset, stop - offset, moved
            offset, index = stop, index + 1


def _place(run: Run, file_size: int) -> int:
    if run.zero:
        return _ZERO
    if not run.data or run.offset is None or run.offset + run.length > file_size:
        return _SERVED
    return run.offset


class MappedView:
    """``pipeline.source.DiskView`` by a map of where the data lies."""

    def __init__(self, source: Source, runs: Runs, server: Callable[[], Server]) -> None:
        """``server`` is asked for when the first run is read that does not lie in the file."""
        self.size = runs.size
        self._runs = runs
        self._file = FileView(source, source.size)
        self._server = server

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        self.fetch([(offset, memoryview(buffer))])
        return bytes(buffer)

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset.

        Raises ``ConversionFailed`` when the file or the server cannot be read.
        """
        stored: list[tuple[int, memoryview]] = []
        served: list[tuple[int, memoryview]] = []
        for offset, buffer in parts:
            for at, length, where in self._runs.pieces(offset, offset + len(buffer)):
                part = buffer[at - offset : at - offset + length]
                if where >= 0:
                    stored.append((where, part))
                elif where == _SERVED:
                    served.append((at, part))
                else:
                    part[:] = bytes(length)
        self._file.fetch(stored)
        if served:
            self._server().fetch(served)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Contiguous, ascending, covering the range; unknown allocation counts as data."""
        end = self.size if length is None else min(self.size, offset + length)
        return merged(
            Extent(at, count, "zero" if where == _ZERO else "data")
            for at, count, where in self._runs.pieces(offset, end)
        )

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """See ``pipeline.source.Placed``."""
        for at, count, where in self._runs.pieces(offset, offset + length):
            yield Place(at, count, where if where >= 0 else None)

"""A segment's bytes, made piece by piece from the artifact while they are sent.

    artifact   |████████░░░░░░░░░░░░░░████████████░░░░████|
    segment               |░░░░░░░░░░░████████|
    pieces                 zeros       read read            at most 1 MiB each

Zero runs come from one shared block: they cost no source read and no memory.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pipeline.errors import ConversionFailed
from pipeline.source import Extent, Reader
from pipeline.stores.base import PIECE_SIZE, Piece

KEEP_SIZE = 8 << 20
"""How much of a segment ``digest`` keeps for ``pieces``: the memory limit of a worker."""

_SMALLEST_ZERO_RUN = 64 << 10  # a shorter one is cheaper to read than to treat apart
_ZEROS = memoryview(bytes(PIECE_SIZE))


class ArtifactReader(Reader, Protocol):
    """What is uploaded: ``pipeline.artifact.open_artifact`` yields one.  Thread-safe."""

    def extents(self) -> Iterator[Extent]:
        """Runs of the artifact's own bytes: contiguous, ascending, covering it."""
        ...


class ZeroMap:
    """Which ranges of the artifact are known to be zeros."""

    def __init__(self, extents: Iterable[Extent]) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        for extent in extents:
            if extent.kind != "zero":
                continue
            if self._ends and self._ends[-1] == extent.offset:
                self._ends[-1] += extent.length
            else:
                self._starts.append(extent.offset)
                self._ends.append(extent.offset + extent.length)

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """``(offset, length, is_zero)``, contiguous and ascending, covering the range."""
        end = offset + length
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end and index < len(self._starts):
            start, stop = max(self._starts[index], offset), min(self._ends[index], end)
            index += 1
            if stop - start < min(_SMALLEST_ZERO_RUN, length):
                if start >= end:
                    break
                continue
            if start > offset:
                yield offset, start - offset, False
            yield start, stop - start, True
            offset = stop
        if offset < end:
            yield offset, end - offset, False


class SegmentBody:
    """One segment of an artifact; ``pieces`` may be called again and makes the same bytes.

    ``watch`` is called with each piece before it is handed out; it may raise, which is how a
    cancelled upload stops in the middle of a segment.
    """

    def __init__(
        self,
        reader: Reader,
        zeros: ZeroMap,
        *,
        number: int,
        offset: int,
        size: int,
        watch: Callable[[Piece], None] | None = None,
    ) -> None:
        self._reader = reader
        self._zeros = zeros
        self._number = number
        self._offset = offset
        self._size = size
        self._watch = watch
        self._md5: str | None = None
        self._kept: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes in the segment."""
        return self._size

    @property
    def md5(self) -> str | None:
        """Hex MD5 of the bytes; None until they were made once."""
        return self._md5

    @property
    def number(self) -> int:
        """The segment's number, from 0."""
        return self._number

    @property
    def offset(self) -> int:
        """Where the segment starts in the object."""
        return self._offset

    def pieces(self) -> Iterator[Piece]:
        """From the first byte to the last.

        They are hashed on the first complete pass only: a later pass that made other bytes would
        not match what the store computes, and that is compared.
        """
        md5 = None if self._md5 else hashlib.md5(usedforsecurity=False)
        for offset, length, zero in self._cuts():
            piece = _ZEROS[:length] if zero else self._data(offset, length)
            if md5 is not None:
                md5.update(piece)
            if self._watch is not None:
                self._watch(piece)
            yield piece
        if md5 is not None:
            self._md5 = md5.hexdigest()

    def digest(self) -> str:
        """The MD5, by a pass of its own unless it is known; keeps up to ``KEEP_SIZE`` bytes."""
        if self._md5 is None:
            md5 = hashlib.md5(usedforsecurity=False)
            room = KEEP_SIZE
            for offset, length, zero in self._cuts():
                piece = _ZEROS[:length] if zero else self._data(offset, length)
                md5.update(piece)
                if isinstance(piece, bytes) and len(piece) <= room:
                    self._kept[offset] = piece
                    room -= len(piece)
            self._md5 = md5.hexdigest()
        return self._md5

    def _cuts(self) -> Iterator[tuple[int, int, bool]]:
        for start, length, zero in self._zeros.runs(self._offset, self._size):
            for offset in range(start, start + length, PIECE_SIZE):
                yield offset, min(PIECE_SIZE, start + length - offset), zero

    def _data(self, offset: int, length: int) -> bytes:
        kept = self._kept.get(offset)
        if kept is not None:
            return kept
        data = self._reader.read(offset, length)
        if len(data) != length:
            raise ConversionFailed(
                "artifact-short",
                f"the artifact gave {len(data)} of {length} bytes at offset {offset}",
                hint="the source may be truncated; see imgprep check",
            )
        return data

"""What every file system's reader of free space gives and needs.

    volume     |sb|bitmap|tree|████ data ████░░░░░░░░███░░░░░|     a partition or a logical volume
    read once, all of it proved            ░░░░░░░░   ░░░░░        FreeMap.between(low, high)

A ``FreeMap`` keeps no list of runs: a file system of 64 TiB may have billions.  It knows where the
file system's own map lies, has read that through once and found no contradiction, and reads the part
for a range again whenever it is asked.

Before something is left out, every witness is heard: each inode, each file of an MFT, each extent of
both trees.  For advice an ``Effort`` ends that early, so that nobody waits for what he did not ask for; on a
file system of many TiB it ends the counting too, and what the file system itself counts is told instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.source import Reader

Span = tuple[int, int]
"""Offset of the first byte, and of the first byte behind."""


class FreeMap(Protocol):
    """The free space of one volume."""

    @property
    def free(self) -> int:
        """Bytes in all."""
        ...

    @property
    def runs(self) -> int | None:
        """How many runs there are; one that crosses a group's border may count twice.

        None when the effort did not suffice to count them.
        """
        ...

    @property
    def end(self) -> int:
        """The first byte behind the file system: the volume may be larger."""
        ...

    def between(self, low: int, high: int) -> Iterator[Span]:
        """The free spans within a range of the volume: ascending, disjoint, cut to the range.

        Raises ``KeptError`` when the volume does not say any more what it said before.
        """
        ...


class KeptError(Exception):
    """Nothing of this volume can be called free; the text says why, as a part of a sentence."""


class Effort:
    """How long maps are read, and witnesses heard that they are right; one effort for a whole disk."""

    def __init__(self, most: int | None = None) -> None:
        """``most``: in units of about a microsecond; None: to the last witness."""
        self._left = most
        self._counting = None if most is None else _COUNTING * most

    @property
    def thorough(self) -> bool:
        """Whether it never ends."""
        return self._left is None

    def allows(self, cost: int) -> bool:
        """Take note of what is done next; False when that would be too much, now and ever after."""
        if self._left is None:
            return True
        self._left -= cost
        return self._left > 0

    def counts(self, cost: int) -> bool:
        """The same for reading the map itself, which witnesses leave enough for."""
        if self._counting is None:
            return True
        self._counting -= cost
        return self._counting > 0


NOT_COUNTED = "it is so large that its free space was not counted"
_COUNTING = 4  # times as much may be spent on reading maps as on hearing witnesses
ADVICE = 50_000
"""The effort for a hint that nobody asked for, a part of what a check takes anyway."""


@dataclass(frozen=True)
class Piece:
    """A part of a volume that lies in one piece on the disk."""

    at: int  # in the volume, bytes
    offset: int  # on the disk, bytes
    length: int


def exactly(reader: Reader, offset: int, length: int, what: str) -> bytes:
    """``length`` bytes at ``offset``.  Raises ``KeptError`` when the volume ends before."""
    data = reader.read(offset, length)
    if len(data) != length:
        raise KeptError(f"its {what} would lie at byte {offset}, outside of it")
    return data


def require(truth: bool, otherwise: str) -> None:
    """Raise ``KeptError`` with these words unless ``truth``."""
    if not truth:
        raise KeptError(otherwise)


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Ascending spans, those put together that touch."""
    first = last = 0
    for low, high in spans:
        if low != last:
            if first < last:
                yield first, last
            first = low
        last = high
    if first < last:
        yield first, last


def clipped(spans: Iterable[Span], low: int, high: int) -> Iterator[Span]:
    """What of the spans lies in the range."""
    for start, end in spans:
        first, last = max(start, low), min(end, high)
        if first < last:
            yield first, last


def totals(spans: Iterable[Span]) -> tuple[int, int]:
    """How many bytes, in how many spans."""
    size = count = 0
    for low, high in spans:
        size += high - low
        count += 1
    return size, count


class Occupied:
    """Places that metadata takes, gathered group by group, to see whether two of them overlap.

    A place that continues one of the last few is put together with it, so that flexible block groups
    cost little, and others one place a group.
    """

    MOST = 1 << 18  # places that are remembered
    _OPEN = 8

    def __init__(self) -> None:
        self._places: list[Span] = []
        self._open: list[Span] = []

    def add(self, first: int, count: int) -> None:
        """Raises ``KeptError`` when there are too many places to remember."""
        for index, (start, end) in enumerate(self._open):
            if end == first:
                self._open[index] = (start, first + count)
                return
        self._open.append((first, first + count))
        if len(self._open) > self._OPEN:
            self._places.append(self._open.pop(0))
            require(len(self._places) < self.MOST, "its metadata lies in too many places")

    def places(self) -> list[Span]:
        """All of them, ascending.  Raises ``KeptError`` when two overlap."""
        found = sorted([*self._places, *self._open])
        for before, after in itertools.pairwise(found):
            words = f"two pieces of its metadata both claim block {after[0]}"
            require(before[1] <= after[0], words)
        return found

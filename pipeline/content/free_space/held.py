"""How much of what is free an image still holds: what leaving it out would save.

disk    ███ deleted ███ file ░hole░░░░░░ zeros ██
free        ▒▒▒▒▒▒▒          ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
stored      ▒▒▒▒▒▒▒                ▒▒▒▒▒▒▒▒▒▒▒▒     a map tells these without reading
deleted     ▒▒▒▒▒▒▒                                  samples tell deleted data from zeros
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.content.free_space import FreeSpace
from pipeline.content.free_space.base import KeptError, Span
from pipeline.source import Extent, Reader

_SAMPLES = 256  # reads at the least, and fewer than twice as many, whatever the size
_SAMPLE = 4096  # bytes of each
_WINDOW = 64 << 20  # bytes that are looked into together, or not at all; at the least
_WINDOWS = 2048  # of a disk, at the most
_RUNS = 50_000  # that are looked at in all, about: less than a tenth of a second
_QUESTION = 10  # what asking for a window's runs costs, in runs


def facts(view: Reader, free: FreeSpace, extents: Iterable[Extent]) -> dict[str, Any]:
    """The section ``disk.free_space``; ``extents``: of the whole disk."""
    return {
        "free": free.free,
        "runs": free.runs,
        "deleted": deleted(view, free, extents),
        "areas": [area.facts() for area in free.areas],
    }


def deleted(view: Reader, free: FreeSpace, extents: Iterable[Extent]) -> int:
    """Bytes of free space that hold something else than zeros, estimated from evenly spread samples.

    Raises ``ConversionFailed`` when the disk cannot be read.
    """
    stored, places = _stored(free, _cut(extents, max(_WINDOW, view.size // _WINDOWS)))
    held = sum(any(view.read(offset, length)) for offset, length in places)
    return min(stored, free.free) * held // len(places) if places else 0


def _cut(extents: Iterable[Extent], window: int) -> Iterator[tuple[int, int, int]]:
    """What the image stores, cut at the borders of windows: (window, first byte, end)."""
    for extent in extents:
        at, end = extent.offset, extent.offset + extent.length
        while at < end and extent.kind != "zero":
            number = at // window
            stop = min(end, (number + 1) * window)
            yield number, at, stop
            at = stop


def _stored(
    free: FreeSpace, pieces: Iterable[tuple[int, int, int]]
) -> tuple[int, list[tuple[int, int]]]:
    """Bytes of free space that the image stores, and (offset, length) of samples in them."""
    pace, samples = _Pace(free.runs), _Samples()
    stored = 0
    for number, start, end in pieces if free.free else ():
        weight = pace.weight(number)
        for low, high in _free(free, start, end) if weight else ():
            samples.add(stored, weight, low, high)
            stored += (high - low) * weight
            if pace.is_over():
                return stored, samples.places
    return stored, samples.places


def _free(free: FreeSpace, start: int, end: int) -> Iterator[Span]:
    """The runs of a range, up to where a map that was not read whole contradicts itself."""
    with contextlib.suppress(KeptError):
        yield from free.between(start, end)


class _Samples:
    """Places at even steps of what is stored: when there are too many, every second one is enough."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self._step = _SAMPLE
        self._next = 0  # byte of what is stored

    def add(self, stored: int, weight: int, low: int, high: int) -> None:
        """A run from ``low`` to ``high`` stands for ``weight`` times its bytes, behind ``stored``."""
        while self._next < stored + (high - low) * weight:
            at = low + (self._next - stored) // weight
            self.places.append((at, min(_SAMPLE, high - at)))
            self._next += self._step
            if len(self.places) == 2 * _SAMPLES:
                self.places = self.places[::2]
                self._step *= 2


class _Pace:
    """Which windows are looked into: all of them, or every second, fourth, … where runs are many.

    windows   0 1 2 3 4 5 6 7 8 9 …        one that is looked into stands for those behind it
    weight    1 1 2 - 2 - 4 - - -          where nobody counted the runs before
    """

    def __init__(self, runs: int | None) -> None:
        """``runs``: how many the disk has, where they were counted."""
        self._known = runs is not None
        self._every = max(1, -(-(runs or 0) // _RUNS))
        self._spent = 0  # runs seen; a question costs as much as some of them
        self._window, self._weight = -1, 0

    def weight(self, number: int) -> int:
        """For how many windows this one stands; 0: it is not looked into."""
        if number != self._window:
            if not self._known and self._spent > _RUNS // 4 * self._every.bit_length():
                self._every *= 2
            self._window = number
            self._weight = 0 if number % self._every else self._every
        if self._weight:
            self._spent += _QUESTION
        return self._weight

    def is_over(self) -> bool:
        """Take note of a run; whether too many were seen already."""
        self._spent += 1
        return self._spent > 4 * _RUNS

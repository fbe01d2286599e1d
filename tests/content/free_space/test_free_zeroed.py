"""The view without what is free, in windows of 1000 bytes: each range against a truth byte for byte."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import Area, FreeSpace, gaps, view
from pipeline.content.free_space.base import KeptError, Piece, Span
from pipeline.content.free_space.view import ZeroedView
from pipeline.errors import SourceError
from pipeline.source import Extent, Place

SIZE, WINDOW, WORTH = 5003, 1000, 50
FREE: tuple[Span, ...] = (
    (0, 7),
    (100, 149),
    (200, 250),
    (300, 351),
    (990, 1010),
    (1900, 2000),
    (2100, 3900),
    (3999, 4001),
    (4300, 4360),
    (4990, 5003),
)
HOLES = ((240, 310), (1500, 2200), (4350, 4400))


class Lying(MemoryDisk):
    """A disk that knows where in its file each byte lies: 77 bytes further on."""

    def places(self, offset: int, length: int) -> Iterator[Place]:
        yield Place(offset, length, offset + 77)


def content() -> bytes:
    data = bytearray(random.Random(2).randbytes(SIZE).replace(b"\0", b"\1"))
    for low, high in HOLES:
        data[low:high] = bytes(high - low)
    return bytes(data)


DATA = content()
STORED = [(0, 240), (310, 1500), (2200, 4350), (4400, SIZE)]
IS_FREE = [any(low <= at < high for low, high in FREE) for at in range(SIZE)]
WANTED = bytes(0 if free else value for free, value in zip(IS_FREE, DATA, strict=True))
IS_DATA = [
    not free and not any(low <= at < high for low, high in HOLES) for at, free in enumerate(IS_FREE)
]
EDGES = sorted(
    {*range(0, SIZE, 500), *(n + by for span in FREE for n in span for by in (-1, 0, 1))}
)
RANGES = [
    (low, high)
    for low, high in itertools.combinations(EDGES, 2)
    if low >= 0 and high <= SIZE and (low * 7 + high) % 5 == 0
]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Lying:
    monkeypatch.setattr(view, "_WINDOW", WINDOW)
    monkeypatch.setattr(view, "_WORTH", WORTH)
    return Lying(SIZE, {low: DATA[low:high] for low, high in STORED})


def zeroed(disk: MemoryDisk) -> ZeroedView:
    known = gaps.GapMap(FREE, SIZE)
    return ZeroedView(disk, FreeSpace((Area("x", "x", 0, SIZE, (Piece(0, 0, SIZE),), known),)))


def asked(low: int, high: int) -> list[Span]:
    """What is read of the disk for a range: all but the free spans of a window that are worth it."""
    found, at = [], low
    for first, last in FREE:
        for begin in range(first // WINDOW * WINDOW, last, WINDOW):
            start, end = max(first, begin, low), min(last, begin + WINDOW, high)
            if end - start >= WORTH:
                found.append((at, start - at))
                at = end
    return [(first, length) for first, length in [*found, (at, high - at)] if length > 0]


def test_reads_of_any_range(disk: Lying) -> None:
    whole = zeroed(disk)

    for low, high in RANGES:
        disk.asked.clear()
        assert whole.read(low, high - low) == WANTED[low:high], (low, high)
        assert disk.asked == asked(low, high), (low, high)
    assert whole.read(4000, 5000) == WANTED[4000:]
    assert whole.read(SIZE, 10) == whole.read(SIZE + 99, 10) == whole.read(5, 0) == b""


def test_several_buffers_at_once(disk: Lying) -> None:
    parts = [(low, bytearray(b"?" * (high - low))) for low, high in RANGES[:60]]

    zeroed(disk).fetch([(low, memoryview(buffer)) for low, buffer in parts])

    for low, buffer in parts:
        assert bytes(buffer) == WANTED[low : low + len(buffer)]


def test_what_is_free_altogether_is_not_read(disk: Lying) -> None:
    zeroed(disk).read(2100, 1800)
    zeroed(disk).read(200, 50)

    assert disk.asked == []


def runs(kinds: Iterable[bool], at: int) -> list[tuple[int, int, bool]]:
    """Bytes of one kind, as (offset, length, kind)."""
    found = []
    for kind, group in itertools.groupby(kinds):
        length = len([*group])
        found.append((at, length, kind))
        at += length
    return found


@pytest.mark.parametrize("allocated", [False, True])
def test_extents_of_any_range(disk: Lying, allocated: bool) -> None:
    disk.allocated = allocated
    whole = zeroed(disk)
    kinds = [not free for free in IS_FREE] if allocated else IS_DATA

    for low, high in RANGES:
        wanted = [
            Extent(at, length, "data" if kind else "zero")
            for at, length, kind in runs(kinds[low:high], low)
        ]
        assert list(whole.extents(low, high - low)) == wanted, (low, high)
    assert list(whole.extents(4990)) == [Extent(4990, 13, "zero")]
    assert list(whole.extents(4989, 9999)) == [Extent(4989, 1, "data"), Extent(4990, 13, "zero")]
    assert list(whole.extents()) == list(whole.extents(0, SIZE))
    assert list(whole.extents(SIZE)) == list(whole.extents(5, 0)) == []


def test_places_of_any_range(disk: Lying) -> None:
    whole, plain = zeroed(disk), zeroed(MemoryDisk(SIZE, disk.data))

    for low, high in RANGES:
        wanted = [
            Place(at, length, None if free else at + 77)
            for at, length, free in runs(IS_FREE[low:high], low)
        ]
        assert list(whole.places(low, high - low)) == wanted, (low, high)
        nowhere = [Place(each.offset, each.length, None) for each in wanted]
        assert list(plain.places(low, high - low)) == nowhere


def test_a_window_is_asked_for_once(disk: Lying) -> None:
    known = Once(FREE, SIZE)
    whole = ZeroedView(disk, FreeSpace((Area("x", "x", 0, SIZE, (Piece(0, 0, SIZE),), known),)))

    for _ in range(3):
        whole.read(1500, 2000)
        whole.read(4900, 500)

    assert known.ranges == [(1000, 2000), (2000, 3000), (3000, 4000), (4000, 5000), (5000, SIZE)]


def test_hundreds_of_runs_in_a_window(disk: Lying) -> None:
    spans = tuple((n * 5 + 1, n * 5 + 3) for n in range(1000))
    area = Area("x", "x", 0, SIZE, (Piece(0, 0, SIZE),), gaps.GapMap(spans, SIZE))
    wanted = bytearray(DATA)
    for low, high in spans:
        wanted[low:high] = bytes(2)

    assert ZeroedView(disk, FreeSpace((area,))).read(0, SIZE) == wanted


def test_windows_of_64_mib_and_runs_of_64_kib() -> None:
    # given a run of 64 KiB, one that is a byte shorter, and a read over the border of two windows
    kib, border = 1 << 10, 64 << 20
    known = Once(
        ((border - 90 * kib, border - 26 * kib), (border, border + 64 * kib - 1)), 3 * border
    )
    disk = MemoryDisk(3 * border, {})
    free = FreeSpace((Area("x", "x", 0, disk.size, (Piece(0, 0, disk.size),), known),))

    ZeroedView(disk, free).read(border - 100 * kib, 200 * kib)

    assert known.ranges == [(0, border), (border, 2 * border)]
    assert disk.asked == [(border - 100 * kib, 10 * kib), (border - 26 * kib, 126 * kib)]


class Once(gaps.GapMap):
    """A map that knows what it was asked for, and may not be what it was."""

    broken = False

    def __init__(self, spans: tuple[Span, ...], size: int) -> None:
        super().__init__(spans, size)
        self.ranges: list[Span] = []

    def between(self, low: int, high: int) -> Iterator[Span]:
        self.ranges.append((low, high))
        if self.broken:
            raise KeptError("it has another name")
        return super().between(low, high)


def test_a_file_system_that_is_not_any_more_what_it_was(disk: Lying) -> None:
    known = Once(FREE, SIZE)
    known.broken = True
    free = FreeSpace((Area("x", "x", 0, SIZE, (Piece(0, 0, SIZE),), known),))

    with pytest.raises(
        SourceError, match="not any more what it was: it has another name"
    ) as raised:
        ZeroedView(disk, free).read(5, 9)

    assert (raised.value.code, free.lock.locked()) == ("source-changed", False)
    assert "stop the virtual machine" in (raised.value.hint or "")

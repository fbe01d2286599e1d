"""Which samples are taken of what is free, which windows are looked into, and what they come to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import Area, FreeSpace, held
from pipeline.content.free_space.base import Piece, Span, clipped, totals
from pipeline.source import Extent

MIB, GIB = 1 << 20, 1 << 30


class Asked:
    """A map that knows which ranges it was asked for."""

    def __init__(self, spans: tuple[Span, ...], end: int, *, counted: bool = True) -> None:
        self.spans, self.end = spans, end
        self.free, count = totals(spans)
        self.runs = count if counted else None
        self.ranges: list[Span] = []

    def between(self, low: int, high: int) -> Iterator[Span]:
        self.ranges.append((low, high))
        return clipped(self.spans, low, high)


def space(known: Asked) -> FreeSpace:
    """A disk that is one file system."""
    return FreeSpace((Area("the disk", "x", 0, known.end, (Piece(0, 0, known.end),), known),))


# ---------------------------------------------------------------------------------------- samples


def evenly(runs: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """At every step from zero on, where steps are as small as gives fewer than 512 of them."""
    total = sum((high - low) * weight for weight, low, high in runs)
    step = next(4096 << n for n in range(40) if -(-total // (4096 << n)) < 512)
    found, stored = [], 0
    for weight, low, high in runs:
        length = (high - low) * weight
        for place in range(-(-stored // step) * step, stored + length, step):
            at = low + (place - stored) // weight
            found.append((at, min(4096, high - at)))
        stored += length
    return found


RUNS: dict[str, list[tuple[int, int, int]]] = {
    "one": [(1, 1000, 1000 + 4096)],
    "one of a byte more": [(1, 1000, 1000 + 4097)],
    "small ones": [(1, n * 10_000, n * 10_000 + 1000 + n) for n in range(40)],
    "511 steps": [(1, 7, 7 + 511 * 4096)],
    "511 steps and a byte": [(1, 7, 8 + 511 * 4096)],
    "1022 steps": [(1, 7, 7 + 1022 * 4096)],
    "1022 steps and a byte": [(1, 7, 8 + 1022 * 4096)],
    "for many": [(3, 500, 9000), (1, 20_000, 20_001), (7, 30_000, 90_001), (2, GIB, GIB + 5000)],
    "far ones": [(5, n * GIB + 3, n * GIB + 3 + 777 * n) for n in range(900)],
}


@pytest.mark.parametrize("name", RUNS)
def test_samples_lie_at_even_steps_of_what_is_stored(name: str) -> None:
    samples, stored = held._Samples(), 0
    for weight, low, high in RUNS[name]:
        samples.add(stored, weight, low, high)
        stored += (high - low) * weight

    assert samples.places == evenly(RUNS[name])
    assert len(samples.places) < 512


# ------------------------------------------------------------------------------- the pace of windows


@pytest.mark.parametrize(
    ("runs", "every"),
    [(0, 1), (1, 1), (50_000, 1), (50_001, 2), (100_000, 2), (100_001, 3), (1_000_000, 20)],
)
def test_where_runs_were_counted_every_nth_window_is_looked_into(runs: int, every: int) -> None:
    pace = held._Pace(runs)

    assert [pace.weight(n) for n in range(70)] == [0 if n % every else every for n in range(70)]


def test_where_they_were_not_windows_become_fewer_as_runs_are_seen() -> None:
    # given 10 for each question and 1 for each run; each doubling after 12500 more of them
    def weight(number: int, spent: int) -> int:
        pace = held._Pace(None)
        assert pace.weight(1) == 1
        for _ in range(spent - 10):
            pace.is_over()
        return pace.weight(number)

    assert [weight(2, spent) for spent in (10, 12_500, 12_501)] == [1, 1, 2]
    assert [weight(3, spent) for spent in (12_500, 12_501)] == [1, 0]
    assert weight(1, 30_000) == 1  # the same window again

    pace = held._Pace(None)
    told = []
    for number in range(40):
        told.append(pace.weight(number))
        for _ in range(5000 if told[-1] else 0):
            pace.is_over()
    every, spent, wanted = 1, 0, []
    for number in range(40):
        if spent > 12_500 * every.bit_length():
            every *= 2
        wanted.append(0 if number % every else every)
        spent += 5010 if wanted[-1] else 0
    assert told == wanted
    assert set(told) >= {0, 1, 2, 4}


def test_where_runs_were_counted_it_is_never_fewer() -> None:
    pace = held._Pace(7)
    for number in range(5):
        assert pace.weight(number) == 1
        for _ in range(20_000):
            pace.is_over()


def test_two_hundred_thousand_runs_are_enough() -> None:
    pace = held._Pace(1)
    asked = pace.weight(0) * 10

    assert not any(pace.is_over() for _ in range(200_000 - asked))
    assert pace.is_over()
    assert pace.is_over()


# ------------------------------------------------------------------------------------- what is stored


def test_what_an_image_stores_is_cut_at_windows() -> None:
    extents = [
        Extent(5, 10, "data"),
        Extent(15, 100, "zero"),
        Extent(300, 1, "data"),
        Extent(399, 301, "data"),
        Extent(700, 0, "data"),
        Extent(799, 1, "data"),
    ]

    assert list(held._cut(extents, 100)) == [
        (0, 5, 15), (3, 300, 301), (3, 399, 400), (4, 400, 500), (5, 500, 600), (6, 600, 700),
        (7, 799, 800),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "window"),
    [(GIB, 64 * MIB), (128 * GIB, 64 * MIB), (129 * GIB + 77, 129 * GIB // 2048), (5, 64 * MIB)],
)
def test_how_large_windows_are(size: int, window: int) -> None:
    known = Asked(((0, 1),), size)
    disk = MemoryDisk(size, {})

    held.deleted(disk, space(known), [Extent(0, size, "data")])

    edges = [*range(0, size, window), size]
    assert known.ranges == list(itertools.pairwise(edges))


def test_how_much_is_deleted() -> None:
    # given 100 free pages that are stored of 300; 25 of them are not zeros
    pages = [(n * 8192, n * 8192 + 4096) for n in range(300)]
    known = Asked(tuple(pages), 300 * 8192)
    data = {low + 4095: b"x" for low, _ in pages[100:125]}
    disk = MemoryDisk(known.end, {**data, 4096: b"not free", pages[250][0]: b"not stored"})
    extents = [Extent(0, 100 * 8192, "zero"), Extent(100 * 8192, 100 * 8192, "data")]

    assert held.deleted(disk, space(known), extents) == 25 * 4096
    assert held.facts(disk, space(known), extents) == {
        "free": 300 * 4096,
        "runs": 300,
        "deleted": 25 * 4096,
        "areas": [space(known).areas[0].facts()],
    }


def test_a_share_of_what_is_stored_in_whole_bytes() -> None:
    # given one sample of three that is not zeros
    known = Asked(((0, 10_000),), MIB)
    disk = MemoryDisk(MIB, {8192: b"x"})

    assert repr(held.deleted(disk, space(known), [Extent(0, MIB, "data")])) == "3333"


def test_no_more_is_deleted_than_is_free() -> None:
    # given an estimate of two windows from the first one: twice as much as there is
    spans = tuple((n * 2, n * 2 + 1) for n in range(12_600))
    known = Asked(spans, 192 * MIB, counted=False)
    disk = MemoryDisk(known.end, {0: b"x" * 30_000})
    extents = [Extent(0, 192 * MIB, "data")]

    assert held.deleted(disk, space(known), extents) == 12_600
    assert known.ranges == [(0, 64 * MIB), (128 * MIB, 192 * MIB)]


def test_nothing_is_asked_where_nothing_is_free() -> None:
    known = Asked((), GIB)

    assert held.deleted(MemoryDisk(GIB, {}), space(known), [Extent(0, GIB, "data")]) == 0
    assert known.ranges == []


def test_bytes_that_are_stored_are_those_of_the_runs() -> None:
    # given windows of which each stands for two
    known = Asked(((5, 11), (100, 203), (350, 353)), 400)
    known.runs = 50_001

    stored, places = held._stored(space(known), [(0, 0, 101), (1, 101, 200), (2, 200, 400)])

    assert stored == 2 * (6 + 1) + 2 * (3 + 3)
    assert places == [(5, 6)]


def test_it_ends_where_too_many_runs_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # given 1501 runs in each of two windows; what they were counted to be is wrong
    monkeypatch.setattr(held, "_RUNS", 500)
    spans = tuple((n * 2, n * 2 + 1) for n in range(1501))
    spans += tuple((64 * MIB + low, 64 * MIB + high) for low, high in spans)
    known = Asked(spans, 128 * MIB)
    known.runs = 1

    stored, places = held._stored(space(known), [(0, 0, 64 * MIB), (1, 64 * MIB, 128 * MIB)])

    assert stored == 2001 - 20
    assert places == [(0, 1)]

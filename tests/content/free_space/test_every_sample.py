"""The view without what is free, and the samples of what is: every read, extent and place, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import Area, FreeSpace, gaps, held
from pipeline.content.free_space.base import Effort, Piece, Span, merged
from pipeline.content.free_space.view import ZeroedView
from pipeline.source import Extent
from tests import every_field

HERE = Path(__file__).parent
KIB, MIB = 1 << 10, 1 << 20
WINDOW = 64 * MIB
SIZE = 2 * WINDOW + 3 * MIB + 5
SPANS: tuple[Span, ...] = (
    (4096, 4097),
    (8192, 8192 + 64 * KIB - 1),
    (MIB, MIB + 64 * KIB),
    (2 * MIB, 3 * MIB),
    (WINDOW - 100, WINDOW + 100),  # over the border of two windows
    (WINDOW + MIB, WINDOW + 2 * MIB),
    (2 * WINDOW - 4096, 2 * WINDOW),
    (SIZE - 7, SIZE),
)
DATA = {
    0: b"a" * 20_000,
    MIB - 10: b"b" * 70_000,
    2 * MIB: b"c" * 5,
    WINDOW - 200: b"d" * 400,
    SIZE - 9: b"e" * 9,
}


def space(spans: tuple[Span, ...], size: int, *, counted: bool = True, shift: int = 0) -> FreeSpace:
    """One area of a whole disk, which lies ``shift`` bytes further on in its volume."""
    known = gaps.GapMap(tuple((low + shift, high + shift) for low, high in spans), size + shift)
    known.runs = known.runs if counted else None
    return FreeSpace((Area("the disk", None, 0, size, (Piece(shift, 0, size),), known),))


def truth(offset: int, length: int) -> bytes:
    """The bytes that the view must show."""
    found = bytearray(MemoryDisk(SIZE, DATA).read(offset, length))
    for low, high in SPANS:
        for at in range(max(low, offset), min(high, offset + len(found))):
            found[at - offset] = 0
    return bytes(found)


RANGES = [
    (0, 3),
    (4095, 3),
    (4096, 1),
    (4090, 20),
    (0, 100_000),
    (8191, 64 * KIB + 1),
    (MIB - 20, 80_000),
    (MIB, 64 * KIB),
    (2 * MIB - 1, 10),
    (3 * MIB - 5, 10),
    (WINDOW - 300, 600),
    (WINDOW - 1, 2),
    (WINDOW, 50),
    (2 * WINDOW - 10, 20),
    (SIZE - 20, 100),
    (SIZE, 5),
    (SIZE - 1, 1),
]


def views() -> Iterator[str]:
    """Each range: what was asked of the disk below, and the extents and places of it."""
    for offset, length in RANGES:
        disk = MemoryDisk(SIZE, DATA)
        view = ZeroedView(disk, space(SPANS, SIZE, shift=1000))
        assert view.read(offset, length) == truth(offset, length), (offset, length)
        yield f"{offset}+{length}: asked {disk.asked}"
        yield f"  {[(e.offset, e.length, e.kind) for e in view.extents(offset, length)]}"
        yield f"  {[(p.offset, p.length, p.at) for p in view.places(offset, length)]}"
    view = ZeroedView(MemoryDisk(SIZE, DATA), space(SPANS, SIZE))
    yield f"all: {[(e.offset, e.length, e.kind) for e in view.extents()]}"
    everything = ZeroedView(MemoryDisk(SIZE, DATA, allocated=True), space(SPANS, SIZE))
    yield f"all, stored: {[(e.offset, e.length, e.kind) for e in everything.extents()]}"


def _sampled(spans: tuple[Span, ...], size: int, extents: list[Extent], *, counted: bool) -> str:
    disk = MemoryDisk(size, {low: b"x" * 4096 for low, _ in spans[:: max(3, len(spans) // 50)]})
    free = space(spans, size, counted=counted)
    cut = held._cut(extents, max(held._WINDOW, size // held._WINDOWS))
    stored, places = held._stored(free, cut)
    told = held.deleted(disk, free, extents)
    return f"{stored} stored, {len(places)} places {places[:3]} to {places[-2:]}, {told} deleted"


def samples() -> Iterator[str]:
    """What is sampled of disks with few and many runs, counted before or not."""
    few = ((5, 10_000), (MIB, MIB + 4095), (2 * MIB, 4 * MIB), (9 * MIB, 9 * MIB + 8193))
    many = tuple((n * 8192, n * 8192 + 4096) for n in range(60_000))
    holes = [
        Extent(0, 3 * MIB, "data"),
        Extent(3 * MIB, 5 * MIB, "zero"),
        Extent(8 * MIB, 4 * MIB, "data"),
    ]
    for counted in (True, False):
        yield f"few: {_sampled(few, 16 * MIB, [Extent(0, 16 * MIB, 'data')], counted=counted)}"
        yield f"holes: {_sampled(few, 16 * MIB, holes, counted=counted)}"
        yield f"many: {_sampled(many, 480 * MIB, [Extent(0, 480 * MIB, 'data')], counted=counted)}"
    yield f"none: {_sampled((), MIB, [Extent(0, MIB, 'data')], counted=True)}"
    wide = ((0, 2 * MIB), *((n << 30, (n << 30) + MIB) for n in range(1, 200)))
    yield f"wide: {_sampled(wide, 200 << 30, [Extent(0, 200 << 30, 'data')], counted=False)}"


TABLES = {"views": views, "samples": samples}
STRUCTURES = tuple(TABLES)


def compare(name: str) -> None:
    """One table with the one that is stored."""
    every_field.check(HERE / "said", name, TABLES[name]())


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_read_of_a_view_and_every_sample(name: str) -> None:
    compare(name)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_how_often_an_effort_allows_and_counts(most: int) -> None:
    effort = Effort(most)

    assert [effort.allows(1) for _ in range(6)] == [n < most - 1 for n in range(6)]
    assert [effort.counts(1) for _ in range(22)] == [n < 4 * most - 1 for n in range(22)]
    assert not Effort(5).allows(6)
    assert not Effort(5).allows(5)
    assert Effort(5).allows(4)
    assert (Effort().thorough, Effort(1).thorough) == (True, False)
    assert Effort().counts(1 << 60)


def test_areas_add_up() -> None:
    one, other = space(((0, 10), (20, 30)), 100), space(((40, 41),), 100, counted=False)
    together = FreeSpace((*one.areas, Area("nothing", None, 100, 7, reason="why")))

    assert (together.free, together.runs) == (20, 2)
    assert FreeSpace((*one.areas, *other.areas)).runs is None
    assert FreeSpace((*one.areas, *other.areas)).free == 21
    assert together.id != one.id
    assert one.id == space(((0, 10), (20, 30)), 100).id
    assert [area.behind for area in together.areas] == [0, 0]


@pytest.mark.parametrize(
    ("size", "behind"), [(MIB + 99, 0), (MIB + 100, MIB), (5 * MIB, 5 * MIB - 100)]
)
def test_what_lies_behind_a_file_system_is_told_from_a_mib_on(size: int, behind: int) -> None:
    area = Area("x", None, 0, size, (), gaps.GapMap(((0, 10),), 100))

    assert area.behind == behind
    assert area.facts()["behind"] == behind


def test_spans_that_touch_are_one() -> None:
    assert list(merged([(0, 0), (0, 5), (5, 7), (8, 9), (9, 9), (9, 12), (20, 21)])) == [
        (0, 7),
        (8, 12),
        (20, 21),
    ]
    assert list(merged([])) == []

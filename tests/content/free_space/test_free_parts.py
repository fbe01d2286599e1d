"""What all readers of free space share: efforts, spans, places; and the smallest of the readers."""

from __future__ import annotations

import struct
from typing import Any

import made_volumes as made
import pytest
from handmade import Memory
from vhd_files import MemoryDisk

from pipeline.content.free_space import (
    ADVICE,
    Area,
    Effort,
    FreeSpace,
    _require_apart,
    gaps,
    survey,
    swap,
)
from pipeline.content.free_space.base import (
    Occupied,
    Piece,
    Span,
    clipped,
    exactly,
    merged,
    require,
    totals,
)
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.model import digest
from tests.content.free_space.kept import reason
from tests.content.free_space.test_every_survey import _TEXTS, _volumes
from tests.content.test_every_edge import _mbr

MIB = 1 << 20
FAR = 1 << 40


def test_advice_takes_a_twentieth_of_a_second() -> None:
    witnesses, maps = Effort(ADVICE), Effort(ADVICE)

    assert [witnesses.allows(49_999), witnesses.allows(1), witnesses.allows(0)] == [
        True,
        False,
        False,
    ]
    assert [maps.counts(199_999), maps.counts(1), maps.counts(0)] == [True, False, False]


def test_an_effort_for_maps_is_not_spent_on_witnesses() -> None:
    effort = Effort(10)

    assert not effort.allows(11)
    assert effort.counts(39)
    assert Effort().thorough
    assert not effort.thorough
    assert Effort().allows(FAR)
    assert Effort().counts(FAR)
    assert not effort.counts(1)
    assert not Effort(10).counts(41)
    assert not Effort(10).counts(40)


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([(0, FAR)], [(0, FAR)]),
        ([(FAR, FAR + 1), (FAR + 1, FAR + 3)], [(FAR, FAR + 3)]),
        ([(1, 5), (6, 7)], [(1, 5), (6, 7)]),
        ([(0, 1), (1, 2), (3, 4)], [(0, 2), (3, 4)]),
        ([(5, 5)], []),
        ([(5, 5), (5, 5), (5, 6)], [(5, 6)]),
        ([(int("5000"), int("5000")), (6000, 6001)], [(6000, 6001)]),
        ([(1, 2), (int("5000"), int("5000"))], [(1, 2)]),
        ([(2, 3), (5, 5), (6, 7)], [(2, 3), (6, 7)]),
    ],
)
def test_spans_that_touch(spans: list[Span], wanted: list[Span]) -> None:
    assert list(merged(spans)) == wanted


def test_spans_of_a_range() -> None:
    spans = [(0, 10), (20, 20), (20, 30), (FAR, FAR + 9)]

    assert list(clipped(spans, 0, 2 * FAR)) == [(0, 10), (20, 30), (FAR, FAR + 9)]
    assert list(clipped(spans, 9, 21)) == [(9, 10), (20, 21)]
    assert list(clipped(spans, 10, 20)) == []
    assert list(clipped(spans, 30, 30)) == []
    assert list(clipped(spans, FAR + 1, FAR + 2)) == [(FAR + 1, FAR + 2)]
    assert totals(spans) == (10 + 0 + 10 + 9, 4)
    assert totals([]) == (0, 0)


def test_bytes_that_a_volume_does_not_have() -> None:
    volume = Memory(b"0123456789")

    assert exactly(volume, 7, 3, "end") == b"789"
    words = "its end would lie at byte 8, outside of it"
    assert reason(lambda: exactly(volume, 8, 3, "end")) == words
    assert reason(lambda: require(False, "words")) == "words"
    assert reason(lambda: require(True, "words")) is None


# ---------------------------------------------------------------------------- places of metadata


@pytest.mark.parametrize(("streams", "kept"), [(1, 1), (7, 7), (8, 8), (9, 9 * 5)])
def test_places_that_continue_one_of_the_last_eight(streams: int, kept: int) -> None:
    occupied = Occupied()
    for step in range(5):
        for stream in range(streams):
            occupied.add(1000 * (streams - stream) + 3 * step, 3)

    found = occupied.places()

    assert len(found) == kept
    assert sum(end - first for first, end in found) == 15 * streams
    assert found == sorted(found)


def test_the_oldest_place_is_continued_no_more() -> None:
    occupied = Occupied()
    for number in range(9):
        occupied.add(1000 * number, 5)
    for number in range(9):
        occupied.add(1000 * number + 5, 2)

    rest = [(1000 * number, 1000 * number + 7) for number in range(2, 9)]
    assert [span for span in occupied.places() if span in rest] == []
    assert occupied.places()[:2] == [(0, 5), (5, 7)]

    occupied = Occupied()
    for number in range(9):
        occupied.add(1000 * number, 5)
    occupied.add(1005, 2)
    assert occupied.places()[:2] == [(0, 5), (1000, 1007)]


def test_two_places_that_overlap() -> None:
    for first, words in (
        (303, "two pieces of its metadata both claim block 303"),
        (304, None),
        (305, None),
    ):
        occupied = Occupied()
        occupied.add(first, 9)
        occupied.add(300, 2)
        occupied.add(302, 2)
        assert reason(occupied.places) == words


def test_as_many_places_as_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Occupied.MOST == 262_144
    monkeypatch.setattr(Occupied, "MOST", 500)
    occupied = Occupied()
    for number in range(8 + 499):  # eight are open, and the others are closed
        occupied.add(10 * number, 1)

    assert len(occupied.places()) == 507
    words = "its metadata lies in too many places"
    assert reason(lambda: occupied.add(10_000, 1)) == words


# -------------------------------------------------------------------------------------- the gaps


def table(*spans: Span, **more: Any) -> PartitionTable:
    """A table of such partitions."""
    parts = tuple(
        Partition(n, low, high - low, "0x83", "Linux", "", bootable=False)
        for n, (low, high) in enumerate(spans, 1)
    )
    return PartitionTable("gpt", partitions=parts, protective_mbr=more.get("guard", "standard"))


SIZE = 64 * MIB + 77
GAPS: dict[str, tuple[list[Span], list[Span]]] = {
    "nothing": ([], []),
    "all of it": ([(0, SIZE)], []),
    "from a MiB on": ([(MIB, SIZE - MIB)], []),
    "a rest of a MiB": ([(MIB, SIZE - 2 * MIB)], [(SIZE - 2 * MIB, SIZE - MIB)]),
    "a rest that is smaller": ([(MIB, SIZE - 2 * MIB + 1)], []),
    "a gap of a MiB": ([(5, 9), (9 + MIB, SIZE)], [(9, 9 + MIB)]),
    "a gap that is smaller": ([(5, 9), (8 + MIB, SIZE)], []),
    "in another order": (
        [(40 * MIB, SIZE), (3 * MIB, 5 * MIB), (7 * MIB, 20 * MIB)],
        [(5 * MIB, 7 * MIB), (20 * MIB, 40 * MIB)],
    ),
    "one in the other": (
        [(2 * MIB, 30 * MIB), (3 * MIB, 5 * MIB)],
        [(30 * MIB, SIZE - MIB)],
    ),
}


@pytest.mark.parametrize("name", GAPS)
def test_what_no_partition_has(name: str) -> None:
    taken, wanted = GAPS[name]

    found = gaps.look(table(*taken), SIZE)

    assert list(found.between(0, SIZE)) == wanted
    assert (found.free, found.runs, found.end) == (*totals(wanted), SIZE)


def test_two_tables_that_may_disagree() -> None:
    told = {
        guard: reason(lambda guard=guard: gaps.look(table(guard=guard), SIZE))
        for guard in (None, "standard", "odd", "hybrid", "missing")
    }

    words = "its two partition tables may disagree"
    assert told == {None: None, "standard": None, "odd": None, "hybrid": words, "missing": words}


# ---------------------------------------------------------------------------------------- swap


def swapped(page: int, last: int, size: int, version: int = 1) -> Memory:
    """A swap area in noise."""
    data = Memory(b"\x7f" * size).also(page - 10, b"SWAPSPACE2")
    return data.also(1024, struct.pack("<II", version, last))


@pytest.mark.parametrize("page", [4096, 8192, 16_384, 32_768, 65_536])
def test_a_swap_area_is_free_behind_its_first_page(page: int) -> None:
    found = swap.look(swapped(page, 6, 7 * page), Effort())

    assert (found.free, found.runs, found.end) == (6 * page, 1, 7 * page)
    assert list(found.between(0, 9 * page)) == [(page, 7 * page)]
    assert list(found.between(page + 5, 3 * page)) == [(page + 5, 3 * page)]
    words = f"it says that it has {7 * page} bytes, in a place of {7 * page - 1}"
    assert reason(lambda: swap.look(swapped(page, 6, 7 * page - 1), Effort())) == words


def test_swap_areas_that_are_kept() -> None:
    def told(*given: int) -> str | None:
        return reason(lambda: swap.look(swapped(4096, *given), Effort()))

    assert told(1, 9000) is None
    assert told(0, 9000) == "it says that it has 4096 bytes, in a place of 9000"
    assert told(5, 30_000, 0) == "its header has the unknown version 0"
    assert told(5, 30_000, 257) == "its header has the unknown version 257"
    twice = swapped(4096, 5, 30_000).also(8182, b"SWAPSPACE2")
    words = "its header is of an old kind, or comes twice"
    assert reason(lambda: swap.look(twice, Effort())) == words
    assert reason(lambda: swap.look(Memory(bytes(30_000)), Effort())) == words


@pytest.mark.parametrize("page", [4096, 65_536])
def test_a_system_that_sleeps(page: int) -> None:
    for mark in (b"S1SUSPEND\0", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c\x01\x02"):
        assert swap.asleep(Memory(bytes(70_000)).also(page - 10, mark))
        assert not swap.asleep(Memory(bytes(70_000)).also(page - 11, mark))
        assert not swap.asleep(Memory(bytes(70_000)).also(page - 9, mark))


# ----------------------------------------------------------------------------------- a whole disk


def area(offset: int, size: int, spans: tuple[Span, ...], *pieces: Piece) -> Area:
    """A part of a disk with these free spans in it."""
    return Area(f"at {offset}", "x", offset, size, pieces, gaps.GapMap(spans, size))


def test_free_spans_of_areas_in_pieces() -> None:
    # given a volume whose second half lies first, one that follows, and one with nothing known
    whole = FreeSpace(
        (
            area(500, 300, ((10, 90), (100, 290)), Piece(0, 500, 200), Piece(200, 100, 100)),
            area(700, 50, ((0, 50),), Piece(0, 700, 50)),
            Area("kept", None, 750, 50, (Piece(0, 750, 50),), None, "why"),
            area(1000, 9, (), Piece(0, 1000, 9)),
        )
    )
    truth = [(100, 190), (510, 590), (600, 750)]

    assert list(whole.between(0, 2000)) == truth
    edges = [
        0,
        *(n + by for span in truth for n in span for by in (-1, 0, 1)),
        200,
        700,
        1005,
        2000,
    ]
    for low in edges:
        for high in edges:
            assert list(whole.between(low, high)) == list(clipped(truth, low, high)), (low, high)
    assert (whole.free, whole.runs) == (80 + 190 + 50, 3)


def test_gaps_of_a_disk() -> None:
    # given partitions from 1 to 3 MiB and from 5 to 6 MiB on a disk of 16 MiB
    disk = _mbr((0, 0x83, 2048, 4096), (0, 0x83, 10_240, 2048), size=16 * MIB)

    found = survey(disk)

    assert list(found.between(0, 16 * MIB)) == [(3 * MIB, 5 * MIB), (6 * MIB, 15 * MIB)]
    assert list(found.between(4 * MIB, 7 * MIB)) == [(4 * MIB, 5 * MIB), (6 * MIB, 7 * MIB)]


def test_a_partition_table_in_the_boot_block_of_a_file_system() -> None:
    disk = _mbr((0, 0x83, 2048, 4096), size=16 * MIB)

    found = survey(disk.also(1024, made.ext()[1024:2048]))

    assert [(area.place, area.reason) for area in found.areas] == [
        ("the disk", "it has a partition table, but is also a ext2")
    ]
    assert survey(disk).free > 0


def test_a_physical_volume_in_a_logical_one_is_kept() -> None:
    whole = _volumes(_TEXTS["two"])
    inner = Memory(whole).also(32 * 512, whole[: 4 * 4096])

    found = survey(inner)

    assert [(area.place, area.reason) for area in found.areas] == [
        ("volume vg/root", "LVM2_member is not looked into"),
        ("volume vg/swap", None),
    ]


def test_what_names_it() -> None:
    one = FreeSpace((area(5, 10, ((1, 2),), Piece(0, 5, 10)),))

    assert FreeSpace(()).id == digest([1, []])
    assert one.id == digest([1, [one.areas[0].facts()]])
    assert (FreeSpace(()).free, FreeSpace(()).runs) == (0, 0)


def test_volumes_lie_apart_in_their_place() -> None:
    def told(*spans: Span) -> str | None:
        return reason(lambda: _require_apart([*spans], 1000))

    assert told() is None
    assert told((0, 300), (300, 700)) is None
    assert told((400, 600)) is None
    assert told((0, 300), (299, 1)) == "two of its volumes claim the same place"
    assert told((0, 300), (300, 701)) == "its volumes reach behind its end"


def test_a_disk_that_ends_early_is_kept() -> None:
    assert reason(lambda: exactly(MemoryDisk(10, {}), 5, 6, "rest")) is not None

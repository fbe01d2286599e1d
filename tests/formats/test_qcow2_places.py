"""Where qcow2's tables and clusters lie: bounds to the byte, at places that are not round."""

from __future__ import annotations

import edges_qcow2
import handmade
import pytest
import vhd_files
from edges_qcow2 import CLUSTER, COMPRESSED, COPIED, sparse
from handmade import MIB, Memory, be32, be64

from pipeline import formats
from pipeline.formats.base import Problem
from pipeline.formats.qcow2 import Qcow2
from pipeline.source import Reader


def problems(reader: Reader) -> tuple[Problem, ...]:
    return formats.identify(reader).problems


def truncated(reader: Reader) -> list[tuple[int | None, int | None]]:
    """Where the file ends too early, and how many bytes lack."""
    return [(item.offset, item.length) for item in problems(reader) if item.rule == "truncated"]


# ------------------------------------------------------------------------- which bytes are stored


def tables(count: int, *pieces: tuple[int, bytes], bits: int = 9) -> Reader:
    """L1 with ``count`` entries in the fourth cluster on; its tables follow one another at 4 MiB."""
    cluster = 1 << bits
    l1 = b"".join(be64(4 * MIB + n * cluster | COPIED) for n in range(count))
    head = (36, be32(count)), (40, be64(64 << 10))
    return sparse(8 * MIB, *head, (64 << 10, l1), *pieces, bits=bits, disk=count << 2 * bits - 3)


@pytest.mark.parametrize(
    ("bits", "count", "number", "looked_at"),
    [
        (9, 3, 0, True),
        (9, 3, 2, True),
        (9, 2049, 2047, True),
        (9, 2049, 2048, False),  # of more than a MiB of tables only the first are read
        (12, 300, 255, True),
        (12, 300, 256, False),
    ],
)
def test_the_first_tables_say_what_is_stored(
    bits: int, count: int, number: int, looked_at: bool
) -> None:
    table = 4 * MIB + (number << bits)
    reader = tables(count, (table, be64(7 * MIB | COPIED)), bits=bits)

    assert Qcow2().stores(reader, 7 * MIB, 1 << bits) is looked_at
    assert not Qcow2().stores(reader, 7 * MIB, (1 << bits) + 1)


@pytest.mark.parametrize("bits", [20, 21])
def test_one_table_is_read_however_large_it_is(bits: int) -> None:
    cluster = 1 << bits
    l1 = be64(4 * cluster | COPIED) + be64(5 * cluster | COPIED)
    pieces = [((4 + n) * cluster, be64((6 + n) * cluster | COPIED)) for n in (0, 1)]
    reader = sparse(8 * cluster, (3 * cluster, l1), *pieces, bits=bits, disk=cluster**2 // 4)

    assert Qcow2().stores(reader, 6 * cluster, 512)
    assert not Qcow2().stores(reader, 7 * cluster, 512)


@pytest.mark.parametrize(
    ("made", "stored"),
    [
        ({"incompatible": 8, "compression": 1}, True),
        ({"incompatible": 16, "bits": 14}, True),
        ({"incompatible": 4}, False),  # in another file
        ({"incompatible": 1}, False),  # where the header is not to be trusted
        ({"version": 2}, True),
    ],
)
def test_what_the_header_says_of_what_is_stored(made: dict[str, int], stored: bool) -> None:
    data, bits_of_it = 5 << made.get("bits", 12), 0
    entries = (data, bits_of_it) if made.get("incompatible") == 16 else (0, data)
    reader = Memory(handmade.qcow2(l2=entries, **made))  # type: ignore[arg-type]

    assert Qcow2().stores(reader, data, 512) is stored


@pytest.mark.parametrize(("lost", "stored"), [(0, True), (1, False)])
def test_an_l1_table_may_end_where_the_file_does(lost: int, stored: bool) -> None:
    reader = sparse(
        7 * MIB + 8 * 512 - lost,
        (36, be32(512)),
        (40, be64(7 * MIB)),
        (7 * MIB, be64(4 * MIB)),
        (4 * MIB, be64(5 * MIB)),
        bits=9,
    )

    assert Qcow2().stores(reader, 5 * MIB, 512) is stored


@pytest.mark.parametrize("entry", [COMPRESSED | 7 * MIB, 7 * MIB | 1, 0, COPIED])
def test_what_is_packed_or_reads_as_zeros_is_not_stored(entry: int) -> None:
    reader = tables(2, (4 * MIB, be64(entry)))

    assert not Qcow2().stores(reader, 7 * MIB, 8)
    assert not Qcow2().stores(reader, 0, 8)


@pytest.mark.parametrize("entry", [0, COPIED, 1 << 9 >> 1])
def test_an_l1_entry_without_an_offset_names_no_table(entry: int) -> None:
    # given that the header, read as a table, would map to the place that its size is
    reader = sparse(8 * MIB, (3 << 9, be64(entry)), bits=9, disk=4 * MIB)

    assert not Qcow2().stores(reader, 4 * MIB, 8)


@pytest.mark.parametrize("number", [8191, 8192])
def test_of_an_l1_table_64_kib_are_asked_what_is_stored(number: int) -> None:
    table = (64 << 10) + 8 * number, be64(4 * MIB)
    reader = sparse(
        8 * MIB,
        (36, be32(8200)),
        (40, be64(64 << 10)),
        table,
        (4 * MIB, be64(7 * MIB)),
        bits=9,
    )

    assert Qcow2().stores(reader, 7 * MIB, 512) is (number == 8191)


# ------------------------------------------------------------------ which cluster is the last used


def counted(index: int, place: int, count: int, *, clusters: int = 1024) -> Reader:
    """Clusters of 512 bytes and a snapshot; block ``index`` of the refcounts counts its first ``count``."""
    table = 64 << 10
    pieces = (
        (48, be64(table) + be32(clusters)),
        (60, be32(1) + be64(33 << 10)),
        (33 << 10, edges_qcow2._entry(b"a", at=3 << 9)),
        (table + 8 * index, be64(place)),
        (place, b"\0\1" * count),
    )
    return sparse(2 * MIB, *pieces, bits=9, disk=64 * MIB)


def lack(end: int) -> list[tuple[int, int]]:
    """What a file of 2 MiB lacks that is used up to there."""
    return [(2 * MIB, end - 2 * MIB)] if end > 2 * MIB else []


@pytest.mark.parametrize("index", [0, 1, 64, 128, 8191, 8192, 8192 + 64, 32767, 32768, 65535])
@pytest.mark.parametrize("count", [1, 255, 256])
def test_the_last_count_of_the_last_block_is_the_last_used_cluster(index: int, count: int) -> None:
    reader = counted(index, MIB + 512, count)

    read = index < 8192 or index >= 65536 - 4 * 8192  # of a table of 512 KiB
    assert truncated(reader) == (lack((index * 256 + count) * 512) if read else [])


@pytest.mark.parametrize("place", [2 * MIB - 512, 2 * MIB - 1024])
def test_a_refcount_block_may_be_the_file_s_last_cluster(place: int) -> None:
    assert truncated(counted(16, place, 200)) == lack((16 * 256 + 200) * 512)


def test_a_refcount_block_far_away_is_told_by_all_bits_of_its_place() -> None:
    reader = sparse(2 * MIB, (CLUSTER + 8, be64(1 << 56)))

    (problem,) = problems(reader)
    assert problem.detail.startswith("a refcount block is at 72057594037927936 to ")


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (150 * MIB + CLUSTER, None),
        (150 * MIB, f"the last used cluster is at {150 * MIB}, the file has {150 * MIB} bytes"),
        (90 * MIB, f"the last used cluster is at {150 * MIB}, the file has {90 * MIB} bytes"),
    ],
)
def test_a_file_larger_than_its_disk_could_be_is_believed(size: int, told: str | None) -> None:
    # given a disk of one MiB, and counts of clusters up to 150 MiB
    block = 150 * MIB // CLUSTER // 2048
    at = 150 * MIB // CLUSTER % 2048 * 2
    reader = sparse(
        size, (CLUSTER, bytes(8 * block) + be64(2 * CLUSTER)), (2 * CLUSTER + at, b"\0\1")
    )

    assert [item.detail for item in problems(reader)] == ([told] if told else [])


@pytest.mark.parametrize("clusters", [1, 2, 127, 128, 129, 191, 193, 257, 384, 511, 513])
def test_a_refcount_table_of_any_length_is_read_to_its_last_entry(clusters: int) -> None:
    for before in (1, 65, 8191, 8192):
        index = max(0, clusters * 64 - before)

        reader = counted(index, MIB, 1, clusters=clusters)

        assert truncated(reader) == lack((index * 256 + 1) * 512), index


# ------------------------------------------------------------------------------ tables and entries


@pytest.mark.parametrize("bit", range(63))
@pytest.mark.parametrize("made", [{}, {"bits": 14}, {"bits": 14, "incompatible": 16}])
def test_the_bits_of_an_entry_that_must_be_zero(made: dict[str, int], bit: int) -> None:
    bits, extended = made.get("bits", 12), "incompatible" in made
    entry = 5 << bits | 1 << bit
    image = handmade.qcow2(l2=(entry, 0), **made)  # type: ignore[arg-type]

    told = [item.detail for item in problems(Memory(image))]

    zero = 0 if extended else 1  # whose first bit says that it reads as zeros
    wrong = zero <= bit < bits or 56 <= bit <= 61
    assert any("with reserved bits" in detail for detail in told) is wrong


def test_any_number_of_clusters_may_read_as_zeros() -> None:
    assert problems(Memory(handmade.qcow2(l2=(1, 1, 1)))) == ()
    assert problems(Memory(handmade.qcow2(l2=(COPIED, COPIED)))) == ()


@pytest.mark.parametrize("lost", [0, 1])
def test_an_l2_table_in_which_the_file_ends_is_not_judged(lost: int) -> None:
    # given a table in an odd cluster that maps to a place far away
    far = (5 * CLUSTER, be64(COPIED | 1 << 40))
    reader = sparse(6 * CLUSTER - lost, (3 * CLUSTER, be64(5 * CLUSTER | COPIED)), far)

    assert {item.rule for item in problems(reader)} == ({"corrupt-metadata"} if not lost else set())


@pytest.mark.parametrize(
    ("clusters", "size", "told"),
    [
        (7, 24575, [(24575, 25088 - 24575)]),
        (7, 24576, [(24576, 25088 - 24576)]),
        (7, 24577, []),
        (5, 24575, []),
        (6, 24575, []),  # the sector in which it may end is in no cluster that is used
        (7, 24180, [(24180, 7 * CLUSTER - 24180)]),  # nothing of it is there
    ],
)
def test_packed_data_ends_somewhere_in_its_last_sector(
    clusters: int, size: int, told: list[tuple[int, int]]
) -> None:
    # given a short stream at 24180 that its entry says ends in the sector from 24576 to 25088
    reader = sparse(
        size,
        (2 * CLUSTER, b"\0\1" * clusters),
        (3 * CLUSTER, be64(4 * CLUSTER | COPIED)),
        (4 * CLUSTER, be64(COMPRESSED | 1 << 58 | 24180)),
        (24180, edges_qcow2._packed(b"A" * CLUSTER)),
    )

    assert truncated(reader) == told


@pytest.mark.parametrize(("distinct", "count"), [(1, 1001), (8, 1008), (40, 1040), (8, 1009)])
def test_a_thousand_clusters_may_share_what_is_packed(distinct: int, count: int) -> None:
    places = [COMPRESSED | (5 << 14) + 64 * n for n in range(distinct)]
    entries = tuple(places[min(n, distinct - 1)] for n in range(count))
    image = Memory(handmade.qcow2(bits=14, size=32 * MIB, l2=entries))
    for n in range(distinct):
        image = image.also((5 << 14) + 64 * n, edges_qcow2._packed(b"A" * (1 << 14)))

    told = [item.detail for item in problems(image)]

    assert len(told) == (count > distinct + 1000)
    assert all(f"share {distinct} compressed clusters" in detail for detail in told)


def test_the_size_of_a_file_is_no_guess_at_what_it_lacks() -> None:
    # given a file of which less than a third is there
    image = sparse(6 * CLUSTER, (2 * CLUSTER, b"\0\1" * 40), (60, be32(1) + be64(5 * CLUSTER)))
    assert isinstance(image, vhd_files.MemoryDisk)

    assert truncated(image) == [(6 * CLUSTER, 34 * CLUSTER)]


# --------------------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize(
    ("length", "read"),
    [(1, 3), (30_000, 3), (33_000, 3), (65_414, 3), (65_415, 2), (65_478, 2), (65_479, 1)],
)
def test_the_snapshot_table_is_read_to_64_kib_from_wherever_it_begins(
    length: int, read: int
) -> None:
    # given a name so long that the third snapshot is that far behind the first
    first = edges_qcow2._entry(b"a", fill=length)
    reader = edges_qcow2._listed(first, edges_qcow2._entry(b"b"), edges_qcow2._entry(b"c"))

    found = formats.identify(reader).container

    assert len(found.details["snapshot_names"]) == read

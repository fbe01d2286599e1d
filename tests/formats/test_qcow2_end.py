"""Where a qcow2 file may end: whole, or inside its last used cluster if nothing of that lacks."""

from __future__ import annotations

import random

import edges_qcow2
import pytest
from edges_qcow2 import CLUSTER, COMPRESSED, COPIED, sparse
from handmade import be64

from pipeline import formats
from pipeline.source import Reader

TABLES, DATA = (4 * CLUSTER, 5 * CLUSTER), 7 * CLUSTER
END = (
    512 * CLUSTER + 3 * CLUSTER + 1000
)  # of a disk whose last cluster is the fourth of its second table


def lost(reader: Reader) -> list[tuple[int | None, int | None]]:
    """What a file lacks: from where, and how many bytes."""
    found = formats.identify(reader).problems
    return [(item.offset, item.length) for item in found if item.rule == "truncated"]


def ending(size: int, *, table: int = 1, index: int = 3, disk: int = END, entry: int = 0) -> Reader:
    """A file of two tables, of which one maps a guest cluster to the last cluster in use."""
    return sparse(
        size,
        (2 * CLUSTER, b"\0\1" * 8),
        (3 * CLUSTER, be64(TABLES[0] | COPIED) + be64(TABLES[1] | COPIED)),
        (TABLES[table] + 8 * index, be64(entry or DATA | COPIED)),
        disk=disk,
    )


@pytest.mark.parametrize("entry", [DATA, DATA | COPIED])
@pytest.mark.parametrize(
    ("held", "whole"), [(4096, True), (1024, True), (1025, True), (1023, False), (1, False)]
)
def test_a_disk_s_last_cluster_is_written_as_far_as_the_disk_goes(
    held: int, whole: bool, entry: int
) -> None:
    told = [] if whole else [(DATA + held, CLUSTER - held)]
    assert lost(ending(DATA + held, entry=entry)) == told


@pytest.mark.parametrize("index", [0, 255, 256, 300, 511])
def test_the_last_cluster_is_known_by_its_place_in_the_last_table(index: int) -> None:
    disk = (512 + index) * CLUSTER + 1000
    assert lost(ending(DATA + 1024, index=index, disk=disk)) == []
    assert lost(ending(DATA + 1024, index=(index + 1) % 512, disk=disk)) != []


@pytest.mark.parametrize(("table", "index"), [(1, 2), (1, 4), (1, 511), (0, 3), (0, 511)])
def test_any_other_cluster_is_written_wholly(table: int, index: int) -> None:
    assert lost(ending(DATA + 1024, table=table, index=index)) == [(DATA + 1024, 3072)]
    assert lost(ending(DATA + 4096, table=table, index=index)) == []


@pytest.mark.parametrize(("table", "told"), [(0, []), (1, [(DATA + 1024, 3072)])])
def test_the_disk_s_last_table_is_the_last_of_the_l1_table_wherever_it_lies(
    table: int, told: list[tuple[int, int]]
) -> None:
    reader = sparse(
        DATA + 1024,
        (2 * CLUSTER, b"\0\1" * 8),
        (3 * CLUSTER, be64(TABLES[1]) + be64(TABLES[0])),
        (TABLES[table] + 8 * 3, be64(DATA)),
        disk=END,
    )

    assert lost(reader) == told


@pytest.mark.parametrize("rest", [0, 3585, 4095])
def test_a_disk_that_needs_its_whole_last_cluster_has_it_written(rest: int) -> None:
    disk = 514 * CLUSTER + (rest or CLUSTER)
    for held in (512, 3584, 4095):
        assert lost(ending(DATA + held, index=2, disk=disk)) == [(DATA + held, CLUSTER - held)]


def test_a_cluster_that_no_table_has_may_end_anywhere() -> None:
    assert lost(ending(DATA + 1, entry=DATA - 2 * CLUSTER)) == []


def test_what_lacks_may_be_many_times_the_file() -> None:
    pieces = (
        (2 * CLUSTER, b"\0\1" * 40),
        (3 * CLUSTER, be64(TABLES[0])),
        (TABLES[0], be64(39 * CLUSTER)),
    )
    assert lost(sparse(6 * CLUSTER, *pieces)) == [(6 * CLUSTER, 34 * CLUSTER)]


@pytest.mark.parametrize(
    ("entry", "used"),
    [
        (6 * CLUSTER, True),
        (5 * CLUSTER, False),
        (1, False),
        (1 << 50, True),
        (COPIED | 1 << 50, True),
        (COMPRESSED | 1 << 50, False),  # of clusters of a MiB that is a bit of the length
        (COMPRESSED | 6 << 20, True),
        (COMPRESSED | (6 << 20) - 1, False),
    ],
)
def test_a_count_without_a_use_is_a_leak(entry: int, used: bool) -> None:
    size = 6 << 20 if entry > 1 << 40 or entry & COMPRESSED else 6 * CLUSTER
    bits = 20 if size == 6 << 20 else 12
    reader = sparse(
        size,
        (2 << bits, b"\0\1" * 9),
        (3 << bits, be64(4 << bits)),
        (4 << bits, be64(entry)),
        bits=bits,
    )

    assert lost(reader) == ([(size, (9 << bits) - size)] if used else [])


@pytest.mark.parametrize("entry", [5 << 14, 6 << 14])
def test_extended_entries_use_clusters_behind_the_end_as_others_do(entry: int) -> None:
    reader = sparse(
        6 << 14,
        (2 << 14, b"\0\1" * 7),
        (3 << 14, be64(4 << 14)),
        (4 << 14, be64(entry) + be64(1)),
        bits=14,
        incompatible=16,
    )

    assert lost(reader) == ([(6 << 14, 1 << 14)] if entry == 6 << 14 else [])


@pytest.mark.parametrize(
    ("bits", "count", "number", "index", "read"),
    [
        (12, 300, 299, 511, True),
        (12, 300, 44, 0, True),
        (12, 300, 43, 0, False),
        (12, 256, 0, 7, True),
        (20, 3, 2, 5, True),
        (20, 3, 1, 5, False),
        (21, 2, 1, (1 << 17) - 1, True),
        (21, 2, 1, 1 << 17, False),
        (21, 2, 0, 5, False),
    ],
)
def test_of_tables_the_mib_is_read_that_lies_last(
    bits: int, count: int, number: int, index: int, read: bool
) -> None:
    # given tables behind one another, which the disk has in the opposite order
    places = [(8 + n) << bits for n in range(count)]
    data = (8 + count) << bits
    reader = sparse(
        data + 512,
        (2 << bits, b"\0\1" * (9 + count)),
        (3 << bits, b"".join(map(be64, reversed(places)))),
        (places[number] + 8 * index, be64(data)),
        bits=bits,
        disk=count << 2 * bits - 3,
    )

    assert lost(reader) == ([(data + 512, (1 << bits) - 512)] if read else [])


STREAM = edges_qcow2._packed(random.Random(7).randbytes(1800).ljust(CLUSTER, b"\0"))
FIRST = 5 * CLUSTER + 100  # where it begins


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("size", "whole"),
    [
        (FIRST + len(STREAM), True),
        (FIRST + len(STREAM) - 20, False),
        (FIRST + 1, False),
        (FIRST + 4 * 512 - 100, True),
    ],
)
def test_the_stream_that_lies_last_must_be_whole(size: int, whole: bool, order: int) -> None:
    # given an entry for what lies before it, and cannot be unpacked
    entries = (COMPRESSED | 3 << 58 | FIRST, COMPRESSED | 3 << 58 | FIRST - 60)[::order]
    reader = sparse(
        size,
        (2 * CLUSTER, b"\0\1" * 6),
        (3 * CLUSTER, be64(4 * CLUSTER)),
        (4 * CLUSTER, b"".join(map(be64, entries))),
        (FIRST, STREAM),
    )

    assert lost(reader) == ([] if whole else [(size, 6 * CLUSTER - size)])


@pytest.mark.parametrize(
    ("size", "cut"),
    [
        (FIRST - 1, False),  # nothing of it is there, and its cluster may be a leak
        (FIRST, False),
        (FIRST + 1, True),
        (44 * 512 - 1, True),
        (44 * 512, False),  # it is all there, and no stream: that is another finding
        (44 * 512 + 1, False),
    ],
)
@pytest.mark.parametrize("copied", [0, COPIED])
def test_the_file_is_cut_where_it_ends_within_a_stream(size: int, cut: bool, copied: int) -> None:
    # given bytes that cannot be unpacked, and an entry for a cluster far behind them that is not packed
    entries = be64(COMPRESSED | 3 << 58 | FIRST) + be64(copied | 9 * CLUSTER)
    reader = sparse(
        size,
        (2 * CLUSTER, b"\0\1" * 6),
        (3 * CLUSTER, be64(4 * CLUSTER)),
        (4 * CLUSTER, entries),
        (FIRST, b"\xff" * 2000),
    )

    assert lost(reader) == ([(size, 6 * CLUSTER - size)] if cut else [])


@pytest.mark.parametrize(("table", "lacks"), [(1, CLUSTER - 300), (0, 2048 - 300)])
def test_of_the_table_that_lies_last_the_last_stream_is_tried(table: int, lacks: int) -> None:
    # given a stream of which a part is there; of other tables the entries' lengths are believed
    reader = sparse(
        DATA + 300,
        (2 * CLUSTER, b"\0\1" * 8),
        (3 * CLUSTER, be64(TABLES[0]) + be64(TABLES[1])),
        (TABLES[table], be64(COMPRESSED | 3 << 58 | DATA + 100)),
        (DATA + 100, STREAM),
        disk=END,
    )

    assert lost(reader) == [(DATA + 300, lacks)]

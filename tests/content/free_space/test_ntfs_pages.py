"""The bitmap of an NTFS in pages, and the bytes of a file by its runs of clusters."""

from __future__ import annotations

import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space.base import KeptError, Span
from pipeline.content.free_space.ntfs import Geometry, NtfsMap, _clusters, _cut
from pipeline.content.free_space.ntfs_records import Run

PAGE = 64 << 10  # bytes of the bitmap that are looked at together
BITS = 8 * PAGE
CLUSTER = 1536
CLUSTERS = 2 * BITS + 1003
HOLES = [(3, 5), (70, 75), (BITS - 2, BITS + 3), (2 * BITS, 2 * BITS + 1), (CLUSTERS - 2, CLUSTERS)]
BITMAP: list[Run] = [(100, 50), (700, 40)]  # 138,240 bytes of 131,198 that are needed


def bitmap() -> bytes:
    """Used are all clusters but the holes'; behind the last one there is a clear bit."""
    found = bytearray(b"\xff" * (2 * PAGE + 126))
    for low, high in [*HOLES, (CLUSTERS + 1, CLUSTERS + 2)]:
        for number in range(low, high):
            found[number // 8] &= ~(1 << number % 8)
    return bytes(found)


def volume() -> MemoryDisk:
    data, cut = bitmap(), 50 * CLUSTER
    return MemoryDisk(
        CLUSTERS * CLUSTER + 99, {100 * CLUSTER: data[:cut], 700 * CLUSTER: data[cut:]}
    )


def free_map(disk: MemoryDisk) -> NtfsMap:
    found = NtfsMap(disk, Geometry(CLUSTER, CLUSTERS, 1024, 4, 8))
    found._bitmap = BITMAP
    return found


SPANS = [(low * CLUSTER, high * CLUSTER) for low, high in HOLES]
END = CLUSTERS * CLUSTER


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, END),
        (-7, END + 4096),
        (0, 3 * CLUSTER),
        (0, 3 * CLUSTER + 1),
        (4 * CLUSTER + 1, 4 * CLUSTER + 2),
        (5 * CLUSTER, 70 * CLUSTER),
        (5 * CLUSTER - 1, 70 * CLUSTER + 1),
        (71 * CLUSTER + 7, 73 * CLUSTER - 7),
        (BITS * CLUSTER - 1, BITS * CLUSTER + 1),
        (BITS * CLUSTER, BITS * CLUSTER + 1),
        ((BITS + 2) * CLUSTER + 5, END),
        (2 * BITS * CLUSTER - 1, 2 * BITS * CLUSTER + 1),
        (END - 1, END),
        (END, END + 1),
        (END + 1, END + 2),
    ],
)
def test_free_clusters_are_told_for_any_range(low: int, high: int) -> None:
    found = free_map(volume())
    told: list[Span] = [(max(a, low), min(b, high)) for a, b in SPANS if a < high and low < b]
    assert found.end == END
    assert list(found.between(low, high)) == told


@pytest.mark.parametrize(
    ("low", "high", "pages"),
    [
        (0, 1, [0]),
        (0, BITS * CLUSTER, [0]),
        (0, BITS * CLUSTER + 1, [0, 1]),
        (BITS * CLUSTER - 1, BITS * CLUSTER, [0]),
        (BITS * CLUSTER, BITS * CLUSTER + 1, [1]),
        (2 * BITS * CLUSTER, END, [2]),
        (END, END + 9, []),
    ],
)
def test_only_pages_of_the_range_are_read(low: int, high: int, pages: list[int]) -> None:
    asked: list[Span] = []

    class Watched(MemoryDisk):
        def read(self, offset: int, length: int) -> bytes:
            at = offset - 100 * CLUSTER if offset < 700 * CLUSTER else offset - 650 * CLUSTER
            asked.append((at, at + length))
            return super().read(offset, length)

    whole = volume()
    list(free_map(Watched(whole.size, whole.data)).between(low, high))
    covered = {at // PAGE for first, last in asked for at in (first, last - 1)}
    assert covered == set(pages)
    length = len(bitmap())
    assert sum(b - a for a, b in asked) == sum(min(PAGE, length - n * PAGE) for n in pages)


@pytest.mark.parametrize(
    ("first", "last", "used"),
    [
        (0, 3, True),
        (0, 4, False),
        (4, 5, False),
        (5, 70, True),
        (5, 71, False),
        (74, 80, False),
        (75, BITS - 2, True),
        (75, BITS - 1, False),
        (BITS, BITS + 1, False),
        (BITS + 2, BITS + 9, False),
        (BITS + 3, 2 * BITS, True),
        (BITS + 3, 2 * BITS + 1, False),
        (2 * BITS + 1, CLUSTERS - 2, True),
        (2 * BITS + 1, CLUSTERS - 1, False),
        (BITS - 1, BITS, False),
        (9, 9, True),
    ],
)
def test_a_file_s_clusters_are_all_used_or_not(first: int, last: int, used: bool) -> None:
    assert free_map(volume())._used(first, last - first) is used


def test_used_clusters_are_looked_for_in_every_page() -> None:
    data = bytearray(b"\xff" * (2 * PAGE + 126))
    data[2 * PAGE + 7] = 0xFE
    disk = MemoryDisk(END, {100 * CLUSTER: bytes(data[: 50 * CLUSTER])})
    disk.data[700 * CLUSTER] = bytes(data[50 * CLUSTER :])
    found = free_map(disk)
    clear = 2 * BITS + 56
    assert found._used(1, clear - 1)
    assert not found._used(1, clear)
    assert not found._used(BITS + 5, clear - BITS)
    assert found._used(clear + 1, CLUSTERS - clear - 1)


PARTS: list[Run] = [(10, 2), (30, 3), (None, 1), (20, 1)]
SIZE = 1000


def file_bytes(offset: int, length: int, size: int = 40 * SIZE) -> bytes | str:
    """Bytes of a file in four runs, on a volume on which no two places hold the same."""
    data = b"".join(b"%04d" % number for number in range(10 * SIZE))[:size]
    found = NtfsMap(MemoryDisk(len(data), {0: data}), Geometry(SIZE, 40, 1024, 4, 8))
    try:
        return found._stream(PARTS, offset, length, "log")
    except KeptError as error:
        return str(error)


def place(at: int, length: int) -> bytes:
    return b"".join(b"%04d" % number for number in range(10 * SIZE))[at : at + length]


@pytest.mark.parametrize(
    ("offset", "length", "found"),
    [
        (0, 5, place(10_000, 5)),
        (3, 1999, place(10_003, 1997) + place(30_000, 2)),
        (0, 2000, place(10_000, 2000)),
        (2000, 3000, place(30_000, 3000)),
        (1999, 3001, place(11_999, 1) + place(30_000, 3000)),
        (4999, 1, place(32_999, 1)),
        (4999, 2, "its log has holes"),
        (5000, 1, "its log has holes"),
        (5999, 1, "its log has holes"),
        (6000, 1000, place(20_000, 1000)),
        (6001, 999, place(20_001, 999)),
        (6000, 1001, "its log ends too early"),
        (7000, 1, "its log ends too early"),
        (7000, 0, b""),
        (7001, 0, "its log ends too early"),
        (5000, 0, b""),
    ],
)
def test_a_file_s_bytes_are_found_by_its_runs(offset: int, length: int, found: bytes | str) -> None:
    assert file_bytes(offset, length) == found


def test_a_file_ends_with_the_volume() -> None:
    assert file_bytes(2000, 3000, 33_000) == place(30_000, 3000)
    outside = "its log would lie at byte 30000, outside of it"
    assert file_bytes(2000, 3000, 32_999) == outside


def test_runs_are_counted_and_cut() -> None:
    assert _clusters(PARTS) == 7
    assert _clusters([]) == 0
    for count, cut in (
        (0, []),
        (1, [(10, 1)]),
        (2, [(10, 2)]),
        (4, [(10, 2), (30, 2)]),
        (6, PARTS[:3]),
        (7, PARTS),
        (9, PARTS),
    ):
        assert _cut(PARTS, count) == cut

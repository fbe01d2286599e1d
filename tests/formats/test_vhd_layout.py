"""The VHD that we write: golden vectors, and that any way of reading it gives the same bytes."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import threading
import zlib
from itertools import pairwise
from uuid import UUID

import pytest
import vhd_files as files
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConversionFailed
from pipeline.formats import vhd_bytes
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_layout import MAX_SIZE, VhdLayout, target_size
from pipeline.targets.artifact import LaidOut

MIB, GIB = 1 << 20, 1 << 30


def whole(layout: VhdLayout, disk: files.MemoryDisk) -> bytes:
    opened = LaidOut(layout, disk)
    return opened.read(0, opened.size)


def test_golden_vector_of_a_disk_of_one_byte() -> None:
    layout = VhdLayout(target_size(1), [0], files.UUID_1, 0)

    data = whole(layout, files.MemoryDisk(1, {0: b"\xab"}))

    assert len(data) == 2101760
    assert hashlib.sha256(data).hexdigest() == (
        "4560c67fdfdf80835f7262fded1f18f9806ad9f9f4d418538c7e3af76bae04f0"
    )
    assert data[64:68].hex() == "fffffabf"
    assert data[512 + 36 : 512 + 40].hex() == "fffff476"
    assert data[2048 + 24 : 2048 + 28].hex() == "ffffff7f"
    assert (data[56:58], data[58], data[59]) == (b"\0\x3c", 4, 17)


def test_golden_vector_of_an_empty_disk() -> None:
    data = whole(VhdLayout(10 * MIB, [], files.UUID_1, 0), files.MemoryDisk(10 * MIB, {}))

    assert len(data) == 3584
    assert hashlib.sha256(data).hexdigest() == (
        "bbc8d87c1312ac6b787525b9367dabe5cdf669104bac6968b3df3f0bbe8c9e4f"
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 2 * MIB),
        (1, 2 * MIB),
        (2 * MIB, 2 * MIB),
        (2 * MIB + 1, 4 * MIB),
        (2 * MIB * 3 + 1, 8 * MIB),
        (2 * MIB * 7, 14 * MIB),
        (401 * MIB + 1536, 402 * MIB),
        (8 * GIB, 8 * GIB),
        (8194 * MIB, 8208 * MIB),  # libvhd's batmap is too short for 1 to 7 blocks above 8 GiB
        (8192 * MIB + 1, 8208 * MIB),
        (8206 * MIB, 8208 * MIB),
        (8206 * MIB + 1, 8208 * MIB),
        (8208 * MIB, 8208 * MIB),
        (8210 * MIB, 8210 * MIB),
        (16386 * MIB, 16400 * MIB),
        (20 * GIB, 20 * GIB),
        (127 * GIB, 127 * GIB),
        (MAX_SIZE, MAX_SIZE),
    ],
)
def test_target_size(size: int, expected: int) -> None:
    assert target_size(size) == expected


def test_a_disk_above_2040_gib_is_refused_with_its_size() -> None:
    with pytest.raises(ConversionFailed, match="2190433320961") as caught:
        target_size(MAX_SIZE + 1)

    assert caught.value.code == "vhd-too-large"
    assert "(2040.0 GiB), and a VHD holds at most 2190433320960 (2040 GiB)" in str(caught.value)


@given(st.integers(1, MAX_SIZE))
def test_target_size_is_stable_and_never_cuts(size: int) -> None:
    target = target_size(size)

    assert size <= target <= size + 16 * MIB
    assert target % (2 * MIB) == 0
    assert target_size(target) == target
    blocks = target // (2 * MIB)
    assert blocks <= 4096 or not 1 <= blocks % 4096 <= 7


@given(st.integers(1, MAX_SIZE))
def test_the_geometry_never_exceeds_the_size(size: int) -> None:
    cylinders, heads, sectors = vhd_bytes.geometry(size)

    assert 0 <= cylinders <= 65535
    assert cylinders * heads * sectors * 512 <= vhd_bytes.round_up(size, 512)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(402 * MIB, (816, 16, 63)), (10 * MIB, (301, 4, 17)), (160 * GIB, (65535, 16, 255))],
)
def test_geometry_of_known_sizes(size: int, expected: tuple[int, int, int]) -> None:
    assert vhd_bytes.geometry(size) == expected


disks = st.integers(1, 40).flatmap(
    lambda blocks: st.tuples(
        st.just(blocks), st.sets(st.integers(0, blocks - 1), max_size=5), st.integers(0, 2**31)
    )
)


@settings(max_examples=40, deadline=None)
@given(disks, st.randoms(use_true_random=False))
def test_any_partition_in_any_order_is_the_whole(
    disk: tuple[int, set[int], int], rng: random.Random
) -> None:
    blocks, stored, timestamp = disk
    source = files.MemoryDisk(
        blocks * files.BLOCK, {number * files.BLOCK: files.filled(number) for number in stored}
    )
    layout = VhdLayout(source.size, sorted(stored), UUID(int=rng.randrange(1, 1 << 128)), timestamp)
    expected = whole(layout, source)
    cuts = sorted({0, layout.size, *(rng.randrange(layout.size) for _ in range(20))})
    ranges = [(low, high - low) for low, high in pairwise(cuts)]
    rng.shuffle(ranges)

    again = LaidOut(VhdLayout.from_plan(layout.plan()), source)
    found = bytearray(layout.size)
    for offset, length in ranges:
        found[offset : offset + length] = again.read(offset, length)

    assert found == expected


@settings(max_examples=40, deadline=None)
@given(disks)
def test_our_inspector_accepts_every_layout(disk: tuple[int, set[int], int]) -> None:
    blocks, stored, timestamp = disk
    source = files.MemoryDisk(
        blocks * files.BLOCK, {number * files.BLOCK: files.filled(number) for number in stored}
    )
    timestamp %= 800_000_000  # before 2025-05

    data = whole(VhdLayout(source.size, sorted(stored), files.UUID_1, timestamp), source)
    found = Vhd().inspect(files.Bytes(data))

    assert found.problems == ()
    assert files.against_xenserver(data) == set()
    assert found.virtual_size == source.size
    assert found.details["allocated_blocks"] == len(stored)


@settings(max_examples=30, deadline=None)
@given(disks)
def test_extents_cover_the_file_and_zero_runs_are_zeros(disk: tuple[int, set[int], int]) -> None:
    blocks, stored, _ = disk
    source = files.MemoryDisk(
        blocks * files.BLOCK, {number * files.BLOCK + 4096: b"x" * 8192 for number in stored}
    )
    opened = LaidOut(VhdLayout(source.size, sorted(stored), files.UUID_1, 0), source)

    position = 0
    for extent in opened.extents():
        assert extent.offset == position
        position += extent.length
        if extent.kind == "zero":
            assert not any(opened.read(extent.offset, extent.length))

    assert position == opened.size
    asked = {offset for offset, _ in source.asked}
    assert all(offset % files.BLOCK == 4096 for offset in asked), "a hole was read"


def test_blocks_are_aligned_and_the_footer_follows_the_last() -> None:
    layout = VhdLayout(4096 * files.BLOCK, [0, 5, 4095], files.UUID_1, 0)

    places = [layout.block_at(number) for number in (0, 5, 4095)]

    assert all(place is not None and place % 4096 == 0 for place in places)
    assert places[2] == layout.size - 512 - files.BLOCK
    assert layout.block_at(1) is None


def test_threads_read_the_same_bytes() -> None:
    source = files.MemoryDisk(
        64 * files.BLOCK, {number * files.BLOCK: files.filled(number) for number in range(0, 64, 7)}
    )
    opened = LaidOut(VhdLayout(source.size, range(0, 64, 7), files.UUID_1, 0), source)
    expected = opened.read(0, opened.size)
    wrong: list[int] = []

    def check(start: int) -> None:
        for offset in range(start * 777_777, opened.size, 4 * 777_777):
            if opened.read(offset, 777_777) != expected[offset : offset + 777_777]:
                wrong.append(offset)

    threads = [threading.Thread(target=check, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


SMALL = VhdLayout(10 * MIB, [1, 3], files.UUID_1, 77)
FIRST = 3584  # where the first block's bitmap is: its data begins at a page
SECOND = FIRST + 4104 * 512
PIECES = [
    (0, 3072, "literal", 0),
    (3072, 512, "zero", 0),
    (FIRST, 512, "literal", 0),
    (4096, 2 * MIB, "source", 2 * MIB),
    (4096 + 2 * MIB, 3584, "zero", 0),
    (SECOND, 512, "literal", 0),
    (SECOND + 512, 2 * MIB, "source", 6 * MIB),
    (SECOND + 512 + 2 * MIB, 512, "literal", 0),
]


def test_the_pieces_of_a_whole_file() -> None:
    found = [
        (piece.offset, piece.length, piece.kind, piece.source_offset)
        for piece in SMALL.pieces(0, 1 << 40)
    ]

    assert found == PIECES
    assert SMALL.size == sum(PIECES[-1][:2])
    assert SMALL.grid == (4096, 4104 * 512)


def test_the_pieces_of_any_range_are_parts_of_those_of_the_whole() -> None:
    edges = sorted({at + by for at, *_ in PIECES for by in (0, 1, 7, 511)} | {SMALL.size})
    held = b"".join(piece.data.ljust(piece.length, b"\0") for piece in SMALL.pieces(0, SMALL.size))

    for start, end in [(low, high) for low in edges for high in edges if low < high]:
        at = start
        for piece in SMALL.pieces(start, end - start):
            offset, length, kind, source = next(p for p in reversed(PIECES) if p[0] <= at)
            assert (piece.offset, piece.kind) == (at, kind)
            assert piece.length == min(end, offset + length) - at
            assert piece.source_offset == (source + at - offset if kind == "source" else 0)
            if kind == "literal":
                assert piece.data == held[at : at + piece.length]
            at += piece.length
        assert at == end
    assert list(SMALL.pieces(SMALL.size, 5)) == []


def test_the_plan_is_what_another_process_needs() -> None:
    plan = SMALL.plan()

    packed = zlib.decompress(base64.b64decode(plan.pop("blocks")))
    assert packed == bytes([0b01010000])
    assert plan == {
        "kind": "tap-vhd",
        "virtual_size": 10 * MIB,
        "uuid": str(files.UUID_1),
        "timestamp": 77,
    }
    assert [*VhdLayout.from_plan(SMALL.plan()).blocks] == [1, 3]


@pytest.mark.parametrize(
    ("size", "blocks", "uuid", "timestamp", "words"),
    [
        (3 * MIB, [], files.UUID_1, 0, "3145728 is not a size that target_size() gives"),
        (8194 * MIB, [], files.UUID_1, 0, "8592031744 is not a size that target_size() gives"),
        (4 * MIB, [2], files.UUID_1, 0, "block 2 lies behind the disk's 2 blocks"),
        (4 * MIB, [0, 2], files.UUID_1, 0, "block 2 lies behind the disk's 2 blocks"),
        (4 * MIB, [0, 5], files.UUID_1, 0, "block 5 lies behind the disk's 2 blocks"),
        (4 * MIB, [1, 0], files.UUID_1, 0, "the block numbers are not ascending"),
        (4 * MIB, [0, 0], files.UUID_1, 0, "the block numbers are not ascending"),
        (4 * MIB, [], UUID(int=0), 0, "the unique id must not be zero, the time stamp must fit"),
        (4 * MIB, [], files.UUID_1, 1 << 32, "the unique id must not be zero, the time stamp"),
        (4 * MIB, [], files.UUID_1, 1 << 33, "the unique id must not be zero, the time stamp"),
        (4 * MIB, [], files.UUID_1, -1, "the unique id must not be zero, the time stamp"),
    ],
)
def test_a_layout_that_no_vhd_can_have_is_an_error(
    size: int, blocks: list[int], uuid: UUID, timestamp: int, words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        VhdLayout(size, blocks, uuid, timestamp)


def test_the_edges_of_what_a_layout_may_be() -> None:
    assert VhdLayout(2 * MIB, [0], UUID(int=1), 0).blocks[0] == 0
    assert VhdLayout(4 * MIB, [1], files.UUID_1, (1 << 32) - 1).timestamp == (1 << 32) - 1


@pytest.mark.parametrize("change", [{"blocks": "!"}, {"uuid": 7}, {"virtual_size": None}])
def test_a_broken_plan_is_a_value_error(change: dict[str, object]) -> None:
    plan = {**VhdLayout(4 * MIB, [1], files.UUID_1, 0).plan(), **change}

    with pytest.raises(ValueError, match=r"."):
        VhdLayout.from_plan(plan)


def test_the_plan_of_a_full_disk_of_2040_gib_is_small() -> None:
    layout = VhdLayout(MAX_SIZE, range(MAX_SIZE // files.BLOCK), files.UUID_1, 0)

    assert len(str(layout.plan())) < 1000
    assert VhdLayout.from_plan(layout.plan()).size == layout.size

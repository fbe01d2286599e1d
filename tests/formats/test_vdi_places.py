"""VDI: bounds to the byte, and places that are not round."""

from __future__ import annotations

import struct

import handmade
import pytest
import vhd_files
from handmade import MIB, le32

from pipeline import formats
from pipeline.formats.vdi import Vdi
from pipeline.source import Reader


def vdi(
    blocks: int,
    *pieces: tuple[int, int],
    size: int,
    at: int = 512,
    data: int = 1 << 16,
    allocated: int = 5,
) -> Reader:
    """A disk of so many blocks, some entries of whose map are given; the others have none."""
    head = bytearray(handmade.vdi()[:512])
    struct.pack_into("<II", head, 340, at, data)
    struct.pack_into("<QI4xII", head, 368, blocks * MIB, MIB, blocks, allocated)
    table = [0xFFFFFFFF] * blocks
    for number, value in pieces:
        table[number] = value
    return vhd_files.MemoryDisk(size, {0: bytes(head), at: struct.pack(f"<{blocks}I", *table)})


@pytest.mark.parametrize(("size", "whole"), [(1311, False), (1312, True), (5000, True)])
@pytest.mark.parametrize("at", [512, 513, 700])
def test_blocks_are_stored_where_the_whole_map_is_there(at: int, size: int, whole: bool) -> None:
    reader = vdi(200, (199, 2), size=size + at - 512, at=at, data=600)

    assert Vdi().stores(reader, 600 + 2 * MIB, 8) is whole


@pytest.mark.parametrize("number", [0, 16383, 16384, 49151, 49152, 65535])
def test_of_a_large_map_its_ends_say_what_is_stored(number: int) -> None:
    reader = vdi(65536, (number, 3), size=8 * MIB, at=1024, data=MIB)

    assert Vdi().stores(reader, 4 * MIB, MIB) is not (16384 <= number < 49152)


@pytest.mark.parametrize("count", [32767, 32768, 32769])
def test_a_map_of_128_kib_is_read_wholly(count: int) -> None:
    middle = {n: Vdi().stores(vdi(count, (n, 3), size=8 * MIB, data=MIB), 4 * MIB, 8)
              for n in (16383, 16384, count - 16384, count - 1)}  # fmt: skip

    assert all(middle.values()) is (count <= 32768)
    assert middle[16383]
    assert middle[count - 1]


@pytest.mark.parametrize(("block", "stored"), [(3, True), (4, True), (5, False), (6, False)])
def test_only_what_is_allocated_is_stored(block: int, stored: bool) -> None:
    reader = vdi(300, (7, block), size=10 * MIB)

    assert Vdi().stores(reader, 65536 + block * MIB, MIB) is stored


def test_two_blocks_beside_one_another_are_stored_together() -> None:
    reader = vdi(300, (7, 2), (290, 1), size=10 * MIB)

    assert Vdi().stores(reader, 65536 + MIB + 7, 2 * MIB - 7)
    assert not Vdi().stores(reader, 65536 + MIB + 7, 2 * MIB - 6)
    assert not Vdi().stores(reader, 65536 + MIB - 1, 8)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([(7, 0), (290, 1)], []),
        ([(7, 4), (290, 4)], ["the block map names block 4 of the file twice"]),
        ([(7, 300), (290, 300)], [
            "the block map names block 300 of the file twice",
            "the block map names block 300, 5 are allocated",
            "the file has 10 MiB; its tables need 301.1 MiB (291.1 MiB missing)",
        ]),
        ([(0, 5)], ["the block map names block 5, 5 are allocated"]),
        ([(0, 0xFFFFFFFE), (1, 0xFFFFFFFE), (2, 0xFFFFFFFF)], []),
    ],
)  # fmt: skip
def test_what_a_block_map_names(entries: list[tuple[int, int]], told: list[str]) -> None:
    found = formats.identify(vdi(300, *entries, size=10 * MIB)).problems

    assert [item.detail for item in found] == told


@pytest.mark.parametrize("blocks", [16384, 16385, 20000, 32768, 32769, 40000])
def test_no_entry_of_a_map_is_read_twice(blocks: int) -> None:
    entries = [(n, n // 4000) for n in range(2000, blocks, 4000)]
    reader = vdi(blocks, *entries, (blocks - 1, 10), size=20 * MIB, data=1 << 18, allocated=11)

    assert formats.identify(reader).problems == ()


def test_a_map_far_behind_the_end_is_told_at_its_field() -> None:
    (problem,) = formats.identify(vdi(300, size=10 * MIB, at=1 << 31, data=1 << 20)).problems

    assert (problem.rule, problem.offset, problem.length) == ("corrupt-header", 340, 4)


@pytest.mark.parametrize(
    ("at", "data", "inside"), [(512, 1536, 176), (512, 2048, 0), (1024, 512, 0)]
)
def test_map_and_data_lie_apart(at: int, data: int, inside: int) -> None:
    # given a map of 1200 bytes, and one block that is allocated or none
    for allocated in (0, 1):
        reader = vdi(300, size=10 * MIB, at=at, data=data, allocated=allocated)

        told = [(item.rule, item.offset) for item in formats.identify(reader).problems]

        wrong = allocated and (inside or data < at)
        assert told == ([("corrupt-header", max(at, data))] if wrong else [])


@pytest.mark.parametrize(
    ("data", "size", "lost"),
    [
        (65536, 65536 + 5 * MIB, 0),
        (65536, 65536 + 5 * MIB - 1, 1),
        (65536, 65536 + 5 * MIB - 600, 600),
        (65536 + 512, 65536 + 512 + 4 * MIB, MIB),
    ],
)
def test_the_last_block_that_is_named_is_what_a_cut_file_lacks(
    data: int, size: int, lost: int
) -> None:
    reader = vdi(300, (9, 4), (10, 2), size=size, data=data)

    found = formats.identify(reader).problems

    told = [("truncated", size, lost)] if lost else []
    assert [(item.rule, item.offset, item.length) for item in found] == told


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0x00010001, None),
        (0x00010000, "VDI version 1.0"),
        (0x0001012C, "VDI version 1.300"),
        (0x00020001, "VDI version 2.1"),
        (0x01000102, "VDI version 256.258"),
        (0x00000001, "VDI version 0.1"),
    ],
)
def test_versions_are_told(version: int, words: str | None) -> None:
    image = handmade.Memory(handmade.vdi()).also(68, le32(version))

    assert [item.detail for item in formats.identify(image).problems] == ([words] if words else [])


def test_a_block_is_counted_from_where_the_data_begins() -> None:
    for size, lost in ((5 * MIB, []), (5 * MIB - 1, [1])):
        reader = vdi(300, (9, 1), size=size, data=3 * MIB)

        assert [item.length for item in formats.identify(reader).problems] == lost

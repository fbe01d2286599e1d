"""Ext's descriptors and their groups' bitmaps: every number, every checksum, and bitmaps never written.

No two numbers of a descriptor are the same.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import made_volumes as made
import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import ext
from pipeline.content.free_space.ext import Descriptor, ExtMap
from pipeline.content.free_space.ext_superblock import Superblock
from tests.content.free_space.kept import reason

GDT_CSUM, METADATA_CSUM, FLEX_BG = 0x10, 0x400, 0x200
LARGE = Superblock(
    block_size=4096, ratio=1, blocks=(1 << 40) + 5, free_blocks=0, first_data_block=0,
    blocks_per_group=32_768, inodes_per_group=200_000, inode_size=256, descriptor_size=64,
    reserved_gdt=0, first_meta_group=0, backups=(0, 0), compatible=0, incompatible=0x2C2,
    read_only=0x2003, uuid=made.UUID, seed=0x89ABCDEF,
)  # fmt: skip


def described(info: Superblock, group: int, flags: int, unused: int, **more: Any) -> bytes:
    """A descriptor in which every number is another one, with its checksum."""
    low = struct.pack(
        "<IIIHHHHIHHH", 0x11223344, 0x21324354, 0x31425364, 0x4152, 0x6162, 0x7172, flags,
        0x8182, 0x9192, 0xA1A2, unused & 0xFFFF,
    )  # fmt: skip
    high = struct.pack(
        "<IIIHHHHIHH", 0x51, 0x61, 0x71, 0x81, 0x8586, 0x9596, unused >> 16, 0xA5A6, 0xB5B6, 0xC5C6
    ).ljust(info.descriptor_size - 32, b"\xd7")
    high = high if info.descriptor_size > 32 else b""
    number = struct.pack("<I", group)
    if info.read_only & METADATA_CSUM:
        total = made.raw_crc32c(number + low + b"\0\0" + high, info.seed) & 0xFFFF
    else:
        total = made.crc16(info.uuid + number + low + high)
    return low + struct.pack("<H", total ^ more.get("damage", 0)) + high


def descriptor(info: Superblock, group: int, raw: bytes) -> Descriptor:
    """As it is read from its place."""
    per_block = info.block_size // info.descriptor_size
    first = 1024 // info.block_size + 1 + group // per_block
    at = first * info.block_size + group % per_block * info.descriptor_size
    return ExtMap(MemoryDisk(1 << 60, {at: raw}), info).descriptor(group)


SUMMED, GUARDED = METADATA_CSUM, GDT_CSUM
READ: list[tuple[int, int, int, bool, int]] = [  # features, flags, unused; uninitialised, used
    (SUMMED, 0, 70_000, False, 130_000),
    (SUMMED, 1, 70_000, False, 0),
    (SUMMED, 2, 70_000, True, 130_000),
    (SUMMED, 7, 200_000, True, 0),
    (SUMMED, 4, 0, False, 200_000),
    (GUARDED, 0, 70_000, False, 200_000),
    (GUARDED, 4, 70_000, False, 130_000),
    (GUARDED, 3, 70_001, True, 0),
    (0, 3, 70_000, False, 200_000),
    (0, 3, 0xFFFFFFFF, False, 200_000),
]


@pytest.mark.parametrize("group", [0, 1, 63, 64, 300, 70_000])
@pytest.mark.parametrize(("features", "flags", "unused", "uninitialised", "used"), READ)
def test_every_number_of_a_descriptor(
    features: int, flags: int, unused: int, uninitialised: bool, used: int, group: int
) -> None:
    info = replace(LARGE, read_only=0x2003 | features)

    found = descriptor(info, group, described(info, group, flags, unused))

    assert found == Descriptor(
        block_bitmap=0x51_11223344,
        inode_bitmap=0x61_21324354,
        inode_table=0x71_31425364,
        free=0x0081_4152,
        uninitialised=uninitialised,
        inodes_used=used,
        checksum=0xB5B6_9192,
        checksum_bits=32,
    )


def test_a_short_descriptor_has_no_upper_halves() -> None:
    info = replace(LARGE, descriptor_size=32, read_only=SUMMED | 0x2003, inodes_per_group=5000)

    assert descriptor(info, 129, described(info, 129, 2, 4000)) == Descriptor(
        0x11223344, 0x21324354, 0x31425364, 0x4152, True, 1000, 0x9192, 16
    )
    longer = replace(info, descriptor_size=128)
    found = descriptor(longer, 33, described(longer, 33, 0, 4000))
    assert (found.block_bitmap, found.checksum_bits) == (0x51_11223344, 32)


@pytest.mark.parametrize("features", [SUMMED, GUARDED, SUMMED | GUARDED])
def test_a_checksum_that_is_wrong(features: int) -> None:
    info = replace(LARGE, read_only=0x2003 | features)
    words = "the descriptor of block group 300 has a wrong checksum"

    for damage in (1, 0x8000):
        raw = described(info, 300, 0, 0, damage=damage)
        assert reason(lambda raw=raw: descriptor(info, 300, raw)) == words
    own = described(info, 300, 0, 0)
    for at in (*range(0x1E), 0x20, 0x3F):
        raw = own[:at] + bytes([own[at] ^ 0x10]) + own[at + 1 :]
        assert reason(lambda raw=raw: descriptor(info, 300, raw)) == words
    assert reason(lambda: descriptor(info, 299, described(info, 300, 0, 0))) is not None


def test_more_unused_inodes_than_there_are() -> None:
    info = replace(LARGE, read_only=SUMMED)
    words = "block group 5 counts its inodes wrongly"

    assert reason(lambda: descriptor(info, 5, described(info, 5, 0, 200_000))) is None
    assert reason(lambda: descriptor(info, 5, described(info, 5, 0, 200_001))) == words


def test_the_checksum_of_old_is_the_one_that_all_others_know() -> None:
    assert ext._crc16(0xFFFF, b"123456789") == 0x4B37
    assert ext._crc16(0, bytes(range(256))) == made.crc16(bytes(range(256)), 0)


# -------------------------------------------------------------------------------------- its bitmaps


def with_bitmap(info: Superblock, told: Descriptor, data: bytes = b"", at: int = 0) -> ExtMap:
    """A file system whose every group says so."""
    found = ExtMap(MemoryDisk(info.blocks * info.block_size, {at: data}), info)
    found.descriptor = lambda group: told  # type: ignore[assignment]
    return found


TOLD = Descriptor(7, 8, 9, 0, False, 0, 0, 32)
SMALL = replace(LARGE, blocks=4096, blocks_per_group=512, inodes_per_group=64, block_size=1024,
                first_data_block=1)  # fmt: skip


@pytest.mark.parametrize(("width", "mask"), [(32, 0xFFFFFFFF), (16, 0xFFFF)])
@pytest.mark.parametrize("ratio", [1, 4])
def test_the_checksum_of_a_bitmap(width: int, mask: int, ratio: int) -> None:
    info = replace(SMALL, read_only=SUMMED, ratio=ratio)
    data = random.Random(1).randbytes(1024)
    total = made.raw_crc32c(data[: 64 // ratio], info.seed) & mask
    told = replace(TOLD, block_bitmap=777, checksum=total, checksum_bits=width)
    words = "the bitmap of block group 3 has a wrong checksum"

    assert with_bitmap(info, told, data, 777 * 1024).bitmap(3) == data
    for bit in (0, width - 1):
        wrong = replace(told, checksum=total ^ 1 << bit)
        assert reason(lambda w=wrong: with_bitmap(info, w, data, 777 * 1024).bitmap(3)) == words
    plain = replace(info, read_only=0x2003)
    assert with_bitmap(plain, replace(told, checksum=1), data, 777 * 1024).bitmap(3) == data


def test_a_bitmap_that_lies_outside() -> None:
    for block, inside in ((0, False), (1, True), (4095, True), (4096, False), (4097, False)):
        found = with_bitmap(SMALL, replace(TOLD, block_bitmap=block))
        words = None if inside else "block group 2's bitmap lies outside"
        assert reason(lambda f=found: f.bitmap(2)) == words, block


@pytest.mark.parametrize("ratio", [1, 2, 8])
@pytest.mark.parametrize("group", [0, 1, 2, 3])
@pytest.mark.parametrize("places", [(600, 604, 610), (520, 5, 1020), (1030, 1100, 1530), (9, 1, 4)])
def test_a_bitmap_that_was_never_written_holds_the_groups_own_metadata(
    places: Sequence[int], group: int, ratio: int
) -> None:
    # given a table of 11 blocks, which may lie in another group or reach into one
    info = replace(SMALL, ratio=ratio, inodes_per_group=44, first_data_block=int(ratio == 1))
    found = with_bitmap(info, Descriptor(*places, 0, True, 0, 0, 32))
    start = info.start(group)
    held = {*range(start, start + info.base(group)), places[0], places[1]}
    held |= {places[2] + n for n in range(11)}
    bits = {(block - start) // ratio for block in held if start <= block < start + 512}

    assert found.bitmap(group) == made.bits(bits, 1024)


def test_the_last_group_is_shorter() -> None:
    info = replace(SMALL, blocks=1 + 3 * 512 + 100, inodes_per_group=44)
    found = with_bitmap(info, Descriptor(1537 + 99, 1537 + 100, 1537 + 95, 0, True, 0, 0, 32))

    assert found.bitmap(3) == made.bits({*range(info.base(3)), *range(95, 100)}, 1024)

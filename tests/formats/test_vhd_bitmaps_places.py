"""Where in a block, and in the file, data behind a clear bit is told."""

from __future__ import annotations

import pytest
import vhd_files
from edges_vhd import FIRST, STRIDE, small
from handmade import MIB, Memory

from pipeline.formats.base import Problem
from pipeline.formats.vhd_bitmaps import SectorBitmaps
from pipeline.source import DiskView

PLACES = {1: 1, 2: 0, 4: 2}  # the blocks that are stored, and which of the places they have
NOTHING_FULL = bytes(512)


def image(*clear: tuple[int, int], bits: bytes = NOTHING_FULL) -> Memory:
    """All sectors hold data; ``clear``: blocks and the bits that they have, of eight."""
    whole = Memory(small(bits=bits))
    for number, mask in clear:
        whole = whole.also(FIRST + PLACES[number] * STRIDE, bytes([mask]))
    return whole


def told(number: int, sector: int) -> Problem:
    detail = f"sector {sector} of block {number} is not zero, and its bit is clear"
    place = FIRST + PLACES[number] * STRIDE + 512 + sector * 512
    return Problem("vhd-sector-bitmap", detail, place, 512)


def test_which_blocks_are_stored() -> None:
    assert SectorBitmaps(image()).stored == [1, 2, 4]


@pytest.mark.parametrize("number", PLACES)
@pytest.mark.parametrize("sector", range(8))
def test_one_clear_bit(number: int, sector: int) -> None:
    bitmaps = SectorBitmaps(image((number, 0xFF ^ 0x80 >> sector)))

    assert bitmaps.problems([1, 2, 4]) == [told(number, sector)]
    assert bitmaps.problems([n for n in PLACES if n != number]) == []


def test_each_block_has_its_own_problem() -> None:
    bitmaps = SectorBitmaps(image((4, 0b11101110), (1, 0)))

    assert bitmaps.problems([4, 1]) == [told(4, 3), told(1, 0)]


def test_a_block_that_is_marked_as_full_has_no_clear_bit() -> None:
    bitmaps = SectorBitmaps(image((2, 0b11111011), (4, 0b01111111), bits=b"\x28" + bytes(511)))

    at = FIRST + PLACES[2] * STRIDE
    full = Problem("vhd-batmap", "it shows block 2 as full, whose bitmap has clear bits", at, 512)
    at = FIRST + PLACES[4] * STRIDE
    other = Problem("vhd-batmap", "it shows block 4 as full, whose bitmap has clear bits", at, 512)
    assert bitmaps.problems([1, 2, 4]) == [full, told(2, 5), other, told(4, 0)]


@pytest.mark.parametrize(("at", "sector"), [(0, 1), (511, 1), (512, 2), (1535, 3), (4 * 512, 5)])
def test_the_first_sector_with_data_is_told(at: int, sector: int) -> None:
    # given sectors 1 to 3, 5 and 6 without a bit, and a byte that is not zero in them
    start = FIRST + PLACES[2] * STRIDE + 512 + 512
    whole = image((2, 0b10001001)).also(start, bytes(6 * 512)).also(start + at, b"\1")

    assert SectorBitmaps(whole).problems([2]) == [told(2, sector)]


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("after", range(1, 9))
def test_zeros_between_sectors_with_data_are_no_problem(first: int, after: int) -> None:
    mask = sum(0x80 >> sector for sector in range(8) if not first <= sector < after)
    start = FIRST + PLACES[2] * STRIDE + 512 + first * 512
    zeros = bytes(512 * max(0, after - first))

    assert SectorBitmaps(image((2, mask)).also(start, zeros)).problems([1, 2, 4]) == []


BIG = 4 * MIB  # bytes of a block whose bitmap has two sectors


@pytest.mark.parametrize("allocated", [False, True])
@pytest.mark.parametrize(
    "at", [0, MIB - 1, MIB, MIB + 1, 2 * MIB + 511, 3 * MIB, 4 * MIB - 513, 4 * MIB - 1]
)
def test_a_large_block_is_looked_through_to_its_end(at: int, allocated: bool) -> None:
    # given a block of which no sector was written, by its bitmap, and a byte in it
    start = FIRST + 1024
    head = small(entries=(0,), header={"block_size": BIG}, footer={"current_size": BIG})[:FIRST]
    data = {0: head, start + at: b"\1"}
    disk = vhd_files.MemoryDisk(start + BIG + 512, data, allocated=allocated)
    assert isinstance(disk, DiskView)

    (full, found) = SectorBitmaps(disk).problems([0])

    assert (full.rule, full.offset, full.length) == ("vhd-batmap", FIRST, 1024)
    assert found.detail.startswith(f"sector {at // 512} of block 0 ")
    assert (found.offset, found.length) == (start + at // 512 * 512, 512)


def test_what_lies_behind_a_block_is_not_its_own() -> None:
    start = FIRST + 1024
    head = small(entries=(0,), header={"block_size": BIG}, bits=NOTHING_FULL)[:FIRST]
    disk = vhd_files.MemoryDisk(start + BIG + 512, {0: head, start + BIG: b"\1" * 512})

    assert SectorBitmaps(disk).problems([0]) == []

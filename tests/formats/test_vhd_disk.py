"""The disk inside a dynamic VHD, read at every edge of its blocks."""

from __future__ import annotations

import edges_vhd
import pytest
from edges_vhd import BLOCK, BLOCKS, FIRST, STRIDE
from handmade import Memory

from pipeline.formats.vhd_disk import DynamicDisk

PLACES = (2, 0, 1)  # where in the file the blocks 0, 1 and 4 are
STORED = dict(zip((0, 1, 4), PLACES, strict=True))


def vhd() -> Memory:
    """Three of six blocks, each byte of which tells the block and its place in it."""
    image = Memory(edges_vhd.small(entries=(2, 0, -1, -1, 1, -1), footer={"current_size": SIZE}))
    for number, place in STORED.items():
        image = image.also(FIRST + place * STRIDE + 512, content(number))
    return image


def content(number: int) -> bytes:
    """A block's bytes."""
    return bytes((number * 89 + at * 7) % 255 + 1 for at in range(BLOCK))


SIZE = BLOCKS * BLOCK - 100  # the last block is not whole
WHOLE = b"".join(content(n) if n in STORED else bytes(BLOCK) for n in range(BLOCKS))[:SIZE]
EDGES = sorted({n * BLOCK + by for n in range(BLOCKS + 1) for by in (-1, 0, 1)} - {-1})


@pytest.mark.parametrize("start", EDGES)
def test_any_range_is_that_of_the_whole(start: int) -> None:
    disk = DynamicDisk(vhd())

    for end in (start, start + 1, *EDGES):
        length = max(0, end - start)
        assert disk.read(start, length) == WHOLE[start : start + length]


def test_where_blocks_are() -> None:
    disk = DynamicDisk(vhd())

    assert (disk.size, disk.block_size, disk.bitmap_size) == (SIZE, BLOCK, 512)
    assert [disk.block_at(n) for n in range(BLOCKS + 2)] == [
        FIRST + STORED[n] * STRIDE + 512 if n in STORED else None for n in range(BLOCKS + 2)
    ]


@pytest.mark.parametrize(
    ("block", "bitmap"), [(4096, 512), (2 << 20, 512), (4 << 20, 1024), (64 << 20, 16384)]
)
def test_a_bitmap_is_whole_sectors(block: int, bitmap: int) -> None:
    image = Memory(edges_vhd.small(header={"block_size": block}))

    disk = DynamicDisk(image)

    assert disk.bitmap_size == bitmap
    assert disk.block_at(1) == FIRST + STRIDE + bitmap


def test_what_stands_behind_the_table_is_no_block() -> None:
    disk = DynamicDisk(vhd().also(1536 + 4 * BLOCKS, b"\0\0\0\7"))

    assert [disk.block_at(n) for n in (BLOCKS, BLOCKS + 1, 1 << 31)] == [None] * 3

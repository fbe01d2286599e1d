"""What of an XFS is read for a range of it, and that it may be cut."""

from __future__ import annotations

import made_xfs as made
import pytest
from handmade import Memory
from made_xfs import BLOCK, SECTOR, SIZE

from pipeline.content.free_space import xfs
from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.xfs import XfsMap
from tests.content.free_space.test_xfs_groups import SPANS, STRIDE, whole


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, STRIDE),
        (STRIDE, 2 * STRIDE),
        (STRIDE - 1, STRIDE + 1),
        (2 * STRIDE - 1, 2 * STRIDE),
        (2 * STRIDE, SIZE),
        (2 * STRIDE, 2 * STRIDE + 1),
        (-5, 1),
        (STRIDE + 24 * BLOCK, STRIDE + 24 * BLOCK + 1),
    ],
)
def test_only_groups_of_the_range_are_read(low: int, high: int) -> None:
    volume = whole()
    found = XfsMap(volume, xfs._superblock(volume)[0])
    for number in range(3):
        if not (number * STRIDE < high and low < (number + 1) * STRIDE):
            volume = volume.also(number * STRIDE + SECTOR, b"?")
    found = XfsMap(volume, found.geometry)
    told = [(max(a, low), min(b, high)) for a, b in SPANS if a < high and low < b]
    assert list(found.between(low, high)) == told


@pytest.mark.parametrize(
    ("low", "high", "left", "right"),
    [
        (0, 400, True, False),
        (0, 401, True, True),
        (399, 400, True, False),
        (400, 401, False, True),
        (500, 600, False, True),
        (0, 14, False, False),
        (14, 15, True, False),
        (13, 14, False, False),
    ],
)
def test_only_leaves_of_the_range_are_read(low: int, high: int, left: bool, right: bool) -> None:
    for within in (0, 1, BLOCK - 1):
        volume = whole()
        info = xfs._superblock(volume)[0]
        volume = volume if left else volume.also(STRIDE + 5 * BLOCK, b"?")
        volume = volume if right else volume.also(STRIDE + 6 * BLOCK, b"?")
        begin = STRIDE + low * BLOCK + within
        end = STRIDE + high * BLOCK - (BLOCK - 1 - within if high > low + 1 else 0)
        told = [(max(a, begin), min(b, end)) for a, b in SPANS if a < end and begin < b]
        assert list(XfsMap(volume, info).between(begin, end)) == told


def test_a_header_beyond_the_volume_is_none() -> None:
    volume = whole()
    info = xfs._superblock(volume)[0]
    short = Memory(volume.data[: 2 * STRIDE + 2 * SECTOR - 1])
    words = f"its AGF of group 2 would lie at byte {2 * STRIDE + SECTOR}, outside of it"
    with pytest.raises(KeptError, match=words):
        XfsMap(short, info).group(2)
    with pytest.raises(KeptError, match=f"its free list would lie at byte {3 * SECTOR}, outside"):
        XfsMap(Memory(volume.data[: 4 * SECTOR - 1]), info)._reserved(made.header(5, 0), 0, 0, 0, 0)

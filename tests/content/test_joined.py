"""Several pieces of a disk as one."""

from __future__ import annotations

import pytest
from handmade import Memory

from pipeline.content.joined import Joined

DISK = bytes(range(1, 101))
PIECES = ((40, 7), (10, 5), (90, 10), (47, 1))
WHOLE = b"".join(DISK[at : at + length] for at, length in PIECES)


@pytest.mark.parametrize("offset", range(-1, len(WHOLE) + 2))
def test_any_range_of_the_pieces(offset: int) -> None:
    joined = Joined(Memory(DISK), PIECES)

    assert joined.size == len(WHOLE) == 23
    for length in range(-1, len(WHOLE) + 3):
        held = WHOLE[offset : offset + max(0, length)] if offset >= 0 else b""
        assert joined.read(offset, length) == held


def test_a_disk_that_ends_in_a_piece_ends_the_whole() -> None:
    joined = Joined(Memory(DISK[:95]), PIECES)

    assert joined.read(0, 100) == WHOLE[:17]
    assert joined.read(17, 5) == b""
    assert Joined(Memory(DISK), ()).size == 0

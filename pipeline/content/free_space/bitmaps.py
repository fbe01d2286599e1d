"""Bitmaps of used blocks: bit 0 of byte 0 is the first block, a clear bit is a free one.

    byte   0x0f        0x00        0xff
    block  0 1 2 3│4 5 6 7 8 … 15│16 … 23        one run of free blocks: 4 to 15

ext2 to ext4 and NTFS use the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRETCH = re.compile(rb"(?s)\x00+|\xff+|.")


def _clear_in_byte(value: int) -> tuple[tuple[int, int], ...]:
    bits = f"{value:08b}"[::-1]
    return tuple(match.span() for match in re.finditer("0+", bits))


_CLEAR = tuple(map(_clear_in_byte, range(256)))


def clear_runs(bitmap: bytes, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Runs of clear bits from ``first`` up to, not including, ``last``: (start, end), ascending."""
    begin = stop = 0
    before, part = _part(bitmap, first, last)
    for match in _STRETCH.finditer(part):
        at, value = (before + match.start()) * 8, part[match.start()]
        runs = ((0, (match.end() - match.start()) * 8),) if value == 0 else _CLEAR[value]
        for low, high in runs:
            if at + low == stop:
                stop = at + high
                continue
            yield from _cut(begin, stop, first, last)
            begin, stop = at + low, at + high
    yield from _cut(begin, stop, first, last)


def _part(bitmap: bytes, first: int, last: int) -> tuple[int, bytes]:
    """The bytes that hold the bits of a range, and how many come before them."""
    before = first // 8
    return before, bitmap[before : -(-last // 8)]


def _cut(begin: int, stop: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    begin, stop = max(begin, first), min(stop, last)
    if begin < stop:
        yield begin, stop


def count_clear(bitmap: bytes, first: int, last: int) -> tuple[int, int]:
    """How many bits of the range are clear, and in how many runs, without walking them."""
    if first >= last:
        return 0, 0
    before, part = _part(bitmap, first, last)
    mask = (1 << (last - first)) - 1
    free = ~(int.from_bytes(part, "little") >> (first - before * 8)) & mask
    return free.bit_count(), (free & ~(free << 1)).bit_count()


def all_set(bitmap: bytes, first: int, last: int) -> bool:
    """Whether every bit of the range is set."""
    return count_clear(bitmap, first, last)[0] == 0

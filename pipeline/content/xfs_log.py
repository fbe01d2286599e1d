"""Whether an XFS log holds changes that a mount would replay.

    block of 512 bytes  │ record header │ data │ data │ header │ data │ … older, or zeros …  │
    cycle                 7               7      7      7        7    ▲ 6      6      6
                                                                      └ head: where it falls

The log is a ring.  Every block carries the number of the round in which it was written, so the head is
found by bisection.  The log is clean when the last record before the head is the one that an unmount
writes, and ends there.

    superblock, big-endian   4 4 block size     48 8 log's first block     84 4 blocks a group
                            96 4 log's blocks  124 1 bits of a block's number within its group
    log block                0 4 cycle, or FEEDBABE, which begins a record and is followed by the cycle
    record header            8 4 version   12 4 length of the data   40 4 operations
                           320 4 size of a log buffer
    first operation          9 1 flags, 20h: unmount

"XFS Algorithms & Data Structures", chapter 14; fs/xfs/libxfs/xfs_log_format.h of Linux.
"""

from __future__ import annotations

from collections.abc import Callable

BLOCK = 512
_MAGIC = 0xFEEDBABE
_UNMOUNT = 0x20
_MAX_RECORD = (256 << 10) + 8 * BLOCK  # bytes of the longest record with its headers
_PER_HEADER = 32 << 10  # bytes of data that one header block describes

Read = Callable[[int, int], bytes]
"""``length`` bytes at ``offset``, both counted from the file system's start."""


def clean(read: Read) -> bool | None:
    """True: unmounted.  False: there is something to replay.  None: the log is elsewhere or unreadable.

    Reads some 25 sectors and one record of at most 260 KiB.
    """
    place = _place(read)
    if place is None:
        return None
    start, count = place
    ring = _Ring(read, start, count)
    if ring.cycle(0) in (0, None) or ring.cycle(count - 1) is None:
        return True if ring.cycle(0) == 0 else None  # zeros: nobody has mounted it yet
    return ring.ends_with_unmount(ring.head())


def _place(read: Read) -> tuple[int, int] | None:
    """The first byte of the log and its blocks of 512 bytes."""
    sector = read(0, BLOCK)
    if len(sector) < BLOCK:
        return None
    size, log, group = (_be(sector, at, n) for at, n in ((4, 4), (48, 8), (84, 4)))
    bits, blocks = sector[124], _be(sector, 96, 4)
    if not log or not blocks or bits > 32 or not 512 <= size <= 65536:
        return None
    first = (log >> bits) * group + (log & (1 << bits) - 1)
    return first * size, blocks * size // BLOCK


def _be(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


class _Ring:
    """The log's blocks, by number."""

    def __init__(self, read: Read, start: int, count: int) -> None:
        self._read, self._start, self._count = read, start, count

    def cycle(self, number: int) -> int | None:
        """The round in which a block was written; None where the file ends."""
        data = self._read(self._start + number * BLOCK, 8)
        if len(data) < 8:
            return None
        return _be(data, 4 if _be(data, 0, 4) == _MAGIC else 0, 4)

    def head(self) -> int:
        """The number of the block that will be written next."""
        newest = self.cycle(0)
        if self.cycle(self._count - 1) == newest:
            return self._count
        low, high = 0, self._count - 1  # the newest round is at low, an older one at high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.cycle(middle) == newest else (low, middle)
        return high

    def ends_with_unmount(self, head: int) -> bool:
        """Whether the last record before ``head`` is an unmount's and ends there."""
        blocks = min(self._count, _MAX_RECORD // BLOCK)
        first = head - blocks
        data = self._blocks(max(first, 0), head)
        if first < 0:
            data = self._blocks(self._count + first, self._count) + data
        at = data.rfind(_MAGIC.to_bytes(4, "big"))
        while at >= 0 and at % BLOCK:
            at = data.rfind(_MAGIC.to_bytes(4, "big"), 0, at + 3)
        record = data[at:] if at >= 0 else b""
        second = _be(record, 8, 4) & 2  # version 2 has buffers above 32 KiB
        headers = max(1, -(-_be(record, 320, 4) // _PER_HEADER)) if second else 1
        length = headers * BLOCK + -(-_be(record, 12, 4) // BLOCK) * BLOCK
        operation = record[headers * BLOCK : headers * BLOCK + 12]
        return (
            len(record) == length
            and _be(record, 40, 4) == 1
            and len(operation) == 12
            and bool(operation[9] & _UNMOUNT)
        )

    def _blocks(self, first: int, after: int) -> bytes:
        return self._read(self._start + first * BLOCK, (after - first) * BLOCK)

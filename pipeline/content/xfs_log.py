"""Whether an XFS log holds changes that a mount would replay.

    block of 512 bytes  │ record header │ data │ data │ header │ data │ … older, or zeros …  │
    cycle                 7               7      7      7        7    ▲ 6      6      6
                                                                      └ head: where it falls

The log is a ring.  Every block carries the number of the round in which it was written, so the head is
found by bisection.  The log is clean when the last record before the head is the one that an unmount
writes, says that it stands where it does, and ends there.

    superblock, big-endian   4 4 block size     48 8 log's first block     84 4 blocks a group
                            32 16 UUID          96 4 log's blocks         248 16 UUID of the metadata
                           124 1 bits of a block's number within its group
    log block                0 4 cycle, or FEEDBABE, which begins a record and is followed by the cycle
    record header            4 4 cycle      8 4 version   12 4 length of the data
                            16 8 cycle (4) and block (4) where it stands
                            40 4 operations             304 16 UUID        320 4 size of a log buffer
    first operation          9 1 flags, 20h: unmount

"XFS Algorithms & Data Structures", chapter 14; fs/xfs/libxfs/xfs_log_format.h of Linux.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

BLOCK = 512
_MAGIC = 0xFEEDBABE
_UNMOUNT = 0x20
_MOST = 520  # blocks of the longest record: 8 headers and 256 KiB
_PER_HEADER = 32 << 10  # bytes of data that one header block describes

Read = Callable[[int, int], bytes]
"""``length`` bytes at ``offset``, both counted from the file system's start."""

State: TypeAlias = Literal["clean", "unwritten", "dirty", "foreign", "unknown"]
"""Unwritten: zeros, so nobody has mounted it yet.  Foreign: its end is of another file system's log."""

NOT_CLEAN: Mapping[State, str] = {
    "unwritten": "its log was never written",
    "dirty": "its log may hold changes that were not written back",
    "foreign": "its log is another file system's",
    "unknown": "its log is elsewhere or cannot be read",
}
"""What to say of it, a part of a sentence."""


def clean(read: Read) -> bool | None:
    """True: nothing to replay.  False: there is something.  None: nobody can tell."""
    return {"clean": True, "unwritten": True, "dirty": False}.get(state(read))


def state(read: Read) -> State:
    """How the log ends.  Reads some 25 sectors and one record of at most 260 KiB."""
    place = _place(read)
    if place is None:
        return "unknown"
    start, count = place
    head = read(0, BLOCK)
    ring = _Ring(read, start, count, (head[32:48], head[248:264]))
    newest, last = ring.cycle(0), ring.cycle(count - 1)
    if newest is None or last is None:
        return "unknown"
    if newest == 0:
        return "unwritten"
    return ring.end() if last in (newest, newest - 1, 0) else "dirty"


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

    def __init__(self, read: Read, start: int, count: int, uuids: tuple[bytes, ...]) -> None:
        """``uuids``: any of them may stand in its records."""
        self._read, self._start, self._count, self._uuids = read, start, count, uuids

    def cycle(self, number: int) -> int | None:
        """The round in which a block was written; None where the file ends."""
        data = self._read(self._start + number * BLOCK, 8)
        if len(data) < 8:
            return None
        return _be(data, 4 if _be(data, 0, 4) == _MAGIC else 0, 4)

    def end(self) -> State:
        """How the newest round ends."""
        head = self._head()
        record = self._last_record(head)
        if not self._is_unmount(record, (head - len(record) // BLOCK) % self._count):
            return "dirty"
        return "clean" if record[304:320] in self._uuids else "foreign"

    def _head(self) -> int:
        """The number of the block that will be written next."""
        newest = self.cycle(0)
        if self.cycle(self._count - 1) == newest:
            return self._count
        numbers = range(self._count)  # the newest round comes first, and an older one behind it
        return bisect_left(numbers, True, key=lambda number: self.cycle(number) != newest)

    def _last_record(self, head: int) -> bytes:
        """What stands from the last header before ``head`` on; nothing when there is none."""
        first = head - min(self._count, _MOST)
        data = self._blocks(max(first, 0), head)
        if first < 0:
            data = self._blocks(self._count + first, self._count) + data
        places = reversed(range(0, len(data), BLOCK))
        return next((data[at:] for at in places if _be(data, at, 4) == _MAGIC), b"")

    def _is_unmount(self, record: bytes, block: int) -> bool:
        """Whether it is an unmount's record, stands at this block, and is as long as it says."""
        version, length = _be(record, 8, 4), _be(record, 12, 4)
        headers = 1
        if version == 2:  # it has buffers above 32 KiB
            headers = max(1, -(-_be(record, 320, 4) // _PER_HEADER))
        flags = _be(record, headers * BLOCK + 9, 1)  # of the first operation
        return (
            version in (1, 2)
            and len(record) == (headers + -(-length // BLOCK)) * BLOCK
            and _be(record, 16, 8) == _be(record, 4, 4) << 32 | block
            and _be(record, 40, 4) == 1
            and bool(flags & _UNMOUNT)
        )

    def _blocks(self, first: int, after: int) -> bytes:
        return self._read(self._start + first * BLOCK, (after - first) * BLOCK)

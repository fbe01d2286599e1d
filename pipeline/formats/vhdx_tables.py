"""VHDX's block allocation table (BAT).

[MS-VHDX] section 2.5 (https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/), entries
of 64 bits, little-endian:

    bits 0-2    0 not present, 1 undefined, 2 zero, 3 unmapped, 6 present, 7 partly present
    bits 20-63  the block's place in the file, in MiB

After every ``chunk ratio`` entries of blocks follows one of a sector bitmap, unused without a parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.formats.base import Problem
from pipeline.formats.bounded import padded
from pipeline.formats.tables import Region, integers, outside, repeated, used_length
from pipeline.source import Reader

_READ = 128 << 10  # bytes of the table that are looked at
_MAX_TABLE = 64 << 20  # bytes: readers keep it in memory, needed or not; 64 TiB in blocks of 8 MiB
_PARTLY = 7
_STATES = frozenset({0, 1, 2, 3, 6, _PARTLY})
_OFFSET = 0xFFFF_FFFF_FFF0_0000


@dataclass(frozen=True)
class VirtualDisk:
    """What the metadata says about the disk; sizes in bytes."""

    size: int
    block_size: int
    sector_size: int
    fixed: bool
    has_parent: bool

    @property
    def blocks(self) -> int:
        """How many blocks the disk has."""
        return -(-self.size // self.block_size)

    @property
    def chunk_ratio(self) -> int:
        """Blocks between two entries of sector bitmaps."""
        return (self.sector_size << 23) // self.block_size


def check(
    reader: Reader, table: Region, others: Sequence[Region], disk: VirtualDisk
) -> Iterator[Problem]:
    """What is wrong with the table, as far as it is looked at.

    ``others``: where else in the file no block may be.
    """
    if table.length > _MAX_TABLE:
        detail = f"a block allocation table of {table.length} bytes"
        yield Problem("header-limits", detail, *(table.told_at or (table.offset, table.length)))
        return
    if not disk.blocks:
        return
    needed = (disk.blocks + (disk.blocks - 1) // disk.chunk_ratio) * 8
    if needed > table.length:
        detail = f"the table has {table.length} bytes, the disk needs {needed}"
        yield Problem("corrupt-header", detail, table.offset, table.length)
        return
    data = padded(reader, table.offset, min(needed, _READ))
    if not used_length(data):
        return
    entries = integers(data, "Q", "little")
    unit = disk.chunk_ratio + 1
    blocks = [entry for index, entry in enumerate(entries) if entry and (index + 1) % unit]
    states = {entry & 7 for entry in blocks}
    if states - _STATES:
        yield Problem("corrupt-metadata", "a block has an unknown state", table.offset, len(data))
    if _PARTLY in states and not disk.has_parent:
        detail = "a block is only partly present, and there is no parent"
        yield Problem("corrupt-metadata", detail, table.offset, len(data))
    present = [entry & _OFFSET for entry in blocks if entry & 7 >= 6]
    if not present:
        return
    twice = repeated(present)
    if twice is not None:
        detail = f"two blocks are at the same place {twice}"
        yield Problem("corrupt-metadata", detail, table.offset, len(data))
    on = _taken((table, *others)).intersection(present)
    if on:
        detail = f"a block is at {min(on)}, where headers or tables are"
        yield Problem("corrupt-metadata", detail, table.offset, len(data))
    told_at = (table.offset, len(data))
    last = Region("a block", max(present), disk.block_size, told_at)
    yield from outside(last, reader.size, disk.size, wild="corrupt-metadata")


def _taken(regions: Iterable[Region]) -> set[int]:
    """Where no block may begin: the headers' MiB, and those of regions."""
    places = (range(region.offset, region.end, 1 << 20) for region in regions)
    return {0}.union(*places)

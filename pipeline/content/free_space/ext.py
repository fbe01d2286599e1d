"""Free blocks of ext2, ext3 and ext4: one bitmap a block group, found through its descriptor.

    group   [super, descriptors?] [bitmaps?] [inode tables?] ████░░░░░░███
    a group whose bitmap was never written (BLOCK_UNINIT) holds nothing but such metadata

descriptor: low halves            high halves, when a descriptor has 64 bytes
   0 4 block bitmap               20 4 block bitmap
   4 4 inode bitmap               24 4 inode bitmap
   8 4 inode table                28 4 inode table
   C 2 free blocks (clusters)     2C 2 free blocks
  12 2 flags: 1 inodes, 2 blocks  32 2 unused inodes at the end of the table
       were never written         38 2 checksum of the block bitmap
  18 2 checksum of the block bitmap
  1C 2 unused inodes
  1E 2 checksum of the descriptor

https://docs.kernel.org/filesystems/ext4/group_descr.html, …/ext4/bitmaps.html, …/ext4/checksums.html

Believed is a bitmap whose descriptor and checksum are right, which has as many clear bits as the
descriptor says and they together as many as the superblock, and which calls no metadata free.  Where
bitmaps have no checksum, every block of every inode is looked up in them too (``ext_inodes``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pipeline.content.free_space import ext_inodes, ext_superblock
from pipeline.content.free_space.base import (
    Effort,
    KeptError,
    Occupied,
    Span,
    clipped,
    exactly,
    merged,
    require,
)
from pipeline.content.free_space.bitmaps import all_set, clear_runs, count_clear
from pipeline.content.free_space.ext_superblock import FLEX_BG, GDT_CSUM, Superblock, raw_crc
from pipeline.source import Reader

_INODES_UNINIT, _BLOCKS_UNINIT = 1, 2
_COST = 40  # of a group, as ``Effort`` counts
_REMEMBERED = 128  # bitmaps: 4 KiB each in a usual file system


@dataclass(frozen=True)
class Descriptor:
    """What a group says about itself."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free: int  # clusters
    uninitialised: bool  # its block bitmap was never written
    inodes_used: int  # inodes of the table that may be in use: 0 when it was never written
    checksum: int  # of the block bitmap
    checksum_bits: int


class ExtMap:
    """``FreeMap`` of a file system of the ext family."""

    def __init__(self, volume: Reader, superblock: Superblock) -> None:
        self.superblock = superblock
        self.end = superblock.blocks * superblock.block_size
        self.free = 0
        self.runs: int | None = 0
        self._volume = volume
        self._crc16 = _crc16(0xFFFF, superblock.uuid)
        self.descriptor = lru_cache(_REMEMBERED)(self._load_descriptor)
        self.bitmap = lru_cache(_REMEMBERED)(self._load_bitmap)

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(merged(self._spans(low, high)), low, high)

    def _spans(self, low: int, high: int) -> Iterator[Span]:
        info = self.superblock
        size, per_group = info.block_size, info.blocks_per_group
        first = max(0, low // size - info.first_data_block) // per_group
        for group in range(first, info.groups):
            start = info.start(group)
            if start * size >= high:
                return
            begin = max(0, low // size - start) // info.ratio
            stop = min(info.clusters(group), -(-(-(-high // size) - start) // info.ratio))
            last = (start + info.size(group)) * size
            for one, other in clear_runs(self.bitmap(group), begin, stop):
                yield (
                    (start + one * info.ratio) * size,
                    min(last, (start + other * info.ratio) * size),
                )

    def used(self, first: int, count: int) -> bool:
        """Whether all of these blocks, which lie inside the file system, are marked as used."""
        info = self.superblock
        while count > 0:
            group = (first - info.first_data_block) // info.blocks_per_group
            start = first - info.start(group)
            length = min(count, info.blocks_per_group - start)
            bits = start // info.ratio, -(-(start + length) // info.ratio)
            if not all_set(self.bitmap(group), *bits):
                return False
            first, count = first + length, count - length
        return True

    def inside(self, first: int, count: int) -> bool:
        """Whether all of these blocks lie inside the file system."""
        info = self.superblock
        return info.first_data_block <= first and first + count <= info.blocks

    def block(self, number: int, what: str) -> bytes:
        """A block's bytes."""
        size = self.superblock.block_size
        return exactly(self._volume, number * size, size, what)

    def _load_descriptor(self, group: int) -> Descriptor:
        info = self.superblock
        block, size = info.descriptor_block(group), info.descriptor_size
        at = block * info.block_size + group % info.per_block * size
        raw = exactly(self._volume, at, size, f"descriptor of block group {group}")
        self._require_checksum(group, raw)
        low = struct.unpack_from("<IIIHHHHIHHHH", raw)
        high = struct.unpack_from("<IIIHHHHIH", raw, 0x20) if size >= 64 else (0,) * 9
        flags = low[6] if info.checksums or info.read_only & GDT_CSUM else 0
        unused = low[10] | high[6] << 16 if flags or info.checksums else 0
        require(unused <= info.inodes_per_group, f"block group {group} counts its inodes wrongly")
        return Descriptor(
            low[0] | high[0] << 32,
            low[1] | high[1] << 32,
            low[2] | high[2] << 32,
            low[3] | high[3] << 16,
            bool(flags & _BLOCKS_UNINIT),
            0 if flags & _INODES_UNINIT else info.inodes_per_group - unused,
            low[8] | high[8] << 16,
            32 if size >= 64 else 16,
        )

    def _require_checksum(self, group: int, raw: bytes) -> None:
        info = self.superblock
        number, (told,) = struct.pack("<I", group), struct.unpack_from("<H", raw, 0x1E)
        if info.checksums:
            found = raw_crc(info.seed, number + raw[:0x1E] + b"\0\0" + raw[0x20:]) & 0xFFFF
        elif info.read_only & GDT_CSUM:
            found = _crc16(self._crc16, number + raw[:0x1E] + raw[0x20:])
        else:
            return
        require(found == told, f"the descriptor of block group {group} has a wrong checksum")

    def _load_bitmap(self, group: int) -> bytes:
        info, told = self.superblock, self.descriptor(group)
        if told.uninitialised:
            return self._computed_bitmap(group, told)
        require(self.inside(told.block_bitmap, 1), f"block group {group}'s bitmap lies outside")
        data = self.block(told.block_bitmap, f"bitmap of block group {group}")
        if info.checksums:
            length = info.blocks_per_group // info.ratio // 8
            found = raw_crc(info.seed, data[:length]) & (1 << told.checksum_bits) - 1
            words = f"the bitmap of block group {group} has a wrong checksum"
            require(found == told.checksum, words)
        return data

    def _computed_bitmap(self, group: int, told: Descriptor) -> bytes:
        """The bitmap that the kernel would write: the group's own metadata, as far as it is here."""
        info = self.superblock
        start, end = info.start(group), info.start(group) + info.size(group)
        used = 0
        for first, count in ((start, info.base(group)), *_places(told, info)):
            low, high = max(first, start) - start, min(first + count, end) - start
            if low < high:
                low, high = low // info.ratio, -(-high // info.ratio)
                used |= ((1 << (high - low)) - 1) << low
        return used.to_bytes(info.block_size, "little")

    def prove(self, effort: Effort) -> None:
        """Read every bitmap once, and then the inodes.  Raises ``KeptError`` for a contradiction.

        Where the effort ends before, the superblock's count is believed.
        """
        info = self.superblock
        size = info.block_size
        counted = info.free_blocks * size
        occupied = Occupied()
        for group in range(info.groups):
            if not effort.counts(_COST):
                self.free, self.runs = counted, None
                return
            told = self.descriptor(group)
            for first, count in _places(told, info):
                self._require_place(group, first, count)
                occupied.add(first, count)
            self._prove_group(group, told)
        for first, end in occupied.places():
            words = f"its bitmap calls metadata at block {first} free"
            require(self.used(first, end - first), words)
        if self.free != counted:  # the last cluster may stand out over the end
            words = f"its bitmaps have {self.free} free bytes, its superblock says {counted}"
            raise KeptError(words)
        if not info.checksums:
            ext_inodes.prove(self, effort)

    def _require_place(self, group: int, first: int, count: int) -> None:
        info = self.superblock
        words = f"metadata of block group {group} lies at block {first}, outside"
        require(self.inside(first, count), words)
        if not info.incompatible & FLEX_BG:
            start = info.start(group)
            own = start <= first and first + count <= start + info.size(group)
            require(own, f"metadata of block group {group} lies in another group")

    def _prove_group(self, group: int, told: Descriptor) -> None:
        info, bitmap = self.superblock, self.bitmap(group)
        count, runs = count_clear(bitmap, 0, info.clusters(group))
        if count != told.free:
            words = f"block group {group} has {count} free clusters, its descriptor says "
            raise KeptError(f"{words}{told.free}")
        base = -(-info.base(group) // info.ratio)
        require(all_set(bitmap, 0, base), f"the bitmap of block group {group} calls its base free")
        self.free += count * info.ratio * info.block_size
        self.runs = runs + (self.runs or 0)


def look(volume: Reader, effort: Effort) -> ExtMap:
    """The free space of an ext file system.  Raises ``KeptError``."""
    found = ExtMap(volume, ext_superblock.parse(volume))
    found.prove(effort)
    return found


def _places(told: Descriptor, info: Superblock) -> tuple[tuple[int, int], ...]:
    """First block and count of a group's bitmaps and inode table."""
    return (told.block_bitmap, 1), (told.inode_bitmap, 1), (told.inode_table, info.table_blocks)


def _crc16_step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_CRC16 = tuple(map(_crc16_step, range(256)))


def _crc16(state: int, data: bytes) -> int:
    """CRC-16 (polynomial 0x8005, reflected), which only uninit_bg without metadata_csum uses."""
    for value in data:
        state = state >> 8 ^ _CRC16[(state ^ value) & 0xFF]
    return state

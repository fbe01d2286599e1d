"""What libfsext does not look at: checksums of inodes, directories and extents, and the free blocks.

A structure whose checksum is wrong is not believed: the kernel refuses it too.  Of a file system without them
see ``blockmaps.py``.

    superblock, at 1024                              group descriptor
    0x00  4  inodes                                  0x00  4  block bitmap, low; 0x20 4 high
    0x5C  4  compatible features                     0x04  4  inode bitmap, low; 0x24 4 high
    0xCE  2  blocks reserved for descriptors
    0xE0  4  inode of the journal
    0x04  4  blocks, low; 0x150 4 high               0x08  4  inode table, low; 0x28 4 high
    0x08  4  reserved blocks, low; 0x154 4 high      0x0C  2  free clusters, low; 0x2C 2 high
                                                     0x0E  2  free inodes, low; 0x2E 2 high
    0x14  4  first data block                        (the high halves: descriptors of 64 bytes)
    0x18  4  log2(block) - 10
    0x1C  4  log2(cluster) - 10                      inode
    0x20  4  blocks a group                          0x64  4  generation
    0x28  4  inodes a group                          0x7C  2  checksum, low
    0x58  2  inode size                              0x80  2  bytes of the inode beyond 128 in use
    0x60  4  incompatible features                   0x82  2  checksum, high
    0x64  4  read-only compatible features
    0x68 16  UUID                                    checksum: CRC-32C, not inverted, started with
    0xFE  2  size of a group descriptor              that of the UUID or the stored seed, over
    0x104 4  first meta block group                  number, generation, inode with zeros in its place
    0x270 4  checksum seed

    checksums of blocks, started with the seed, number and generation of their inode
      directory block    its last 4 bytes; before them a name of no inode, of 12 bytes and type DE
      its index          behind the limit of its entries: 4 reserved, 4 checksum; over the entries in use
      extent block       behind the limit of its entries; over all before it
    checksum of a group descriptor: 0x1E  2  the low half; over the group's number and the descriptor
https://docs.kernel.org/filesystems/ext4/globals.html, …/dynamic.html
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.blockmaps import EXTENTS_FLAG, BlockMaps, Run, Zones, u32
from pipeline.tools.reader.volume import Pages

META_BG, EXTENTS, BITS_64, CSUM_SEED = 0x10, 0x40, 0x80, 0x2000  # incompatible
METADATA_CSUM = 0x400  # read-only compatible
HAS_JOURNAL = 0x4  # compatible
_DEEPEST = 5
_MAX_GROUPS = 1 << 17  # 16 TiB in groups of 128 MiB


class Inodes:
    """The inode tables and group descriptors of one ext file system."""

    def __init__(self, pages: Pages) -> None:
        block = pages.bytes_at(1024, 1024)
        self._pages = pages
        self._super = block
        self.block_size = 1024 << u32(block, 0x18)
        self._incompatible, read_only = struct.unpack_from("<II", block, 0x60)
        self._inode_size = int.from_bytes(block[0x58:0x5A], "little")
        self._per_group = max(1, u32(block, 0x28))
        wide = bool(self._incompatible & BITS_64)
        self._descriptor = max(32, int.from_bytes(block[0xFE:0x100], "little")) if wide else 32
        self._checked = bool(read_only & METADATA_CSUM)
        self._seed = _summed(0xFFFFFFFF, block[0x68:0x78])
        if self._incompatible & CSUM_SEED:
            self._seed = u32(block, 0x270)
        self._sound: set[int] = set()
        self._block_maps: BlockMaps | None = None
        if self._checked:
            self._require_sound_groups()

    def require_sound(self, entry: Any) -> None:
        """Raise ``UnableError`` when an entry's inode does not have the checksum that it says.

        Without checksums: when it says what cannot be right.
        """
        number = entry.inode_number
        if number in self._sound:
            return
        raw = self._raw(number)
        if not self._checked:
            self._maps().require_sound(number, raw)
        elif not self._fits(number, raw):
            raise UnableError(f"the checksum of inode {number} is wrong")
        else:
            self._require_sound_blocks(entry, raw)
        self._sound.add(number)

    def _raw(self, number: int) -> bytes:
        group, index = divmod(number - 1, self._per_group)
        table = _wide(self._group(group), 0x08, 0x28, 4)
        at = table * self.block_size + index * self._inode_size
        raw = self._pages.bytes_at(at, self._inode_size)
        if len(raw) < 128:
            raise UnableError(f"inode {number} lies behind the end")
        return raw

    def _maps(self) -> BlockMaps:
        """For a file system without checksums; its journal is not for files either."""
        if self._block_maps is None:
            found = BlockMaps(self._pages, self.block_size, u32(self._super, 0))
            tables = [*self._tables()]
            first, end = u32(self._super, 0x14), _wide(self._super, 4, 0x150, 4)
            found.set_zones(Zones(first, end, tables))
            if u32(self._super, 0x5C) & HAS_JOURNAL and (journal := u32(self._super, 0xE0)):
                tables += found.runs(journal, self._raw(journal))
                found.set_zones(Zones(first, end, tables))
            self._block_maps = found
        return self._block_maps

    def _tables(self) -> Iterator[Run]:
        """The blocks of superblocks, group descriptors, bitmaps and inode tables."""
        per_table = -(-self._per_group * self._inode_size // self.block_size)
        reserved = int.from_bytes(self._super[0xCE:0xD0], "little")
        described = -(-self._groups() * self._descriptor // self.block_size)
        for number in range(self._groups()):
            raw = self._group(number)
            block, inode, table = (_wide(raw, at, at + 0x20, 4) for at in (0, 4, 8))
            yield from ((block, 1), (inode, 1), (table, per_table))
            if self._has_super(number):
                start = u32(self._super, 0x14) + number * u32(self._super, 0x20)
                yield start, 1 if self._incompatible & META_BG else 1 + described + reserved

    def _require_sound_groups(self) -> None:
        for number in range(self._groups()):
            raw = self._group(number)[: self._descriptor]
            state = _summed(self._seed, struct.pack("<I", number))
            state = _summed(state, raw[:0x1E] + b"\0\0" + raw[0x20:])
            if state & 0xFFFF != int.from_bytes(raw[0x1E:0x20], "little"):
                raise UnableError(f"the checksum of group {number} is wrong")

    def _require_sound_blocks(self, entry: Any, raw: bytes) -> None:
        """The blocks of an inode that are no data: of its extents, and of a directory."""
        seed = _summed(self._seed, struct.pack("<I", entry.inode_number) + raw[0x64:0x68])
        if u32(raw, 0x20) & EXTENTS_FLAG:
            depth = int.from_bytes(raw[0x2E:0x30], "little")
            self._require_sound_tree(raw[0x28:0x64], depth, seed)
        if not stat.S_ISDIR(entry.file_mode):
            return
        for number in range(entry.number_of_extents):
            offset, length, _flags = entry.get_extent(number)
            for at in range(offset, offset + length, self.block_size):
                block = self._pages.bytes_at(at, self.block_size)
                if not _directory_fits(block, seed):
                    raise UnableError(f"the checksum of a directory's block at {at} is wrong")

    def _require_sound_tree(self, node: bytes, depth: int, seed: int) -> None:
        """An extent node: magic (2), entries (2), limit (2), depth (2), 4; entries of 12 bytes."""
        if depth == 0:
            return
        if depth > _DEEPEST:
            raise UnableError("its extents are too deep")
        for index in range(int.from_bytes(node[2:4], "little")):
            child = node[12 + 12 * index : 24 + 12 * index]
            place = u32(child, 4) | int.from_bytes(child[8:10], "little") << 32
            block = self._pages.bytes_at(place * self.block_size, self.block_size)
            end = 12 + 12 * int.from_bytes(block[4:6], "little")
            if len(block) < end + 4 or _summed(seed, block[:end]) != u32(block, end):
                raise UnableError(f"the checksum of the extents in block {place} is wrong")
            self._require_sound_tree(block, depth - 1, seed)

    def _fits(self, number: int, raw: bytes) -> bool:
        wide = len(raw) > 128 and int.from_bytes(raw[0x80:0x82], "little") >= 4
        cleared = raw[:0x7C] + b"\0\0" + raw[0x7E:]
        if wide:
            cleared = cleared[:0x82] + b"\0\0" + cleared[0x84:]
        state = _summed(self._seed, struct.pack("<I", number) + raw[0x64:0x68])
        state = _summed(state, cleared)
        stored = int.from_bytes(raw[0x7C:0x7E], "little")
        if wide:
            return state == stored | int.from_bytes(raw[0x82:0x84], "little") << 16
        return state & 0xFFFF == stored

    def free(self) -> dict[str, int]:
        """What statvfs(3) tells: bytes that everybody may still use, and inodes.

        Summed over the group descriptors, as the kernel does it when it mounts: the superblock's own count is
        not kept up while the file system is in use.
        With extents the kernel keeps 2 % of the clusters, at most 4,096, for itself.
        """
        block = self._super
        blocks, reserved = (_wide(block, low, high, 4) for low, high in ((4, 0x150), (8, 0x154)))
        ratio = 1 << max(0, u32(block, 0x1C) - u32(block, 0x18))
        held = min(blocks // ratio // 50, 4096) if self._incompatible & EXTENTS else 0
        clusters = sum(
            _wide(self._group(number), 0x0C, 0x2C, 2) for number in range(self._groups())
        )
        free = (clusters - held) * ratio - reserved
        inodes = sum(_wide(self._group(number), 0x0E, 0x2E, 2) for number in range(self._groups()))
        return {"free": max(0, free) * self.block_size, "free_inodes": inodes}

    def _groups(self) -> int:
        blocks = _wide(self._super, 4, 0x150, 4)
        groups = -(-(blocks - u32(self._super, 0x14)) // max(1, u32(self._super, 0x20)))
        if groups > _MAX_GROUPS:
            raise UnableError(f"it has {groups} groups")
        return groups

    def _group(self, number: int) -> bytes:
        """One group descriptor; with meta_bg, those of a meta group lie in its own first group."""
        per_block = self.block_size // self._descriptor
        at = (1024 // self.block_size + 1) * self.block_size + number * self._descriptor
        meta = number // per_block
        if self._incompatible & META_BG and meta >= u32(self._super, 0x104):
            first = meta * per_block
            start = u32(self._super, 0x14) + first * u32(self._super, 0x20)
            if first == 0:  # with blocks of 1 KiB the superblock is in block 1, in clusters of many
                start = 1024 // self.block_size
            at = (start + self._has_super(first)) * self.block_size
            at += number % per_block * self._descriptor
        return self._pages.bytes_at(at, self._descriptor).ljust(64, b"\0")

    def _has_super(self, group: int) -> bool:
        """Whether a copy of the superblock lies first: with sparse_super in few groups only."""
        if group <= 1 or not u32(self._super, 0x64) & 0x1:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def _directory_fits(block: bytes, seed: int) -> bool:
    """Whether a block of a directory has its checksum: a leaf, or an index of hashes.

    The kernel makes the index's root of the directory's first leaf, and leaves the marks of one at its end.
    """
    tail = block[-12:]
    leaf = tail[:4] == bytes(4) and tail[4:8] == b"\x0c\0\0\xde"
    if leaf and _summed(seed, block[:-12]) == u32(tail, 8):
        return True
    inner = len(block) > 64 and block[:4] == bytes(4)  # or the root, which begins with . and ..
    start = 8 if inner else 0x18 + block[0x1D]
    limit, count = (int.from_bytes(block[start + at : start + at + 2], "little") for at in (0, 2))
    end = start + 8 * limit
    if count > limit or end + 8 > len(block):
        return False
    state = _summed(seed, block[: start + 8 * count])
    return _summed(state, block[end : end + 4] + bytes(4)) == u32(block, end + 4)


def _summed(state: int, data: bytes) -> int:
    """CRC-32C as the kernel goes on with it: neither its start nor its end is inverted."""
    return int(google_crc32c.extend(state ^ 0xFFFFFFFF, data)) ^ 0xFFFFFFFF


def _wide(block: bytes, low: int, high: int, width: int) -> int:
    """A number in two halves; the high one is zero where the structure is too short for it."""
    return int.from_bytes(block[low : low + width], "little") | int.from_bytes(
        block[high : high + width], "little"
    ) << (8 * width)

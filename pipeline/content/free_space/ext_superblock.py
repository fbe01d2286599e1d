"""The superblock of ext2, ext3 and ext4, and what follows from it for every block group.

superblock, at byte 1024
   0 4 inodes             58 2 inode size         FE 2 bytes a descriptor
   4 4 blocks             5C 4 compatible        104 4 first meta block group
   C 4 free blocks        60 4 incompatible      150 4 blocks, high half
  14 4 first data block   64 4 read-only compat. 158 4 free blocks, high half
  18 4 log2(block) - 10   68 16 UUID             175 1 kind of checksum (1: CRC-32C)
  1C 4 log2(cluster) - 10 E0 4 journal's inode   24C 8 two groups with a backup (sparse_super2)
  20 4 blocks a group     CE 2 reserved          270 4 seed of checksums
  24 4 clusters a group        descriptor blocks 3FC 4 checksum of all before
  28 4 inodes a group
  3A 2 state (1: clean, 2: errors)

https://docs.kernel.org/filesystems/ext4/super.html, …/ext4/block_groups.html (sparse_super, meta_bg,
flex_bg), …/ext4/bigalloc.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.content.free_space.base import KeptError, exactly, require
from pipeline.formats.crc32c import crc32c
from pipeline.source import Reader

AT = 1024
MAX_GROUPS = 1 << 20  # 128 TiB in blocks of 4 KiB; what is kept in memory grows with it

RECOVER, META_BG, WIDE, FLEX_BG, CSUM_SEED = 0x4, 0x10, 0x80, 0x200, 0x2000
SPARSE_SUPER, GDT_CSUM, BIGALLOC, METADATA_CSUM = 0x1, 0x10, 0x200, 0x400
SPARSE_SUPER2 = 0x200

# All feature bits that this reader knows not to change the meaning of a block bitmap.
_COMPATIBLE = sum((0x1, 0x4, 0x8, 0x10, 0x20, SPARSE_SUPER2, 0x400, 0x800, 0x1000))
_INCOMPATIBLE = sum((
    0x2, 0x40, META_BG, WIDE, 0x100, FLEX_BG, 0x400, CSUM_SEED, 0x4000, 0x8000, 0x10000, 0x20000,
))  # fmt: skip
_READ_ONLY = sum((
    SPARSE_SUPER, 0x2, 0x4, 0x8, GDT_CSUM, 0x20, 0x40, 0x100, BIGALLOC, METADATA_CSUM,
    0x1000, 0x2000, 0x8000, 0x10000,
))  # fmt: skip


@dataclass(frozen=True)
class Superblock:
    """The numbers of one file system, found to fit each other and the volume."""

    block_size: int  # bytes
    ratio: int  # blocks a cluster: what one bit of a bitmap stands for
    blocks: int
    free_blocks: int
    first_data_block: int
    blocks_per_group: int
    inodes_per_group: int
    inode_size: int  # bytes
    descriptor_size: int  # bytes
    reserved_gdt: int  # blocks behind each copy of the descriptors
    first_meta_group: int
    backups: tuple[int, int]  # of sparse_super2
    compatible: int
    incompatible: int
    read_only: int
    uuid: bytes
    seed: int  # of CRC-32C

    @property
    def groups(self) -> int:
        """Block groups; the last one may be smaller."""
        return -(-(self.blocks - self.first_data_block) // self.blocks_per_group)

    @property
    def checksums(self) -> bool:
        """Whether bitmaps have a checksum."""
        return bool(self.read_only & METADATA_CSUM)

    @property
    def per_block(self) -> int:
        """Descriptors a block."""
        return self.block_size // self.descriptor_size

    @property
    def own_block(self) -> int:
        """Where the superblock itself lies."""
        return AT // self.block_size

    def start(self, group: int) -> int:
        """The first block of a group."""
        return self.first_data_block + group * self.blocks_per_group

    def size(self, group: int) -> int:
        """Blocks of a group; the last one has fewer."""
        return min(self.blocks_per_group, self.blocks - self.start(group))

    def clusters(self, group: int) -> int:
        """Bits of a group's bitmap that mean something."""
        return -(-self.size(group) // self.ratio)

    @property
    def table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        return -(-self.inodes_per_group * self.inode_size // self.block_size)

    def has_superblock(self, group: int) -> bool:
        """Whether a copy of the superblock lies in a group."""
        if group == 0:
            return True
        if self.compatible & SPARSE_SUPER2:
            return group in self.backups
        if not self.read_only & SPARSE_SUPER or group == 1:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))

    def _in_meta_group(self, group: int) -> bool:
        return bool(self.incompatible & META_BG) and group // self.per_block >= (
            self.first_meta_group
        )

    def descriptor_block(self, group: int) -> int:
        """The block that holds a group's descriptor."""
        number = group // self.per_block
        if not self._in_meta_group(group):
            return self.own_block + 1 + number
        first = number * self.per_block
        return self.start(first) + self._before(first) + self.has_superblock(first)

    def base(self, group: int) -> int:
        """Blocks that the copies of superblock and descriptors take at a group's begin."""
        copy = self.has_superblock(group)
        count = self._before(group) + copy
        if self._in_meta_group(group):
            count += group % self.per_block in (0, 1, self.per_block - 1)
        elif copy:
            every = -(-self.groups // self.per_block)
            meta = bool(self.incompatible & META_BG)
            count += (self.first_meta_group if meta else every) + self.reserved_gdt
        return count

    def _before(self, group: int) -> int:
        """Blocks before a group's superblock: with blocks of 1 KiB and bigalloc there is block 0."""
        return 0 if group else self.own_block - self.first_data_block


def parse(volume: Reader) -> Superblock:
    """Read and judge the superblock.  Raises ``KeptError``."""
    raw = exactly(volume, AT, 1024, "superblock")
    number = struct.unpack_from("<8I", raw, 0)
    compatible, incompatible, read_only = struct.unpack_from("<3I", raw, 0x5C)
    _require_known(raw, compatible, incompatible, read_only)
    uuid = raw[0x68:0x78]
    seed = raw_crc(0xFFFFFFFF, uuid)
    if incompatible & CSUM_SEED:
        (seed,) = struct.unpack_from("<I", raw, 0x270)
    wide = bool(incompatible & WIDE)
    high = struct.unpack_from("<I4xI", raw, 0x150) if wide else (0, 0)
    require(number[6] <= 6, "its block size is not possible")
    block_size = 1024 << number[6]
    bigalloc = bool(read_only & BIGALLOC)
    shift = number[7] - number[6] if bigalloc else 0
    require(0 <= shift <= 16, "its cluster size is not possible")
    found = Superblock(
        block_size=block_size,
        ratio=1 << shift,
        blocks=number[1] | high[0] << 32,
        free_blocks=number[3] | high[1] << 32,
        first_data_block=number[5],
        blocks_per_group=struct.unpack_from("<I", raw, 0x20)[0],
        inodes_per_group=struct.unpack_from("<I", raw, 0x28)[0],
        inode_size=struct.unpack_from("<H", raw, 0x58)[0] if raw[0x4C] else 128,
        descriptor_size=struct.unpack_from("<H", raw, 0xFE)[0] if wide else 32,
        reserved_gdt=struct.unpack_from("<H", raw, 0xCE)[0],
        first_meta_group=struct.unpack_from("<I", raw, 0x104)[0],
        backups=struct.unpack_from("<2I", raw, 0x24C),
        compatible=compatible,
        incompatible=incompatible,
        read_only=read_only,
        uuid=uuid,
        seed=seed,
    )
    return _fitting(found, volume.size, inodes=number[0], clusters=raw[0x24:0x28])


def raw_crc(state: int, data: bytes) -> int:
    """CRC-32C as ext4 keeps it: neither begun nor ended by an inversion."""
    return crc32c(data, state ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _require_known(raw: bytes, compatible: int, incompatible: int, read_only: int) -> None:
    if read_only & METADATA_CSUM:
        require(raw[0x175] == 1, "its checksums are of an unknown kind")
        (told,) = struct.unpack_from("<I", raw, 0x3FC)
        require(raw_crc(0xFFFFFFFF, raw[:0x3FC]) == told, "its superblock has a wrong checksum")
    require(not incompatible & RECOVER, "its journal holds changes that were not written back")
    (state,) = struct.unpack_from("<H", raw, 0x3A)
    require(not state & 2, "errors were seen in it")
    require(bool(state & 1), "it was not unmounted")
    for mask, known, kind in (
        (compatible, _COMPATIBLE, "compatible"),
        (incompatible, _INCOMPATIBLE, "incompatible"),
        (read_only, _READ_ONLY, "read-only compatible"),
    ):
        require(not mask & ~known, f"it has unknown {kind} features {mask & ~known:#x}")


def _fitting(found: Superblock, volume_size: int, *, inodes: int, clusters: bytes) -> Superblock:
    """The superblock; raises ``KeptError`` when its numbers contradict."""
    size, per_group = found.block_size, found.blocks_per_group
    first = int(size == 1024 and found.ratio == 1)
    require(found.first_data_block == first, "its first data block is not possible")
    require(
        0 < per_group <= 8 * size * found.ratio and per_group % (8 * found.ratio) == 0,
        "its number of blocks a group is not possible",
    )
    told = int.from_bytes(clusters, "little")
    if found.read_only & BIGALLOC:
        require(told * found.ratio == per_group, "its clusters and blocks a group contradict")
    require(found.blocks > found.first_data_block, "it says that it has no blocks")
    if found.blocks * size > volume_size:
        words = f"it says that it has {found.blocks * size} bytes, in a place of {volume_size}"
        raise KeptError(words)
    wide = found.descriptor_size
    require(32 <= wide <= min(size, 1024) and not wide & (wide - 1), "its descriptors' size lies")
    inode = found.inode_size
    require(128 <= inode <= size and not inode & (inode - 1), "its inodes' size is not possible")
    words = f"it has {found.groups} block groups, more than are looked at"
    require(found.groups <= MAX_GROUPS, words)
    require(0 < found.inodes_per_group <= 8 * size, "its number of inodes a group is not possible")
    require(found.inodes_per_group * found.groups == inodes, "its numbers of inodes contradict")
    return found


def _is_power(number: int, base: int) -> bool:
    power = base
    while power < number:
        power *= base
    return power == number

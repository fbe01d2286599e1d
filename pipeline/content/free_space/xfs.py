"""Free extents of XFS: one B+tree of them by block in every allocation group, another by size.

superblock, at byte 0, big endian        AGF, the second sector of an allocation group
   0 4 "XFSB"         78 1 log2(block)      0 4 "XAGF"           1C 4 levels of the tree by block
   4 4 block size     7C 1 log2(AG size)    8 4 its own number   20 4 levels of the tree by size
   8 8 blocks         7E 1 being made       C 4 blocks           30 4 blocks of the free list
  20 16 UUID          90 8 free blocks     10 4 root by block    34 4 free blocks
  30 8 log's block    C8 4 features2       14 4 root by size     38 4 longest free extent
  54 4 AG blocks      D0 4 compatible                            3C 4 blocks of the trees
  58 4 AGs            D4 4 read-only compat.                     40 16 UUID
  60 4 log's blocks   D8 4 incompatible                          50 4 blocks of the reverse map
  64 2 version, bits  E0 4 CRC-32C                               D8 4 CRC-32C
  66 2 sector size    F8 16 UUID of metadata

XFS Algorithms & Data Structures, chapters 11 to 13:
https://git.kernel.org/pub/scm/fs/xfs/xfs-documentation.git (design/XFS_Filesystem_Structure)

Believed is an allocation group whose two trees hold the same extents, as many blocks as the AGF says,
and none of its headers, its trees, its free list or the log; and all of them together must have what
the superblock says.  A log that has something to replay makes all of it doubtful.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.content import xfs_log
from pipeline.content.free_space import xfs_tree
from pipeline.content.free_space.base import Effort, Span, clipped, exactly, merged, require
from pipeline.content.free_space.xfs_tree import Geometry
from pipeline.formats.crc32c import crc32c
from pipeline.source import Reader

_UNKNOWN_BITS = 0x4200  # of the version: shared by machines, names in ASCII whatever their case
_FEATURES2 = 0x38A  # lazy counters, attributes of version 2, long project ids, checksums, types
_READ_ONLY = 0x00F  # free inode tree, reverse map, reference counts, inode counts
_INCOMPATIBLE = 0x0EF
_NEEDS_REPAIR = 0x10
_ROOTS = {0x2: 24, 0x4: 88}  # where an AGF tells the root of a tree that a read-only feature adds
_PAIR = struct.Struct(">II")
_SMALLEST_GROUP = 1 << 20  # bytes; mkfs makes none below 16 MiB


@dataclass(frozen=True)
class Group:
    """An allocation group's own header, in blocks of the group."""

    number: int
    blocks: int
    root: int  # of the tree by block
    levels: int


class XfsMap:
    """``FreeMap`` of an XFS."""

    def __init__(self, volume: Reader, geometry: Geometry) -> None:
        self.geometry = geometry
        self.end = geometry.blocks * geometry.block_size
        self.free = 0
        self.runs: int | None = 0
        self._volume = volume

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(merged(self._spans(low, high)), low, high)

    def _spans(self, low: int, high: int) -> Iterator[Span]:
        info = self.geometry
        size = info.block_size
        per_group = info.group_blocks * size
        for number in range(max(0, low) // per_group, min(info.groups, -(-high // per_group))):
            group = self.group(number)
            start = number * per_group
            first = max(0, low - start) // size
            last = min(group.blocks, -(-(high - start) // size))
            tree = xfs_tree.Tree(self._volume, info, number, "block", group.blocks)
            for at, count in tree.extents(group.root, group.levels, first, last):
                yield start + at * size, start + (at + count) * size

    def group(self, number: int) -> Group:
        """Read an allocation group's header.  Raises ``KeptError``."""
        return _group(self._header(number), self.geometry, number)

    def _header(self, number: int) -> bytes:
        info = self.geometry
        at = number * info.group_blocks * info.block_size + info.sector_size
        return exactly(self._volume, at, info.sector_size, f"AGF of group {number}")

    def prove(self, free_blocks: int, effort: Effort) -> None:
        """Read every header once, and the trees.  Raises ``KeptError`` for the first contradiction."""
        counted = 0
        for number in range(self.geometry.groups):
            counted += self._prove_group(number, effort)
        words = f"its groups count {counted} free blocks, its superblock says {free_blocks}"
        require(counted == free_blocks, words)

    def _prove_group(self, number: int, effort: Effort) -> int:
        """Free blocks of the group as the superblock counts them: with free list and trees."""
        info, raw = self.geometry, self._header(number)
        group = _group(raw, info, number)
        by_size, levels = struct.unpack_from(">I8xI", raw, 20)
        first, last, listed, free, longest, trees = struct.unpack_from(">6I", raw, 40)
        blocks = xfs_tree.Tree(self._volume, info, number, "block", group.blocks)
        sizes = xfs_tree.Tree(self._volume, info, number, "size", group.blocks)
        one = _Sum(blocks.extents(group.root, group.levels, 0, group.blocks), effort)
        other = _Sum(sizes.extents(by_size, levels, 0, group.blocks), effort)
        if not one.whole or not other.whole:
            self.free, self.runs = self.free + free * info.block_size, None
            return int(free + listed + trees)
        require(one == other, f"the two trees of group {number} hold other extents")
        require(one.blocks == free, f"group {number} has {one.blocks} free blocks, not {free}")
        require(one.longest == longest, f"the longest free extent of group {number} is not so long")
        reserved = self._reserved(raw, number, first, last, listed)
        reserved += [(at, at + 1) for tree in (blocks, sizes) for at in tree.visited]
        self._require_apart(group, sorted(reserved))
        self.free += one.blocks * info.block_size
        self.runs = self.runs + one.count if self.runs is not None else None
        return int(free + listed + trees)

    def _reserved(self, raw: bytes, number: int, first: int, last: int, listed: int) -> list[Span]:
        """Blocks of the group that are metadata in any case."""
        info = self.geometry
        found = [(0, -(-4 * info.sector_size // info.block_size))]
        group, at = divmod(info.log_start, info.group_stride)
        if group == number:
            found.append((at, at + info.log_blocks))
        for feature, place in _ROOTS.items():
            if info.read_only & feature:
                (root,) = struct.unpack_from(">I", raw, place)
                found.append((root, root + 1))
        at = number * info.group_blocks * info.block_size + 3 * info.sector_size
        head = 36 if info.version == 5 else 0
        table = exactly(self._volume, at, info.sector_size, "free list")
        words = struct.unpack(f">{(len(table) - head) // 4}I", table[head:])
        if info.version == 5:
            magic = table[:8] == b"XAFL" + struct.pack(">I", number)
            require(magic and _summed(table, 32), f"the free list of group {number} is damaged")
        require(first < len(words) and last < len(words), "a free list begins outside of itself")
        require(listed <= len(words), "a free list is longer than its place")
        spare = [words[(first + index) % len(words)] for index in range(listed)]
        return found + [(block, block + 1) for block in spare]

    def _require_apart(self, group: Group, reserved: list[Span]) -> None:
        """Raise ``KeptError`` when a free extent touches one of these ascending spans of blocks."""
        tree = xfs_tree.Tree(self._volume, self.geometry, group.number, "block", group.blocks)
        index = 0
        for at, count in tree.extents(group.root, group.levels, 0, group.blocks):
            while index < len(reserved) and reserved[index][1] <= at:
                index += 1
            apart = index == len(reserved) or reserved[index][0] >= at + count
            require(
                apart, f"group {group.number} calls metadata in blocks {at} to {at + count} free"
            )


def look(volume: Reader, effort: Effort) -> XfsMap:
    """The free space of an XFS.  Raises ``KeptError``."""
    geometry, free_blocks = _superblock(volume)
    log = xfs_log.state(volume.read)
    require(log == "clean", xfs_log.NOT_CLEAN.get(log, ""))
    found = XfsMap(volume, geometry)
    found.prove(free_blocks, effort)
    return found


def _superblock(volume: Reader) -> tuple[Geometry, int]:
    raw = exactly(volume, 0, 512, "superblock")
    require(raw[:4] == b"XFSB", "its superblock has no magic number")
    bits, sector = struct.unpack_from(">HH", raw, 100)
    require(sector >= 512 and not sector & (sector - 1), "its sector size is not possible")
    raw = exactly(volume, 0, sector, "superblock")
    version = bits & 0xF
    _require_known(raw, version, bits)
    size, blocks = struct.unpack_from(">IQ", raw, 4)
    (log_start,) = struct.unpack_from(">Q", raw, 48)
    group_blocks, groups, _, log_blocks = struct.unpack_from(">4I", raw, 84)
    read_only, incompatible = struct.unpack_from(">2I", raw, 212) if version == 5 else (0, 0)
    uuid = raw[248:264] if incompatible & 0x4 else raw[32:48]
    require(512 <= size <= 65536 and size == 1 << raw[120], "its block size is not possible")
    stride = 1 << raw[124]
    require(sector <= size and 1 <= group_blocks <= stride, "its group size is not possible")
    require(stride >> 1 < group_blocks, "its group size contradicts")
    require(group_blocks * size >= _SMALLEST_GROUP, "its groups are smaller than mkfs makes them")
    require(groups == -(-blocks // group_blocks), "its number of groups contradicts its size")
    words = f"it says that it has {blocks * size} bytes, in a place of {volume.size}"
    require(blocks * size <= volume.size, words)
    require(log_start != 0, "its log lies on another device")
    geometry = Geometry(
        version,
        size,
        sector,
        blocks,
        group_blocks,
        stride,
        groups,
        log_start,
        log_blocks,
        read_only,
        uuid,
    )
    group, at = divmod(log_start, stride)
    inside = group < groups and 1 <= log_blocks <= group_blocks - at
    require(inside, "its log lies outside")
    (free_blocks,) = struct.unpack_from(">Q", raw, 144)
    return geometry, free_blocks


def _require_known(raw: bytes, version: int, bits: int) -> None:
    require(version in (4, 5), f"it has version {version}, which is not looked into")
    unknown = bits & _UNKNOWN_BITS
    require(not unknown, f"it has unknown version bits {unknown:#x}")
    require(raw[126] == 0, "its making was not finished")
    (features,) = struct.unpack_from(">I", raw, 200)
    unknown = features & ~_FEATURES2
    require(not unknown, f"it has unknown features {unknown:#x}")
    if version == 4:
        return
    require(_summed(raw, 224), "its superblock has a wrong checksum")
    compatible, read_only, incompatible = struct.unpack_from(">3I", raw, 208)
    require(not incompatible & _NEEDS_REPAIR, "it is marked as in need of repair")
    for mask, known, kind in (
        (compatible, 0, "compatible"),
        (read_only, _READ_ONLY, "read-only compatible"),
        (incompatible, _INCOMPATIBLE, "incompatible"),
    ):
        require(not mask & ~known, f"it has unknown {kind} features {mask & ~known:#x}")


def _group(raw: bytes, info: Geometry, number: int) -> Group:
    blocks = min(info.group_blocks, info.blocks - number * info.group_blocks)
    words = f"the header of group {number}"
    require(raw[:4] == b"XAGF", f"{words} has no magic number")
    if info.version == 5:
        require(_summed(raw, 216), f"{words} has a wrong checksum")
        require(raw[64:80] == info.uuid, f"{words} belongs to another file system")
    own, length, root, by_size = struct.unpack_from(">4I", raw, 8)
    levels, other = struct.unpack_from(">2I", raw, 28)
    require((own, length) == (number, blocks), f"{words} is another group's")
    require(1 <= root < blocks and 1 <= by_size < blocks, f"a tree of group {number} lies outside")
    most = xfs_tree.MAX_LEVELS
    require(1 <= levels <= most and 1 <= other <= most, f"a tree of group {number} is too deep")
    return Group(number, blocks, root, levels)


def _summed(raw: bytes, at: int) -> bool:
    (told,) = struct.unpack_from("<I", raw, at)
    return crc32c(raw[:at] + bytes(4) + raw[at + 4 :]) == int(told)


class _Sum:
    """What two lists of the same extents have in common, in whatever order they come."""

    def __init__(self, extents: Iterable[xfs_tree.Extent], effort: Effort) -> None:
        """Ends where the effort does, and is not ``whole`` then."""
        self.blocks = self.count = self.longest = self._mixed = 0
        self.whole = True
        for at, count in extents:
            if not effort.allows(1):
                self.whole = False
                return
            self.blocks += count
            self.count += 1
            self.longest = max(self.longest, count)
            self._mixed += hash(_PAIR.pack(at, count))  # of bytes: that of a tuple is too even

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sum) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

"""Every block that an inode of an ext file system claims must be marked as used.

A bitmap without a checksum may have been damaged so that its count is still right; then the inodes are
the second witness.  Only those are read that the inode bitmap calls used.

inode                              extent tree, in i_block and in blocks
   0 2 mode                          header   0 2 F30A   2 2 entries   6 2 depth
  14 4 deletion time                 leaf     4 2 length (above 8000h: not written yet)
  1C 4 size in sectors                        6 2 high half of the start   8 4 start
  20 4 flags                         node     4 4 lower block   8 2 its high half
  28 60 i_block: 12 blocks, then blocks of pointers, once, twice, three times indirect
  68 4 block of attributes (76 2: its high half)

https://docs.kernel.org/filesystems/ext4/inodes.html, …/ext4/ifork.html
"""

from __future__ import annotations

import itertools
import re
import stat
import struct
from collections.abc import Iterable, Iterator
from typing import Protocol

from pipeline.content.free_space.base import Effort, KeptError, require
from pipeline.content.free_space.ext_superblock import Superblock
from pipeline.formats.tables import integers

_EXTENTS, _INLINE_DATA = 0x80000, 0x10000000
_MAX_DEPTH = 5
_HELD = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, 0)  # 0: the inode of bad blocks

MAX_CLAIMS = 1 << 24  # runs of blocks, of all inodes together: a minute
_COST = 8  # of a claim that is looked up, as ``Effort`` counts
_SOME = re.compile(rb"(?s)[^\0]")

Run = tuple[int, int]  # first block, count


class Descriptor(Protocol):
    """Where a group's inodes lie."""

    @property
    def inode_bitmap(self) -> int: ...  # noqa: D102
    @property
    def inode_table(self) -> int: ...  # noqa: D102
    @property
    def inodes_used(self) -> int: ...  # noqa: D102


class Blocks(Protocol):
    """The file system, as ``ext.ExtMap`` is one."""

    superblock: Superblock

    def descriptor(self, group: int) -> Descriptor: ...  # noqa: D102
    def used(self, first: int, count: int) -> bool: ...  # noqa: D102
    def inside(self, first: int, count: int) -> bool: ...  # noqa: D102
    def block(self, number: int, what: str) -> bytes: ...  # noqa: D102


def prove(blocks: Blocks, effort: Effort) -> None:
    """Raises ``KeptError`` when an inode claims a block that is not marked as used."""
    claims = 0
    for number, inode in _inodes(blocks, effort):
        for first, count in _claims(blocks, inode):
            if not effort.allows(_COST):
                return
            if not blocks.inside(first, count):
                raise KeptError(f"inode {number} claims block {first}, outside of it")
            if not blocks.used(first, count):
                raise KeptError(f"inode {number} claims block {first}, which the bitmap calls free")
            claims += 1
            require(claims <= MAX_CLAIMS, "its inodes claim more than is looked up")


def _inodes(blocks: Blocks, effort: Effort) -> Iterator[tuple[int, bytes]]:
    """The inodes that are in use, with their numbers."""
    info = blocks.superblock
    size, per_block = info.inode_size, info.block_size // info.inode_size
    for group in range(info.groups):
        told = blocks.descriptor(group)
        if told.inodes_used == 0:
            continue
        if not effort.allows(_COST):
            return
        bitmap = blocks.block(told.inode_bitmap, "inode bitmap")
        used = _set_bits(bitmap, told.inodes_used)
        for at, indexes in itertools.groupby(used, lambda index: index // per_block):
            table = blocks.block(told.inode_table + at, "inode table")
            for index in indexes:
                begin = index % per_block * size
                yield group * info.inodes_per_group + index + 1, table[begin : begin + size]


def _set_bits(bitmap: bytes, count: int) -> Iterator[int]:
    """The numbers, below ``count``, of the bits that are set."""
    for match in _SOME.finditer(bitmap, 0, -(-count // 8)):
        value, first = match[0][0], match.start() * 8
        for index in range(first, min(first + 8, count)):
            if value >> index - first & 1:
                yield index


def _claims(blocks: Blocks, inode: bytes) -> Iterator[Run]:
    attributes = struct.unpack_from("<I", inode, 0x68)[0]
    if blocks.superblock.descriptor_size >= 64:
        attributes |= struct.unpack_from("<H", inode, 0x76)[0] << 32
    if attributes:
        yield attributes, 1
    mode, (flags,) = struct.unpack_from("<H", inode)[0], struct.unpack_from("<I", inode, 0x20)
    if stat.S_IFMT(mode) not in _HELD or flags & _INLINE_DATA:
        return
    if stat.S_ISLNK(mode) and not flags & _EXTENTS and _is_short_link(inode):
        return
    body = inode[0x28:0x64]
    if flags & _EXTENTS:
        yield from _extents(blocks, body, None)
        return
    numbers = struct.unpack("<15I", body)
    yield from ((number, 1) for number in numbers[:12] if number)
    for depth, number in enumerate(numbers[12:], 1):
        if number:
            yield from _indirect(blocks, number, depth)


def _is_short_link(inode: bytes) -> bool:
    """A link's target lies in the inode itself up to 59 bytes."""
    return bool(struct.unpack_from("<I", inode, 4)[0] < 60)


def _extents(blocks: Blocks, raw: bytes, expected: int | None) -> Iterator[Run]:
    magic, entries, most, depth = struct.unpack_from("<4H", raw)
    require(magic == 0xF30A and entries <= most, "an extent tree has no header")
    require(12 + 12 * entries <= len(raw), "an extent tree has too many entries")
    require(depth <= _MAX_DEPTH, "an extent tree is too deep")
    require(expected in (None, depth), "an extent tree's levels contradict")
    body = raw[12 : 12 + 12 * entries]
    if depth == 0:
        for length, high, low in struct.iter_unpack("<4xHHI", body):
            yield low | high << 32, length if length <= 0x8000 else length - 0x8000
        return
    for low, high in struct.iter_unpack("<4xIH2x", body):
        child = low | high << 32
        yield child, 1
        require(blocks.inside(child, 1), "an extent tree leads outside")
        yield from _extents(blocks, blocks.block(child, "extent tree"), depth - 1)


def _indirect(blocks: Blocks, number: int, depth: int) -> Iterator[Run]:
    yield number, 1
    require(blocks.inside(number, 1), "a block of pointers lies outside")
    pointers = integers(blocks.block(number, "block of pointers"), "I", "little")
    if depth == 1:
        yield from _runs(pointers)
        return
    for pointer in pointers:
        if pointer:
            yield from _indirect(blocks, pointer, depth - 1)


def _runs(pointers: Iterable[int]) -> Iterator[Run]:
    first = count = 0
    for pointer in pointers:
        if count and pointer == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = pointer, 1 if pointer else 0
    if count:
        yield first, count

"""The B+trees of free extents in an XFS allocation group.

block, big endian                                leaf     start 4, count 4, …
   0 4 "ABTB"/"ABTC" (version 5: AB3B, AB3C)     node     keys as a leaf's records, from the end of
   4 2 level, 0: leaf   6 2 records                       the head on; 4 bytes a child, from the place
   8 4 left, right neighbour                              on where the most keys would end
  version 5: 10 8 own place in sectors of 512, 20 16 UUID, 30 4 group, 34 4 CRC-32C

XFS Algorithms & Data Structures, chapter "Allocation Groups", section "AG Free Space B+Trees".

Levels must fall and extents rise, so that a tree in which a child comes twice ends at once.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.content.free_space.base import exactly, require
from pipeline.formats.crc32c import crc32c
from pipeline.source import Reader

MAX_LEVELS = 9
_HEAD = {4: 16, 5: 56}  # bytes, by the version
_MAGIC = {
    (4, "block"): b"ABTB",
    (4, "size"): b"ABTC",
    (5, "block"): b"AB3B",
    (5, "size"): b"AB3C",
}

Extent = tuple[int, int]  # first block of the group, count


@dataclass(frozen=True)
class Geometry:
    """The numbers of one XFS, found to fit each other and the volume."""

    version: int
    block_size: int  # bytes
    sector_size: int  # bytes
    blocks: int
    group_blocks: int
    group_stride: int  # blocks from one group to the next in the numbers of blocks
    groups: int
    log_start: int  # number of a block
    log_blocks: int
    read_only: int  # features
    uuid: bytes  # in metadata


class Tree:
    """One of the two trees of a group."""

    def __init__(
        self,
        volume: Reader,
        info: Geometry,
        group: int,
        order: Literal["block", "size"],
        blocks: int,
    ) -> None:
        """``blocks``: of the group."""
        self._volume = volume
        self._info = info
        self._group = group
        self._order, self._by_block = order, order == "block"
        self._blocks = blocks
        self._head = _HEAD[info.version]
        self._last: tuple[int, int]  # seen last: by block where it lies, by size count and start
        self.visited = array("I")  # the tree's own blocks

    def extents(self, root: int, levels: int, low: int, high: int) -> Iterator[Extent]:
        """Extents in the tree's order; of a tree by block those that touch [low, high).

        Raises ``KeptError`` for anything that cannot be in such a tree.
        """
        self._last = (0, 0)
        return self._walk(root, levels - 1, low, high)

    def _walk(
        self, block: int, level: int, low: int, high: int, key: Extent | None = None
    ) -> Iterator[Extent]:
        """``key``: what the node above says that this block begins with."""
        raw, count = self._block(block, level)
        head = self._head
        if key is not None:
            own = struct.unpack_from(">II", raw, head)
            same = own[0] == key[0] and (self._by_block or own == key)
            require(same, f"a node of group {self._group} tells another begin of its child")
        pairs = struct.iter_unpack(">II", raw[head : head + 8 * count])
        if level == 0:
            for start, length in pairs:
                yield from self._record(start, length, low, high)
            return
        most = (len(raw) - head) // 12
        require(1 <= count <= most, f"a tree of group {self._group} has a node without children")
        keys = [*pairs]
        ends = [*(start for start, _ in keys[1:]), self._blocks]
        children = struct.unpack_from(f">{count}I", raw, head + 8 * most)
        for first, end, child in zip(keys, ends, children, strict=True):
            if self._by_block and (end <= low or first[0] >= high):
                continue
            yield from self._walk(child, level - 1, low, high, first)

    def _record(self, start: int, count: int, low: int, high: int) -> Iterator[Extent]:
        words = f"the tree by {self._order} of group {self._group}"
        require(count >= 1 and start + count <= self._blocks, f"{words} leads outside")
        if self._by_block:
            require(start >= self._last[1], f"{words} is not in order")
            self._last = (start, start + count)
            if low < start + count and start < high:
                yield start, count
            return
        require((count, start) > self._last, f"{words} is not in order")
        self._last = (count, start)
        yield start, count

    def _block(self, block: int, level: int) -> tuple[bytes, int]:
        info, words = self._info, f"a tree of group {self._group}"
        require(1 <= block < self._blocks, f"{words} leads outside")
        at = (self._group * info.group_blocks + block) * info.block_size
        raw = exactly(self._volume, at, info.block_size, "tree of free space")
        magic, own_level, count = struct.unpack_from(">4sHH", raw)
        require(magic == _MAGIC[info.version, self._order], f"{words} has a wrong magic number")
        require(own_level == level, f"the levels of {words} contradict")
        require(8 * count <= len(raw) - self._head, f"{words} has too many records")
        if info.version == 5:
            place, uuid, owner = struct.unpack_from(">Q8x16sI", raw, 16)
            (told,) = struct.unpack_from("<I", raw, 52)
            require(crc32c(raw[:52] + bytes(4) + raw[56:]) == told, f"{words} has a wrong checksum")
            mine = at, info.uuid, self._group
            require((place * 512, uuid, owner) == mine, f"{words} holds a block of another place")
        self.visited.append(block)
        return raw, count

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
from pipeline.formats.tables import integers
from pipeline.source import Reader

MAX_LEVELS = 9
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
        self._order = order
        self._blocks = blocks
        self._head = 56 if info.version == 5 else 16
        self._last = (0, 0)  # what was seen last: by block where it lies, by size count and start
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
            same = own[0] == key[0] and (self._order == "block" or own[1] == key[1])
            require(same, f"a node of group {self._group} tells another begin of its child")
        if level == 0:
            records = integers(raw[head : head + 8 * count], "I", "big")
            for at in range(0, 2 * count, 2):
                yield from self._record(records[at], records[at + 1], low, high)
            return
        most = (len(raw) - head) // 12
        require(0 < count <= most, f"a tree of group {self._group} has a node without children")
        keys = integers(raw[head : head + 8 * count], "I", "big")
        children = integers(raw[head + 8 * most : head + 8 * most + 4 * count], "I", "big")
        for index, child in enumerate(children):
            if self._order == "block":
                behind = index + 1 < count and keys[2 * index + 2] <= low
                if behind or keys[2 * index] >= high:
                    continue
            key = keys[2 * index], keys[2 * index + 1]
            yield from self._walk(child, level - 1, low, high, key)

    def _record(self, start: int, count: int, low: int, high: int) -> Iterator[Extent]:
        words = f"the tree by {self._order} of group {self._group}"
        require(count > 0 and start + count <= self._blocks, f"{words} leads outside")
        if self._order == "block":
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
        require(0 < block < self._blocks, f"{words} leads outside")
        number = self._group * info.group_blocks + block
        raw = exactly(self._volume, number * info.block_size, info.block_size, "tree of free space")
        magic, own_level, count = struct.unpack_from(">4sHH", raw)
        require(magic == _MAGIC[info.version, self._order], f"{words} has a wrong magic number")
        require(own_level == level, f"the levels of {words} contradict")
        require(count <= (len(raw) - self._head) // 8, f"{words} has too many records")
        if info.version == 5:
            place, uuid, owner = struct.unpack_from(">Q8x16sI", raw, 16)
            (told,) = struct.unpack_from("<I", raw, 52)
            require(crc32c(raw[:52] + bytes(4) + raw[56:]) == told, f"{words} has a wrong checksum")
            mine = number * (info.block_size // 512), info.uuid, self._group
            require((place, uuid, owner) == mine, f"{words} holds a block of another place")
        self.visited.append(block)
        return raw, count

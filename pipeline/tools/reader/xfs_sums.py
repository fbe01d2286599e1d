"""Checksums of XFS version 5, which libfsxfs does not look at: of inodes, and of directories' blocks.

A structure whose checksum is wrong is not believed: the kernel refuses it too.  It reads inodes by clusters,
and refuses all of one in which an inode has no magic, another version, or a next unlinked one that cannot be.

    superblock, big-endian                          structure           magic          checksum at
      4  4  block size       124  1  log2(blocks a  inode               "IN"             100
     84  4  blocks a group           group)         directory's data    XDB3, XDD3, XDF3   4
    104  2  inode size       192  1  log2(blocks a  its index           8: 3DF1, 3DFF,    12
    123  1  log2(inodes a            directory's                           3EBE
            block)                   block)
    180  4  alignment of inodes, in blocks
    an inode: 4 1 version, 96 4 the next unlinked one's number in the group
    an inode's number: group, block of the group, inode of the block
    a checksum: CRC-32C, little-endian, over the whole with zeros in its own place

https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf
("Metadata Integrity")
"""

from __future__ import annotations

import stat
from typing import Any

import google_crc32c

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.volume import Pages

_DATA = frozenset({b"XDB3", b"XDD3", b"XDF3"})
_INDEX = frozenset({b"\x3d\xf1", b"\x3d\xff", b"\x3e\xbe"})
_CLUSTER, _SMALLEST_INODE = 8192, 256  # bytes
_VERSION, _NONE = 3, 0xFFFFFFFF  # of an inode; no next one
_IN_EXTENTS = (
    2  # how an inode's data is kept, at 5: 1 in the inode, 2 in extents, 3 in a tree of them
)


class XfsSums:
    """What must be sound before an entry of the library is believed."""

    def __init__(self, pages: Pages) -> None:
        head = pages.bytes_at(0, 512)
        self._pages = pages
        self._checked = head[101] & 0xF == 5
        self._block = int.from_bytes(head[4:8], "big")
        self._group_blocks = int.from_bytes(head[84:88], "big")
        self._inode_size = int.from_bytes(head[104:106], "big")
        self._inode_bits, self._group_bits = head[123], head[124]
        self._directory = self._block << min(head[192], 16)
        self._cluster = self._cluster_blocks(int.from_bytes(head[180:184], "big"))
        self._sound: set[int] = set()
        self._clusters: set[int] = set()  # by their offsets

    def require(self, entry: Any) -> None:
        """Raise ``UnableError`` when an entry's inode or directory has a wrong checksum."""
        number = entry.inode_number
        if not self._checked or number in self._sound:
            return
        block, index = divmod(number, 1 << self._inode_bits)
        at = self._place(block) + index * self._inode_size
        raw = self._pages.bytes_at(at, self._inode_size)
        if raw[:2] != b"IN" or not _fits(raw, 100):
            raise UnableError(f"the checksum of inode {number} is wrong")
        self._require_cluster(block)
        if stat.S_ISDIR(entry.file_mode) and raw[5] >= _IN_EXTENTS:
            self._require_blocks(entry)
        self._sound.add(number)

    def _cluster_blocks(self, alignment: int) -> int:
        """Blocks of a cluster: 8 KiB for inodes of 256 bytes, more for larger ones if they lie so."""
        block = max(1, self._block)
        larger = max(1, _CLUSTER * self._inode_size // _SMALLEST_INODE // block)
        return larger if alignment >= larger else max(1, _CLUSTER // block)

    def _require_cluster(self, block: int) -> None:
        start = self._place(block - (block & (1 << self._group_bits) - 1) % self._cluster)
        if start in self._clusters:
            return
        raw = self._pages.bytes_at(start, self._cluster * self._block)
        for at in range(0, len(raw), self._inode_size):
            following = int.from_bytes(raw[at + 96 : at + 100], "big")
            possible = following == _NONE or following >> self._inode_bits < self._group_blocks
            if raw[at : at + 2] != b"IN" or raw[at + 4] != _VERSION or not possible:
                raise UnableError(f"the inodes at {start} are damaged")
        self._clusters.add(start)

    def _place(self, block: int) -> int:
        """The offset of a block, whose number is its group's and its own in the group."""
        group, within = divmod(block, 1 << self._group_bits)
        return (group * self._group_blocks + within) * self._block

    def _require_blocks(self, entry: Any) -> None:
        """The library gives a block's number times its size for an offset, which it is in group 0 only."""
        for number in range(entry.number_of_extents):
            offset, length, _flags = entry.get_extent(number)
            start = self._place(offset // self._block)
            for at in range(start, start + length, self._directory):
                block = self._pages.bytes_at(at, self._directory)
                place = 4 if block[:4] in _DATA else 12 if block[8:10] in _INDEX else None
                if place is None or not _fits(block, place):
                    raise UnableError(f"the checksum of a directory's block at {at} is wrong")


def _fits(raw: bytes, at: int) -> bool:
    stored = int.from_bytes(raw[at : at + 4], "little")
    return bool(stored == google_crc32c.value(raw[:at] + bytes(4) + raw[at + 4 :]))

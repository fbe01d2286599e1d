"""What an ext file system without checksums tells of damage: numbers that the kernel would refuse.

libfsext follows whatever stands there.  Linux asks of every inode that it opens whether its blocks lie
inside the file system and outside its own tables (fs/ext4/block_validity.c, inode.c, extents.c), and of every
entry of a directory whether it fits (dir.c).  What is refused here is left to the appliance.

    inode                                            directory entry
    0x00  2  mode          0x28 60  block map        0  4  inode
    0x04  4  size, low     0x68  4  attributes' block, low     4  2  length, a multiple of 4
    0x1A  2  links         0x6C  4  size, high       6  1  length of the name
    0x20  4  flags         0x76  2  attributes' block, high    8     name
                           0x80  2  bytes beyond 128 in use
    block map   12 blocks, then one of blocks, one of blocks of blocks, and one level more
    or extents  0 2 F30A, 2 2 entries, 4 2 room for entries, 6 2 depth; then entries of 12 bytes:
                leaf   0 4 first, 4 2 count (above 32768: not written, less that), 6 2 high, 8 4 low
                index  0 4 first, 4 4 low, 8 2 high
https://docs.kernel.org/filesystems/ext4/dynamic.html
"""

from __future__ import annotations

import stat
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.volume import Pages

Run = tuple[int, int]
"""First block and count."""

EXTENTS_FLAG = 0x80000
_FLAGS = 0xFF | 0x1000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x40000 | EXTENTS_FLAG
_KINDS = (
    stat.S_IFREG,
    stat.S_IFDIR,
    stat.S_IFLNK,
    stat.S_IFIFO,
    stat.S_IFSOCK,
    stat.S_IFCHR,
    stat.S_IFBLK,
)
_DIRECT, _MAGIC, _DEEPEST, _WRITTEN = 12, 0xF30A, 5, 32768
_MOST_CHECKED = 256  # blocks of a directory; its names stand in more only where there are thousands
_LONGEST_LINK = 4096  # bytes; the kernel's PATH_MAX
_INLINE_LINK = 60  # a link of fewer bytes stands in the block map itself


class BlockMaps:
    """The blocks of the inodes of one file system."""

    def __init__(self, pages: Pages, block_size: int, inodes: int) -> None:
        """``inodes``: how many there are."""
        self._pages = pages
        self._size = block_size
        per_block = block_size // 4
        self._most = block_size * min(1 << 32, _DIRECT + per_block + per_block**2 + per_block**3)
        self._inodes = inodes
        self._zones: Zones | None = None

    def set_zones(self, zones: Zones) -> None:
        """Where files' blocks may lie."""
        self._zones = zones

    def require_sound(self, number: int, raw: bytes) -> None:
        """Raise ``UnableError`` when an inode says what the kernel would refuse."""
        mode, links = struct.unpack_from("<H", raw, 0)[0], struct.unpack_from("<H", raw, 0x1A)[0]
        kind, size = stat.S_IFMT(mode), u32(raw, 4) | u32(raw, 0x6C) << 32
        _require(kind in _KINDS and links > 0, number, "its mode or its links")
        _require(size <= self._most, number, "its size")
        _require(not u32(raw, 0x20) & ~_FLAGS, number, "its flags")
        beyond = int.from_bytes(raw[0x80:0x82], "little")
        _require(128 + beyond <= max(len(raw), 128) and beyond % 4 == 0, number, "its length")
        self._require_place(
            number, (u32(raw, 0x68) | int.from_bytes(raw[0x76:0x78], "little") << 32, 1)
        )
        if kind == stat.S_IFLNK:
            _require(size < min(self._size, _LONGEST_LINK), number, "its size")
            if size < _INLINE_LINK:
                return
        if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            runs = [*self.runs(number, raw)]
            if kind == stat.S_IFDIR:
                _require(size > 0 and size % self._size == 0, number, "its size")
                self._require_directory(number, runs)

    def runs(self, number: int, raw: bytes) -> Iterator[Run]:
        """The blocks of an inode's data, in order; those of its map are only looked at."""
        if u32(raw, 0x20) & EXTENTS_FLAG:
            depth = int.from_bytes(raw[0x2E:0x30], "little")
            yield from self._extents(number, raw[0x28:0x64], depth)
            return
        blocks = struct.unpack_from("<15I", raw, 0x28)
        yield from self._checked(number, ((block, 1) for block in blocks[:_DIRECT]))
        for depth, block in enumerate(blocks[_DIRECT:], 1):
            yield from self._indirect(number, block, depth)

    def _indirect(self, number: int, block: int, depth: int) -> Iterator[Run]:
        if block == 0:
            return
        self._require_place(number, (block, 1))
        data = self._pages.bytes_at(block * self._size, self._size)
        _require(len(data) == self._size, number, "a block of its map")
        found = struct.unpack(f"<{self._size // 4}I", data)
        if depth == 1:
            yield from self._checked(number, ((each, 1) for each in found))
            return
        for each in found:
            yield from self._indirect(number, each, depth - 1)

    def _extents(self, number: int, node: bytes, depth: int) -> Iterator[Run]:
        magic, count, room, told = struct.unpack_from("<4H", node)
        sound = (
            magic == _MAGIC and told == depth <= _DEEPEST and count <= room <= len(node) // 12 - 1
        )
        _require(sound, number, "its extents")
        logical = -1
        for at in range(12, 12 + 12 * count, 12):
            first = u32(node, at)
            _require(first > logical, number, "its extents' order")
            logical = first
            if depth:
                block = u32(node, at + 4) | int.from_bytes(node[at + 8 : at + 10], "little") << 32
                self._require_place(number, (block, 1))
                child = self._pages.bytes_at(block * self._size, self._size)
                _require(len(child) == self._size, number, "a block of its extents")
                yield from self._extents(number, child, depth - 1)
                continue
            length = int.from_bytes(node[at + 4 : at + 6], "little")
            length -= _WRITTEN if length > _WRITTEN else 0
            block = u32(node, at + 8) | int.from_bytes(node[at + 6 : at + 8], "little") << 32
            _require(length > 0, number, "its extents")
            logical += length - 1
            yield from self._checked(number, [(block, length)])

    def _checked(self, number: int, runs: Iterable[Run]) -> Iterator[Run]:
        for run in runs:
            if run[0]:
                self._require_place(number, run)
                yield run

    def _require_place(self, number: int, run: Run) -> None:
        if run[0] and self._zones is not None:
            _require(self._zones.holds(run), number, f"block {run[0]}")

    def _require_directory(self, number: int, runs: list[Run]) -> None:
        blocks = (start + index for start, count in runs for index in range(count))
        for index, block in enumerate(islice(blocks, _MOST_CHECKED)):
            data = self._pages.bytes_at(block * self._size, self._size)
            _require(len(data) == self._size, number, "a block of the directory")
            entries = list(self._entries(number, data))
            if index == 0:
                own = [name for name, _ in entries[:2]] == [b".", b".."] and entries[0][1] == number
                _require(own, number, "the directory's own entries")

    def _entries(self, number: int, data: bytes) -> Iterator[tuple[bytes, int]]:
        at = 0
        while at < len(data):
            inode, length, name = struct.unpack_from("<IHB", data, at)
            length = length or 1 << 16  # of a block of 64 KiB
            end = at + length
            left = len(data) - end
            fits = length >= 12 and length % 4 == 0 and 8 + name <= length and inode <= self._inodes
            _require(fits and (left == 0 or left >= 12), number, "an entry of the directory")
            found = data[at + 8 : at + 8 + name]
            plain = (
                found and b"/" not in found and b"\0" not in found
            )  # or readdir fails, or cuts it
            _require(bool(plain) or inode == 0, number, "a name in the directory")
            yield found, inode
            at = end


class Zones:
    """Where the blocks of files may lie: inside the file system, outside its tables."""

    def __init__(self, first: int, end: int, tables: Iterable[Run]) -> None:
        """``first`` and ``end``: of the file system, in blocks; ``tables`` in any order."""
        self._first, self._end = first, end
        self._tables = sorted((start, start + count) for start, count in tables if count)

    def holds(self, run: Run) -> bool:
        """Whether all of a run may be a file's."""
        start, end = run[0], run[0] + run[1]
        if not self._first < start < end <= self._end:
            return False
        index = bisect_right(self._tables, (end - 1, self._end + end))
        return index == 0 or self._tables[index - 1][1] <= start


def _require(holds: bool, number: int, what: str) -> None:
    if not holds:
        raise UnableError(f"inode {number} cannot be right: {what}")


def u32(block: bytes, at: int) -> int:
    """Four bytes, little-endian."""
    return int.from_bytes(block[at : at + 4], "little")

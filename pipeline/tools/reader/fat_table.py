"""Where a FAT file system keeps things: its boot sector, its table, and the chains of clusters in it.

    reserved | FAT, and its copies | root directory (not FAT32) | clusters 2, 3, 4, …

    boot sector  11  2  bytes a sector     19  2  sectors, or 32  4
                 13  1  sectors a cluster  21  1  medium, 0xF0 or 0xF8 to 0xFF
                 14  2  reserved sectors   22  2  sectors a FAT, or 36  4 (FAT32)
                 16  1  FATs               44  4  first cluster of the root (FAT32)
                 17  2  root entries
    entry        12, 16 or 32 bits, of which FAT32 uses 28: the next cluster; 0 free; from …FF7 on: none

What is refused here is what Linux refuses (fs/fat/inode.c, fatent.c, cache.c): a chain that leads to a free
cluster, or to one that is not there.  It is FAT32 if the short field for a table's length is zero, else it
goes by the number of clusters; of the table's copies it reads the first.
Microsoft's FAT specification ("fatgen103"), sections 3 and 4.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterator

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.volume import Pages

_FIRST = 2  # the number of the first cluster
_MOST = {12: 0xFF4, 16: 0xFFF4, 32: 0x0FFFFFF6}  # clusters
_NO_MORE = 0xFF7  # and the same with more Fs: a bad cluster; above it: the chain's end
_LARGEST_TABLE = 64 << 20
_CHUNK = 1 << 20
_USED = bytes(value & 0xF for value in range(256))  # of an entry's highest byte in FAT32


class Table:
    """One FAT file system's clusters."""

    def __init__(self, pages: Pages) -> None:
        head = pages.bytes_at(0, 512)
        _require(len(head) == 512, "its boot sector is cut off")
        numbers: tuple[int, ...] = struct.unpack_from("<HBHBH", head, 11)
        sector, per_cluster, reserved, copies, root = numbers
        sectors = int.from_bytes(head[19:21], "little") or int.from_bytes(head[32:36], "little")
        short, long = int.from_bytes(head[22:24], "little"), int.from_bytes(head[36:40], "little")
        sound = _is_power_of_two(sector) and 512 <= sector <= 4096 and _is_power_of_two(per_cluster)
        sound = sound and reserved > 0 and copies > 0 and (short or long) > 0
        _require(sound and root * 32 % sector == 0, "its boot sector cannot be right")
        self._pages = pages
        self._at = reserved * sector
        self._length = (short or long) * sector
        self.root_at = self._at + copies * self._length
        self.root_size = root * 32  # bytes; of no meaning in FAT32
        self._data = self.root_at + self.root_size
        self.cluster = per_cluster * sector
        clusters = (sectors * sector - self._data) // self.cluster
        self._bits = 32 if not short else 16 if clusters > _MOST[12] else 12
        clusters = min(clusters, self._length * 8 // self._bits - _FIRST)
        _require(0 < clusters <= _MOST[self._bits], "it cannot have as many clusters as it says")
        self._end = clusters + _FIRST
        self.root = int.from_bytes(head[44:48], "little") if self.is_fat32 else 0
        self._last = 0xFFFFFFF & (1 << self._bits) - 1 & ~0xFFF | _NO_MORE
        self._followed: tuple[int, array.array[int]] = (0, array.array("I"))

    @property
    def is_fat32(self) -> bool:
        """Whether its root is a directory like others."""
        return self._bits == 32

    def place(self, cluster: int) -> int:
        """The offset of a cluster."""
        return self._data + (cluster - _FIRST) * self.cluster

    def whole(self, start: int, most: int) -> list[int]:
        """The clusters of a chain to its end.  Raises ``UnableError`` for one of more than ``most``."""
        found = [start]
        while (following := self._after(found[-1])) is not None:
            found.append(following)
            _require(len(found) <= most, f"the chain of cluster {start} does not end")
        return found

    def some(self, start: int, first: int, end: int) -> array.array[int]:
        """Of a chain, the clusters from one up to another.  Raises ``UnableError`` if it is shorter.

        Where it went is remembered, for who reads on.
        """
        if self._followed[0] != start:
            self._require_place(start)
            self._followed = (start, array.array("I", [start]))
        known = self._followed[1]
        _require(end <= self._end, f"the chain of cluster {start} has a loop")
        while len(known) < end:
            following = self._after(known[-1])
            if following is None:
                raise UnableError(f"the chain of cluster {start} is too short")
            known.append(following)
        return known[first:end]

    def free(self) -> int:
        """Bytes of the clusters whose entry is zero."""
        _require(self._length <= _LARGEST_TABLE, "its FAT is too large")
        if self._bits == 12:
            free = sum(not self._entry(number) for number in range(_FIRST, self._end))
        else:
            free = sum(_zeros(part, self._bits // 8) for part in self._parts())
        return free * self.cluster

    def _parts(self) -> Iterator[bytes]:
        """The entries of all clusters, in pieces."""
        width = self._bits // 8
        end = self._at + self._end * width
        for at in range(self._at + _FIRST * width, end, _CHUNK):
            yield self._whole(at, min(_CHUNK, end - at))

    def _after(self, cluster: int) -> int | None:
        self._require_place(cluster)
        following = self._entry(cluster)
        if following >= self._last:
            return None
        _require(following > 0, f"the chain of cluster {cluster} leads to what is free")
        return following

    def _require_place(self, cluster: int) -> None:
        _require(_FIRST <= cluster < self._end, f"there is no cluster {cluster}")

    def _entry(self, cluster: int) -> int:
        if self._bits == 12:
            pair = int.from_bytes(self._whole(self._at + cluster * 3 // 2, 2), "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self._bits // 8
        raw = self._whole(self._at + cluster * width, width)
        return int.from_bytes(raw, "little") & 0xFFFFFFF

    def _whole(self, at: int, length: int) -> bytes:
        data = self._pages.bytes_at(at, length)
        _require(len(data) == length, "its FAT lies behind the end")
        return data


def _zeros(entries: bytes, width: int) -> int:
    """How many entries are zero: their bytes, laid over each other, leave none of such a one."""
    layers = [entries[index::width] for index in range(width)]
    if width == 4:
        layers[3] = layers[3].translate(_USED)
    laid = 0
    for layer in layers:
        laid |= int.from_bytes(layer, "little")
    return laid.to_bytes(len(layers[0]), "little").count(0)


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & number - 1 == 0


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise UnableError(what)

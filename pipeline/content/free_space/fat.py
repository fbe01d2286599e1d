"""Free clusters of FAT12, FAT16 and FAT32: entries of zero in the table, of which there are two.

    |boot, FSInfo|████ table ████|████ its copy ████|root (12, 16)|cluster 2|cluster 3| …

boot sector                                       FSInfo (FAT32)
   B 2 bytes a sector    16 2 sectors a table        0 4 "RRaA"   1E4 4 "rrAa"
   D 1 sectors a cluster 20 4 sectors              1E8 4 free clusters, FFFFFFFF: unknown
   E 2 sectors before    24 4 sectors a table (32)
  10 1 tables            28 2 80h: no mirroring (32)   entry 0: the medium's byte
  11 2 root's entries    2C 4 root's cluster (32)      entry 1: its two highest bits are cleared
  13 2 sectors           30 2 FSInfo (32)                       while in use, or after a bad read
  15 1 medium            32 2 copy of this sector (32)
                         25, 41h (32): 1, in use (Linux)
directory entry
   0 11 name; E5: deleted, 0: no more     B 1 attributes, 10h: directory, 8: label
  1A  2 first cluster

Microsoft FAT32 File System Specification 1.03 (fatgen103)

Nothing has a checksum, so a volume is left alone unless each number has a second witness: of the table
its copy; of the boot sector its copy in FAT32, and in the others directories, whose first entry
(".") says which cluster they lie in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.content.free_space.base import (
    NOT_COUNTED,
    Effort,
    Span,
    clipped,
    exactly,
    merged,
    require,
    totals,
)
from pipeline.source import Reader

_CHUNK = 1 << 20  # bytes of a table that are read at once
_KIB_COST = 16  # of a KiB of the table, as ``Effort`` counts
_UNKNOWN = 0xFFFFFFFF
_ENOUGH = 64  # directories that are looked at
# Runs of free entries, and of others.  The upper four bits of an entry of FAT32 are not its own.
_RUNS_16 = re.compile(rb"(?s)(?P<free>(?:\0\0)+)|(?:(?!\0\0)..)+")
_RUNS_32 = re.compile(
    rb"(?s)(?P<free>(?:\0\0\0[\0\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0])+)"
    rb"|(?:(?!\0\0\0[\0\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0])....)+"
)


@dataclass(frozen=True)
class Geometry:
    """The numbers of the boot sector, found to fit each other and the volume."""

    bits: int  # an entry: 12, 16, 32
    table: int  # offset of the first table, bytes
    table_size: int  # bytes
    data: int  # offset of cluster 2, bytes
    cluster: int  # bytes
    clusters: int
    medium: int
    info: int  # offset of FSInfo, bytes; 0: there is none
    in_use: bool


class FatMap:
    """``FreeMap`` of a FAT."""

    def __init__(self, volume: Reader, geometry: Geometry) -> None:
        self.geometry = geometry
        self.end = geometry.data + geometry.clusters * geometry.cluster
        self.free = 0
        self.runs: int | None = None
        self._volume = volume

    def prove(self, effort: Effort) -> None:
        """Compare the tables, and count in them.  Raises ``KeptError`` for the first contradiction.

        Where the effort does not suffice for that, FSInfo's count is believed.
        """
        counted = effort.counts(self.geometry.table_size // 1024 * _KIB_COST)
        if counted:
            self._prove_copies()
        self._prove_state()
        if self.geometry.bits < 32:
            self._prove_places()
        if counted:
            self.free, self.runs = totals(self.between(0, self.end))
            self._prove_count()
        else:
            told = self._told()
            require(told is not None and told <= self.geometry.clusters, NOT_COUNTED)
            self.free = (told or 0) * self.geometry.cluster

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(merged(self._spans(low, min(high, self.end))), low, high)

    def _spans(self, low: int, high: int) -> Iterator[Span]:
        info = self.geometry
        first = max(0, low - info.data) // info.cluster
        last = -(-(high - info.data) // info.cluster)
        while first < last:
            count = min(_CHUNK // 4, last - first)
            for begin, end in self._free(first + 2, count):
                start = info.data + (first + begin) * info.cluster
                yield start, info.data + (first + end) * info.cluster
            first += count

    def _free(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Runs of free clusters, counted from ``first``."""
        data, width, pattern = self._entries(first, count), 2, _RUNS_16
        if self.geometry.bits == 32:
            width, pattern = 4, _RUNS_32
        for match in pattern.finditer(data):
            if match.lastgroup == "free":
                yield match.start() // width, match.end() // width

    def _entries(self, first: int, count: int) -> bytes:
        """The entries of so many clusters; those of 12 bits made 16 wide."""
        info = self.geometry
        if info.bits > 12:
            width = info.bits // 8
            return exactly(self._volume, info.table + first * width, count * width, "table")
        raw = exactly(self._volume, info.table, -(-(first + count) * 3 // 2), "table")
        values = []
        for number in range(first, first + count):
            pair = raw[number * 3 // 2] | raw[number * 3 // 2 + 1] << 8
            values.append(pair >> 4 if number % 2 else pair & 0xFFF)
        return struct.pack(f"<{count}H", *values)

    def _prove_copies(self) -> None:
        info = self.geometry
        for at in range(0, info.table_size, _CHUNK):
            length = min(_CHUNK, info.table_size - at)
            one = exactly(self._volume, info.table + at, length, "table")
            other = exactly(self._volume, info.table + info.table_size + at, length, "table")
            require(one == other, "the two copies of its table differ")

    def _prove_state(self) -> None:
        info = self.geometry
        require(not info.in_use, "it was not unmounted")
        raw = self._entries(0, 2)
        first, second = struct.unpack(f"<2{'I' if info.bits == 32 else 'H'}", raw)
        ones = {12: 0xF00, 16: 0xFF00, 32: 0x0FFFFF00}[info.bits]
        require(first & (ones | 0xFF) == ones | info.medium, "its table does not begin as one does")
        if info.bits > 12:
            clean, sound = (0x8000, 0x4000) if info.bits == 16 else (0x08000000, 0x04000000)
            require(bool(second & clean), "it was not unmounted")
            require(bool(second & sound), "errors were seen in it")

    def _prove_places(self) -> None:
        """Raise ``KeptError`` unless a directory lies where the boot sector's numbers put it."""
        info = self.geometry
        at = info.table + 2 * info.table_size
        seen: set[int] = set()
        waiting = list(self._directories(at, info.data - at))
        while waiting and len(seen) < _ENOUGH:
            number = waiting.pop()
            if number in seen or not 2 <= number < info.clusters + 2:
                continue
            seen.add(number)
            place = info.data + (number - 2) * info.cluster
            own = exactly(self._volume, place, 32, "directory")
            right = own[:11] == b".          " and own[26:28] == struct.pack("<H", number)
            require(right, "its boot sector puts a directory where none is")
            waiting += self._directories(place + 64, info.cluster - 64)
        # one in the first cluster tells where clusters begin, but not how large they are
        require(any(number > 2 for number in seen), "nothing tells that its boot sector is right")

    def _directories(self, at: int, length: int) -> Iterator[int]:
        """First clusters of the directories that a directory's first bytes tell of."""
        raw = exactly(self._volume, at, length, "directory")
        for entry in struct.iter_unpack("<11sB14sH4x", raw):
            if entry[0][:1] == b"\0":
                return
            if entry[0][:1] != b"\xe5" and entry[1] & 0x18 == 0x10:
                yield entry[3]

    def _prove_count(self) -> None:
        told, found = self._told(), self.free // self.geometry.cluster
        words = f"its table has {found} free clusters, FSInfo says {told}"
        require(told in (found, None), words)

    def _told(self) -> int | None:
        """Free clusters by FSInfo; None where it does not tell."""
        info = self.geometry
        if not info.info:
            return None
        raw = exactly(self._volume, info.info, 512, "FSInfo")
        require(raw[:4] == b"RRaA" and raw[484:488] == b"rrAa", "its FSInfo is damaged")
        (told,) = struct.unpack_from("<I", raw, 488)
        return None if told == _UNKNOWN else int(told)


def look(volume: Reader, effort: Effort) -> FatMap:
    """The free space of a FAT.  Raises ``KeptError``."""
    found = FatMap(volume, _geometry(volume))
    found.prove(effort)
    return found


def _geometry(volume: Reader) -> Geometry:
    raw = exactly(volume, 0, 512, "boot sector")
    sector, factor, reserved, copies, root = struct.unpack_from("<HBHBH", raw, 11)
    (table_sectors,) = struct.unpack_from("<H", raw, 22)
    wide = table_sectors == 0
    require(sector in (512, 1024, 2048, 4096), "its sector size is not possible")
    require(factor > 0 and not factor & (factor - 1), "its cluster size is not possible")
    require(copies == 2, f"it has {copies} copies of its table, nothing to compare with")
    require(reserved > 0 and (root == 0) == wide, "its boot sector contradicts itself")
    info = 0
    if wide:
        (table_sectors,) = struct.unpack_from("<I", raw, 36)
        info = _wide(volume, raw, sector, reserved)
    return _fitting(volume.size, raw, wide, table_sectors, info)


def _wide(volume: Reader, raw: bytes, sector: int, reserved: int) -> int:
    """Where FSInfo is; raises ``KeptError`` when what only FAT32 has is in doubt."""
    flags, version = struct.unpack_from("<HH", raw, 40)
    require(not flags & 0x80, "only one of its tables is in use")
    require(version == 0, "its version is unknown")
    place, backup = struct.unpack_from("<HH", raw, 48)
    require(place == 0xFFFF or place < reserved, "its FSInfo lies outside")
    require(0 < backup < reserved, "it has no copy of its boot sector")
    copy = exactly(volume, backup * sector, 512, "boot sector's copy")
    same = raw[11:28] + raw[32:52] == copy[11:28] + copy[32:52]  # but for where it lies
    require(same, "its boot sector and the copy differ")
    return 0 if place == 0xFFFF else place * sector


def _fitting(size: int, raw: bytes, wide: bool, table_sectors: int, info: int) -> Geometry:
    """The numbers of the boot sector, when they fit each other and a volume of ``size`` bytes."""
    sector, factor, reserved, _, root, total = struct.unpack_from("<HBHBHH", raw, 11)
    total = total or struct.unpack_from("<I", raw, 32)[0]
    words = f"it says that it has {total * sector} bytes, in a place of {size}"
    require(total * sector <= size, words)
    data = (reserved + 2 * table_sectors) * sector + -(-root * 32 // sector) * sector
    require(data < total * sector, "its tables lie outside")
    clusters = (total * sector - data) // (factor * sector)
    bits = 32 if wide else 12 if clusters < 4085 else 16
    require(wide or raw[54:62] == b"FAT%d   " % bits, "its boot sector contradicts itself")
    require(0 < clusters < 0x0FFFFFF5, "its number of clusters is not possible")
    require((clusters + 2) * bits <= table_sectors * sector * 8, "its tables are too short")
    return Geometry(
        bits,
        reserved * sector,
        table_sectors * sector,
        data,
        factor * sector,
        clusters,
        raw[21],
        info,
        bool(raw[65 if wide else 37] & 3),
    )

"""Free clusters of NTFS: the clear bits of ``$Bitmap``, file 6, which has no checksum and no count.

    boot sector ──▶ $MFT (file 0) ──▶ every file's runs of clusters ──▶ marked as used in $Bitmap?
                      │ equal to $MFTMirr (file 1) in its first four records
                      ├ $LogFile (file 2): closed?   $Volume (file 3): not dirty?
                      └ hiberfil.sys: no system sleeps in it?

boot sector
   3 8 "NTFS    "         28 8 sectors           40 1 clusters a record of the MFT, or -log2(bytes)
   B 2 bytes a sector     30 8 $MFT's cluster
   D 1 sectors a cluster  38 8 $MFTMirr's cluster
$LogFile, two restart pages      restart area, 18h of the page holds its offset
   0 4 "RSTR"; FFFFFFFF: empty     C 2 list of clients in use, FFFF: none
  10 4 bytes a page                E 2 flags, 2: the volume is clean
$VOLUME_INFORMATION (70h): 8 2 version, A 2 flags: 1 dirty, 4000h being checked

https://flatcap.github.io/linux-ntfs/ntfs/; https://github.com/libyal/libfsntfs/blob/main/documentation

A bit that was cleared by mistake contradicts the file that owns the cluster: that is why all of the
MFT is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from pipeline.content.free_space.base import (
    NOT_COUNTED,
    Effort,
    KeptError,
    Span,
    clipped,
    exactly,
    merged,
    require,
)
from pipeline.content.free_space.bitmaps import all_set, clear_runs, count_clear
from pipeline.content.free_space.ntfs_records import NAME, Attribute, Record, Run
from pipeline.source import Reader

_COST = 20  # of a record that is looked up, as ``Effort`` counts
MAX_MFT = 16 << 30  # bytes: 16 million files
_PAGE = 64 << 10  # bytes of the bitmap that are looked at together
_PAGE_BITS = 8 * _PAGE
_PAGE_COST = 300
_CHUNK = 1 << 20  # bytes of the MFT that are read at once
_MFT, _LOG, _VOLUME, _ROOT, _BITMAP = 0, 2, 3, 5, 6
_VOLUME_INFORMATION = 0x70
_UNCLEAN = {0x0001: "its dirty flag is set", 0x4000: "a check of it was not finished"}
_VERSIONS = ((1, 2), (3, 0), (3, 1))
_AWAKE = (b"wake", b"WAKE", b"\0\0\0\0")


@dataclass(frozen=True)
class Geometry:
    """The numbers of the boot sector, found to fit each other and the volume."""

    cluster: int  # bytes
    clusters: int
    record: int  # bytes of a record of the MFT
    mft: int  # cluster
    mirror: int  # cluster


class NtfsMap:
    """``FreeMap`` of an NTFS."""

    def __init__(self, volume: Reader, geometry: Geometry) -> None:
        self.geometry = geometry
        self.end = geometry.clusters * geometry.cluster
        self.free = self.runs = 0
        self._volume = volume
        self._bitmap: list[Run] = []
        self._page = lru_cache(256)(self._load_page)

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(merged(self._spans(low, min(high, self.end))), low, high)

    def _spans(self, low: int, high: int) -> Iterator[Span]:
        size, at = self.geometry.cluster, max(0, low) // self.geometry.cluster
        last = -(-high // size)
        while at < last:
            page, start = divmod(at, _PAGE_BITS)
            base = at - start
            stop = min(_PAGE_BITS, last - base)
            for first, end in clear_runs(self._page(page), start, stop):
                yield (base + first) * size, (base + end) * size
            at = base + stop

    def _load_page(self, number: int) -> bytes:
        at = number * _PAGE
        length = min(_PAGE, -(-self.geometry.clusters // 8) - at)
        return self._stream(self._bitmap, at, length, "bitmap")

    def _used(self, first: int, count: int) -> bool:
        while count > 0:
            page, start = divmod(first, _PAGE_BITS)
            length = min(count, _PAGE_BITS - start)
            if not all_set(self._page(page), start, start + length):
                return False
            first, count = first + length, count - length
        return True

    def _stream(self, runs: list[Run], offset: int, length: int, what: str) -> bytes:
        """Bytes of a file by its runs.  Raises ``KeptError`` when they do not reach so far."""
        size, parts, at = self.geometry.cluster, [], 0
        end = offset + length
        for first, count in runs:
            low, high = max(offset, at), min(end, at + count * size)
            if low < high:
                if first is None:
                    raise KeptError(f"its {what} has holes")
                parts.append(exactly(self._volume, first * size + low - at, high - low, what))
            at += count * size
        require(at >= end, f"its {what} ends too early")
        return b"".join(parts)

    def prove(self, effort: Effort) -> None:
        """Read the bitmap once, and the MFT.  Raises ``KeptError`` for the first contradiction."""
        system = self._system_files()
        self._require_mirror()
        self._require_clean(system[_VOLUME])
        self._require_closed(list(_content(system[_LOG], "log").runs))
        mft = self._whole_mft(system[_MFT], effort)
        self._bitmap = self._runs_of_bitmap(system[_BITMAP], mft)
        for number, record in self._records(mft, effort):
            self._prove_record(number, record)
        info = self.geometry
        for page, first in enumerate(range(0, info.clusters, _PAGE_BITS)):
            require(effort.counts(_PAGE_COST), NOT_COUNTED)
            count, runs = count_clear(self._page(page), 0, min(_PAGE_BITS, info.clusters - first))
            self.free += count * info.cluster
            self.runs += runs

    def _system_files(self) -> list[Record]:
        info = self.geometry
        first = info.mft * info.cluster
        found = []
        for number in range(_BITMAP + 1):
            raw = exactly(self._volume, first + number * info.record, info.record, "MFT")
            record = Record.parse(raw, number, info.clusters)
            if record is None or not record.in_use:
                raise KeptError(f"its system file {number} is missing")
            found.append(record)
        return found

    def _require_mirror(self) -> None:
        info = self.geometry
        for number in range(4):
            mine, mirrored = (
                exactly(self._volume, at * info.cluster + number * info.record, info.record, "MFT")
                for at in (info.mft, info.mirror)
            )
            (used,) = struct.unpack_from("<I", mine, 24)
            used = max(used, 64)
            same = mine[:used] == mirrored[:used]
            require(same, f"record {number} of its MFT differs from the mirror's")

    def _require_clean(self, record: Record) -> None:
        told = [item.value for item in record.attributes if item.type == _VOLUME_INFORMATION]
        require(len(told) == 1 and len(told[0]) >= 12, "its state is not told")
        major, minor, flags = struct.unpack_from("<BBH", told[0], 8)
        require((major, minor) in _VERSIONS, f"it has the unknown version {major}.{minor}")
        for bit, words in _UNCLEAN.items():
            require(not flags & bit, words)

    def _require_closed(self, log: list[Run]) -> None:
        head = self._stream(log, 0, 4096, "log")
        if head == b"\xff" * len(head):
            return
        (size,) = struct.unpack_from("<I", head, 16)
        require(512 <= size <= 65536 and size % 512 == 0, "its log is damaged")
        for at in (0, size):
            page = self._stream(log, at, size, "log")
            (area,) = struct.unpack_from("<H", page, 24)
            require(page[:4] == b"RSTR" and area <= 494, "its log is damaged")
            clients, flags = struct.unpack_from("<HH", page, area + 12)
            closed = clients == 0xFFFF or bool(flags & 2)
            require(closed, "its log may hold changes that were not written back")

    def _whole_mft(self, record: Record, effort: Effort) -> list[Run]:
        """All runs of the MFT: when it is in many pieces, later ones are told by later records.

        Where the effort ends before, those that its own record tells are enough.
        """
        mine = _content(record, "MFT")
        runs = list(mine.runs)
        least = (_BITMAP + 1) * self.geometry.record
        require(mine.size >= least, f"its MFT has {mine.size} bytes, too few for its system files")
        needed = -(-mine.size // self.geometry.cluster)
        require(mine.size <= MAX_MFT, f"its MFT has {mine.size} bytes, more than are read")
        while effort.thorough and (have := _clusters(runs)) < needed:
            more = self._continuation(runs, _MFT, have)
            require(bool(more), "its MFT is not whole")
            runs += more
        return _cut(runs, needed)

    def _continuation(self, mft: list[Run], owner: int, vcn: int) -> list[Run]:
        """The runs of a file's data from ``vcn`` on, which an extension record holds."""
        for _, record in self._records(mft, Effort()):
            item = record.unnamed_data() if record.base == owner and not record.is_base else None
            if item is not None and not item.resident and item.lowest == vcn:
                return list(item.runs)
        return []

    def _runs_of_bitmap(self, record: Record, mft: list[Run]) -> list[Run]:
        mine = _content(record, "bitmap")
        require(mine.size * 8 >= self.geometry.clusters, "its bitmap is too short")
        runs = list(mine.runs)
        while (have := _clusters(runs)) * self.geometry.cluster < mine.size:
            more = self._continuation(mft, _BITMAP, have)
            require(bool(more), "its bitmap is not whole")
            runs += more
        return runs

    def _records(self, mft: list[Run], effort: Effort) -> Iterator[tuple[int, Record]]:
        """The records that are in use, with their numbers, until the effort ends."""
        info = self.geometry
        size = _clusters(mft) * info.cluster
        for start in range(0, size, _CHUNK):
            data = self._stream(mft, start, min(_CHUNK, size - start), "MFT")
            if not effort.allows(_COST):
                return
            if not data.strip(b"\0"):
                continue
            places = range(0, len(data) // info.record * info.record, info.record)
            for number, at in enumerate(places, start // info.record):
                if not effort.allows(_COST):
                    return
                record = Record.parse(data[at : at + info.record], number, info.clusters)
                if record is not None and record.in_use:
                    yield number, record

    def _prove_record(self, number: int, record: Record) -> None:
        for item in record.attributes:
            for first, count in item.runs:
                if first is not None:
                    words = f"file {number} owns clusters from {first} on, which the bitmap calls "
                    require(self._used(first, count), f"{words}free")
            if item.type == NAME and _is_hibernation(item):
                self._require_awake(record)

    def _require_awake(self, record: Record) -> None:
        data = record.unnamed_data()
        if data is not None and data.resident:
            return
        if data is None or not data.runs:
            raise KeptError("a system may be hibernated in it")
        if data.size >= 4096:
            head = self._stream(list(data.runs), 0, 4, "hibernation file")
            require(head in _AWAKE, "a system is hibernated in it")


def look(volume: Reader, effort: Effort) -> NtfsMap:
    """The free space of an NTFS.  Raises ``KeptError``."""
    found = NtfsMap(volume, _geometry(volume))
    found.prove(effort)
    return found


def _geometry(volume: Reader) -> Geometry:
    raw = exactly(volume, 0, 512, "boot sector")
    require(raw[3:11] == b"NTFS    ", "its boot sector has no name")
    sector, factor = struct.unpack_from("<HB", raw, 11)
    sectors, mft, mirror = struct.unpack_from("<QQQ", raw, 40)
    (each,) = struct.unpack_from("<b", raw, 64)
    require(sector in (256, 512, 1024, 2048, 4096), "its sector size is not possible")
    factor = factor if factor <= 0x80 else 1 << (256 - factor)
    cluster = factor * sector
    possible = sector <= cluster <= 1 << 21 and not cluster & (cluster - 1)
    require(possible, "its cluster size is not possible")
    record = 1 << -each if each < 0 else each * cluster
    require(record in (1024, 2048, 4096), "the size of its MFT's records is not possible")
    words = f"it says that it has {sectors * sector} bytes, in a place of {volume.size}"
    require(sectors * sector <= volume.size, words)
    clusters = sectors // factor
    require(
        1 <= mft < clusters and 1 <= mirror < clusters and mft != mirror, "its MFT lies outside"
    )
    return Geometry(cluster, clusters, record, mft, mirror)


def _content(record: Record, what: str) -> Attribute:
    """A system file's data, which lies in clusters.  Raises ``KeptError``."""
    found = record.unnamed_data()
    if found is None or found.resident or found.lowest:
        raise KeptError(f"its {what} is damaged")
    return found


def _clusters(runs: Iterable[Run]) -> int:
    """How many clusters of a file these runs hold."""
    return sum(count for _, count in runs)


def _cut(runs: list[Run], count: int) -> list[Run]:
    """The first ``count`` clusters of a file."""
    found = []
    for first, length in runs:
        if count > 0:
            found.append((first, min(length, count)))
            count -= length
    return found


def _is_hibernation(item: Attribute) -> bool:
    """Whether a $FILE_NAME is hiberfil.sys in the root directory."""
    value = item.value
    parent = int.from_bytes(value[:6], "little")
    length = 2 * int.from_bytes(value[64:65], "little")
    name = value[66:][:length].decode("utf-16-le", "replace")
    return parent == _ROOT and name.lower() == "hiberfil.sys"

"""Whether the disk inside a stored VHD is the source's disk, seen while its bytes pass by.

    object bytes ──BAT──▶ block 5 of the disk ──┬── equal? ──▶ source's disk
                  headers, bitmaps: not data    │
    blocks that the BAT leaves out ─────────────┴── all zeros there?

The BAT is the stored one, so a layout that puts a block in the wrong place is found, although every
checksum is right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from pipeline.formats.vhd_disk import DynamicDisk
from pipeline.model import JsonObject
from pipeline.source import DiskView, Reader

_STEP = 4 << 20


class DiskComparison:
    """Give ``see`` every byte of the object once, in any cuts; then ask ``missing``."""

    def __init__(self, places: list[tuple[int, int, int]], size: int, source: DiskView) -> None:
        """``places``: (offset in the object, offset in the disk, length), ascending."""
        self._places = places
        self._starts = [place[0] for place in places]
        self._size = size
        self._source = source

    def see(self, offset: int, data: bytes) -> str | None:
        """What differs in these bytes of the object, or None."""
        view = memoryview(data)
        for at, disk, length in self._overlapping(offset, len(data)):
            stored = view[at - offset : at - offset + length]
            if stored != self._expected(disk, length):
                return f"between {disk} and {disk + length} of the disk it differs from the source"
        return None

    def missing(self) -> str | None:
        """What the source holds in places that the object leaves out, or None."""
        at = 0
        for _, disk, length in [*sorted(self._places, key=_on_disk), (0, self._size, 0)]:
            if disk > at:
                found = self._not_zero(at, disk - at)
                if found is not None:
                    return f"the source's data at {found} of the disk is not in it"
            at = max(at, disk + length)
        return None

    def _overlapping(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        end = offset + length
        index = max(bisect_right(self._starts, offset) - 1, 0)
        for start, disk, size in self._places[index:]:
            if start >= end:
                return
            first, last = max(start, offset), min(start + size, end)
            if first < last:
                yield first, disk + first - start, last - first

    def _expected(self, disk: int, length: int) -> bytes:
        """The source's bytes; behind its end, where the VHD's disk is rounded up, zeros."""
        inside = max(0, min(length, self._source.size - disk))
        return self._source.read(disk, inside) + bytes(length - inside)

    def _not_zero(self, offset: int, length: int) -> int | None:
        length = max(0, min(length, self._source.size - offset))
        for extent in self._source.extents(offset, length) if length else ():
            if extent.kind == "zero":
                continue
            for at in range(extent.offset, extent.offset + extent.length, _STEP):
                count = min(_STEP, extent.offset + extent.length - at)
                if any(self._source.read(at, count)):
                    return at
        return None


def compare(stored: Reader, facts: JsonObject, source: DiskView) -> DiskComparison | None:
    """The comparison for a stored object by its ``container`` facts.

    None for a container other than raw and VHD: its checksums are all that is compared.
    """
    size = facts.get("virtual_size")
    if not isinstance(size, int):
        return None
    if facts.get("format") == "raw" or facts.get("variant") == "fixed":
        return DiskComparison([(0, 0, size)], size, source)
    if facts.get("format") != "vhd" or facts.get("variant") != "dynamic":
        return None
    disk = DynamicDisk(stored)
    blocks = range(-(-disk.size // disk.block_size))
    placed = ((disk.block_at(number), number * disk.block_size) for number in blocks)
    places = [
        (at, start, min(disk.block_size, disk.size - start))
        for at, start in placed
        if at is not None
    ]
    return DiskComparison(sorted(places), disk.size, source)


def _on_disk(place: tuple[int, int, int]) -> int:
    return place[1]

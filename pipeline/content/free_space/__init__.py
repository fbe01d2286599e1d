"""What of a disk holds nothing, as its own file systems say it.

    disk   |MBR ┊ ext4 ██░░██░███ ┊ swap █░░░░░ ┊ btrfs ??????? ┊ NTFS ██░░░░█ |░░ nobody's ░░|
    Area          free + runs       free + runs    reason: why     …             free + runs
                                                   it is kept

``survey`` looks at each partition, at each logical volume of LVM in them, and at the space that no
partition has.  Whatever is unknown, damaged, in use, or contradicts itself is kept, and says why: when
in doubt, it is data.  The runs themselves are never listed: ``FreeSpace.between`` reads them again
from the file systems' own maps, which are a few MiB where the list could be gigabytes.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.content import filesystems, lvm, partitions
from pipeline.content.disk import PagedReader
from pipeline.content.free_space import ext, fat, gaps, ntfs, swap, xfs
from pipeline.content.free_space.base import (
    ADVICE,
    Effort,
    FreeMap,
    KeptError,
    Piece,
    Span,
    merged,
    require,
)
from pipeline.content.joined import Joined
from pipeline.content.lvm import LogicalVolume, VolumeGroup
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.model import digest
from pipeline.source import Reader

VERSION = 1  # of what is called free; raise it when the same disk gives other runs
BEHIND = 1 << 20  # bytes behind a file system from which on it is said that nobody has them

_LOOK: Mapping[str, Callable[[Reader, Effort], FreeMap]] = {
    "ext2": ext.look,
    "ext3": ext.look,
    "ext4": ext.look,
    "xfs": xfs.look,
    "ntfs": ntfs.look,
    "vfat": fat.look,
    "swap": swap.look,
}


@dataclass(frozen=True)
class Area:
    """A partition, a logical volume, or what no partition has."""

    place: str  # "partition 1", "volume vg/root", "outside of partitions", "the disk"
    content: str | None  # as blkid names it
    offset: int  # of its first byte on the disk
    size: int  # bytes
    pieces: tuple[Piece, ...] = ()  # none when all of it is kept
    map: FreeMap | None = None
    reason: str | None = None  # why nothing of it is called free, a part of a sentence

    @property
    def behind(self) -> int:
        """Bytes behind the file system, which are kept; 0 when it is a usual remainder."""
        rest = self.size - self.map.end if self.map is not None else 0
        return rest if rest >= BEHIND else 0

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        known = self.map
        return {
            "place": self.place,
            "content": self.content,
            "offset": self.offset,
            "size": self.size,
            "free": known.free if known is not None else None,
            "runs": known.runs if known is not None else None,
            "behind": self.behind,
            "reason": self.reason,
        }


class FreeSpace:
    """The free runs of a disk.  Who asks for them holds ``lock``, when several threads do."""

    def __init__(self, areas: tuple[Area, ...]) -> None:
        """``areas``: their pieces do not overlap."""
        self.areas = areas
        self.lock = threading.Lock()
        placed = [
            (piece.offset, piece, area.map)
            for area in areas
            for piece in area.pieces
            if area.map is not None
        ]
        self._placed = sorted(placed, key=lambda item: item[0])
        self._starts = [item[0] for item in self._placed]

    @property
    def free(self) -> int:
        """Bytes in all."""
        return sum(area.map.free for area in self.areas if area.map is not None)

    @property
    def runs(self) -> int | None:
        """How many runs there are in all areas; None when somewhere they were not counted."""
        found = [area.map.runs for area in self.areas if area.map is not None]
        return None if None in found else sum(count or 0 for count in found)

    @property
    def id(self) -> str:
        """Names what is called free on this very disk."""
        return digest([VERSION, [area.facts() for area in self.areas]])

    def between(self, low: int, high: int) -> Iterator[Span]:
        """The free spans within a range of the disk: ascending, disjoint, cut to the range."""
        return merged(self._spans(low, high))

    def _spans(self, low: int, high: int) -> Iterator[Span]:
        index = max(0, bisect_right(self._starts, low) - 1)
        for offset, piece, known in self._placed[index:]:
            if offset >= high:
                return
            shift = offset - piece.at
            first, last = max(low, offset), min(high, offset + piece.length)
            if first < last:
                for start, end in known.between(first - shift, last - shift):
                    yield start + shift, end + shift


def survey(
    view: Reader, table: PartitionTable | None = None, *, thorough: bool = True
) -> FreeSpace:
    """Look at a whole disk.  Only reading it raises anything.

    ``table``: how it is divided, where somebody has read that already.  ``thorough``: every witness is
    heard, as must be before something is left out; otherwise the same maps are read, but believed
    after ``ADVICE``.
    """
    reader, effort = PagedReader(view), Effort(None if thorough else ADVICE)
    table = table or partitions.parse(reader)
    if table.scheme == "none":
        whole = (Piece(0, 0, reader.size),)
        return FreeSpace(tuple(_areas(reader, effort, "the disk", whole, reader.size)))
    doubt = _doubt(reader, table)
    if doubt is not None:
        return FreeSpace((Area("the disk", None, 0, reader.size, reason=doubt),))
    found = [area for part in table.partitions for area in _partition(reader, effort, part)]
    return FreeSpace((*found, _outside(table, reader.size)))


def _doubt(reader: Reader, table: PartitionTable) -> str | None:
    """Why it is not certain what the partitions are."""
    try:
        gaps.require_sound(table)
        content = filesystems.signature(reader, 0, reader.size)
        require(content is None, f"it has a partition table, but is also a {content}")
    except KeptError as error:
        return str(error)
    return None


def _outside(table: PartitionTable, size: int) -> Area:
    area = Area("outside of partitions", None, 0, size)
    try:
        known = gaps.look(table, size)
    except KeptError as error:
        return replace(area, reason=str(error))
    pieces = tuple(Piece(low, low, high - low) for low, high in known.spans)
    return replace(area, pieces=pieces, map=known)


def _partition(reader: Reader, effort: Effort, part: Partition) -> Iterator[Area]:
    if not gaps.is_extended(part):
        pieces = (Piece(0, part.start, part.size),)
        yield from _areas(reader, effort, f"partition {part.number}", pieces, part.size)


def _areas(
    reader: Reader,
    effort: Effort,
    place: str,
    pieces: tuple[Piece, ...],
    size: int,
    *,
    nested: bool = False,
) -> Iterator[Area]:
    """What a part of the disk is: one area, or the volumes of an LVM in it.

    ``nested``: it is such a volume itself.
    """
    volume = Joined(reader, [(piece.offset, piece.length) for piece in pieces])
    content = filesystems.signature(volume, 0, size)
    if content == "LVM2_member" and not nested:
        yield from _volumes(reader, effort, place, pieces[0])
        return
    area = Area(place, content, pieces[0].offset, size)
    try:
        known = _look(volume, content, effort)
    except KeptError as error:
        yield replace(area, reason=str(error))
        return
    yield replace(area, pieces=pieces, map=known)


def _look(volume: Reader, content: str | None, effort: Effort) -> FreeMap:
    if content is None:
        require(not swap.asleep(volume), "a system is hibernated in it")
        raise KeptError("nothing known begins there")
    look = _LOOK.get(content)
    if look is None:
        raise KeptError(f"{content} is not looked into")
    return look(volume, effort)


def _volumes(reader: Reader, effort: Effort, place: str, piece: Piece) -> Iterator[Area]:
    """The logical volumes of a physical volume that is all of ``piece``."""
    group = lvm.parse(reader, piece.offset)
    try:
        volumes = _require_plain(group, piece.length)
    except KeptError as error:
        yield Area(place, "LVM2_member", piece.offset, piece.length, reason=str(error))
        return
    for name, item in volumes:
        if not item.pieces:
            words = "it does not lie on this disk alone"
            yield Area(name, None, piece.offset, item.size, reason=words)
            continue
        at, found = 0, []
        for offset, length in item.pieces:
            found.append(Piece(at, piece.offset + offset, length))
            at += length
        yield from _areas(reader, effort, name, tuple(found), item.size, nested=True)


def _require_plain(group: VolumeGroup | None, size: int) -> list[tuple[str, LogicalVolume]]:
    """The group's volumes by name.  Raises ``KeptError`` when their places are in doubt."""
    if group is None or not group.intact:
        raise KeptError("LVM's metadata cannot be read")
    require(group.plain, f"volume group {group.name} has volumes that are not linear")
    volumes = group.logical_volumes
    _require_apart(sorted(span for item in volumes for span in item.pieces or ()), size)
    return [(f"volume {group.name}/{item.name}", item) for item in volumes]


def _require_apart(spans: list[tuple[int, int]], size: int) -> None:
    """Raise ``KeptError`` when (offset, length) spans overlap or reach behind ``size``."""
    end = 0
    for offset, length in spans:
        require(offset >= end, "two of its volumes claim the same place")
        end = offset + length
    require(end <= size, "its volumes reach behind its end")

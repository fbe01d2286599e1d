"""What the guest-visible disk is: its partition table, and what the disk and its parts begin with.

    view ──▶ a disc?  an image inside the image?  a partition table?
                                                        │
                      each partition ──▶ file system, LVM, RAID, encryption, a disc

The view's bytes are the guest's, so anything may stand there; nothing but bytes is looked at, and no
name that is found is ever followed.

When a disc lies in a partition, the whole is an installer's stick if the disc boots and nothing else
on the disk could be an installed system; then it is refused like a disc.  Otherwise the partition is
only mentioned: people keep discs on disks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import formats
from pipeline.content import filesystems, fs_sizes, partitions
from pipeline.content.partition_types import EFI_SYSTEM, MBR_EFI_SYSTEM
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.formats import optical
from pipeline.formats.base import Problem
from pipeline.formats.optical import Optical
from pipeline.source import Reader

_DISCS = frozenset({"iso9660", "udf"})
_NO_SYSTEM = frozenset({"swap", "BitLocker"}) | _DISCS  # contents that no Linux system lives in

PAGE = 64 << 10
_PAGES = 64


class PagedReader:
    """Reads whole pages and keeps the last ones: signatures stand close together.

    Over a network block device each read is a round trip.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._reader.size

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end, none outside."""
        end = min(self.size, offset + length)
        if offset < 0 or offset >= end:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        if last - first >= _PAGES // 2:
            return self._reader.read(offset, end - offset)
        data = b"".join(self._page(number) for number in range(first, last + 1))
        return data[offset - first * PAGE : end - first * PAGE]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            page = self._reader.read(number * PAGE, PAGE)
            self._pages[number] = page
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page


@dataclass(frozen=True)
class Part:
    """A partition and what it begins with."""

    partition: Partition
    content: str | None  # as blkid names it
    disc: Optical | None


@dataclass(frozen=True)
class DiskContent:
    """What a disk is.  Offsets of problems count from the disk's first byte."""

    virtual_size: int
    table: PartitionTable
    parts: tuple[Part, ...]
    content: str | None  # of a disk without a partition table
    disc: Optical | None
    nested: str | None  # the image format whose header the disk begins with
    problems: tuple[Problem, ...]
    free_space: Mapping[str, Any] | None = None  # of ``free_space.held``, where somebody looked

    def facts(self) -> dict[str, Any]:
        """The ``disk`` section, but for ``unknown``."""
        return {
            "virtual_size": self.virtual_size,
            "partition_table": self.table.scheme,
            "partitions": [_partition_facts(part) for part in self.parts],
            "sector_size": self.table.sector_size,
            "identifier": self.table.identifier,
            "boot_code": self.table.boot_code,
            "protective_mbr": self.table.protective_mbr,
            "optical": None if self.disc is None else _optical_facts(self.disc),
            "nested_format": self.nested,
            "content": self.content,
            "free_space": self.free_space,
            "problems": [asdict(problem) for problem in self.problems],
        }


def inspect(
    view: Reader, *, is_file: bool = False, table: PartitionTable | None = None
) -> DiskContent:
    """Look at a disk.

    ``is_file``: the view is the image file itself, known to be no container.  ``table``: how it is
    divided, where somebody has read that already.
    """
    reader = PagedReader(view)
    disc = optical.find(reader)
    nested = None if is_file else formats.nested(reader)
    table = table or partitions.parse(reader)
    parts = tuple(_part(reader, partition) for partition in table.partitions)
    content = filesystems.signature(reader, 0, reader.size) if table.scheme == "none" else None
    problems = (
        *_disc_problems(disc, parts),
        *_nested_problems(nested),
        *table.problems,
        *_size_problems(reader, parts, content),
    )
    return DiskContent(reader.size, table, parts, content, disc, nested, problems)


def _part(reader: Reader, partition: Partition) -> Part:
    content = filesystems.signature(reader, partition.start, partition.size)
    disc = optical.find(reader, partition.start) if content in _DISCS else None
    return Part(partition, content, disc)


def _disc_problems(disc: Optical | None, parts: tuple[Part, ...]) -> Iterator[Problem]:
    if disc is not None:
        yield Problem("iso-image", f"the disk holds {disc.describe()}", disc.offset, disc.length)
        return
    stick = _is_stick(parts)
    for part in parts:
        if part.disc is not None:
            where = f"partition {part.partition.number}"
            if stick:
                rule, words = "iso-image", f"an installer's stick whose {where} holds"
            else:
                rule, words = "iso-in-partition", f"{where}:"
            detail = f"{words} {part.disc.describe()}"
            yield Problem(rule, detail, part.disc.offset, part.disc.length)


def _is_stick(parts: tuple[Part, ...]) -> bool:
    """Whether a disc that boots is on the disk, and nothing else on it could be a system."""
    boots = any(part.disc is not None and part.disc.boot_record is not None for part in parts)
    return boots and not any(_may_hold_system(part) for part in parts)


def _may_hold_system(part: Part) -> bool:
    if part.content is None or part.partition.type in (EFI_SYSTEM, MBR_EFI_SYSTEM):
        return False
    return part.content not in _NO_SYSTEM


def _nested_problems(nested: str | None) -> Iterator[Problem]:
    if nested is not None:
        yield Problem("nested-format", f"the disk's content is a {nested} image", 0, 512)


def _size_problems(
    reader: Reader, parts: tuple[Part, ...], content: str | None
) -> Iterator[Problem]:
    """File systems that are larger than the place they lie in: their end was cut off."""
    places = [(part.partition.start, part.partition.size, part.content) for part in parts]
    names = [(f"in partition {part.partition.number}", "partition") for part in parts]
    if content is not None:
        places, names = [(0, reader.size, content)], [("on the disk", "disk")]
    for (start, room, kind), (where, place) in zip(places, names, strict=True):
        size = fs_sizes.stated(reader, kind, start)
        if size is not None and size > room:
            detail = f"the {kind} {where} has {size} bytes, the {place} has {room}"
            yield Problem("file-system-too-large", detail, start, fs_sizes.SUPERBLOCK)


def _partition_facts(part: Part) -> dict[str, Any]:
    partition = part.partition
    return {
        "number": partition.number,
        "start": partition.start,
        "size": partition.size,
        "type": partition.type,
        "type_name": partition.type_name,
        "name": partition.name,
        "bootable": partition.bootable,
        "content": part.content,
    }


def _optical_facts(disc: Optical) -> dict[str, Any]:
    return {**asdict(disc), "hybrid": list(disc.hybrid)}

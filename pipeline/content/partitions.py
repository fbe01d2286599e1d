"""Partition tables: MBR with its chain of logical partitions, GPT with its backup, and hybrids.

MBR, sector 0 (UEFI 2.10 §5.2.1)          GPT header, sector 1 and the last one (§5.3.2)
  0  440  boot code                          0  8  "EFI PART"       40  8  first usable LBA
440    4  disk signature                     8  4  revision         48  8  last usable LBA
446 4*16  entries                           12  4  header size      56 16  disk GUID
510    2  55 AA                             16  4  CRC32 of header  72  8  LBA of the entries
MBR entry                                   24  8  LBA of this one  80  4  number of entries
  0  1  80 = active                         32  8  LBA of the other 84  4  bytes an entry
  4  1  type                                88  4  CRC32 of the entries
  8  4  first sector                      GPT entry (§5.3.3)
 12  4  sectors                             0 16 type  16 16 GUID  32 8 first  40 8 last LBA
                                           48  8 attributes (bit 2: BIOS bootable)  56 72 name

https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html
Logical partitions follow the way in which Linux numbers them (block/partitions/msdos.c), because
the appliance and the guest name their devices so.
"""

from __future__ import annotations

import itertools
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.content.filesystems import signature
from pipeline.content.partition_types import GPT_NAMES, MBR_NAMES
from pipeline.formats.base import Problem
from pipeline.source import Reader

SECTOR = 512
MAX_LOGICAL = 128
MAX_PARTITIONS = 256  # of a GPT: as many as Linux takes (block/partitions/check.h, DISK_MAX_PARTS)
MAX_TABLE = 1 << 20  # bytes of GPT entries that are read; the usual table has 16 KiB


_PROTECTIVE = 0xEE
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
_LEGACY_BOOTABLE = 1 << 2
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")

_LOADERS = (  # words in the boot code; the first that is there decides
    (b"GRUB", "grub"),
    (b"LILO", "lilo"),
    (b"isolinux", "isolinux"),
    (b"Operating system load error", "syslinux"),
    (b"Invalid partition table", "windows"),
)


@dataclass(frozen=True)
class Partition:
    """One partition.  ``number`` is Linux' own: /dev/sda5 is the first logical one."""

    number: int
    start: int  # bytes
    size: int  # bytes
    type: str  # "0x83", or a GUID in capitals
    type_name: str  # what that type means; "" when it is not a known one
    name: str  # GPT's own label, cleaned; "" for MBR
    bootable: bool  # MBR: active; GPT: the legacy BIOS bootable attribute
    uuid: str | None = None  # GPT's unique GUID

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size


@dataclass(frozen=True)
class PartitionTable:
    """What sector 0 and GPT say; ``none``: the disk holds a file system directly, or nothing."""

    scheme: Literal["gpt", "mbr", "none"]
    partitions: tuple[Partition, ...] = ()
    sector_size: int = SECTOR
    identifier: str | None = None  # GPT's disk GUID, or MBR's signature in hex
    boot_code: str | None = None  # "grub", "syslinux", "windows", "unknown"; None: zeros
    protective_mbr: Literal["standard", "odd", "hybrid", "missing"] | None = None  # GPT only
    problems: tuple[Problem, ...] = ()

    def of_type(self, *types: str) -> tuple[Partition, ...]:
        """The partitions of any of these types."""
        return tuple(part for part in self.partitions if part.type in types)


def parse(reader: Reader) -> PartitionTable:
    """Read the partition table of a disk.  Trouble is in ``problems``; nothing is raised for it."""
    first = reader.read(0, SECTOR)
    entries = _mbr_entries(first)
    for sector_size in (512, 4096):
        table = _parse_gpt(reader, first, entries, sector_size)
        if table is not None:
            return table
    used = [entry for entry in entries if entry.kind and entry.sectors]
    if not entries or (not used and signature(reader, 0) is not None):
        return PartitionTable("none", boot_code=_boot_code(first) if entries else None)
    return _parse_mbr(reader, first, entries)


# ---------------------------------------------------------------------------------------------- MBR


@dataclass(frozen=True)
class _Entry:
    index: int  # 0 to 3
    active: bool
    kind: int
    start: int  # sectors
    sectors: int


def _mbr_entries(sector: bytes) -> tuple[_Entry, ...]:
    """The four entries, or () when this is no MBR (a FAT or NTFS boot sector ends in 55 AA too)."""
    if sector[510:512] != b"\x55\xaa":
        return ()
    entries = []
    for index in range(4):
        flag, kind, start, count = struct.unpack_from("<B3xB3xII", sector, 446 + 16 * index)
        if flag not in (0x00, 0x80):
            return ()
        entries.append(_Entry(index, flag == 0x80, kind, start, count))
    return tuple(entries)


def _parse_mbr(reader: Reader, sector: bytes, entries: tuple[_Entry, ...]) -> PartitionTable:
    found: list[Partition] = []
    problems: list[Problem] = []
    for entry in entries:
        if entry.kind and entry.sectors:
            found.append(_mbr_partition(entry.index + 1, entry))
        if entry.kind == _PROTECTIVE:
            detail = "the MBR announces a GPT, but there is no GPT header"
            problems.append(Problem("partition-table-damaged", detail, SECTOR, SECTOR))
    for entry in entries:
        if entry.kind in _EXTENDED and entry.sectors:
            logical, trouble = _logical(reader, entry, first_number=5 + _count_logical(found))
            found.extend(logical)
            problems.extend(trouble)
    problems.extend(_judge(found, reader.size, 446))
    return PartitionTable(
        "mbr",
        tuple(found),
        identifier=sector[440:444][::-1].hex(),
        boot_code=_boot_code(sector),
        problems=tuple(problems),
    )


def _count_logical(found: list[Partition]) -> int:
    return sum(part.number > 4 for part in found)


def _mbr_partition(number: int, entry: _Entry, base: int = 0) -> Partition:
    return Partition(
        number,
        (base + entry.start) * SECTOR,
        entry.sectors * SECTOR,
        f"0x{entry.kind:02x}",
        MBR_NAMES.get(entry.kind, ""),
        "",
        entry.active,
    )


def _logical(
    reader: Reader, extended: _Entry, first_number: int
) -> tuple[list[Partition], list[Problem]]:
    """Walk the chain of extended boot records; each points at one partition and at the next."""
    found: list[Partition] = []
    at = extended.start
    seen: set[int] = set()
    while True:
        entries = _mbr_entries(reader.read(at * SECTOR, SECTOR))
        if not entries or at in seen or len(seen) >= MAX_LOGICAL:
            detail = _chain_trouble(at, bool(entries), at in seen)
            return found, [Problem("partition-table-damaged", detail, at * SECTOR, SECTOR)]
        seen.add(at)
        onward = None
        for entry in entries:
            if entry.kind in _EXTENDED and entry.sectors:
                onward = onward if onward is not None else extended.start + entry.start
            elif entry.kind and entry.sectors:
                found.append(_mbr_partition(first_number + len(found), entry, at))
        if onward is None:
            return found, []
        at = onward


def _chain_trouble(at: int, readable: bool, looped: bool) -> str:
    if looped:
        return f"the chain of logical partitions comes back to sector {at}"
    if not readable:
        return f"there is no extended boot record at sector {at}"
    return f"the chain of logical partitions has more than {MAX_LOGICAL} links"


def _boot_code(sector: bytes) -> str | None:
    code = sector[:440]
    if not any(code):
        return None
    return next((name for words, name in _LOADERS if words in code), "unknown")


# ---------------------------------------------------------------------------------------------- GPT


@dataclass(frozen=True)
class _Header:
    lba: int
    other_lba: int
    guid: bytes
    entries_lba: int
    count: int
    entry_size: int
    entries_crc: int
    entries: bytes


def _parse_gpt(
    reader: Reader, first: bytes, mbr: tuple[_Entry, ...], sector_size: int
) -> PartitionTable | None:
    last = reader.size // sector_size - 1
    primary, trouble = _header(reader, 1, sector_size)
    protected = any(entry.kind == _PROTECTIVE for entry in mbr)
    if primary is None and trouble is None and not protected:
        return None
    backup, backup_trouble = _header(reader, _backup_lba(primary, last), sector_size)
    header = primary or backup
    if header is None:
        used = any(entry.kind and entry.sectors for entry in mbr)
        if trouble is None or (used and not protected):  # Linux goes by the MBR then
            return None
        return _unreadable(first, mbr, trouble, sector_size)
    problems = _header_problems(primary, trouble, backup, backup_trouble, last, sector_size)
    every = _gpt_partitions(header, sector_size)
    found = [*itertools.islice(every, MAX_PARTITIONS)]
    table_at = header.entries_lba * sector_size
    if next(every, None) is not None:
        detail = f"it names more than {MAX_PARTITIONS} partitions"
        problems.append(Problem("partition-table-damaged", detail, table_at, len(header.entries)))
    problems += _judge(found, reader.size, table_at)
    return PartitionTable(
        "gpt",
        tuple(found),
        sector_size,
        _guid(header.guid),
        _boot_code(first),
        _protective(mbr, reader.size // SECTOR),
        tuple(problems),
    )


def _backup_lba(primary: _Header | None, last: int) -> int:
    return primary.other_lba if primary is not None and 1 < primary.other_lba <= last else last


def _unreadable(
    first: bytes, mbr: tuple[_Entry, ...], trouble: str, sector_size: int
) -> PartitionTable:
    problem = Problem(
        "partition-table-damaged", f"{trouble}; no backup either", sector_size, sector_size
    )
    kind = _protective(mbr, 0)
    return PartitionTable("gpt", (), sector_size, None, _boot_code(first), kind, (problem,))


def _header(reader: Reader, lba: int, sector_size: int) -> tuple[_Header | None, str | None]:
    """The header at ``lba``; (None, None) when nothing there claims to be one."""
    raw = reader.read(lba * sector_size, sector_size) if lba > 0 else b""
    if len(raw) < _HEADER.size or raw[:8] != b"EFI PART":
        return None, None
    (_, _, size, crc, _, at, other, _, _, guid, entries, count, each, table_crc) = (
        _HEADER.unpack_from(raw)
    )
    if not _HEADER.size <= size <= sector_size:
        return None, f"the GPT header at sector {lba} gives its own size as {size} bytes"
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != crc:
        return None, f"the GPT header at sector {lba} has a wrong checksum"
    if at != lba:
        return None, f"the GPT header at sector {lba} says that it is at sector {at}"
    if each < 128 or each % 8 or count * each > MAX_TABLE:
        return None, f"the GPT header at sector {lba} asks for {count} entries of {each} bytes"
    table = reader.read(entries * sector_size, count * each)
    if zlib.crc32(table) != table_crc:
        return None, f"the GPT entries at sector {entries} have a wrong checksum"
    return _Header(at, other, guid, entries, count, each, table_crc, table), None


def _header_problems(
    primary: _Header | None,
    trouble: str | None,
    backup: _Header | None,
    backup_trouble: str | None,
    last: int,
    sector_size: int,
) -> list[Problem]:
    if primary is None:
        detail = trouble or "there is no GPT header at sector 1, only its backup at the end"
        return [Problem("gpt-primary", detail, sector_size, sector_size)]
    detail = ""
    if backup is None:
        detail = backup_trouble or f"there is none at sector {primary.other_lba}"
    elif backup.lba != last:
        detail = f"it is at sector {backup.lba}, but the disk ends at sector {last}"
    elif backup.entries_crc != primary.entries_crc or backup.guid != primary.guid:
        detail = "it holds other partitions than the first one"
    return [Problem("gpt-backup", detail, last * sector_size, sector_size)] if detail else []


def _gpt_partitions(header: _Header, sector_size: int) -> Iterator[Partition]:
    for index in range(header.count):
        raw = header.entries[index * header.entry_size :][:128]
        if len(raw) < 128 or not any(raw[:16]):
            continue
        first, last, attributes = struct.unpack_from("<QQQ", raw, 32)
        kind = _guid(raw[:16])
        yield Partition(
            index + 1,
            first * sector_size,
            max(0, last + 1 - first) * sector_size,
            kind,
            GPT_NAMES.get(kind, ""),
            _label(raw[56:128]),
            bool(attributes & _LEGACY_BOOTABLE),
            _guid(raw[16:32]),
        )


def _guid(raw: bytes) -> str:
    return str(uuid.UUID(bytes_le=raw)).upper()


def _label(raw: bytes) -> str:
    text = raw.decode("utf-16-le", "replace").split("\0", 1)[0]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _protective(
    mbr: tuple[_Entry, ...], sectors: int
) -> Literal["standard", "odd", "hybrid", "missing"]:
    """How the MBR in front of a GPT looks; firmware and importers differ in what they bear."""
    used = [entry for entry in mbr if entry.kind]
    guards = [entry for entry in used if entry.kind == _PROTECTIVE]
    if not guards:
        return "missing"
    if len(used) > len(guards):
        return "hybrid"
    whole = {min(sectors - 1, 0xFFFFFFFF), 0xFFFFFFFF}
    usual = len(guards) == 1 and guards[0].start == 1 and guards[0].sectors in whole
    return "standard" if usual and guards[0].index == 0 else "odd"


# --------------------------------------------------------------------------------------------- both


def _judge(found: list[Partition], disk_size: int, table_at: int) -> Iterator[Problem]:
    """Partitions that reach past the disk, and partitions that lie over each other."""
    for part in found:
        if part.end > disk_size:
            detail = f"partition {part.number} ends at byte {part.end}, but the disk at {disk_size}"
            yield Problem("partition-outside-disk", detail, table_at, SECTOR)
    ordered = sorted(
        (part for part in found if part.type_name not in ("extended", "Linux extended")),
        key=lambda part: (part.start, part.end),
    )
    for left, right in itertools.pairwise(ordered):
        if right.start < left.end:
            detail = f"partitions {left.number} and {right.number} both hold byte {right.start}"
            yield Problem("partition-overlap", detail, table_at, SECTOR)

"""VHDX: two headers, two region tables, a metadata table, a block allocation table, a log.

[MS-VHDX] https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/, little-endian:

    0       "vhdxfile", then the creator in UTF-16, 512 bytes
    64 KiB  header 1, 128 KiB header 2, 4 KiB each; the valid one with the higher number counts
        0   4  "head"          4   4  CRC-32C          8   8  sequence number
        48  16 log's id, zero: nothing to replay
        64  2  log version 0   66  2  version 1        68  4  log's length   72  8  log's offset
    192 KiB region table 1, 256 KiB region table 2, 64 KiB each
        0   4  "regi"          4   4  CRC-32C          8   4  entries, at most 2047
        16  32 each: id (16), offset (8), length (4), required (4)
    metadata region, its table 64 KiB
        0   8  "metadata"      10  2  entries, at most 2047
        32  32 each: id (16), offset in the region (4), length (4), flags (4; bit 2 required)
    log, entries at multiples of 4 KiB
        0   4  "loge"          32  16 log's id

The block allocation table is in ``vhdx_tables``.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.formats import vhdx_tables
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.formats.crc32c import crc32c
from pipeline.formats.tables import Region, outside, overlaps
from pipeline.formats.vhdx_tables import VirtualDisk
from pipeline.source import Reader
from pipeline.text import clean

MAGIC = b"vhdxfile"
_KIB = 1 << 10
HEADERS, _REGIONS = (64 * _KIB, 128 * _KIB), (192 * _KIB, 256 * _KIB)
HEADER_LENGTH, _REGION_LENGTH, _FIXED = 4 * _KIB, 64 * _KIB, 1 << 20
_MAX_ENTRIES = 2047
LOG_MOST = 1 << 20  # bytes of the log that are read; qemu's has as many
_MAX_SIZE = 64 << 40
_BLOCK_SIZES = frozenset(1 << bits for bits in range(20, 29))

_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_FILE = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
_PAGE83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_ITEMS = frozenset({_FILE, _SIZE, _SECTOR, _PHYSICAL, _PAGE83, _PARENT})


@dataclass(frozen=True)
class Header:
    """The header that counts."""

    offset: int
    sequence: int
    log_id: bytes
    log_version: int
    version: int
    log: Region


class Vhdx(Format):
    """See the module."""

    name = "vhdx"
    checks = (
        "parent-image",
        "unsupported-feature",
        "corrupt-header",
        "corrupt-metadata",
        "header-limits",
        "unclean-shutdown",
        "truncated",
        "empty-image",
    )

    def matches(self, reader: Reader) -> bool:
        """The file identifier."""
        return reader.read(0, 8) == MAGIC

    def inspect(self, reader: Reader) -> Container:
        """Headers, regions, metadata, and a sample of the block allocation table."""
        creator = clean(padded(reader, 8, 512).decode("utf-16-le", "replace").split("\0")[0], 80)
        if reader.size < _FIXED:
            detail = f"a VHDX has a header section of {_FIXED} bytes, the file has {reader.size}"
            problem = Problem("truncated", detail, reader.size, _FIXED - reader.size)
            return Container(self.name, None, creator=creator or None, problems=(problem,))
        header = _header(reader)
        regions, problems = _regions(reader)
        if header is None:
            detail = "neither of the two headers is valid"
            problems = [Problem("corrupt-header", detail, HEADERS[0], HEADER_LENGTH), *problems]
        else:
            problems = [*problems, *_header_problems(header, reader)]
        if _METADATA not in regions or _BAT not in regions:
            return Container(self.name, None, creator=creator or None, problems=tuple(problems))
        items, found = _metadata(reader, regions[_METADATA])
        disk = _disk(reader, items)
        references = _parents(reader, items) if disk.has_parent else ()
        place = (regions[_METADATA].offset, 32)
        problems = [*problems, *found, *_disk_problems(disk, items, references, place)]
        if not any(problem.rule in ("corrupt-header", "header-limits") for problem in problems):
            others = [regions[_METADATA], *([header.log] if header else [])]
            problems.extend(vhdx_tables.check(reader, regions[_BAT], others, disk))
        page83 = items.get(_PAGE83)
        return Container(
            format=self.name,
            virtual_size=disk.size,
            variant="differencing" if disk.has_parent else ("fixed" if disk.fixed else "dynamic"),
            creator=creator or None,
            uuid=_uuid(reader, page83) if page83 else None,
            external_references=references,
            problems=tuple(problems),
            details={"block_size": disk.block_size, "logical_sector_size": disk.sector_size},
        )


def page83(reader: Reader) -> Region | None:
    """Where the disk's own id lies, 16 bytes; None where there is none."""
    regions, _ = _regions(reader)
    if _METADATA not in regions:
        return None
    item = _metadata(reader, regions[_METADATA])[0].get(_PAGE83)
    return item if item is not None and item.length == 16 else None


def _header(reader: Reader) -> Header | None:
    found = []
    for offset in HEADERS:
        data = padded(reader, offset, HEADER_LENGTH)
        if data[:4] != b"head" or not _sum_holds(data):
            continue
        sequence, log_id, log_version, version = struct.unpack("<Q32x16sHH", data[8:68])
        length, place = struct.unpack("<IQ", data[68:80])
        log = Region("the log", place, length)
        found.append(Header(offset, sequence, log_id, log_version, version, log))
    return max(found, key=lambda header: header.sequence, default=None)


def _sum_holds(data: bytes) -> bool:
    expected = int.from_bytes(data[4:8], "little")
    return crc32c(data[:4] + bytes(4) + data[8:]) == expected


def _header_problems(header: Header, reader: Reader) -> Iterator[Problem]:
    for name, value, known, at in (
        ("version", header.version, 1, 66),
        ("log version", header.log_version, 0, 64),
    ):
        if value != known:
            yield Problem("unsupported-feature", f"VHDX {name} {value}", header.offset + at, 2)
    if not any(header.log_id):
        return
    log = header.log
    if log.offset < _FIXED or log.offset % _FIXED or log.end > reader.size:
        detail = f"the log is at {log.offset} to {log.end}, which is no place for it"
        yield Problem("corrupt-header", detail, header.offset + 68, 12)
        return
    data = padded(reader, log.offset, min(log.length, LOG_MOST))
    entries = sum(
        data[at : at + 4] == b"loge" and data[at + 32 : at + 48] == header.log_id
        for at in range(0, len(data), 4 * _KIB)
    )
    if entries or log.length > LOG_MOST:
        detail = f"the VHDX's log holds {entries or 'possibly'} entries that were not written yet"
        yield Problem("unclean-shutdown", detail, log.offset, log.length)


def _regions(reader: Reader) -> tuple[dict[uuid.UUID, Region], list[Problem]]:
    """The regions by id, of the first region table that is valid."""
    for offset in _REGIONS:
        data = padded(reader, offset, _REGION_LENGTH)
        if data[:4] == b"regi" and _sum_holds(data):
            break
    else:
        detail = "neither of the two region tables is valid"
        return {}, [Problem("corrupt-header", detail, _REGIONS[0], _REGION_LENGTH)]
    count = int.from_bytes(data[8:12], "little")
    if count > _MAX_ENTRIES:
        detail = f"{count} regions where {_MAX_ENTRIES} are allowed"
        return {}, [Problem("header-limits", detail, offset + 8, 4)]
    found: dict[uuid.UUID, Region] = {}
    problems: list[Problem] = []
    if offset != _REGIONS[0]:  # legal, but qemu reads the first one only
        detail = "the first region table is damaged, only its copy is whole"
        problems.append(Problem("corrupt-header", detail, _REGIONS[0], _REGION_LENGTH))
    for at in range(16, _REGION_LENGTH, 32)[:count]:
        raw, place, length, needed = struct.unpack_from("<16sQII", data, at)
        key = uuid.UUID(bytes_le=raw)
        name = {_BAT: "the block allocation table", _METADATA: "the metadata region"}.get(key)
        if key in found:
            problems.append(Problem("corrupt-header", f"region {key} twice", offset + at, 32))
        elif name:
            found[key] = Region(name, place, length, (offset + at, 32))
        elif needed & 1:
            problems.append(Problem("unsupported-feature", f"VHDX region {key}", offset + at, 32))
    missing = [key for key in (_BAT, _METADATA) if key not in found]
    if missing:
        detail = "the region table names no block allocation table or no metadata"
        problems.append(Problem("corrupt-header", detail, offset, _REGION_LENGTH))
    problems.extend(_region_problems(found, reader, offset))
    return found, problems


def _region_problems(
    found: dict[uuid.UUID, Region], reader: Reader, table: int
) -> Iterator[Problem]:
    for region in found.values():
        if region.offset % _FIXED or region.offset < _FIXED:
            detail = f"{region.name} is at {region.offset}, which is not a multiple of 1 MiB"
            yield Problem("corrupt-header", detail, table, _REGION_LENGTH)
        yield from outside(region, reader.size, reader.size)
    yield from overlaps(found.values())


def _metadata(reader: Reader, region: Region) -> tuple[dict[uuid.UUID, Region], list[Problem]]:
    """The metadata items by id, as places in the file."""
    head = padded(reader, region.offset, 32)
    count = int.from_bytes(head[10:12], "little")
    if head[:8] != b"metadata":
        detail = "the metadata region does not begin with its signature"
        return {}, [Problem("corrupt-header", detail, region.offset, 32)]
    if count > _MAX_ENTRIES:
        detail = f"{count} metadata items where {_MAX_ENTRIES} are allowed"
        return {}, [Problem("header-limits", detail, region.offset + 10, 2)]
    found: dict[uuid.UUID, Region] = {}
    problems: list[Problem] = []
    data = padded(reader, region.offset + 32, count * 32)
    for at in range(0, len(data), 32):
        raw, place, length, flags = struct.unpack_from("<16sIII", data, at)
        key = uuid.UUID(bytes_le=raw)
        where = region.offset + 32 + at
        if key not in _ITEMS:
            if flags & 4:
                problems.append(Problem("unsupported-feature", f"VHDX metadata {key}", where, 32))
            continue
        if place < _REGION_LENGTH or place + length > region.length:
            detail = f"metadata item {key} lies outside of its region"
            problems.append(Problem("corrupt-header", detail, where, 32))
            continue
        found[key] = Region(f"metadata item {key}", region.offset + place, length)
    return found, problems


def _disk(reader: Reader, items: dict[uuid.UUID, Region]) -> VirtualDisk:
    def number(key: uuid.UUID, length: int) -> int:
        item = items.get(key)
        return int.from_bytes(padded(reader, item.offset, length), "little") if item else 0

    flags = number(_FILE, 8) >> 32
    return VirtualDisk(
        size=number(_SIZE, 8),
        block_size=number(_FILE, 4),
        sector_size=number(_SECTOR, 4),
        fixed=bool(flags & 1),
        has_parent=bool(flags & 2),
    )


def _disk_problems(
    disk: VirtualDisk,
    items: dict[uuid.UUID, Region],
    references: tuple[str, ...],
    place: tuple[int, int],
) -> Iterator[Problem]:
    """What is wrong with the disk's properties; ``place``: where the metadata stands."""
    for key, name in ((_FILE, "file parameters"), (_SIZE, "size"), (_SECTOR, "sector size")):
        if key not in items:
            detail = f"the metadata does not tell the disk's {name}"
            yield Problem("corrupt-header", detail, *place)
            return
    at = items[_FILE].offset
    if disk.has_parent:
        named = f", '{references[0]}'" if references else ""
        yield Problem("parent-image", f"the VHDX has a parent{named}", at, 8)
    if disk.block_size not in _BLOCK_SIZES:
        detail = f"the block size is {disk.block_size}, allowed are powers of 2 from 1 to 256 MiB"
        yield Problem("corrupt-header", detail, at, 4)
    if disk.sector_size == 4096:
        detail = "logical sectors of 4096 bytes"
        yield Problem("unsupported-feature", detail, items[_SECTOR].offset, 4)
    elif disk.sector_size != 512:
        detail = f"the sector size is {disk.sector_size}, allowed are 512 and 4096"
        yield Problem("corrupt-header", detail, items[_SECTOR].offset, 4)
    if disk.sector_size in (512, 4096) and disk.size % disk.sector_size:
        detail = f"the disk's size {disk.size} is not a multiple of its sectors"
        yield Problem("corrupt-header", detail, items[_SIZE].offset, 8)
    if disk.size == 0:
        yield Problem("empty-image", "the disk's size is 0", items[_SIZE].offset, 8)
    if disk.size > _MAX_SIZE:
        detail = f"a disk of {disk.size} bytes, the format allows {_MAX_SIZE}"
        yield Problem("header-limits", detail, items[_SIZE].offset, 8)


def _parents(reader: Reader, items: dict[uuid.UUID, Region]) -> tuple[str, ...]:
    """The paths of the parent locator."""
    item = items.get(_PARENT)
    if item is None:
        return ()
    data = padded(reader, item.offset, min(item.length, 16 * _KIB))
    count = int.from_bytes(data[18:20], "little")
    names = []
    for at in range(20, len(data) - 11, 12)[: min(count, 32)]:
        key, value, key_length, value_length = struct.unpack_from("<IIHH", data, at)
        name = data[key : key + key_length].decode("utf-16-le", "replace")
        if name.endswith("_path"):  # relative_path, volume_path or absolute_win32_path
            names.append(data[value : value + value_length].decode("utf-16-le", "replace"))
    return tuple(clean(name, 200) for name in names)


def _uuid(reader: Reader, item: Region) -> str | None:
    raw = padded(reader, item.offset, 16)
    return str(uuid.UUID(bytes_le=raw)) if any(raw) else None

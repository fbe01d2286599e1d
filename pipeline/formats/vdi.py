"""VDI, VirtualBox's own format, version 1.1.

VirtualBox, src/VBox/Storage/VDICore.h (https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VDICore.h),
little-endian:

    0    64 text, any
    64   4  signature 0xBEDA107F
    68   4  version             0x00010001
    72   4  header's size       from here on
    76   4  type                1 dynamic, 2 fixed, 3 undo, 4 differencing
    80   4  flags
    84   256 comment
    340  4  block map's offset  u32 a block: its number in the file, -1 absent, -2 zeros
    344  4  data's offset
    360  4  sector size         512
    368  8  virtual size in bytes
    376  4  block size          1 MiB
    380  4  extra bytes before each block
    384  4  blocks
    388  4  blocks allocated
    392  16 id    408 16 of the last change    424 16 of the parent    440 16 of the parent's change
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.formats.tables import Region, covered, integers, outside, overlaps, repeated
from pipeline.source import Reader

_SIGNATURE = struct.pack("<I", 0xBEDA107F)
_HEADER = struct.Struct("<II4x256xIIIIII4xQIIII16s16s16s16s")
_AT, _LENGTH = 72, 512
_TYPES = {1: "dynamic", 2: "fixed", 3: "undo", 4: "differencing"}
_ABSENT = 0xFFFF_FFFE  # and above
_MAX_BLOCKS = 16 << 20  # 16 TiB: readers keep the map in memory, 64 MiB then
_MAP_READ = 64 << 10  # of the block map's head, and of its tail


@dataclass(frozen=True)
class Header:
    """The fields above that matter."""

    length: int
    type: int
    map_offset: int
    data_offset: int
    cylinders: int
    heads: int
    sectors: int
    sector_size: int
    size: int
    block_size: int
    extra: int
    blocks: int
    allocated: int
    id: bytes
    changed: bytes
    parent: bytes
    parent_changed: bytes

    @property
    def differs(self) -> bool:
        """Whether the image needs a parent: by its type, or by the ids that qemu too goes by."""
        return self.type in (3, 4) or any(self.parent) or any(self.parent_changed)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """From the 512 bytes of the header."""
        return cls(*_HEADER.unpack_from(data, _AT))


class Vdi(Format):
    """See the module."""

    name = "vdi"
    checks = (
        "parent-image",
        "unsupported-feature",
        "corrupt-header",
        "corrupt-metadata",
        "header-limits",
        "truncated",
        "empty-image",
    )

    def matches(self, reader: Reader) -> bool:
        """The signature behind the text."""
        return reader.read(64, 4) == _SIGNATURE

    def stores(self, reader: Reader, offset: int, length: int) -> bool:
        """Whether blocks lie there."""
        header = Header.unpack(padded(reader, 0, _LENGTH))
        if [*_geometry(header)] or header.map_offset + header.blocks * 4 > reader.size:
            return False
        table = Region("the block map", header.map_offset, header.blocks * 4)
        blocks = (entry for entry in _entries(table, reader) if entry < header.allocated)
        starts = (header.data_offset + block * header.block_size for block in blocks)
        return covered(starts, header.block_size, offset, length)

    def inspect(self, reader: Reader) -> Container:
        """Header and block map."""
        if reader.size < _LENGTH:
            detail = f"a VDI header has {_LENGTH} bytes, the file has {reader.size}"
            problem = Problem("truncated", detail, reader.size, _LENGTH - reader.size)
            return Container(self.name, None, problems=(problem,))
        data = padded(reader, 0, _LENGTH)
        version = int.from_bytes(data[68:72], "little")
        if version >> 16 != 1:
            detail = f"VDI version {version >> 16}.{version & 0xFFFF}"
            problem = Problem("unsupported-feature", detail, 68, 4)
            return Container(self.name, None, problems=(problem,))
        header = Header.unpack(data)
        problems = [*_fields(header, version)]
        if not any(problem.rule in ("corrupt-header", "header-limits") for problem in problems):
            problems.extend(_places(header, reader))
        parent = str(uuid.UUID(bytes_le=header.parent)) if any(header.parent) else "unknown parent"
        return Container(
            format=self.name,
            virtual_size=header.size,
            variant=_TYPES.get(header.type),
            uuid=str(uuid.UUID(bytes_le=header.id)) if any(header.id) else None,
            external_references=(parent,) if header.differs else (),
            problems=tuple(problems),
            details={"block_size": header.block_size, "blocks_allocated": header.allocated},
        )


def _fields(header: Header, version: int) -> Iterator[Problem]:
    if version != 0x00010001:
        yield Problem("unsupported-feature", f"VDI version 1.{version & 0xFFFF}", 68, 4)
    if header.type not in _TYPES:
        yield Problem("unsupported-feature", f"VDI type {header.type}", 76, 4)
    if header.differs:
        detail = f"the VDI is of type {_TYPES.get(header.type, header.type)}"
        if any(header.parent):
            detail += f", its parent has the id {uuid.UUID(bytes_le=header.parent)}"
        yield Problem("parent-image", detail, 424, 16)
    yield from _geometry(header)
    for value, offset, name in ((header.map_offset, 340, "map"), (header.data_offset, 344, "data")):
        if value % 512 or not value:
            detail = f"the {name}'s offset is {value}, which is not that of a sector"
            yield Problem("corrupt-header", detail, offset, 4)


def _geometry(header: Header) -> Iterator[Problem]:
    if header.size == 0:
        yield Problem("empty-image", "the disk's size is 0", 368, 8)
    if header.sector_size != 512:
        detail = f"the sector size is {header.sector_size}, allowed is 512"
        yield Problem("corrupt-header", detail, 360, 4)
    if header.block_size == 0 or header.block_size & (header.block_size - 1):
        detail = f"the block size is {header.block_size}, allowed are powers of 2"
        yield Problem("corrupt-header", detail, 376, 4)
    elif header.block_size != 1 << 20:
        yield Problem("unsupported-feature", f"VDI blocks of {header.block_size} bytes", 376, 4)
    if header.extra:
        yield Problem("unsupported-feature", f"{header.extra} extra bytes a VDI block", 380, 4)
    if header.blocks > _MAX_BLOCKS:
        detail = f"{header.blocks} blocks where {_MAX_BLOCKS} are allowed"
        yield Problem("header-limits", detail, 384, 4)
    elif header.blocks * header.block_size < header.size:
        detail = f"{header.blocks} blocks are too few for {header.size} bytes"
        yield Problem("corrupt-header", detail, 384, 4)
    if header.allocated > header.blocks:
        detail = f"{header.allocated} of {header.blocks} blocks are said to be allocated"
        yield Problem("corrupt-header", detail, 388, 4)


def _places(header: Header, reader: Reader) -> Iterator[Problem]:
    table = Region("the block map", header.map_offset, header.blocks * 4, (340, 4))
    data = Region("the data", header.data_offset, header.allocated * header.block_size)
    misplaced = [*overlaps((table, data))]  # and neither begins in the header's sector
    misplaced.extend(outside(table, reader.size, header.size))
    yield from misplaced
    if misplaced:
        return
    entries = [entry for entry in _entries(table, reader) if entry < _ABSENT]
    if entries:
        yield from _blocks(header, reader, table, entries)


def _entries(table: Region, reader: Reader) -> list[int]:
    """The block map, of a large one its head and tail."""
    if table.length <= 2 * _MAP_READ:
        return list(integers(padded(reader, table.offset, table.length), "I", "little"))
    head = padded(reader, table.offset, _MAP_READ)
    tail = padded(reader, table.end - _MAP_READ, _MAP_READ)
    return [*integers(head, "I", "little"), *integers(tail, "I", "little")]


def _blocks(header: Header, reader: Reader, table: Region, entries: list[int]) -> Iterator[Problem]:
    twice = repeated(entries)
    if twice is not None:
        detail = f"the block map names block {twice} of the file twice"
        yield Problem("corrupt-metadata", detail, table.offset, table.length)
    last = max(entries)
    if last >= header.allocated:
        detail = f"the block map names block {last}, {header.allocated} are allocated"
        yield Problem("corrupt-metadata", detail, table.offset, table.length)
    at = header.data_offset + last * header.block_size
    place = Region(f"block {last}", at, header.block_size, (table.offset, table.length))
    yield from outside(place, reader.size, header.size, wild="corrupt-metadata")

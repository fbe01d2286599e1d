"""A dynamic VHD's block table, and XenServer's map of full blocks behind it."""

from __future__ import annotations

import functools
import itertools
import operator
from array import array
from dataclasses import dataclass
from typing import Any

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.base import Problem
from pipeline.formats.tables import integers
from pipeline.formats.vhd_bytes import BatmapHeader, Header
from pipeline.source import Reader

MAX_TABLE = 4 << 20  # bytes: 2 TiB in blocks of 2 MiB, more than any VHD holds
BATMAP_VERSION = 0x00010002
BATMAP_SIGNED = 0x00010001  # its checksum adds signed bytes
_BITS = 8 * vhd.SECTOR  # of the batmap, in one sector
_FLAGS = bytes([1] * 255 + [0])  # of a byte that is 0xFF only in an unallocated entry
_DIGITS = bytes.maketrans(b"\0\1", b"10")  # flags to binary digits, 1 where nothing is stored


@dataclass(frozen=True)
class Table:
    """The BAT.

    A table may have a million entries, so what asks all of them asks in the C of ``bytes`` and
    ``int``, never in a loop of ours.
    """

    offset: int
    size: int  # bytes, with the padding
    entries: array[int]  # sectors; vhd.UNALLOCATED
    stored: bytes  # one byte a block, 1 or 0
    bitmap_size: int  # bytes of a block's sector bitmap
    block_size: int

    @property
    def stride(self) -> int:
        """Bytes that one block takes."""
        return self.bitmap_size + self.block_size

    @classmethod
    def parse(cls, data: bytes, offset: int, size: int, block_size: int) -> Table:
        """The table whose entries are ``data``, big-endian, at ``offset``."""
        entries = integers(data, "I", "big")
        columns = (int.from_bytes(data[byte::4], "big") for byte in range(4))
        all_ones = functools.reduce(operator.and_, columns).to_bytes(len(entries), "big")
        bitmap = vhd.bitmap_size(block_size)
        return cls(offset, size, entries, all_ones.translate(_FLAGS), bitmap, block_size)

    def allocated(self) -> list[int]:
        """The sectors of all stored blocks, ascending."""
        return sorted(itertools.compress(self.entries, self.stored))

    def first_unstored(self, bits: bytes) -> int | None:
        """The first block that ``bits``, its first one the highest, marks and that is not stored."""
        room = 8 * len(bits) - len(self.stored)
        digits = self.stored.translate(_DIGITS)
        unstored = int(digits + b"1" * room, 2)
        both = int.from_bytes(bits, "big") & unstored
        return 8 * len(bits) - both.bit_length() if both else None

    def number(self, sector: int) -> int:
        """Which block is stored at that sector."""
        return self.entries.index(sector)

    def problem(self, rule: str, detail: str, number: int) -> Problem:
        """A problem with the entry of block ``number``."""
        return Problem(rule, detail, self.offset + 4 * number, 4)


def read_table(reader: Reader, header: Header) -> Table:
    """The table of a header that was found sound."""
    data = reader.read(header.table_offset, 4 * header.entries)
    return Table.parse(data, header.table_offset, header.table_size, header.block_size)


class Batmap:
    """XenServer's map of full blocks, behind the table."""

    def __init__(self, reader: Reader, header: Header, table: Table, size: int, limit: int) -> None:
        self.problems: list[Problem] = []
        self.regions: tuple[tuple[int, int], ...] = ()
        self.details: dict[str, Any] | None = None
        self.bits = b""
        self._table = table
        self._at = header.table_offset + header.table_size
        data = reader.read(self._at, vhd.BATMAP_HEADER_SIZE)
        if len(data) < vhd.BATMAP_HEADER_SIZE or data[:8] != vhd.BATMAP_COOKIE:
            return  # only XenServer writes one
        batmap = BatmapHeader.unpack(data)
        if self._readable(batmap, len(table.entries), limit):
            self.bits = reader.read(batmap.offset, batmap.sectors * vhd.SECTOR)
            self._judge(batmap, size)

    def full(self, number: int) -> bool:
        """Whether block ``number`` is marked as full."""
        return len(self.bits) > number >> 3 and bool(self.bits[number >> 3] & 0x80 >> (number & 7))

    def _wrong(self, detail: str, at: int, length: int) -> None:
        self.problems.append(Problem("vhd-batmap", detail, self._at + at, length))

    def _readable(self, batmap: BatmapHeader, entries: int, limit: int) -> bool:
        if batmap.version not in (BATMAP_SIGNED, BATMAP_VERSION):
            self._wrong(f"its version is 0x{batmap.version:08x}", 20, 4)
        elif not batmap.sectors or not entries <= batmap.sectors * _BITS <= MAX_TABLE:
            self._wrong(f"{batmap.sectors} sectors for {entries} blocks", 16, 4)
        elif batmap.offset < self._at + vhd.BATMAP_HEADER_SIZE or batmap.offset % vhd.SECTOR:
            self._wrong(f"the map is at {batmap.offset}", 8, 8)
        elif batmap.offset + batmap.sectors * vhd.SECTOR > limit:
            self._wrong(f"the map at {batmap.offset} reaches behind the data's end", 8, 8)
        else:
            return True
        return False

    def _judge(self, batmap: BatmapHeader, size: int) -> None:
        self.regions = (
            (self._at, self._at + vhd.BATMAP_HEADER_SIZE),
            (batmap.offset, batmap.offset + len(self.bits)),
        )
        self.details = {"offset": batmap.offset, "sectors": batmap.sectors}
        # libvhd sums the prefix that its own idea of the size gives, xapi the whole map; a file that
        # satisfies only one of them cannot be opened by the other.
        prefix = vhd.round_up(max(1, size >> 24), vhd.SECTOR)
        for part in (self.bits[:prefix], self.bits):
            right = _map_checksum(part, batmap.version)
            if right != batmap.checksum:
                said = f"0x{batmap.checksum:08x}, the bytes give 0x{right:08x}"
                self._wrong(f"its checksum is {said}", 24, 4)
                break
        self._judge_bits(batmap)

    def _judge_bits(self, batmap: BatmapHeader) -> None:
        number = self._table.first_unstored(self.bits)
        if number is not None:
            at = batmap.offset + number // 8 - self._at
            self._wrong(f"it shows unallocated block {number} as full", at, 1)
            return
        assert self.details is not None
        self.details["full_blocks"] = int.from_bytes(self.bits, "big").bit_count()


def _map_checksum(data: bytes, version: int) -> int:
    if version == BATMAP_SIGNED:
        return ~(sum(data) - 256 * sum(1 for byte in data if byte > 127)) & 0xFFFFFFFF
    return vhd.checksum(data)

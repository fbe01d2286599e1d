"""The VHD that XenServer takes, laid out before a byte of data is read.

    0      512      1536   1536+BAT     headers' end  first                  4104 sectors later
    │copy  │header  │BAT   │batmap      │zeros        │bitmap│2 MiB│zeros    │bitmap│2 MiB│footer│
                                                      └─ block ──────┘       └─ block ────┘

Everything is a function of (virtual size, which blocks hold data, unique id, time stamp): the total
size is known at once, and any range of the file can be produced on its own, from the headers in
memory and the few source blocks that it overlaps.  Offsets: ``pipeline.formats.vhd_bytes``.

The first data byte of every block lies on a 4096-byte boundary, because XenServer's tapdisk reads
with O_DIRECT; blktap itself places blocks so (vhd/lib/libvhd.c, __vhd_io_allocate_block).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Self
from uuid import UUID

from pipeline.errors import ConversionFailed
from pipeline.formats import vhd_bytes as vhd
from pipeline.model import JsonObject

GIB = 1 << 30
MAX_SIZE = 2040 * GIB  # XenServer's sm, libs/sm/vhdutil.py: MAX_VHD_SIZE
TAP = b"tap\0"
TAP_VERSION = 0x00010003
BATMAP_VERSION = 0x00010002
TABLE_AT = vhd.FOOTER_SIZE + vhd.HEADER_SIZE

_STRIDE = 4104 * vhd.SECTOR  # bitmap, 4096 sectors of data, 7 sectors so that the next is aligned
_ONES = b"\xff" * vhd.SECTOR
_MOST_BITS = MAX_SIZE // vhd.BLOCK_SIZE // 8  # bytes: a bit for each block of the largest disk


@dataclass(frozen=True)
class Piece:
    """A run of the file's bytes and where they come from.

    ``literal``: ``data`` itself.  ``source``: the disk's bytes at ``source_offset``.  ``zero``.
    """

    offset: int
    length: int
    kind: Literal["literal", "source", "zero"]
    source_offset: int = 0
    data: bytes = b""


def require_fits(size: int) -> None:
    """Raise ``ConversionFailed`` for a disk that no VHD holds."""
    if size > MAX_SIZE:
        raise ConversionFailed(
            "vhd-too-large",
            f"the disk has {size} bytes ({size / GIB:.1f} GiB), and a VHD holds at most "
            f"{MAX_SIZE} (2040 GiB)",
            hint="make the disk smaller inside the machine, or convert to another format",
        )


def target_size(source_size: int) -> int:
    """The virtual size of the VHD for a disk of ``source_size`` bytes.

    Rounded up to XenServer's 2 MiB.  A block count just above a multiple of 4096 is raised a
    little more: libvhd allocates its batmap from size / 16 MiB rounded down, and then tests bits
    behind its end, which makes a last block read as zeros (seen with blktap's own coalesce at
    8194 MiB).
    Raises ``ConversionFailed`` above 2040 GiB.
    """
    require_fits(source_size)
    blocks = max(1, -(-source_size // vhd.BLOCK_SIZE))
    whole, above = divmod(blocks, 4096)
    if whole and above:
        blocks += max(0, 8 - above)
    return blocks * vhd.BLOCK_SIZE


def footer(virtual_size: int, uuid: UUID, timestamp: int, *, fixed: bool) -> bytes:
    """The 512 bytes of a VHD's footer; ``timestamp``: seconds since 2000.

    For the creator ``tap`` XenServer and qemu take the size in bytes, never the geometry, which is
    rounded down.
    """
    cylinders, heads, sectors = vhd.geometry(virtual_size)
    return vhd.Footer(
        cookie=vhd.FOOTER_COOKIE,
        features=2,
        version=vhd.VERSION_1_0,
        data_offset=vhd.NO_OFFSET if fixed else vhd.FOOTER_SIZE,
        timestamp=timestamp,
        creator=TAP,
        creator_version=TAP_VERSION,
        creator_os=0,
        original_size=virtual_size,
        current_size=virtual_size,
        cylinders=cylinders,
        heads=heads,
        sectors=sectors,
        disk_type=vhd.FIXED if fixed else vhd.DYNAMIC,
        checksum=0,
        uuid=uuid.bytes,
        saved_state=0,
        hidden=0,
        reserved=bytes(426),
    ).pack()


class VhdLayout:
    """Where every byte of the VHD is.  Immutable; memory: the headers and one number a block."""

    def __init__(
        self, virtual_size: int, blocks: Iterable[int], uuid: UUID, timestamp: int
    ) -> None:
        """``blocks``: the numbers of the 2 MiB blocks that are stored, ascending.

        ``timestamp``: seconds since 2000.  Raises ``ValueError`` for values that no VHD can hold.
        """
        if virtual_size != target_size(virtual_size):
            raise ValueError(f"{virtual_size} is not a size that target_size() gives")
        if not uuid.int or not 0 <= timestamp < 1 << 32:
            raise ValueError("the unique id must not be zero, the time stamp must fit 32 bits")
        self.virtual_size = virtual_size
        self.blocks = array("I", blocks)
        self.uuid = uuid
        self.timestamp = timestamp
        self.entries = virtual_size // vhd.BLOCK_SIZE
        _require_ascending(self.blocks, self.entries)
        self._batmap_at = TABLE_AT + vhd.round_up(4 * self.entries, vhd.SECTOR)
        self._map_size = vhd.round_up(-(-self.entries // 8), vhd.SECTOR)
        headers = self._batmap_at + vhd.BATMAP_HEADER_SIZE + self._map_size
        self._first = _first_block(headers)
        count = len(self.blocks)
        last = self._first + (count - 1) * _STRIDE + vhd.SECTOR + vhd.BLOCK_SIZE
        self._footer_at = last if count else headers
        self._headers_end = headers
        self.size = self._footer_at + vhd.FOOTER_SIZE

    @property
    def grid(self) -> tuple[int, int]:
        """Where a block's data begins, and how far it is to the next one's: multiples of 4096.

        From there on, 2 MiB of data, zeros and the next block's bitmap fill whole pages.
        """
        return self._first + vhd.SECTOR, _STRIDE

    @classmethod
    def from_plan(cls, plan: JsonObject) -> Self:
        """The layout that ``plan()`` described; raises ``ValueError`` for anything else."""
        try:
            packed = base64.b64decode(plan["blocks"], validate=True)
            blocks = _numbers(zlib.decompressobj().decompress(packed, _MOST_BITS))
            return cls(plan["virtual_size"], blocks, UUID(plan["uuid"]), plan["timestamp"])
        except (KeyError, TypeError, AttributeError, zlib.error, binascii.Error) as error:
            raise ValueError(f"not the plan of a VHD: {error}") from error

    def plan(self) -> dict[str, Any]:
        """Plain JSON from which another process makes the same bytes."""
        packed = zlib.compress(_bitmap(self.blocks, self.entries))
        return {
            "kind": "tap-vhd",
            "virtual_size": self.virtual_size,
            "blocks": base64.b64encode(packed).decode("ascii"),
            "uuid": str(self.uuid),
            "timestamp": self.timestamp,
        }

    def block_at(self, number: int) -> int | None:
        """Offset in the file of the data of block ``number``; None: not stored."""
        index = bisect_left(self.blocks, number)
        if number not in self.blocks[index : index + 1]:
            return None
        return self._first + index * _STRIDE + vhd.SECTOR

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        """The runs that make up ``length`` bytes at ``offset``; fewer only at the end."""
        end = min(offset + length, self.size)
        while offset < end:
            piece = self._piece(offset, end)
            yield piece
            offset += piece.length

    def _piece(self, offset: int, end: int) -> Piece:
        if offset < self._headers_end:
            stop = min(end, self._headers_end)
            return Piece(offset, stop - offset, "literal", data=self.headers[offset:stop])
        if offset >= self._footer_at:
            at = offset - self._footer_at
            return Piece(offset, end - offset, "literal", data=self.footer[at : at + end - offset])
        if offset < self._first:
            return Piece(offset, min(end, self._first) - offset, "zero")
        index, within = divmod(offset - self._first, _STRIDE)
        start = self._first + index * _STRIDE
        if within < vhd.SECTOR:
            stop = min(end, start + vhd.SECTOR)
            return Piece(offset, stop - offset, "literal", data=_ONES[: stop - offset])
        if within < vhd.SECTOR + vhd.BLOCK_SIZE:
            stop = min(end, start + vhd.SECTOR + vhd.BLOCK_SIZE)
            source = self.blocks[index] * vhd.BLOCK_SIZE + within - vhd.SECTOR
            return Piece(offset, stop - offset, "source", source_offset=source)
        return Piece(offset, min(end, start + _STRIDE) - offset, "zero")

    @cached_property
    def footer(self) -> bytes:
        """The 512 bytes at both ends of the file."""
        return footer(self.virtual_size, self.uuid, self.timestamp, fixed=False)

    @cached_property
    def headers(self) -> bytes:
        """Everything before the first block: footer copy, header, BAT, batmap."""
        header = vhd.Header(
            cookie=vhd.HEADER_COOKIE,
            data_offset=vhd.NO_OFFSET,
            table_offset=TABLE_AT,
            version=vhd.VERSION_1_0,
            entries=self.entries,
            block_size=vhd.BLOCK_SIZE,
            checksum=0,
            parent_uuid=bytes(16),
            parent_timestamp=0,
            reserved1=bytes(4),
            parent_name=bytes(512),
            locators=bytes(192),
            reserved2=bytes(256),
        )
        table = self._table().ljust(self._batmap_at - TABLE_AT, b"\0")
        return b"".join((self.footer, header.pack(), table, self._batmap()))

    def _table(self) -> bytes:
        table = bytearray(vhd.UNALLOCATED.to_bytes(4, "big") * self.entries)
        first, stride = self._first // vhd.SECTOR, _STRIDE // vhd.SECTOR
        for index, block in enumerate(self.blocks):
            struct.pack_into(">I", table, 4 * block, first + index * stride)
        return bytes(table)

    def _batmap(self) -> bytes:
        # Every stored block's bitmap is all ones, so the batmap is the set of stored blocks.
        # target_size() keeps set bits inside the prefix that libvhd sums.
        bitmap = _bitmap(self.blocks, self.entries).ljust(self._map_size, b"\0")
        header = vhd.BatmapHeader(
            cookie=vhd.BATMAP_COOKIE,
            offset=self._batmap_at + vhd.BATMAP_HEADER_SIZE,
            sectors=self._map_size // vhd.SECTOR,
            version=BATMAP_VERSION,
            checksum=vhd.checksum(bitmap),
            marker=0,
            reserved=bytes(483),
        )
        return header.pack() + bitmap


def _first_block(headers_end: int) -> int:
    sector = headers_end // vhd.SECTOR
    return (sector + (7 - sector) % 8) * vhd.SECTOR


def _require_ascending(blocks: array[int], entries: int) -> None:
    if any(left >= right for left, right in pairwise(blocks)):
        raise ValueError("the block numbers are not ascending")
    if blocks and blocks[-1] >= entries:
        raise ValueError(f"block {blocks[-1]} lies behind the disk's {entries} blocks")


def _bitmap(blocks: Iterable[int], entries: int) -> bytes:
    bitmap = bytearray(-(-entries // 8))
    for block in blocks:
        bitmap[block >> 3] |= 0x80 >> (block & 7)
    return bytes(bitmap)


def _numbers(bitmap: bytes) -> Iterator[int]:
    for index, byte in enumerate(bitmap):
        if byte:
            for bit in range(8):
                if byte & 0x80 >> bit:
                    yield index * 8 + bit

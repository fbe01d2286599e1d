r"""The bytes of a VHD: offset tables, and the records that are read from and written to them.

Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0 of 2006-10-11
(https://www.microsoft.com/en-us/download/details.aspx?id=23850), and what XenServer adds to it:
the batmap and the hidden mark (https://github.com/xapi-project/blktap, vhd/include/vhd.h).  All
integers are big-endian.

Footer, 512 bytes, last in the file; a dynamic disk has a copy at offset 0:

    0   8  cookie          "conectix" ("v_poison": XenServer is changing the file)
    8   4  features        bit 1 is reserved and always set, bit 0: temporary
    12  4  version         0x00010000
    16  8  data offset     of the dynamic header; all ones in a fixed disk
    24  4  time stamp      seconds since 2000-01-01T00:00:00Z
    28  4  creator         "tap\0" for XenServer
    32  4  creator version major and minor, 16 bits each
    36  4  creator's host OS
    40  8  original size   bytes
    48  8  current size    bytes
    56  4  geometry        cylinders (2), heads (1), sectors a track (1)
    60  4  type            2 fixed, 3 dynamic, 4 differencing
    64  4  checksum        ones' complement of the byte sum of the footer without this field
    68  16 unique id
    84  1  saved state
    85  1  hidden          XenServer only
    86  426 reserved       zero

Dynamic header, 1024 bytes at the footer's data offset:

    0   8  cookie          "cxsparse"
    8   8  data offset     all ones
    16  8  table offset    of the block allocation table (BAT)
    24  4  version         0x00010000
    28  4  table entries
    32  4  block size      bytes
    36  4  checksum        as in the footer, over 1024 bytes
    40  16 parent's unique id
    56  4  parent's time stamp
    60  4  reserved
    64  512 parent's name  UTF-16
    576 192 parent locators, 8 of 24: code (4), space (4), length (4), reserved (4), offset (8)
    768 256 reserved

Batmap header, 512 bytes at the end of the BAT rounded up to a sector:

    0   8  cookie          "tdbatmap"
    8   8  map offset      bytes
    16  4  map size        sectors
    20  4  version         0x00010002
    24  4  checksum        as above, over the map only
    28  1  marker
    29  483 key hash and reserved, zero
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Self

SECTOR = 512
FOOTER_SIZE = 512
HEADER_SIZE = 1024
BATMAP_HEADER_SIZE = 512
BLOCK_SIZE = 2 << 20
EPOCH_2000 = 946_684_800  # 2000-01-01T00:00:00Z in Unix time
NO_OFFSET = (1 << 64) - 1
UNALLOCATED = 0xFFFFFFFF
VERSION_1_0 = 0x00010000

FOOTER_COOKIE = b"conectix"
JOURNAL_COOKIE = b"v_poison"
HEADER_COOKIE = b"cxsparse"
BATMAP_COOKIE = b"tdbatmap"

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
VARIANTS = {FIXED: "fixed", DYNAMIC: "dynamic", DIFFERENCING: "differencing"}

MAX_CHS_SECTORS = 65535 * 16 * 255  # 127.5 GiB: beyond it the geometry says only "large"

_BY_BITMAP = 8 * SECTOR * SECTOR  # bytes of a block for which one sector of its bitmap stands

FOOTER_CHECKSUM_AT = 64
HEADER_CHECKSUM_AT = 36

_FOOTER = struct.Struct(">8sIIQI4sII QQ HBB II 16s BB 426s")
_HEADER = struct.Struct(">8sQQIIII 16sI4s 512s 192s 256s")
_BATMAP = struct.Struct(">8sQIIIB 483s")
_LOCATOR = struct.Struct(">4sIIIQ")


def round_up(value: int, unit: int) -> int:
    """``value`` rounded up to a multiple of ``unit``."""
    return -(-value // unit) * unit


def bitmap_size(block_size: int) -> int:
    """Bytes of a block's sector bitmap: a bit for each of its sectors, and whole sectors of them."""
    return -(-block_size // _BY_BITMAP) * SECTOR


def checksum(data: bytes, field_at: int | None = None) -> int:
    """The VHD checksum of ``data``, taking the 4 bytes at ``field_at`` as zeros."""
    total = sum(data)
    if field_at is not None:
        total -= sum(data[field_at : field_at + 4])
    return ~total & 0xFFFFFFFF


def geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors a track for a disk of ``size`` bytes, rounded down.

    As in blktap's ``vhd_chs`` (vhd/lib/libvhd.c) and the specification's appendix.  Which of two is the
    larger blktap asks of them as numbers of 32 bits, which order them as these tuples are ordered.
    """
    sectors = min(-(-size // SECTOR), MAX_CHS_SECTORS)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    per_track = 17
    tracks = sectors // per_track
    heads = max(4, (tracks + 1023) // 1024)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = sectors // per_track
    if tracks >= heads * 1024:
        per_track, heads = 63, 16
        tracks = sectors // per_track
    return tracks // heads, heads, per_track


@dataclass(frozen=True)
class Footer:
    """The fields of a footer, in the order of the table above."""

    cookie: bytes
    features: int
    version: int
    data_offset: int
    timestamp: int
    creator: bytes
    creator_version: int
    creator_os: int
    original_size: int
    current_size: int
    cylinders: int
    heads: int
    sectors: int
    disk_type: int
    checksum: int
    uuid: bytes
    saved_state: int
    hidden: int
    reserved: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read 512 bytes (511 from old writers are filled up with a zero)."""
        return cls(*_FOOTER.unpack(data.ljust(FOOTER_SIZE, b"\0")))

    def pack(self) -> bytes:
        """The 512 bytes, with a right checksum whatever ``checksum`` says."""
        return _summed(_FOOTER.pack(*_values(self)), FOOTER_CHECKSUM_AT)

    @property
    def size_by_chs(self) -> int:
        """Bytes of the disk as the geometry counts them."""
        return self.cylinders * self.heads * self.sectors * SECTOR

    @property
    def geometry(self) -> tuple[int, int, int]:
        """Cylinders, heads and sectors a track."""
        return self.cylinders, self.heads, self.sectors


@dataclass(frozen=True)
class Header:
    """The fields of a dynamic header, in the order of the table above."""

    cookie: bytes
    data_offset: int
    table_offset: int
    version: int
    entries: int
    block_size: int
    checksum: int
    parent_uuid: bytes
    parent_timestamp: int
    reserved1: bytes
    parent_name: bytes
    locators: bytes
    reserved2: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read 1024 bytes."""
        return cls(*_HEADER.unpack(data))

    def pack(self) -> bytes:
        """The 1024 bytes, with a right checksum whatever ``checksum`` says."""
        return _summed(_HEADER.pack(*_values(self)), HEADER_CHECKSUM_AT)

    @property
    def table_size(self) -> int:
        """Bytes of the BAT with its padding to a sector."""
        return max(SECTOR, round_up(4 * self.entries, SECTOR))

    @property
    def locator_list(self) -> tuple[Locator, ...]:
        """The parent locators that are in use."""
        every = (Locator(*values) for values in _LOCATOR.iter_unpack(self.locators))
        return tuple(item for item in every if item.code != b"\0\0\0\0")


@dataclass(frozen=True)
class Locator:
    """Where the name of a parent stands, for one platform."""

    code: bytes  # "W2ku", "W2ru", "MacX", …
    space: int
    length: int  # bytes
    reserved: int
    offset: int


@dataclass(frozen=True)
class BatmapHeader:
    """The fields of a batmap header, in the order of the table above."""

    cookie: bytes
    offset: int
    sectors: int
    version: int
    checksum: int
    marker: int
    reserved: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read 512 bytes."""
        return cls(*_BATMAP.unpack(data))

    def pack(self) -> bytes:
        """The 512 bytes."""
        return _BATMAP.pack(*_values(self))


def _values(record: Footer | Header | BatmapHeader) -> list[int | bytes]:
    return [getattr(record, item.name) for item in fields(record)]


def _summed(data: bytes, field_at: int) -> bytes:
    total = struct.pack(">I", checksum(data, field_at))
    return data[:field_at] + total + data[field_at + 4 :]

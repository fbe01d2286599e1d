"""qcow2, versions 2 and 3: the header, and what it asks for.

https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt, all integers big-endian:

    0    4  magic "QFI" 0xfb
    4    4  version                    2 or 3
    8    8  backing file name's offset 0: none
    16   4  backing file name's length at most 1023
    20   4  cluster_bits               9 to 21
    24   8  virtual size in bytes
    32   4  encryption                 0 none, 1 AES, 2 LUKS
    36   4  L1 table's entries
    40   8  L1 table's offset
    48   8  refcount table's offset
    56   4  refcount table's clusters
    60   4  snapshots
    64   8  snapshot table's offset
    72   8  incompatible features      bit 0 dirty, 1 corrupt, 2 external data, 3 compression type,
    80   8  compatible features            4 extended L2                    (version 3 from here on)
    88   8  autoclear features         bit 0 bitmaps are valid
    96   4  refcount_order             at most 6
    100  4  header length              104 or more
    104  1  compression type           0 zlib, 1 zstd

Header extensions follow: type (4), length (4), data padded to 8; type 0 ends them.  The tables are
in ``qcow2_tables``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from pipeline.formats import qcow2_tables
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.formats.qcow2_layout import DIRTY, EXTENDED_L2, Qcow2Layout
from pipeline.formats.tables import Region
from pipeline.source import Reader
from pipeline.text import clean

MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_V2_LENGTH, _V3_LENGTH = 72, 104

CORRUPT, DATA_FILE, COMPRESSION = 1 << 1, 1 << 2, 1 << 3
_BITMAPS_VALID = 1
_KNOWN = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2
_ENCRYPTION = {1: "AES", 2: "LUKS"}
_COMPRESSION = {0: "zlib", 1: "zstd"}

_END, _BITMAPS, _DATA_NAME = 0, 0x23852875, 0x44415441
_MAX_EXTENSIONS = 128
_MAX_NAME = 1023
# qemu's limits (block/qcow2.h), but fewer snapshots: listing 65,536 of them takes 50 MB of output.
_MAX_L1, _MAX_REFCOUNT_TABLE, _MAX_SNAPSHOTS, _MAX_BITMAPS = 4 << 20, 8 << 20, 4096, 65535
_MAX_BITMAP_DIRECTORY = 64 << 20


@dataclass(frozen=True)
class Header:
    """The fields above, under their own names."""

    version: int
    backing_offset: int
    backing_size: int
    cluster_bits: int
    size: int
    encryption: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = _V2_LENGTH
    compression: int = 0

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """From at least 112 bytes."""
        fields = _V2.unpack_from(data)[1:]
        if fields[0] < 3:
            return cls(*fields)
        more = _V3.unpack_from(data, _V2_LENGTH)
        compression = data[_V3_LENGTH] if more[4] > _V3_LENGTH else 0
        return cls(*(*fields, *more, compression))

    @property
    def disk_size(self) -> int:
        """The bytes that a guest sees: whole sectors, as in qemu."""
        return self.size // 512 * 512

    @property
    def l1_needed(self) -> int:
        """Entries that an L1 table must have for this virtual size."""
        bits = self.cluster_bits + self.cluster_bits - (4 if self.incompatible & EXTENDED_L2 else 3)
        return -(-self.size >> bits)


@dataclass(frozen=True)
class Extension:
    """One header extension; ``offset`` is where its data begins."""

    kind: int
    offset: int
    length: int


class Qcow2(Format):
    """See the module."""

    name = "qcow2"
    checks = (
        "backing-file",
        "external-data-file",
        "encrypted-container",
        "unsupported-feature",
        "corrupt-header",
        "corrupt-metadata",
        "header-limits",
        "marked-corrupt",
        "unclean-shutdown",
        "truncated",
        "expansion-limit",
        "empty-image",
        "internal-snapshots",
    )

    def matches(self, reader: Reader) -> bool:
        """The magic with any version but 1, which is the older format qcow."""
        head = reader.read(0, 8)
        return head[:4] == MAGIC and head[4:] != b"\0\0\0\x01"

    def stores(self, reader: Reader, offset: int, length: int) -> bool:
        """Whether data clusters lie there."""
        header = Header.unpack(padded(reader, 0, 112))
        if [*_fields(header), *_limits(header)] or header.incompatible & DATA_FILE:
            return False  # and the layout of a header that is wrong may be of any size
        layout = _layout(header, None)
        if layout.l1.end > reader.size:
            return False
        return qcow2_tables.stores(layout, reader, offset, length)

    def inspect(self, reader: Reader) -> Container:
        """Header, extensions, and as much of the tables as the budget allows."""
        if reader.size < _V2_LENGTH:
            detail = f"a qcow2 header has {_V2_LENGTH} bytes, the file has {reader.size}"
            problem = Problem("truncated", detail, reader.size, _V2_LENGTH - reader.size)
            return Container(self.name, None, problems=(problem,))
        header = Header.unpack(padded(reader, 0, 112))
        if header.version >= 3 and reader.size < _V3_LENGTH:
            detail = f"a qcow2 header has {_V3_LENGTH} bytes, the file has {reader.size}"
            problem = Problem("truncated", detail, reader.size, _V3_LENGTH - reader.size)
            return Container(self.name, header.disk_size, problems=(problem,))
        extensions, problems = _extensions(header, reader)
        bitmaps = _bitmaps(extensions, reader)
        problems = (*_fields(header), *_limits(header), *problems)
        if bitmaps:
            problems = (*problems, *_bitmap_limits(*bitmaps))
        names: tuple[str, ...] = ()
        if not any(problem.rule in ("corrupt-header", "header-limits") for problem in problems):
            # Who does not know bitmaps clears their bit; their place may be anything's then.
            valid = header.autoclear & _BITMAPS_VALID
            layout = _layout(header, bitmaps[1] if bitmaps and valid else None)
            found, names = qcow2_tables.snapshots(layout, reader)
            problems = (*problems, *found)
            if not header.incompatible & DATA_FILE:
                problems = (*problems, *qcow2_tables.check(layout, reader))
        problems = (*problems, *_snapshots(header, names))
        references = tuple(_references(header, extensions, reader))
        return Container(
            format=self.name,
            virtual_size=header.disk_size,
            variant=f"v{header.version}",
            encrypted=bool(header.encryption),
            snapshots=header.snapshots,
            external_references=tuple(name for _, name in references),
            problems=(*(problem for problem, _ in references), *problems),
            details=_details(header, extensions, names),
        )


def _details(
    header: Header, extensions: tuple[Extension, ...], names: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "version": header.version,
        "cluster_size": 1 << header.cluster_bits if header.cluster_bits <= 32 else None,
        "compression": _COMPRESSION.get(header.compression, str(header.compression)),
        "extended_l2": bool(header.incompatible & EXTENDED_L2),
        "lazy_refcounts": bool(header.compatible & 1),
        "refcount_bits": 1 << header.refcount_order if header.refcount_order <= 6 else None,
        "bitmaps": any(item.kind == _BITMAPS for item in extensions),
        "snapshot_names": list(names),
    }


def _fields(header: Header) -> Iterator[Problem]:
    if header.version not in (2, 3):
        yield Problem("unsupported-feature", f"qcow2 version {header.version}", 4, 4)
    if not 9 <= header.cluster_bits <= 21:
        detail = f"cluster_bits is {header.cluster_bits}, allowed are 9 to 21"
        yield Problem("corrupt-header", detail, 20, 4)
        return
    if header.disk_size == 0:
        yield Problem("empty-image", f"the disk's size is {header.size}", 24, 8)
    if header.encryption:
        kind = _ENCRYPTION.get(header.encryption, "unknown")
        detail = f"qcow2 encryption method {header.encryption} ({kind})"
        yield Problem("encrypted-container", detail, 32, 4)
    if header.version >= 3:
        yield from _version_3(header)


def _snapshots(header: Header, names: tuple[str, ...]) -> Iterator[Problem]:
    if not header.snapshots:
        return
    detail = "1 snapshot" if header.snapshots == 1 else f"{header.snapshots} snapshots"
    if names:
        detail += f": {', '.join(repr(name) for name in names)}"
    if len(names) < header.snapshots:
        detail += ", …"
    yield Problem("internal-snapshots", detail, 60, 4)


def _version_3(header: Header) -> Iterator[Problem]:
    unknown = header.incompatible & ~_KNOWN
    if unknown:
        bits = ", ".join(str(bit) for bit in range(64) if unknown >> bit & 1)
        yield Problem("unsupported-feature", f"incompatible feature bit {bits}", 72, 8)
    if header.incompatible & DIRTY:
        yield Problem("unclean-shutdown", "the dirty bit of the qcow2 header is set", 72, 8)
    if header.incompatible & CORRUPT:
        yield Problem("marked-corrupt", "the corrupt bit of the qcow2 header is set", 72, 8)
    if header.refcount_order > 6:
        detail = f"refcount_order is {header.refcount_order}, allowed are 0 to 6"
        yield Problem("corrupt-header", detail, 96, 4)
    if not _V3_LENGTH <= header.length <= 1 << header.cluster_bits:
        detail = f"the header's length is {header.length}, allowed are {_V3_LENGTH} to one cluster"
        yield Problem("corrupt-header", detail, 100, 4)
    if header.compression not in _COMPRESSION:
        detail = f"compression type {header.compression}"
        yield Problem("unsupported-feature", detail, _V3_LENGTH, 1)
    elif bool(header.compression) != bool(header.incompatible & COMPRESSION):
        detail = f"compression type {header.compression} and its feature bit disagree"
        yield Problem("corrupt-header", detail, _V3_LENGTH, 1)
    if header.incompatible & EXTENDED_L2 and header.cluster_bits < 14:
        detail = f"extended L2 entries with clusters of {1 << header.cluster_bits} bytes"
        yield Problem("corrupt-header", detail, 20, 4)


def _limits(header: Header) -> Iterator[Problem]:
    if not 9 <= header.cluster_bits <= 21:
        return
    table = header.refcount_clusters << header.cluster_bits
    for what, value, limit, offset in (
        ("L1 entries", header.l1_size, _MAX_L1, 36),
        ("L1 entries, which its virtual size needs,", header.l1_needed, _MAX_L1, 24),
        ("bytes of refcount table", table, _MAX_REFCOUNT_TABLE, 56),
        ("snapshots", header.snapshots, _MAX_SNAPSHOTS, 60),
    ):
        if value > limit:
            detail = f"{value} {what} where {limit} are allowed"
            yield Problem("header-limits", detail, offset, 8 if offset == 24 else 4)
    if header.l1_size < header.l1_needed <= _MAX_L1:
        detail = f"the L1 table has {header.l1_size} entries, the disk needs {header.l1_needed}"
        yield Problem("corrupt-header", detail, 36, 4)
    if header.refcount_clusters == 0:
        yield Problem("corrupt-header", "there is no refcount table", 56, 4)
    for value, name, offset in (
        (header.l1_offset, "L1", 40),
        (header.refcount_offset, "refcount", 48),
        (header.snapshots_offset, "snapshot", 64),
    ):
        if value % (1 << header.cluster_bits):
            detail = f"the {name} table's offset {value} is not that of a cluster"
            yield Problem("corrupt-header", detail, offset, 8)


def _extensions(
    header: Header, reader: Reader
) -> tuple[tuple[Extension, ...], tuple[Problem, ...]]:
    """Every header extension, as far as they can be followed."""
    found: list[Extension] = []
    if not 9 <= header.cluster_bits <= 21:
        return (), ()
    end = 1 << header.cluster_bits
    if header.length <= header.backing_offset < end:
        end = header.backing_offset
    at = header.length
    while at + 8 <= end:
        kind, length = struct.unpack(">II", padded(reader, at, 8))
        if kind == _END:
            break
        if at + 8 + length > end:
            detail = f"a header extension of {length} bytes at {at} ends outside of the header"
            return tuple(found), (Problem("corrupt-header", detail, at, 8),)
        if len(found) == _MAX_EXTENSIONS:
            detail = f"more than {_MAX_EXTENSIONS} header extensions"
            return tuple(found), (Problem("header-limits", detail, at, 8),)
        found.append(Extension(kind, at + 8, length))
        at += 8 + (length + 7) // 8 * 8
    return tuple(found), ()


def _references(
    header: Header, extensions: tuple[Extension, ...], reader: Reader
) -> Iterator[tuple[Problem, str]]:
    """Other files that the header names, each with its problem."""
    if header.backing_offset:
        raw = reader.read(header.backing_offset, min(header.backing_size, _MAX_NAME))
        name = clean(raw, 200)
        detail = f"backing file '{name}'"
        if header.backing_size > _MAX_NAME:
            detail += f", a name of {header.backing_size} bytes"
        elif header.backing_offset + header.backing_size > 1 << min(header.cluster_bits, 21):
            detail += ", a name outside of the header"
        place = (header.backing_offset, header.backing_size) if raw else (8, 12)
        yield Problem("backing-file", detail, *place), name
    named = next((item for item in extensions if item.kind == _DATA_NAME), None)
    if named is not None:
        name = clean(reader.read(named.offset, min(named.length, _MAX_NAME)), 200)
        detail = f"external data file '{name}'"
        yield Problem("external-data-file", detail, named.offset, named.length), name
    elif header.incompatible & DATA_FILE:
        detail = "an external data file whose name the header does not tell"
        yield Problem("external-data-file", detail, 72, 8), "unnamed data file"


def _bitmaps(extensions: tuple[Extension, ...], reader: Reader) -> tuple[int, Region] | None:
    """How many persistent bitmaps there are, and where their directory is."""
    found = next((item for item in extensions if item.kind == _BITMAPS), None)
    if found is None or found.length < 24:
        return None
    count, _, length, offset = struct.unpack(">IIQQ", padded(reader, found.offset, 24))
    return count, Region("the bitmap directory", offset, length, (found.offset, 24))


def _bitmap_limits(count: int, directory: Region) -> Iterator[Problem]:
    place = directory.told_at or (directory.offset, directory.length)
    if count > _MAX_BITMAPS:
        detail = f"{count} bitmaps where {_MAX_BITMAPS} are allowed"
        yield Problem("header-limits", detail, *place)
    elif directory.length > _MAX_BITMAP_DIRECTORY:
        detail = f"a bitmap directory of {directory.length} bytes"
        yield Problem("header-limits", detail, *place)


def _layout(header: Header, directory: Region | None) -> Qcow2Layout:
    return Qcow2Layout(
        size=header.size,
        cluster_bits=header.cluster_bits,
        extended=bool(header.incompatible & EXTENDED_L2),
        dirty=bool(header.incompatible & DIRTY),
        compression=header.compression,
        refcount_order=header.refcount_order,
        l1=Region("the L1 table", header.l1_offset, header.l1_size * 8, (40, 8)),
        refcounts=Region(
            "the refcount table",
            header.refcount_offset,
            header.refcount_clusters << header.cluster_bits,
            (48, 8),
        ),
        snapshots=header.snapshots,
        snapshots_offset=header.snapshots_offset,
        bitmaps=directory,
    )

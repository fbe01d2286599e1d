r"""VMDK: the sparse extent that holds its own data, and every kind that does not.

VMware, "Virtual Disk Format 5.0" (https://www.vmware.com/app/vmdk/?src=vmdk), little-endian; the
header of a hosted sparse extent, sector units of 512 bytes:

    0    4  magic "KDMV"
    4    4  version              1, 2 or 3
    8    4  flags                bit 0 newline test, 1 redundant tables, 2 zero grains,
                                 16 compressed grains, 17 markers
    12   8  capacity             sectors; 0 makes qemu open the extents that the descriptor names
    20   8  grain size           sectors
    28   8  descriptor's offset  sectors, 0: an extent of a disk in several files
    36   8  descriptor's size    sectors
    44   4  entries a grain table
    48   8  redundant grain directory's offset
    56   8  grain directory's offset, all ones: in the footer, the last but one sector
    64   8  overhead             sectors before the data
    72   1  unclean shutdown
    73   4  "\n \r\n"
    77   2  compression          0 none, 1 deflate

Others: "COWD" (ESX), 0xCAFEBABE as 64 bits (SESparse), or a text: the descriptor alone.  The tables
are in ``vmdk_tables``, the descriptor's text in ``vmdk_descriptor``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pipeline.formats import trailer, vmdk_descriptor, vmdk_tables
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.formats.tables import Region, covered, outside
from pipeline.formats.vmdk_descriptor import Descriptor
from pipeline.source import Reader
from pipeline.text import counted

_SPARSE, _COWD, _SESPARSE = b"KDMV", b"COWD", struct.pack("<Q", 0xCAFEBABE)
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_HEADER_LENGTH = 512
_FOOTER_TO_END = 1024  # the footer, and the sector of zeros that ends a stream
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_NEWLINES = b"\n \r\n"
_NEWLINE_TEST, _REDUNDANT, _COMPRESSED, _MARKERS = 1, 2, 1 << 16, 1 << 17
_KNOWN_FLAGS = 0x7 | _COMPRESSED | _MARKERS

_ONE_FILE = ("monolithicsparse", "streamoptimized")  # createType, lower case

_MAX_SECTORS = 64 << 31  # 64 TiB, above VMware's own 62 TiB
_MAX_GRAIN = 1 << 21  # sectors, 1 GiB: qemu's limit
_MAX_DESCRIPTOR = 128  # sectors; hypervisors reserve 20
_DESCRIPTOR_READ = 64 << 10


@dataclass(frozen=True)
class Header:
    """The fields above; places and sizes in sectors."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_offset: int
    descriptor_size: int
    table_entries: int
    redundant_offset: int
    directory_offset: int
    overhead: int
    unclean: int
    newlines: bytes
    compression: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """From at least 79 bytes."""
        return cls(*_HEADER.unpack_from(data)[1:])


class Vmdk(Format):
    """See the module."""

    name = "vmdk"
    checks = (
        "vmdk-extents",
        "parent-image",
        "encrypted-container",
        "unsupported-format",
        "unsupported-feature",
        "corrupt-header",
        "corrupt-metadata",
        "header-limits",
        "unclean-shutdown",
        "truncated",
        "empty-image",
    )

    def matches(self, reader: Reader) -> bool:
        """A magic of one of the binary kinds, or a text that qemu would take for a descriptor."""
        head = reader.read(0, 8)
        return (
            head[:4] in (_SPARSE, _COWD)
            or head == _SESPARSE
            or vmdk_descriptor.is_descriptor(reader.read(0, _DESCRIPTOR_READ))
        )

    def stores(self, reader: Reader, offset: int, length: int) -> bool:
        """Whether grains lie there that are not compressed."""
        head = padded(reader, 0, _HEADER_LENGTH)
        if head[:4] != _SPARSE:
            return False
        header = Header.unpack(head)
        if [*_fields(header)] or header.flags & _COMPRESSED:
            return False
        grains = vmdk_tables.grains(
            reader,
            directory=header.directory_offset,
            count=-(-header.capacity // (header.grain * header.table_entries)),
            length=4 * header.table_entries,
        )
        return covered((grain * 512 for grain in grains), header.grain * 512, offset, length)

    def inspect(self, reader: Reader) -> Container:
        """Header, descriptor and a sample of the tables."""
        head = reader.read(0, 8)
        if head[:4] == _COWD:
            return _foreign("vmfsSparse", "a COWD extent of VMware ESX, part of a snapshot or disk")
        if head == _SESPARSE:
            return _foreign("seSparse", "an SESparse extent of VMware ESX, part of a snapshot")
        if head[:4] == _SPARSE:
            return _sparse(reader)
        return _text(reader)


def _foreign(variant: str, words: str) -> Container:
    problem = Problem("unsupported-format", words, 0, 8)
    return Container("vmdk", None, variant=variant, problems=(problem,))


def _text(reader: Reader) -> Container:
    descriptor = vmdk_descriptor.parse(reader.read(0, _DESCRIPTOR_READ))
    problems = [Problem("vmdk-extents", _extents_seen(descriptor), 0, min(reader.size, 1 << 16))]
    problems.extend(_descriptor_problems(descriptor, 0))
    return Container(
        "vmdk",
        descriptor.size or None,
        variant=descriptor.create_type or "descriptor",
        encrypted=descriptor.encrypted,
        external_references=descriptor.references,
        problems=tuple(problems),
        details={"extents": descriptor.count},
    )


def _extents_seen(descriptor: Descriptor) -> str:
    kind = descriptor.create_type or "no createType"
    if not descriptor.extents:
        return f"a descriptor ({kind}) that names no extent"
    more = f" and {descriptor.count - 1} more" if descriptor.count > 1 else ""
    first = descriptor.extents[0]
    return f"a descriptor ({kind}) with the {first.kind} extent '{first.name}'{more}"


def _sparse(reader: Reader) -> Container:
    if reader.size < _HEADER_LENGTH:
        detail = f"a VMDK header has {_HEADER_LENGTH} bytes, the file has {reader.size}"
        problem = Problem("truncated", detail, reader.size, _HEADER_LENGTH - reader.size)
        return Container("vmdk", None, problems=(problem,))
    header = Header.unpack(padded(reader, 0, _HEADER_LENGTH))
    problems = [*_fields(header)]
    descriptor = _descriptor(header, reader)
    if descriptor is None:
        detail = "this is one of several extents of a disk, without a descriptor"
        problems.append(Problem("vmdk-extents", detail, 28, 16))
    else:
        problems.extend(_embedded(header, descriptor))
    if not any(problem.rule in ("corrupt-header", "header-limits") for problem in problems):
        problems.extend(_places(header, reader))
    references = descriptor.references if descriptor and _refers(header, descriptor) else ()
    streamed = bool(header.flags & _MARKERS) or header.directory_offset == _AT_END
    variant = descriptor.create_type if descriptor else None
    return Container(
        "vmdk",
        header.capacity * 512,
        variant=variant or ("streamOptimized" if streamed else "monolithicSparse"),
        uuid=descriptor.uuid if descriptor else None,
        encrypted=bool(descriptor and descriptor.encrypted),
        external_references=references,
        problems=tuple(problems),
        details={
            "version": header.version,
            "grain_size": header.grain * 512,
            "compressed": bool(header.flags & _COMPRESSED),
            "create_type": variant,
            "tools_version": descriptor.tools_version if descriptor else None,
        },
    )


def _fields(header: Header) -> Iterator[Problem]:
    if not 1 <= header.version <= 3:
        yield Problem("unsupported-feature", f"VMDK version {header.version}", 4, 4)
    unknown = header.flags & ~_KNOWN_FLAGS
    if unknown:
        yield Problem("unsupported-feature", f"VMDK flags {unknown:#x}", 8, 4)
    if header.compression not in (0, 1):
        yield Problem("unsupported-feature", f"VMDK compression {header.compression}", 77, 2)
    elif header.flags & _COMPRESSED and not header.compression:
        detail = "grains are marked as compressed, without a method"
        yield Problem("corrupt-header", detail, 77, 2)
    if header.flags & _NEWLINE_TEST and header.newlines != _NEWLINES:
        detail = "the newline test bytes were changed by a text-mode copy"
        yield Problem("corrupt-header", detail, 73, 4)
    if header.unclean:
        yield Problem("unclean-shutdown", "the unclean shutdown mark of the VMDK is set", 72, 1)
    if header.capacity == 0 and header.descriptor_offset == 0:
        yield Problem("empty-image", "the disk's size is 0", 12, 8)
    if header.capacity > _MAX_SECTORS:
        detail = f"a disk of {header.capacity} sectors, {_MAX_SECTORS} are allowed"
        yield Problem("header-limits", detail, 12, 8)
    if not 1 <= header.grain <= _MAX_GRAIN or header.grain & (header.grain - 1):
        detail = (
            f"the grain size is {header.grain} sectors, allowed are powers of 2 to {_MAX_GRAIN}"
        )
        yield Problem("corrupt-header", detail, 20, 8)
    if not 1 <= header.table_entries <= 512:
        detail = f"{header.table_entries} entries a grain table, allowed are 1 to 512"
        yield Problem("corrupt-header", detail, 44, 4)
    if header.descriptor_size > _MAX_DESCRIPTOR:
        detail = f"a descriptor of {header.descriptor_size} sectors"
        yield Problem("header-limits", detail, 36, 8)


def _descriptor(header: Header, reader: Reader) -> Descriptor | None:
    """The text inside; None where there is none: at offset 0 stands the header, which is no text."""
    length = min(header.descriptor_size * 512, _DESCRIPTOR_READ)
    found = vmdk_descriptor.parse(reader.read(header.descriptor_offset * 512, length))
    return found if found.create_type or found.count else None


def _refers(header: Header, descriptor: Descriptor) -> bool:
    """Whether the embedded descriptor makes the disk depend on other files.

    One sparse extent is the file itself, under whatever name it was made; with a capacity of 0 qemu
    opens the name instead.
    """
    if header.capacity == 0 or descriptor.parent is not None:
        return True
    if descriptor.create_type and descriptor.create_type.lower() not in _ONE_FILE:
        return True
    if not descriptor.extents:
        return False
    one = descriptor.extents[0]
    return descriptor.count > 1 or one.kind != "SPARSE" or any(mark in one.name for mark in "/\\:")


def _embedded(header: Header, descriptor: Descriptor) -> Iterator[Problem]:
    start = header.descriptor_offset * 512
    if descriptor.parent is None and _refers(header, descriptor):
        detail = _extents_seen(descriptor)
        if header.capacity == 0:
            detail += ", and a header that holds no data"
        yield Problem("vmdk-extents", detail, start, header.descriptor_size * 512)
    yield from _descriptor_problems(descriptor, start)


def _descriptor_problems(descriptor: Descriptor, start: int) -> Iterator[Problem]:
    if descriptor.parent is not None:
        detail = f"the VMDK's parent is '{descriptor.parent}'"
        yield Problem("parent-image", detail, start, 512)
    if descriptor.encrypted:
        yield Problem("encrypted-container", "the VMDK's descriptor names a key", start, 512)


def _places(header: Header, reader: Reader) -> Iterator[Problem]:
    size = header.capacity * 512
    if header.descriptor_size:
        place = Region(
            "the descriptor",
            header.descriptor_offset * 512,
            header.descriptor_size * 512,
            (28, 16),
        )
        yield from outside(place, reader.size, size)
    place = Region("the overhead", 0, header.overhead * 512, (64, 8))
    yield from outside(place, reader.size, size)
    if header.flags & _REDUNDANT and header.redundant_offset != _AT_END:
        place = Region("the redundant directory", header.redundant_offset * 512, 512, (48, 8))
        yield from outside(place, reader.size, size)
    directory = header.directory_offset
    if directory == _AT_END:
        footer = _footer(reader)
        if footer is None:
            yield _no_footer(header, reader)
            return
        yield from _footer_problems(header, footer, reader.size)
        directory = footer.directory_offset
    yield from vmdk_tables.check(
        reader,
        directory=directory,
        capacity=header.capacity,
        grain=header.grain,
        entries=header.table_entries,
        compressed=bool(header.flags & _COMPRESSED),
        data_from=header.descriptor_offset + header.descriptor_size,
    )


def _footer(reader: Reader) -> Header | None:
    data = reader.read(reader.size - _FOOTER_TO_END, _HEADER_LENGTH)
    return Header.unpack(data) if data[:4] == _SPARSE else None


def _no_footer(header: Header, reader: Reader) -> Problem:
    """Whether the end is missing, or only something stands behind it."""
    for at in trailer.sectors(reader, _SPARSE):
        found = Header.unpack(padded(reader, at, _HEADER_LENGTH))
        behind = reader.size - at - _FOOTER_TO_END
        placed = found.directory_offset != _AT_END and found.capacity == header.capacity
        if placed and behind > 0:
            detail = f"its footer, looked for at the end, has {counted(behind, 'byte')} behind it"
            return Problem("corrupt-header", detail, at, _HEADER_LENGTH)
    detail = "the footer with the directory's place is missing at the end"
    return Problem("truncated", detail, reader.size, 0)


def _footer_problems(header: Header, footer: Header, file_size: int) -> Iterator[Problem]:
    names = ("version", "flags", "capacity", "grain", "table_entries", "compression")
    differ = [name for name in names if getattr(header, name) != getattr(footer, name)]
    differ.extend(
        name
        for name in ("descriptor_offset", "descriptor_size")
        if getattr(footer, name) not in (0, getattr(header, name))
    )
    if differ:
        detail = f"header and footer disagree about {', '.join(differ)}"
        yield Problem("corrupt-header", detail, file_size - 1024, _HEADER_LENGTH)

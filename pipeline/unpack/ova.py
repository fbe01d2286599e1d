"""The one disk in an OVA: a tar of an OVF description, disks, and a manifest of checksums.

Nothing is extracted by name: the archive's headers are walked, the description says which member is
the disk, and the result is a byte range of the file.  The walker is our own because a general one
reads whatever length a hostile header asks for.

Tar header, 512 bytes (POSIX.1-2017 pax, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html)

| offset | length | field                                                     |
|--------|--------|-----------------------------------------------------------|
| 0      | 100    | name                                                      |
| 124    | 12     | size, octal; or base 256 when the first byte's top bit is set (GNU) |
| 148    | 8      | checksum: sum of all bytes, these eight taken as spaces   |
| 156    | 1      | type: "0" or NUL file, "5" directory, "L" GNU long name, "x" "g" pax |
| 257    | 5      | "ustar"                                                   |
| 345    | 155    | prefix of the name (not in GNU headers)                   |

OVF: https://www.dmtf.org/standards/ovf (DSP0243).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.formats.base import Problem
from pipeline.source import Reader

BLOCK = 512
MAX_MEMBERS = 1000
MAX_TEXT = 1 << 20  # bytes of a description, a manifest or a long name that are read

_MANIFEST_LINE = re.compile(
    rb"^(SHA1|SHA256|SHA512)\s*\(([^)\r\n]+)\)\s*=\s*([0-9A-Fa-f]+)\s*$", re.MULTILINE
)


_PAX_PATH = re.compile(rb"(?:\A|\n)\d+ path=([^\n]*)\n")
_PAX_SIZE = re.compile(rb"(?:\A|\n)\d+ size=(\d{1,18})\n")


class OvaRefused(Exception):
    """The archive cannot be used; ``problem`` says why."""

    def __init__(
        self, rule: str, detail: str, offset: int | None = None, length: int | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(rule, detail, offset, length)


@dataclass(frozen=True)
class Member:
    """A regular file of the archive: ``size`` bytes at ``offset``."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class DiskMember:
    """The archive's only disk; ``checksum`` is (algorithm, hex) when the manifest has one."""

    name: str
    offset: int
    size: int
    checksum: tuple[str, str] | None


@dataclass(frozen=True)
class _Extended:
    """What an extended header says about the member behind it."""

    name: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class _Description:
    """What matters of an OVF document."""

    files: tuple[dict[str, str], ...]
    disks: tuple[dict[str, str], ...]


def find_disk(reader: Reader) -> DiskMember:
    """The disk of a single-disk OVA.  Raises ``OvaRefused``."""
    members = tuple(_members(reader))
    description = _description(reader, members)
    href = _only_disk(description)
    named = [member for member in members if member.name == href]
    if not named:
        raise OvaRefused("ova-without-disk", f"its disk {href!r} is not in the archive")
    if len(named) > 1:
        detail = f"the archive has {len(named)} members named {href!r}"
        raise OvaRefused("ova-multiple-disks", detail, named[1].offset - BLOCK, BLOCK)
    member = named[0]
    return DiskMember(
        member.name, member.offset, member.size, _checksum(reader, members, member.name)
    )


def _members(reader: Reader) -> Iterator[Member]:
    position, extended = 0, _Extended()
    for _ in range(MAX_MEMBERS):
        header = reader.read(position, BLOCK)
        if not header.strip(b"\0"):
            return
        size, kind = _checked_size(header, position), header[156:157]
        data = position + BLOCK
        if kind in (b"0", b"\0") and extended.size is not None:
            size = extended.size
        position = data + -(-size // BLOCK) * BLOCK
        if data + size > reader.size:
            raise OvaRefused(
                "packed-data-corrupt", "the archive ends inside a member", data - BLOCK
            )
        if kind in (b"L", b"x"):
            text = reader.read(data, _text_length(size, data))
            extended = _extended(text, kind, extended)
        elif kind in (b"0", b"\0"):
            yield Member(_safe_name(extended.name or _short_name(header), data), data, size)
            extended = _Extended()
        elif kind not in (b"5", b"g"):
            word = "link" if kind in b"12" else "device or special file"
            raise OvaRefused("ova-unsafe-member", f"it holds a {word}", data - BLOCK, BLOCK)
    raise OvaRefused("unpack-limit", f"the archive has more than {MAX_MEMBERS} members")


def _checked_size(header: bytes, position: int) -> int:
    if len(header) < BLOCK:
        raise OvaRefused("packed-data-corrupt", "the archive ends inside a header", position)
    total = sum(header) - sum(header[148:156]) + 8 * 0x20
    try:
        intact = _octal(header[148:156]) == total
        field = header[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    except ValueError:
        intact = False
    if not intact:
        raise OvaRefused("packed-data-corrupt", "a member's header is damaged", position, BLOCK)
    return size


def _octal(field: bytes) -> int:
    text = field.strip(b" \0")
    if text and not text.isdigit():
        raise ValueError("not a number")
    return int(text or b"0", 8)


def _text_length(size: int, offset: int) -> int:
    if size > MAX_TEXT:
        raise OvaRefused("unpack-limit", f"a text of {size} bytes", offset, size)
    return size


def _extended(text: bytes, kind: bytes, before: _Extended) -> _Extended:
    if kind == b"L":
        return replace(before, name=text.rstrip(b"\0").decode("utf-8", "surrogateescape"))
    name, size = re.search(_PAX_PATH, text), re.search(_PAX_SIZE, text)
    return _Extended(
        name.group(1).decode("utf-8", "surrogateescape") if name else before.name,
        int(size.group(1)) if size else before.size,
    )


def _short_name(header: bytes) -> str:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    if header[257:263] != b"ustar\0":
        prefix = b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _safe_name(name: str, offset: int) -> str:
    plain = name.removeprefix("./")
    if plain.startswith("/") or ".." in plain.split("/"):
        raise OvaRefused("ova-unsafe-member", "a member's name leads out of the archive", offset)
    return plain


def _description(reader: Reader, members: tuple[Member, ...]) -> _Description:
    found = [member for member in members if member.name.lower().endswith(".ovf")]
    if len(found) != 1:
        detail = "it has no OVF description" if not found else "it has several OVF descriptions"
        raise OvaRefused("ova-without-disk", detail)
    text = reader.read(found[0].offset, _text_length(found[0].size, found[0].offset))
    return _parse(text, found[0].offset)


def _parse(text: bytes, offset: int) -> _Description:
    """The File and Disk elements; a document type, which entity bombs need, is refused."""
    from xml.parsers import expat

    found: dict[str, list[dict[str, str]]] = {"File": [], "Disk": []}

    def element(name: str, attributes: dict[str, str]) -> None:
        kept = found.get(name.rpartition(" ")[2])
        if kept is not None:
            kept.append({key.rpartition(" ")[2]: value for key, value in attributes.items()})

    def document_type(*_: Any) -> None:
        raise OvaRefused("packed-data-corrupt", "its description declares a document type", offset)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = element
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise OvaRefused(
            "packed-data-corrupt", f"its description is not XML ({error})", offset, len(text)
        ) from error
    return _Description(tuple(found["File"]), tuple(found["Disk"]))


def _only_disk(description: _Description) -> str:
    disks = description.disks
    if not disks:
        raise OvaRefused("ova-without-disk", "its description names no disk")
    if len(disks) > 1:
        raise OvaRefused("ova-multiple-disks", f"its description names {len(disks)} disks")
    reference = disks[0].get("fileRef")
    file = next((item for item in description.files if item.get("id") == reference), None)
    if reference is None or file is None or not file.get("href"):
        raise OvaRefused("ova-without-disk", "its disk has no file")
    if file.get("compression") not in (None, "", "identity"):
        raise OvaRefused("nested-packing", "its disk is compressed once more")
    if file.get("chunkSize"):
        raise OvaRefused("ova-multiple-disks", "its disk is split into several files")
    return file["href"].removeprefix("./")


def _checksum(reader: Reader, members: tuple[Member, ...], name: str) -> tuple[str, str] | None:
    for member in members:
        if member.name.lower().endswith(".mf"):
            text = reader.read(member.offset, _text_length(member.size, member.offset))
            for algorithm, file, value in _MANIFEST_LINE.findall(text):
                if file.decode("utf-8", "surrogateescape").removeprefix("./") == name:
                    return algorithm.decode().lower(), value.decode().lower()
    return None

"""Packed images and archives: what must be unpacked before it can be an image.

    gzip   0  2  0x1F 0x8B   2 1 method 8   3 1 flags below 32       RFC 1952
    lzma   0  1  0x5D        1 4 dictionary, 5 8 size or -1, 13 1 0  xz's doc/lzma-file-format.txt
    bzip2  0  3  "BZh"       3 1 level 1-9  4 6 the first block's    https://sourceware.org/bzip2/
    xz     0  6  0xFD "7zXZ" 0   6 2 flags  8 4 their CRC-32         https://tukaani.org/xz/xz-file-format.txt
    zstd   0  4  0x28 0xB5 0x2F 0xFD        4 1 bit 3 reserved       RFC 8878
    zip    0  4  "PK" 3 4    4 2 version    8 2 method               PKWARE APPNOTE.TXT
    tar    257 5 "ustar"   148 8 sum of the header                   POSIX pax
    others: the table below

Some of these signatures are short, and the first bytes of a disk may be anything: a match must hold in
more than its magic, or nothing may end like a boot sector.  A gzip or xz stream is opened for as far
as its first 68 KiB reach, which tells a disc in it from a disk.
"""

from __future__ import annotations

import binascii
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.formats import optical, tar
from pipeline.formats.base import Container, Format, Problem
from pipeline.source import Reader

_PEEK_IN, _PEEK_OUT = 64 << 10, 68 << 10
_XZ_MEMORY = 96 << 20  # xz -9 needs 65 MiB to unpack
_BOOT_SECTOR = b"\x55\xaa"
_PACKED = frozenset({"gzip", "bzip2", "xz", "zstd", "ova"})

_MAGICS = (
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("lz4", 0, b"\x04\x22\x4d\x18"),
    ("lz4", 0, b"\x02\x21\x4c\x18"),
    ("ace", 7, b"**ACE**"),
    ("lzip", 0, b"LZIP\x01"),
    ("lzop", 0, b"\x89LZO\0\r\n\x1a\n"),
    ("compress", 0, b"\x1f\x9d\x90"),
    ("cab", 0, b"MSCF\0\0\0\0"),
    ("cpio", 0, b"070701"),
    ("cpio", 0, b"070702"),
    ("cpio", 0, b"070707"),
    ("ar", 0, b"!<arch>\n"),
    ("rpm", 0, b"\xed\xab\xee\xdb"),
)

_WORDS = {
    "gzip": "a gzip stream; unpack it with gzip -dk, or use --unpack",
    "bzip2": "a bzip2 stream; unpack it with bzip2 -dk, or use --unpack",
    "xz": "an xz stream; unpack it with xz -dk, or use --unpack",
    "zstd": "a zstd stream; unpack it with zstd -dk, or use --unpack",
    "ova": "an OVA; unpack it with tar -xf, or use --unpack",
    "zip": "a ZIP archive; unpack it with unzip",
    "7z": "a 7-Zip archive; unpack it with 7z x",
    "rar": "a RAR archive; unpack it with unrar x",
    "tar": "a tar archive; unpack it with tar -xf",
    "lz4": "an lz4 stream; unpack it with lz4 -dk",
    "lzip": "an lzip stream; unpack it with lzip -dk",
    "lzma": "an LZMA stream; unpack it with xz --format=lzma -dk",
    "lzop": "an lzop stream; unpack it with lzop -d",
    "compress": "a compress (.Z) stream; unpack it with gzip -dk",
    "ace": "an ACE archive; unpack it with unace",
    "cab": "a Windows cabinet; unpack it with cabextract",
    "cpio": "a cpio archive, such as an initramfs; unpack it with cpio -idm",
    "ar": "an ar archive, such as a Debian package; unpack it with ar x",
    "rpm": "an RPM package; unpack it with rpm2cpio",
}


@dataclass(frozen=True)
class _Bytes:
    """A reader of bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


class Archive(Format):
    """A file of one of the kinds above."""

    name = "archive"
    checks = ("packed-image", "archive", "iso-image")

    def matches(self, reader: Reader) -> bool:
        """One of the signatures holds, in more than its magic where that is short."""
        return _kind(reader) is not None

    def signature(self, reader: Reader) -> str | None:
        """The kind, such as "gzip", "zip" or "ova"."""
        return _kind(reader)

    def inspect(self, reader: Reader) -> Container:
        """The kind, the first names of a tar, and whether a disc is packed."""
        kind = _kind(reader)
        assert kind is not None
        members = tuple(tar.members(reader)) if kind in ("tar", "ova") else ()
        return Container(
            kind,
            None,
            problems=tuple(_problems(kind, members, reader)),
            details={"members": list(members)} if members else {},
        )


def _problems(kind: str, members: tuple[str, ...], reader: Reader) -> Iterator[Problem]:
    words = _WORDS[kind]
    if members:
        words += f"; it begins with {', '.join(repr(name) for name in members[:3])}"
    disc = optical.find(_Bytes(_peek(kind, reader)))
    if disc is not None:
        words += f"; it holds an optical disc: {disc.describe()}"
    yield Problem("packed-image" if kind in _PACKED else "archive", words, 0, 16)
    if disc is not None:
        yield Problem("iso-image", f"packed with {kind}: {disc.describe()}", 0, 16)


def _kind(reader: Reader) -> str | None:
    head = reader.read(0, 512)
    for name, offset, magic in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return name
    for name, holds in _TESTED.items():
        if holds(head):
            return name
    if tar.is_header(head):
        return "ova" if tar.is_ova(reader) else "tar"
    return None


def _gzip(head: bytes) -> bool:
    if head[:3] != b"\x1f\x8b\x08" or len(head) < 10 or head[3] >= 32:
        return False
    try:
        zlib.decompressobj(31).decompress(head, 1024)
    except zlib.error:
        return head[510:] != _BOOT_SECTOR  # a damaged stream is no disk either
    return True


def _lzma(head: bytes) -> bool:
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    rest = dictionary & (dictionary - 1)  # of a power of two, or of one and a half times that
    return (
        head[:1] == b"\x5d"
        and head[13:14] == b"\0"
        and dictionary >= 4096
        and (rest == 0 or 2 * dictionary == 3 * rest)
        and (size == (1 << 64) - 1 or size < 1 << 50)
        and head[510:] != _BOOT_SECTOR
    )


def _bzip2(head: bytes) -> bool:
    first = head[4:10]
    return (
        head[:3] == b"BZh"
        and head[3:4] in b"123456789"
        and first in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
    )


def _xz(head: bytes) -> bool:
    return head[:6] == b"\xfd7zXZ\0" and binascii.crc32(head[6:8]) == int.from_bytes(
        head[8:12], "little"
    )


def _zstd(head: bytes) -> bool:
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return skippable or (head[:4] == b"\x28\xb5\x2f\xfd" and len(head) > 5 and not head[4] & 8)


def _zip(head: bytes) -> bool:
    if head[:4] == b"PK\x05\x06":
        return len(head) == 22 + int.from_bytes(head[20:22], "little")  # an empty archive
    if head[:4] in (b"PK\x07\x08", b"PK00"):  # of an archive that was split, or might have been
        head = head[4:]
    version, method = int.from_bytes(head[4:5]), int.from_bytes(head[8:10], "little")
    return head[:4] == b"PK\x03\x04" and len(head) >= 30 and version <= 63 and method <= 99


_TESTED = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "lzma": _lzma,
    "zstd": _zstd,
    "zip": _zip,
}


def _peek(kind: str, reader: Reader) -> bytes:
    """The first bytes of what is packed, as far as that is cheap to tell."""
    packed = reader.read(0, _PEEK_IN) if kind in ("gzip", "xz") else b""
    try:
        if kind == "gzip":
            return zlib.decompressobj(31).decompress(packed, _PEEK_OUT)
        if kind == "xz":
            opened = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            return opened.decompress(packed, _PEEK_OUT)
    except (zlib.error, lzma.LZMAError, MemoryError):
        return b""
    return b""

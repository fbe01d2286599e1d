"""The names in an initramfs: cpio archives, one after the other, plain or compressed.

    newc header, 110 bytes of ASCII          an initramfs
      0  6  "070701" (or "070702")             [cpio with microcode, plain] [zeros]
     54  8  file size, hexadecimal             cpio, compressed by gzip, xz, zstd, bzip2, …
     94  8  length of the name with its zero
    110  …  name, padded to 4 bytes; data, padded to 4 bytes; "TRAILER!!!" ends an archive

https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.source import Reader

HEADER = 110
MAX_NAME = 4096
MAX_NAMES = 200_000  # of one initramfs; a usual one has 2,000
_NOT_ZERO = re.compile(rb"[^\0]")
_MAGICS = (b"070701", b"070702")
_PACKINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x89LZO", "lzo"),
)


class NotReadableError(Exception):
    """The archive is damaged, or of a kind that is not known here."""


def packing(head: bytes) -> str | None:
    """What compressed the bytes that begin so; None when that is not known."""
    return next((name for magic, name in _PACKINGS if head.startswith(magic)), None)


def plain_part(reader: Reader) -> tuple[list[str], int]:
    """The names of the uncompressed archives in front, and where what follows them begins."""
    names: list[str] = []
    at = 0
    while reader.read(at, 6) in _MAGICS:
        name, size, begin = _header(reader.read(at, HEADER + MAX_NAME))
        names.append(name)
        if len(names) > MAX_NAMES:
            raise NotReadableError(f"more than {MAX_NAMES} names")
        at += begin + size + (-size % 4)
        if name == "TRAILER!!!":
            at = _past_zeros(reader, at)
    return names, at


def _past_zeros(reader: Reader, at: int) -> int:
    """Archives are padded with zeros, up to a page or a disk sector."""
    while at < reader.size:
        data = reader.read(at, 4096)
        rest = data.lstrip(b"\0")
        if rest:
            return at + len(data) - len(rest)
        at += len(data)
    return at


def names(pieces: Iterator[bytes]) -> Iterator[str]:
    """The names in a stream of archives.  Raises ``NotReadableError`` where it is damaged."""
    data, at, skip, count = b"", 0, 0, 0
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        data, at, skip = data[at:] + piece[skip:], 0, 0
        while (at := _next(data, at)) + HEADER <= len(data):
            if at + HEADER + min(_hexadecimal(data, at + 94), MAX_NAME) > len(data):
                break
            name, size, begin = _header(data[at : at + HEADER + MAX_NAME])
            yield name
            count += 1
            if count > MAX_NAMES:
                raise NotReadableError(f"more than {MAX_NAMES} names")
            end = at + begin + size + (-size % 4)
            at, skip = min(end, len(data)), max(0, end - len(data))


def _next(data: bytes, at: int) -> int:
    """Where the next header begins: zeros may lie between two archives."""
    if data[at : at + 1] != b"\0":
        return at
    found = _NOT_ZERO.search(data, at)
    return found.start() if found else len(data)


def _hexadecimal(data: bytes, at: int) -> int:
    try:
        return int(data[at : at + 8], 16)
    except ValueError as error:
        raise NotReadableError("a cpio header holds no numbers") from error


def _header(data: bytes) -> tuple[str, int, int]:
    """Name, size of the data, and where the data begins, of the entry that ``data`` begins with."""
    if data[:6] not in _MAGICS:
        raise NotReadableError("there is no cpio header where one must be")
    size, length = _hexadecimal(data, 54), _hexadecimal(data, 94)
    if not 0 < length <= MAX_NAME or size < 0:
        raise NotReadableError(f"a name of {length} bytes")
    begin = HEADER + length
    name = data[HEADER : begin - 1].decode("utf-8", "replace")
    return name, size, begin + (-begin % 4)

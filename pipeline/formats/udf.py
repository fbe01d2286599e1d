"""UDF: the file system of DVDs and Blu-rays, with or without ISO 9660 beside it.

ECMA-167 (https://ecma-international.org/publications-and-standards/standards/ecma-167/), little-endian:

    recognition  sectors of 2048 bytes (or of the block size, if larger) from byte 32768 on
                 1   5  "BEA01" begins, "NSR02" or "NSR03" is UDF, "TEA01" ends
    anchor       block 256: tag, then the main descriptors' length (4) and block (4) at 16
    tag          0   2  kind: 1 primary volume, 2 anchor, 6 logical volume, 8 the last
                 4   1  sum of the tag's other bytes      12 4 the block it stands in
    logical volume  84 128 label: encoding (1: 8, 16 bits), text, its length in the last byte

A disc made by ``mkudffs`` has its "NSR0x" in the second descriptor, not in the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.source import Reader
from pipeline.text import clean

_START = 32768
_NSR = (b"\0NSR02\1", b"\0NSR03\1")  # with the type in front and the version behind
_RECOGNITION = frozenset({b"BEA01", b"NSR02", b"NSR03", b"TEA01", b"BOOT2", b"CD001", b"CDW02"})
_BLOCKS = (2048, 512, 4096, 1024, 8192, 16384, 32768)
_ANCHOR, _LOGICAL, _LAST = 2, 6, 8
_MAX_DESCRIPTORS = 16


@dataclass(frozen=True)
class Udf:
    """What was found: the label, and the bytes that show it."""

    label: str | None
    offset: int
    length: int


def find(reader: Reader, sectors: bytes, base: int) -> Udf | None:
    """UDF at ``base``; ``sectors`` are the bytes from 32768 on."""
    anchor = _anchor(reader, base)
    at = _recognised(sectors)
    if at is None and anchor is None:
        return None
    label = _label(reader, base, *anchor) if anchor else None
    if at is not None:
        return Udf(label, base + _START + at, 7)
    assert anchor is not None
    return Udf(label, base + 256 * anchor[0], 512)


def _recognised(sectors: bytes) -> int | None:
    """Where "NSR0x" stands in an unbroken run of descriptors."""
    for step in (2048, 4096, 8192, 16384, 32768):
        for at in range(0, len(sectors), step):
            descriptor = sectors[at : at + 7]
            if descriptor in _NSR:
                return at
            if descriptor[1:6] not in _RECOGNITION and at:
                break
    return None


def _tag(data: bytes, block: int) -> int | None:
    """The tag's kind, when its sum and its place are right."""
    if int.from_bytes(data[12:16], "little") != block:
        return None
    if (sum(data[:16]) - data[4]) & 0xFF != data[4]:
        return None
    return int.from_bytes(data[:2], "little")


def _anchor(reader: Reader, base: int) -> tuple[int, int, int] | None:
    """Block size, and block and length in bytes of the main descriptors."""
    for size in _BLOCKS:
        data = reader.read(base + 256 * size, 512)
        if len(data) == 512 and _tag(data, 256) == _ANCHOR:
            length = int.from_bytes(data[16:20], "little")
            block = int.from_bytes(data[20:24], "little")
            if length and block:
                return size, block, length
    return None


def _label(reader: Reader, base: int, size: int, block: int, length: int) -> str | None:
    for index in range(min(_MAX_DESCRIPTORS, length // size)):
        data = reader.read(base + (block + index) * size, 512)
        kind = _tag(data, block + index)
        if kind == _LOGICAL:
            return _dstring(data[84:212])
        if kind in (None, _LAST):
            return None
    return None


def _dstring(raw: bytes) -> str | None:
    used = raw[1 : raw[-1]] if raw else b""
    text = used.decode("utf-16-be" if raw[:1] == b"\x10" else "latin-1", "replace")
    return clean(text.rstrip("\0 "), 80) or None

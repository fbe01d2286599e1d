"""tar, as far as it tells an OVA from other archives.

POSIX, pax (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html), headers of 512 bytes:

    0    100 name     124 12 size, octal (or base 256)     148 8 sum, octal
    156  1  type: "0" or NUL a file, "x" "g" "L" "K" about the next one
    257  5  "ustar"

An OVA is a tar whose first file is an OVF description (DMTF DSP0243).
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.source import Reader
from pipeline.text import clean

_BLOCK = 512
_MOST = 64  # headers that are looked at
_ABOUT_NEXT = frozenset(b"xgLK")


def is_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header: the sum is right, and the name is not empty."""
    if len(block) < _BLOCK or not block[0] or block[257:262] not in (b"ustar", bytes(5)):
        return False
    stated = _number(block[148:156])
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return stated == total


def is_ova(reader: Reader) -> bool:
    """Whether the first file is an OVF description."""
    first = next(members(reader), "")
    return first.lower().endswith(".ovf")


def members(reader: Reader) -> Iterator[str]:
    """The names of the first files, cleaned of control characters."""
    at = 0
    for _ in range(_MOST):
        block = reader.read(at, _BLOCK)
        if not is_header(block):
            return
        if block[156] not in _ABOUT_NEXT:
            yield clean(block[:100].split(b"\0")[0], 100)
        size = _number(block[124:136])
        if size is None:
            return
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK


def _number(field: bytes) -> int | None:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b"\0 ")
    if not text or any(digit not in b"01234567" for digit in text):
        return None
    return int(text, 8)

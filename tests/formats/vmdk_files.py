"""VMDKs whose fields and places are all different, so that none can be taken for another."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import handmade
from handmade import Memory, le32

# In sectors: directory 11, tables of 5 entries at 13 and 15, grains of 8 at 19, 27 and 35; of the last one
# the disk has but 5 sectors.
CAPACITY, GRAIN, ENTRIES = 77, 8, 5
SIZE = CAPACITY * 512
FILE = (35 + 5) * 512
PIECES = {
    11 * 512: le32(13) + le32(15),
    13 * 512: le32(19) + le32(1),
    15 * 512: le32(27) + le32(35),
}

TEXT = handmade.vmdk_descriptor(sectors=CAPACITY)
FIELDS = {
    "version": 1,
    "flags": 1,
    "capacity": CAPACITY,
    "grain": GRAIN,
    "descriptor_offset": 3,
    "descriptor_size": 5,
    "entries": ENTRIES,
    "redundant": 0,
    "directory": 11,
    "overhead": 19,
    "unclean": 0,
    "newlines": b"\n \r\n",
    "compression": 0,
}
AT_END = 2**64 - 1


def head(**changes: Any) -> bytes:
    values = (FIELDS | changes).values()
    return struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", *values).ljust(512, b"\0")


def made(
    *,
    size: int = FILE,
    text: bytes = TEXT,
    pieces: Mapping[int, bytes] | None = None,
    **changes: Any,
) -> Memory:
    whole = Memory(bytes(size)).also(0, head(**changes)).also(3 * 512, text)
    for at, data in (PIECES | dict(pieces or {})).items():
        whole = whole.also(at, data)
    return whole


MARKS = 1 << 16 | 1 << 17 | 1
STREAM = {"flags": MARKS, "directory": AT_END, "compression": 1, "version": 3}


def stream(footer: Mapping[str, Any] | None = None, behind: int = 0) -> Memory:
    """The footer, the last sector of zeros, and what stands behind."""
    end = head(
        **STREAM
        | {"directory": 11, "descriptor_offset": 0, "descriptor_size": 0}
        | dict(footer or {})
    )
    whole = made(size=FILE + 1024 + behind, **STREAM)
    return whole.also(FILE, end).also(35 * 512 + 8, le32(5)).also(35 * 512 + 12, bytes(5))

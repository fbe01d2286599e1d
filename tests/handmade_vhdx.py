"""A VHDX written field by field, with checksums by a plain table."""

from __future__ import annotations

import struct
import uuid
from functools import cache

from handmade import MIB, le32, le64, patched


def _crc32c_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C = tuple(_crc32c_of_byte(value) for value in range(256))


@cache
def _crc32c(data: bytes) -> int:
    state = 0xFFFFFFFF
    for value in data:
        state = state >> 8 ^ _CRC32C[(state ^ value) & 0xFF]
    return state ^ 0xFFFFFFFF


def summed(data: bytes) -> bytes:
    """A VHDX structure with its checksum, at 4, made right."""
    return patched(data, 4, le32(_crc32c(patched(data, 4, bytes(4)))))


def _guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


VHDX_BAT = _guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
VHDX_METADATA = _guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_VHDX_ITEMS = (
    ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", lambda size, flags: struct.pack("<II", MIB, flags)),
    ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", lambda size, flags: le64(size)),
    ("8141bf1d-a96f-4709-ba47-f233a8faab5f", lambda size, flags: le32(512)),
    ("cda348c7-445d-4471-9cc9-e9885251c556", lambda size, flags: le32(4096)),
    ("beca12ab-b2e6-4523-93ef-c309e000c746", lambda size, flags: uuid.UUID(int=9).bytes_le),
)


def vhdx(
    *, size: int = 4 * MIB, flags: int = 0, log_id: bytes = bytes(16), entry: bool = False
) -> bytes:
    """MiB: 0 headers, 1 log, 2 metadata, 3 table, 4 the first block.

    ``entry``: the log holds an entry of ``log_id``.
    """
    image = bytearray(5 * MIB)

    def put(offset: int, data: bytes) -> None:
        image[offset : offset + len(data)] = data

    put(0, b"vhdxfile" + "by hand".encode("utf-16-le"))
    for place, number in ((64 << 10, 1), (128 << 10, 2)):
        head = b"head" + bytes(4) + le64(number) + bytes(32) + log_id
        head += struct.pack("<HHIQ", 0, 1, MIB, MIB)
        put(place, summed(head.ljust(4096, b"\0")))
    regions = b"regi" + bytes(4) + le32(2) + bytes(4)
    regions += struct.pack("<16sQII", VHDX_BAT, 3 * MIB, MIB, 1)
    regions += struct.pack("<16sQII", VHDX_METADATA, 2 * MIB, MIB, 1)
    for place in (192 << 10, 256 << 10):
        put(place, summed(regions.ljust(65536, b"\0")))
    if entry:
        put(MIB, b"loge".ljust(32, b"\0") + log_id)
    table = b"metadata" + struct.pack("<HH", 0, len(_VHDX_ITEMS)) + bytes(20)
    at = 65536
    for key, make in _VHDX_ITEMS:
        data = make(size, flags)
        table += struct.pack("<16sIIII", _guid(key), at, len(data), 4, 0)
        put(2 * MIB + at, data)
        at += len(data)
    put(2 * MIB, table)
    put(3 * MIB, le64(4 * MIB | 6))
    return bytes(image)

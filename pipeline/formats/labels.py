"""Whether a partition table stands at the start: its signature only.

UEFI specification 2.10, chapter 5 (https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html):

    446  16 each  four entries: 0 boot mark 0x00 or 0x80, 4 type, 8 first sector, 12 sectors
    510  2        0x55 0xAA
    512  8        "EFI PART" (4096 with sectors of 4 KiB)

What the tables say is read in ``partitions``; this is for the question which formats a file has.
"""

from __future__ import annotations

import struct

from pipeline.source import Reader

_ENTRY = struct.Struct("<B3xB3x4xI")  # mark, type, sectors
_GPT = b"EFI PART"


def disk_labels(reader: Reader, offset: int = 0) -> tuple[str, ...]:
    """Both "mbr" and "gpt", each when its signature holds at ``offset``."""
    return tuple(dict.fromkeys(name for name, _, _ in label_places(reader, offset)))


def label_places(reader: Reader, offset: int = 0) -> tuple[tuple[str, int, int], ...]:
    """The same, each with the offset and the length of the bytes that show it."""
    mbr = (("mbr", offset + 446, 66),) if _is_mbr(reader.read(offset, 512)) else ()
    gpt = (
        ("gpt", offset + place, len(_GPT))
        for place in (512, 4096)
        if reader.read(offset + place, len(_GPT)) == _GPT
    )
    return (*mbr, *gpt)


def _is_mbr(sector: bytes) -> bool:
    """Four sane entries, at least one of them used: a FAT boot sector ends in 0x55 0xAA as well."""
    if sector[510:] != b"\x55\xaa":
        return False
    entries = [*_ENTRY.iter_unpack(sector[446:510])]
    used = any(kind and sectors for _, kind, sectors in entries)
    return used and all(mark in (0, 0x80) for mark, _, _ in entries)

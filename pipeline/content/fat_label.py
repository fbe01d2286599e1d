"""The label of a FAT: an entry of the root directory.  The one in the boot sector is a copy that few keep.

    entry of 32 bytes   0  name (11): first byte 0 ends the directory, E5 is deleted, 05 stands for E5
                       11  attributes: 08 volume label, 10 directory, 0F a piece of a long name
                       20, 26  first cluster, high and low half: a label has none
    FAT12, FAT16: the directory lies behind the tables, in entries that the boot sector counts
    FAT32: it is a chain of clusters, which begins where the boot sector says at 44

Linux mounts LABEL= by this one alone (util-linux, libblkid's vfat.c).  Microsoft fatgen103 §6, §7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_MAX_CLUSTERS = 100  # as libblkid
_MAX_BYTES = 1 << 20
_ENTRY = 32


def root_label(head: bytes, read: Callable[[int, int], bytes]) -> bytes | None:
    """The 11 bytes of the label; None without one.  ``head`` is the boot sector, ``read`` counts from it."""
    left = _MAX_BYTES
    for offset, length in _directory(head, read):
        block = read(offset, min(length, left))
        for at in range(0, len(block) - _ENTRY + 1, _ENTRY):
            entry = block[at : at + _ENTRY]
            if entry[0] == 0:
                return None
            if _is_label(entry):
                return b"\xe5" + entry[1:11] if entry[0] == 0x05 else entry[:11]
        left -= len(block)
        if left <= 0:
            return None
    return None


def _is_label(entry: bytes) -> bool:
    clusters = entry[20:22] + entry[26:28]
    return (
        entry[0] != 0xE5
        and entry[11] & 0x18 == 0x08
        and entry[11] & 0x3F != 0x0F
        and not any(clusters)
    )


def _directory(head: bytes, read: Callable[[int, int], bytes]) -> Iterator[tuple[int, int]]:
    """Offset and length of each piece of the root directory."""
    sector, cluster, reserved, copies, entries = struct.unpack_from("<HBHBH", head, 11)
    table = int.from_bytes(head[22:24], "little")
    if table:
        yield (reserved + copies * table) * sector, entries * _ENTRY
        return
    table = int.from_bytes(head[36:40], "little")
    data = (reserved + copies * table) * sector
    number, size = int.from_bytes(head[44:48], "little"), cluster * sector
    for _ in range(_MAX_CLUSTERS):
        if not 2 <= number < table * sector // 4:
            return
        yield data + (number - 2) * size, size
        number = int.from_bytes(read(reserved * sector + 4 * number, 4), "little") & 0x0FFFFFFF

"""How large a file system is by its own superblock: larger than its place means that its end is gone.

    offset  field                                                            specification
      1028  4 blocks (low half), 1048 4 block size = 1024 << n,              docs.kernel.org/filesystems/ext4
            1120 4 features (0x80: 64 bit), 1360 4 blocks (high half)
         4  4 block size, 8 8 blocks, big-endian                             XFS Algorithms & Data Structures
        11  2 bytes a sector, 40 8 sectors                                   libyal, NTFS
     65745  8 bytes of this device                                           btrfs' on-disk format
      1028  4 number of the last page; the magic ends the first page         util-linux include/swapheader.h

LVM says the size of a physical volume in its header (``lvm``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pipeline.content import lvm
from pipeline.content.filesystems import SWAP_PAGES
from pipeline.source import Reader

SUPERBLOCK = 4096  # bytes from the start in which most types say their size
_64_BIT = 0x80

_Look = Callable[[Reader, int], int | None]


def stated(reader: Reader, kind: str | None, offset: int = 0) -> int | None:
    """Bytes that what begins at ``offset`` claims; None for a type that does not tell.

    ``kind``: as ``filesystems.signature`` names it.
    """
    look = _LOOKS.get(kind or "")
    return look(reader, offset) if look else None


def _fields(reader: Reader, offset: int, layout: str) -> tuple[int, ...] | None:
    """The numbers there; None where the file ends before them."""
    data = reader.read(offset, struct.calcsize(layout))
    return struct.unpack(layout, data) if len(data) == struct.calcsize(layout) else None


def _ext(reader: Reader, offset: int) -> int | None:
    found = _fields(reader, offset + 1024, "<4xI16xI68xI236xI")
    if found is None:
        return None
    low, shift, features, high = found
    blocks = low | (high << 32 if features & _64_BIT else 0)
    return blocks << 10 + shift if shift <= 6 else None


def _xfs(reader: Reader, offset: int) -> int | None:
    found = _fields(reader, offset + 4, ">IQ")
    return found[0] * found[1] if found and 512 <= found[0] <= 65536 else None


def _ntfs(reader: Reader, offset: int) -> int | None:
    found = _fields(reader, offset + 11, "<H27xQ")
    return found[0] * found[1] if found and found[0] in (512, 1024, 2048, 4096) else None


def _btrfs(reader: Reader, offset: int) -> int | None:
    found = _fields(reader, offset + 65536 + 0xC9 + 8, "<Q")
    return found[0] if found else None


def _swap(reader: Reader, offset: int) -> int | None:
    found = _fields(reader, offset + 1024, "<II")
    for page in SWAP_PAGES:
        if found and found[0] == 1 and reader.read(offset + page - 10, 10) == b"SWAPSPACE2":
            return (found[1] + 1) * page
    return None


_LOOKS: dict[str, _Look] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "xfs": _xfs,
    "ntfs": _ntfs,
    "btrfs": _btrfs,
    "swap": _swap,
    "LVM2_member": lvm.device_size,
}

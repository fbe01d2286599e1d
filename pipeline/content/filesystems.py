"""What a partition holds, told from its first bytes (and for old RAID, its last ones).

Names are those of blkid and of Linux' mount: "ext4", "xfs", "vfat", "LVM2_member", "crypto_LUKS".

    offset  bytes                        what                    specification
         0  "XFSB"                       XFS                     XFS Algorithms & Data Structures
         0  "LUKS" BA BE, version        LUKS 1, 2               LUKS1 and LUKS2 on-disk formats
         0  "hsqs"                       SquashFS                docs.kernel.org/filesystems
         3  "NTFS    ", "-FVE-FS-", "EXFAT   "                   libyal; exFAT specification §3
      0/82  jump, "FAT32   "; 0/54 "FAT1x   "                    Microsoft fatgen103 §3
       512  "LABELONE" (sectors 0 to 3)  LVM2 physical volume    lvm2 lib/format_text/layout.h
      1024  +56: EF53                    ext2, ext3, ext4        docs.kernel.org/filesystems/ext4
      1024  F2F52010                     F2FS                    include/linux/f2fs_fs.h
      1024  E0F5E1E2                     EROFS                   docs.kernel.org/filesystems
      4086  "SWAPSPACE2"                 swap (end of the page)  util-linux libblkid
     32769  "CD001"; "NSR02", "NSR03"    ISO 9660; UDF           ECMA-119, ECMA-167
     65600  "_BHRfS_M"                   btrfs                   btrfs.readthedocs.io on-disk format
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.content import fat_label, ntfs_log, xfs_log
from pipeline.source import Reader

HEAD = 4096  # bytes that hold the common signatures
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"XFSB", "xfs"),
    (0, b"hsqs", "squashfs"),
    (0, b"LUKS\xba\xbe", "crypto_LUKS"),
    (3, b"-FVE-FS-", "BitLocker"),
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (3, b"\0\0\0\0ReFS", "refs"),
    (0, b"\0\0\0ReFS", "refs"),
    (1024, struct.pack("<I", 0xF2F52010), "f2fs"),
    (1024, struct.pack("<I", 0xE0F5E1E2), "erofs"),
    (1024, b"H+", "hfsplus"),
    (1024, b"HX", "hfsplus"),
    (32, b"NXSB", "apfs"),
    (0, struct.pack("<I", 0x28CD3D45), "cramfs"),
)
_FAR: tuple[tuple[int, bytes, str], ...] = (
    (65600, b"_BHRfS_M", "btrfs"),
    (32768, b"JFS1", "jfs"),
    (65588, b"ReIsErFs", "reiserfs"),
    (65588, b"ReIsEr2Fs", "reiserfs"),
    (65588, b"ReIsEr3Fs", "reiserfs"),
    (32769, b"CD001", "iso9660"),
    (32769, b"BEA01", "udf"),
    (4120, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"), "bcachefs"),
)
_TO_REPLAY = "its log holds changes that were not written back"
_RAID_MAGIC = struct.pack("<I", 0xA92B4EFC)

SWAP_PAGES = (4096, 8192, 16384, 32768, 65536)
"""Sizes of a page; the first one of a swap area ends with its mark."""

MOUNTABLE = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "ntfs", "exfat", "f2fs", "jfs", "reiserfs"}
)
"""Types that may hold a guest's files and that Linux can mount without writing."""


@dataclass(frozen=True)
class FileSystem:
    """One file system, swap area, or container of others."""

    type: str
    uuid: str | None = None  # written as blkid does
    label: str | None = None  # cleaned of control characters
    clean: bool | None = None  # None: this type does not tell
    version: str | None = None  # LUKS "1" or "2", XFS "4" or "5"
    detail: str | None = None  # why it is not clean


def signature(reader: Reader, offset: int = 0, length: int | None = None) -> str | None:
    """The type of what begins at byte ``offset``; None when nothing known does.

    ``length`` is that of the partition: with it RAID members that keep their superblock at the end
    are seen as well.  Reads at most 6 KiB in a handful of places.
    """
    head = reader.read(offset, HEAD)
    kind = _near(head) or _ext(head) or _lvm(head) or _fat(head)
    if kind is not None:
        return kind
    if head[:4] == _RAID_MAGIC or reader.read(offset + 4096, 4) == _RAID_MAGIC:
        return "linux_raid_member"
    for at, magic, name in _FAR:
        if reader.read(offset + at, len(magic)) == magic:
            return name
    for page in SWAP_PAGES:
        if reader.read(offset + page - 10, 10) in (b"SWAPSPACE2", b"SWAP-SPACE"):
            return "swap"
    return _at_end(reader, offset, length) or _zfs(reader, offset)


def describe(reader: Reader, offset: int = 0, length: int | None = None) -> FileSystem | None:
    """What begins at ``offset`` with its UUID, label and state, as far as its superblock tells."""
    kind = signature(reader, offset, length)
    if kind is None:
        return None
    look = _DETAILS.get(kind)
    if look is None:
        return FileSystem(kind)
    return look(kind, lambda at, n: reader.read(offset + at, n))


def _near(head: bytes) -> str | None:
    for at, magic, name in _MAGICS:
        if head.startswith(magic, at):
            return name
    return None


def _ext(head: bytes) -> str | None:
    """ext2, 3 or 4 by the features, as libblkid tells them apart."""
    block = head[1024:]
    if len(block) < 0x68 or block[0x38:0x3A] != b"\x53\xef":
        return None
    compatible, incompatible, read_only = struct.unpack_from("<III", block, 0x5C)
    if incompatible & 0x8:
        return "jbd"
    if incompatible & ~0x16 or read_only & ~0x7:
        return "ext4"
    return "ext3" if compatible & 0x4 else "ext2"


def _lvm(head: bytes) -> str | None:
    for at in range(0, 2048, 512):
        label = head[at : at + 512]
        if label[:8] == b"LABELONE" and label[24:32] == b"LVM2 001":
            return "LVM2_member"
    return None


def _fat(head: bytes) -> str | None:
    """A FAT boot sector: its text alone is advice, so the numbers must fit as well."""
    if len(head) < 512 or head[510:512] != b"\x55\xaa" or head[0] not in (0xEB, 0xE9):
        return None
    sector, cluster, reserved, copies = struct.unpack_from("<HBHB", head, 11)
    if sector not in (512, 1024, 2048, 4096) or not reserved or copies not in (1, 2):
        return None
    if not cluster or cluster & (cluster - 1) or head[21] < 0xF0:
        return None
    return "vfat"


def _at_end(reader: Reader, offset: int, length: int | None) -> str | None:
    """RAID superblocks 1.0 (8 KiB before the end, 4 KiB aligned) and 0.90 (in the last 64 KiB)."""
    if length is None or length < 128 * 1024:
        return None
    sectors = length // 512
    places = (((sectors - 16) & ~7) * 512, (length & ~0xFFFF) - 0x10000)
    if any(reader.read(offset + place, 4) == _RAID_MAGIC for place in places):
        return "linux_raid_member"
    return None


def _zfs(reader: Reader, offset: int) -> str | None:
    """The newest of 128 uberblocks may be anywhere in the ring, so four of them must be there."""
    ring = reader.read(offset + 128 * 1024, 128 * 1024)
    magic = struct.pack("<Q", 0x00BAB10C)
    found = sum(ring.startswith(magic, at) for at in range(0, len(ring), 1024))
    return "zfs_member" if found >= 4 else None


# ------------------------------------------------------------------------------- UUID, label, state

_Read = Callable[[int, int], bytes]


def _text(raw: bytes, encoding: str = "utf-8") -> str | None:
    text = raw.decode(encoding, "replace").split("\0", 1)[0].rstrip()
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return clean or None


def _uuid(raw: bytes) -> str | None:
    return str(uuid.UUID(bytes=raw)) if len(raw) == 16 and any(raw) else None


def _ext_details(kind: str, read: _Read) -> FileSystem:
    block = read(1024, 1024)
    state, incompatible = block[0x3A], block[0x60]  # the flags that count are in the low bytes
    detail = None
    if incompatible & 0x4:
        detail = "its journal holds changes that were not written back"
    elif state & 0x2:
        detail = "errors were seen in it"
    elif not state & 0x1:
        detail = "it was not unmounted"
    return FileSystem(
        kind, _uuid(block[0x68:0x78]), _text(block[0x78:0x88]), detail is None, detail=detail
    )


def _xfs_details(kind: str, read: _Read) -> FileSystem:
    head = read(0, HEAD)
    version = int.from_bytes(head[100:102], "big") & 0xF
    clean = xfs_log.clean(read)
    return FileSystem(
        kind,
        _uuid(head[32:48]),
        _text(head[108:120]),
        clean,
        str(version),
        None if clean is not False else _TO_REPLAY,
    )


def _btrfs_details(kind: str, read: _Read) -> FileSystem:
    block = read(65536, 4096)
    log_root = int.from_bytes(block[0x60:0x68], "little")
    detail = "its log tree holds changes that were not written back" if log_root else None
    return FileSystem(
        kind, _uuid(block[0x20:0x30]), _text(block[0x12B:0x22B]), not log_root, detail=detail
    )


def _fat_details(kind: str, read: _Read) -> FileSystem:
    """FAT32 has its serial at 67; FAT12 and FAT16, which give a sectors-a-FAT at 22, at 39."""
    head = read(0, HEAD)
    small = any(head[22:24])
    at, state = (39, head[37]) if small else (67, head[65])
    serial = head[at : at + 4][::-1].hex().upper()
    detail = _fat_trouble(state, *_fat_marks(head, read))
    label = _text(fat_label.root_label(head, read) or b"")
    return FileSystem(kind, f"{serial[:4]}-{serial[4:]}", label, detail is None, detail=detail)


def _fat_trouble(state: int, unmounted: bool, sound: bool) -> str | None:
    """Linux and Windows NT mark a mounted FAT in its boot sector, Windows and EDK2 in its table."""
    if state & 0x1 or not unmounted:
        return "it was not unmounted"
    return "errors were seen in it" if state & 0x2 or not sound else None


def _fat_marks(head: bytes, read: _Read) -> tuple[bool, bool]:
    """Whether it was unmounted, and never failed: the highest bits of the table's second entry.

    FAT16 8000h and 4000h, FAT32 8000000h and 4000000h; FAT12, which has less than 4,085 clusters, has
    none (fatgen103, "FAT[1]").  FAT32 gives no length of its table at 22.
    """
    sector, cluster, reserved, copies, root = struct.unpack_from("<HBHBH", head, 11)
    sectors = int.from_bytes(head[19:21], "little") or int.from_bytes(head[32:36], "little")
    table = int.from_bytes(head[22:24], "little")
    data = sectors - reserved - copies * table - -(-root * 32 // sector)
    width = 4 if not table else 2 if data // cluster >= 4085 else 0
    entry = read(reserved * sector + width, width)
    if not width or len(entry) < width:
        return True, True
    high = entry[-1] << (0 if width == 2 else 4)
    return bool(high & 0x80), bool(high & 0x40)


def _ntfs_details(kind: str, read: _Read) -> FileSystem:
    """The dirty flag and the label lie in $Volume, the fourth record of the MFT; before it, $LogFile."""
    head = read(0, HEAD)
    sector, cluster = struct.unpack_from("<HB", head, 11)
    cluster = cluster if cluster <= 0x80 else 1 << (256 - cluster)
    per_record = struct.unpack_from("<b", head, 64)[0]
    size = 1 << -per_record if per_record < 0 else per_record * cluster * sector
    mft = int.from_bytes(head[48:56], "little") * cluster * sector
    serial = head[72:80][::-1].hex().upper()
    records = read(mft + 2 * size, 2 * size) if 256 <= size <= 65536 else b""
    label, dirty = _ntfs_volume(records[size:])
    replayed = ntfs_log.clean(records[:size], cluster * sector, read)
    if dirty:
        return FileSystem(kind, serial, label, False, detail="its dirty flag is set")
    if replayed is False:
        return FileSystem(kind, serial, label, False, detail=_TO_REPLAY)
    known = dirty is False and replayed
    return FileSystem(kind, serial, label, True if known else None)


def _ntfs_volume(record: bytes) -> tuple[str | None, bool | None]:
    """$VOLUME_NAME (60h) and the flags of $VOLUME_INFORMATION (70h), both resident."""
    if record[:4] != b"FILE" or len(record) < 64:
        return None, None
    label, dirty = None, None
    at = int.from_bytes(record[20:22], "little")
    while at + 24 <= len(record):
        kind, length = struct.unpack_from("<II", record, at)
        if kind == 0xFFFFFFFF or length < 24:
            break
        size, start = struct.unpack_from("<IH", record, at + 16)
        value = record[at + start : at + start + size]
        if kind == 0x60:
            label = _text(value, "utf-16-le")
        elif kind == 0x70 and len(value) >= 12:
            dirty = bool(int.from_bytes(value[10:12], "little") & 0x1)
        at += length
    return label, dirty


def _luks_details(kind: str, read: _Read) -> FileSystem:
    head = read(0, HEAD)
    version = int.from_bytes(head[6:8], "big")
    label = _text(head[24:72]) if version == 2 else None
    return FileSystem(kind, _text(head[168:208]), label, version=str(version))


def _swap_details(kind: str, read: _Read) -> FileSystem:
    head = read(0, HEAD)
    return FileSystem(kind, _uuid(head[1036:1052]), _text(head[1052:1068]))


def _exfat_details(kind: str, read: _Read) -> FileSystem:
    head = read(0, HEAD)
    serial = head[100:104][::-1].hex().upper()
    dirty = bool(int.from_bytes(head[106:108], "little") & 0x2)
    detail = "its dirty flag is set" if dirty else None
    return FileSystem(kind, f"{serial[:4]}-{serial[4:]}", None, not dirty, detail=detail)


def _f2fs_details(kind: str, read: _Read) -> FileSystem:
    block = read(1024, 1024)
    return FileSystem(kind, _uuid(block[108:124]), _text(block[124:636], "utf-16-le"))


_DETAILS: dict[str, Callable[[str, _Read], FileSystem]] = {
    "ext2": _ext_details,
    "ext3": _ext_details,
    "ext4": _ext_details,
    "xfs": _xfs_details,
    "btrfs": _btrfs_details,
    "vfat": _fat_details,
    "exfat": _exfat_details,
    "ntfs": _ntfs_details,
    "crypto_LUKS": _luks_details,
    "swap": _swap_details,
    "f2fs": _f2fs_details,
}

"""What the direct reader's libraries would read wrongly or cannot read, told from the superblock.

A library that meets a feature that it does not know may say so, or may answer nonsense without a word.
So it is asked only about file systems whose every feature is known here to be read right.  Tried with
libyal of 2026-08 against the kernel's own drivers:

    file system   silently wrong                             refused by the library
    ext4          inline_data: files end in zeros            large_dir, mmp, sparse_super2, stable_inodes
    XFS           a log to replay: the root is empty         links that do not fit their inode (seen later)
    NTFS          clusters of 8 KiB and more: names are missing

Bits: ext4 https://docs.kernel.org/filesystems/ext4/globals.html (s_feature_*); XFS: "Superblocks" in
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf
"""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c

from pipeline.content import xfs_log
from pipeline.source import Reader

_EXT_INCOMPATIBLE = {
    0x2: "filetype",
    0x4: "needs_recovery",  # read as it lies, as the appliance does (noload)
    0x10: "meta_bg",
    0x40: "extents",
    0x80: "64bit",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x2000: "csum_seed",
}
_EXT_READ_ONLY = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x4: "btree_dir",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x2000: "project",
    0x8000: "verity",
    0x10000: "orphan_present",
}
_XFS_READ_ONLY = {0x1: "finobt", 0x2: "rmapbt", 0x4: "reflink", 0x8: "inobtcount"}
_XFS_INCOMPATIBLE = {
    0x1: "ftype",
    0x2: "sparse inodes",
    0x4: "meta_uuid",
    0x8: "bigtime",
    0x20: "nrext64",
}
_METADATA_CSUM = 0x400
_INVERTED = 0xFFFFFFFF  # ext4's checksums end without being inverted
_NTFS_LARGEST_CLUSTER = 4096


def refusal(kind: str, reader: Reader) -> str | None:
    """Why a volume of this kind must not be read directly; None: it may be."""
    return _GATES[kind](reader)


def _ext(reader: Reader) -> str | None:
    block = reader.read(1024, 1024)
    if len(block) < 1024:
        return "its superblock is cut off"
    incompatible, read_only = (int.from_bytes(block[at : at + 4], "little") for at in (0x60, 0x64))
    unknown = _beyond(incompatible, _EXT_INCOMPATIBLE) or _beyond(read_only, _EXT_READ_ONLY)
    if unknown is not None:
        return f"an ext feature is not read directly (bit {unknown:#x})"
    if read_only & _METADATA_CSUM and google_crc32c.value(
        block[:1020]
    ) ^ _INVERTED != int.from_bytes(block[1020:], "little"):
        return "its superblock has a wrong checksum"
    if int.from_bytes(block[0x18:0x1C], "little") > 6:
        return "its blocks are larger than 64 KiB"
    return None


def _xfs(reader: Reader) -> str | None:
    head = reader.read(0, 512)
    if len(head) < 512:
        return "its superblock is cut off"
    version = int.from_bytes(head[100:102], "big") & 0xF
    if version not in (4, 5):
        return f"XFS version {version} is not read directly"
    if version == 5:
        read_only, incompatible = (int.from_bytes(head[at : at + 4], "big") for at in (212, 216))
        unknown = _beyond(incompatible, _XFS_INCOMPATIBLE) or _beyond(read_only, _XFS_READ_ONLY)
        if unknown is not None:
            return f"an XFS feature is not read directly (bit {unknown:#x})"
    if int.from_bytes(head[16:24], "big"):
        return "it has a real-time part"
    if version == 5 and not _xfs_sum_fits(reader, int.from_bytes(head[102:104], "big")):
        return _unclean(reader) or "its superblock has a wrong checksum"
    return _unclean(reader)


def _unclean(reader: Reader) -> str | None:
    """Why an XFS's log may have something to replay."""
    return xfs_log.NOT_CLEAN.get(xfs_log.state(reader.read))


def _xfs_sum_fits(reader: Reader, size: int) -> bool:
    """CRC-32C over the superblock's sector, with zeros in its own place (224 4, little-endian)."""
    sector = reader.read(0, size)
    if len(sector) < 512:
        return False
    cleared = sector[:224] + bytes(4) + sector[228:]
    return bool(google_crc32c.value(cleared) == int.from_bytes(sector[224:228], "little"))


def _ntfs(reader: Reader) -> str | None:
    head = reader.read(0, 512)
    if len(head) < 512:
        return "its boot sector is cut off"
    sector, per_cluster = int.from_bytes(head[11:13], "little"), head[13]
    cluster = sector * (per_cluster if per_cluster <= 0x80 else 1 << (256 - per_cluster))
    if cluster > _NTFS_LARGEST_CLUSTER:
        return f"its clusters have {cluster} bytes"
    return None


def _fat(_reader: Reader) -> str | None:
    return None


def _beyond(bits: int, known: dict[int, str]) -> int | None:
    """The bits that are not known, or None."""
    return bits & ~sum(known) or None


_GATES: dict[str, Callable[[Reader], str | None]] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "xfs": _xfs,
    "ntfs": _ntfs,
    "vfat": _fat,
}
KINDS = frozenset(_GATES)
"""The types that are read directly."""

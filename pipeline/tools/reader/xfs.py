"""XFS, read by libfsxfs.

    superblock, big-endian
      4  4  block size             100  2  version, in its low four bits
     88  4  allocation groups      104  2  inode size
    144  8  free blocks

Of the free blocks the kernel keeps eight an allocation group for its own trees (``xfs_alloc_set_aside``).
https://docs.kernel.org/filesystems/xfs
"""

from __future__ import annotations

import pyfsxfs

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.unix import UnixFiles
from pipeline.tools.reader.volume import Pages
from pipeline.tools.reader.xfs_sums import XfsSums

_CHUNK = 64  # inodes that are made at once, at the least
_SET_ASIDE = 8  # blocks of each allocation group
_CORE = {4: 100, 5: 176}  # by version: bytes of an inode before its data


class Xfs(UnixFiles):
    """One XFS; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        volume = pyfsxfs.volume()
        volume.open_file_object(pages)
        super().__init__(volume, XfsSums(pages).require)
        head = pages.bytes_at(0, 512)
        self._inline = int.from_bytes(head[104:106], "big") - _CORE[head[101] & 0xF]

    def readlink(self, path: str) -> str:
        """Where a link points to; one that does not lie in its inode has a header, read as its target."""
        entry = self._link(path)
        target = "" if entry.size > self._inline else str(entry.symbolic_link_target)
        if len(target.encode()) != entry.size:
            raise UnableError(f"the link {path} was not read whole")
        return target

    def free(self) -> dict[str, int]:
        """Bytes free for everybody."""
        head = self._pages.bytes_at(0, 512)
        block, groups = (int.from_bytes(head[at : at + 4], "big") for at in (4, 88))
        free = int.from_bytes(head[144:152], "big")
        free = max(0, free - _SET_ASIDE * groups)
        return {"free": free * block, "free_inodes": _free_inodes(head, free)}


def _free_inodes(head: bytes, free: int) -> int:
    """Inodes that may still be made (``xfs_fs_statfs``): from free blocks, up to the share set for them.

    Superblock: 8 8 blocks, 123 1 log2(inodes a block), 127 1 per cent for inodes, 128 8 inodes, 136 8 free.
    """
    blocks, made, unused = (int.from_bytes(head[at : at + 8], "big") for at in (8, 128, 136))
    bits, share = head[123], head[127]
    files = made + (free << bits)
    if share:
        together = max(_CHUNK, 1 << bits) >> bits
        files = min(files, blocks * share // 100 // together * together << bits)
    return max(0, max(files, made) - (made - unused))

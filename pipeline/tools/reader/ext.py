"""ext2, ext3 and ext4, read by libfsext.

Free space is the sum over the group descriptors, as the kernel makes it when it mounts:
the superblock's own count is not kept up while the file system is in use.

    superblock, at 1024            group descriptor
    0x08  4  reserved blocks, low    0x0C  2  free blocks, low
    0x14  4  first data block        0x2C  2  free blocks, high (descriptors of 64 bytes)
    0x18  4  log2(block size) - 10
    0x1C  4  log2(cluster) - 10
    0x20  4  blocks a group          0x60  4  incompatible features: 0x10 meta_bg, 0x40 extents, 0x80 64bit
    0x04  4  blocks, low; 0x150 high 0x64  4  read-only compatible: 0x200 bigalloc
    0x154 4  reserved, high          0xFE  2  descriptor's size
    0x104 4  first meta block group
https://docs.kernel.org/filesystems/ext4/globals.html
"""

from __future__ import annotations

import stat
from typing import Any

import pyfsext

from pipeline.tools.reader.answers import NotThereError, Stat, inside, listing, unix
from pipeline.tools.reader.inodes import Inodes
from pipeline.tools.reader.volume import Pages


class Ext:
    """One ext file system; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._volume = pyfsext.volume()
        self._volume.open_file_object(pages)
        self._inodes = Inodes(pages)

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is."""
        self._directory(directory)
        found = [self._look(inside(directory, name)) for name in names]
        return [None if item is None else unix(item) for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        return list(listing(self._directory(directory).sub_file_entries))

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        entry = self._entry(path)
        if not stat.S_ISLNK(entry.file_mode):
            raise NotThereError(f"{path} is not a link")
        return str(entry.symbolic_link_target)

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file."""
        entry = self._entry(path)
        length = min(length, entry.size - offset)
        return bytes(entry.read_buffer_at_offset(length, offset)) if length > 0 else b""

    def free(self) -> dict[str, int]:
        """Bytes free for everybody."""
        return self._inodes.free()

    def _look(self, path: str) -> Any | None:
        entry = self._volume.get_file_entry_by_path(path)
        if entry is not None:
            self._inodes.require_sound(entry)
        return entry

    def _entry(self, path: str) -> Any:
        entry = self._look(path)
        if entry is None:
            raise NotThereError(f"{path}: no such file")
        return entry

    def _directory(self, path: str) -> Any:
        entry = self._entry(path)
        if not stat.S_ISDIR(entry.file_mode):
            raise NotThereError(f"{path} is not a directory")
        return entry

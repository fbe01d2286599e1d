"""ext2, ext3 and ext4, read by libfsext; what it does not look at is in ``inodes.py``.

The library goes from the root for every path, and reads each directory on it again.  So a name is looked up
here, in the entries of its directory, and the library is asked for an inode: a fourth of the work.

    entry   0  4  inode; 0: none        6  1  length of the name
            4  2  length                8     name
https://docs.kernel.org/filesystems/ext4/directory.html
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Any

import pyfsext

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.inodes import Inodes
from pipeline.tools.reader.unix import UnixFiles
from pipeline.tools.reader.volume import Pages

_LARGEST_DIRECTORY = 1 << 18  # bytes; the library looks names up in larger ones
_LARGEST_BLOCK = 32 << 10  # an entry that fills a larger one tells its length in another way
_MOST_KEPT = 200_000  # names
_HEAD = struct.Struct("<IHB")
_SMALLEST = 8  # bytes of an entry

Names = dict[bytes, int]
"""Name to inode."""


class Ext(UnixFiles):
    """One ext file system; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        volume = pyfsext.volume()
        volume.open_file_object(pages)
        self._pages = pages
        self._inodes = Inodes(pages)
        self._known: dict[str, Names | None] = {}  # directories by their paths; None: too large
        self._kept = 0  # names in them
        super().__init__(volume, self._inodes.require_sound)

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        return str(self._link(path).symbolic_link_target)

    def free(self) -> dict[str, int]:
        """Bytes free for everybody."""
        return self._inodes.free()

    def _found(self, path: str) -> Any | None:
        """The library's entry of what is at a path, whose directory is sound."""
        directory, _, name = path.rpartition("/")
        if not name:
            return self._volume.root_directory
        names = self._names_of(directory)
        if names is None:
            return super()._found(path)
        number = names.get(name.encode())
        return None if number is None else self._volume.get_file_entry_by_inode(number)

    def _names_of(self, path: str) -> Names | None:
        if path not in self._known:
            found = self._names_in(self._found(path))
            self._kept += len(found or ())
            if self._kept > _MOST_KEPT:
                self._known, self._kept = {}, 0
            self._known[path] = found
        return self._known[path]

    def _names_in(self, directory: Any) -> Names | None:
        size = self._inodes.block_size
        if not stat.S_ISDIR(directory.file_mode):
            return {}
        if directory.size > _LARGEST_DIRECTORY or size > _LARGEST_BLOCK:
            return None
        found: Names = {}
        for number in range(directory.number_of_extents):
            offset, length, flags = directory.get_extent(number)
            if flags or length > _LARGEST_DIRECTORY:
                return None
            for at in range(offset, offset + length, size):
                for name, inode in _entries(self._pages.bytes_at(at, size)):
                    found.setdefault(name, inode)
        return found


def _entries(block: bytes) -> Iterator[tuple[bytes, int]]:
    if not block:
        raise UnableError("a block of a directory lies behind the end")
    at = 0
    while at < len(block):
        inode, length, name = _HEAD.unpack_from(block, at)
        if not _SMALLEST + name <= length <= len(block) - at:
            raise UnableError("an entry of a directory does not fit")
        if inode:
            yield block[at + _SMALLEST : at + _SMALLEST + name], inode
        at += length

r"""FAT12, FAT16 and FAT32, read by libfsfat.

    boot sector  11  2  bytes a sector     17  2  root entries       36  4  sectors a FAT (FAT32)
                 13  1  sectors a cluster  19  2  sectors, or 32  4
                 14  2  reserved sectors   22  2  sectors a FAT
                 16  1  FATs

Microsoft's FAT specification ("fatgen103"), sections 3 and 4.
"""

from __future__ import annotations

import array
import struct
import sys
from typing import Any

import pyfsfat

from pipeline.tools.reader.answers import NotThereError, Stat, UnableError, listing
from pipeline.tools.reader.volume import Pages

_DIRECTORY = 0x10
_MODE = 0o755
_LARGEST_FAT = 64 << 20


class Fat:
    """One FAT file system; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._volume = pyfsfat.volume()
        self._volume.open_file_object(pages)

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is; upper and lower case do not matter."""
        self._directory(directory)
        found = [self._look(f"{directory.rstrip('/')}/{name}") for name in names]
        return [None if item is None else _stat(item) for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        return list(listing(self._directory(directory).sub_file_entries))

    def readlink(self, path: str) -> str:
        """FAT has no links."""
        raise NotThereError(f"{path} is not a link")

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file."""
        entry = self._look(path)
        if entry is None or _is_directory(entry):
            raise NotThereError(f"{path} is not a file")
        length = min(length, entry.size - offset)
        return bytes(entry.read_buffer_at_offset(length, offset)) if length > 0 else b""

    def free(self) -> dict[str, int]:
        """Bytes free: the zero entries of the first FAT."""
        head = self._pages.bytes_at(0, 512)
        sector, cluster, reserved, copies, root = struct.unpack_from("<HBHBH", head, 11)
        each = struct.unpack_from("<H", head, 22)[0] or struct.unpack_from("<I", head, 36)[0]
        total = struct.unpack_from("<H", head, 19)[0] or struct.unpack_from("<I", head, 32)[0]
        data = total - reserved - copies * each - -(-root * 32 // sector)
        clusters = data // cluster
        if not 0 < each * sector <= _LARGEST_FAT or clusters <= 0:
            raise UnableError("its FAT is too large")
        table = self._pages.bytes_at(reserved * sector, each * sector)
        free = sum(not entry for entry in _entries(table, clusters)[2 : clusters + 2])
        return {"free": free * cluster * sector}

    def _look(self, path: str) -> Any | None:
        if "\\" in path:
            return None
        if path == "/":
            return self._volume.root_directory
        return self._volume.get_file_entry_by_path(path.replace("/", "\\"))

    def _directory(self, path: str) -> Any:
        entry = self._look(path)
        if entry is None or (path != "/" and not _is_directory(entry)):
            raise NotThereError(f"{path} is not a directory")
        return entry


def _entries(table: bytes, clusters: int) -> array.array[int]:
    """The FAT's entries: 12, 16 or 28 bits wide, as the number of clusters tells."""
    if clusters < 4085:
        packed = (int.from_bytes(table[at : at + 3], "little") for at in range(0, len(table), 3))
        return array.array("H", (part for item in packed for part in (item & 0xFFF, item >> 12)))
    code = "H" if clusters < 65525 else "I"
    found = array.array(code, table[: len(table) // 4 * 4])
    if sys.byteorder == "big":
        found.byteswap()
    return found if code == "H" else array.array("I", (item & 0x0FFFFFFF for item in found))


def _is_directory(entry: Any) -> bool:
    return bool((entry.file_attribute_flags or 0) & _DIRECTORY)


def _stat(entry: Any) -> Stat:
    """Without a time: the library's (of 2026-08) are a month ahead."""
    kind, size = ("directory", 0) if _is_directory(entry) else ("file", entry.size)
    return (kind, size, _MODE, None)

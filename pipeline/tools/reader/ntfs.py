r"""NTFS, read by libfsntfs; answers as ntfs-3g does.

    \                upper and lower case matter, although the library does not mind them: it finds the
                     first of two names that differ in nothing else
    records 0 to 15  the file system's own files: not listed in the root
    reparse points   links, junctions, compressed system files: not read here
    free space       the zero bits of $Bitmap (record 6), one a cluster

https://github.com/libyal/libfsntfs/tree/main/documentation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyfsntfs

from pipeline.tools.reader import hive
from pipeline.tools.reader.answers import (
    NotThereError,
    Stat,
    UnableError,
    listing,
)
from pipeline.tools.reader.ntfs_records import Records
from pipeline.tools.reader.volume import Pages

_SYSTEM, _REPARSE_POINT, _ENCRYPTED = 0x4, 0x400, 0x4000
_LARGEST_INTERIX = 8 + 2 * 4096  # bytes: a type, and a path
_FIRST_USER_RECORD = 16
_RECORD = (1 << 48) - 1  # the rest of a reference counts its uses
_BITMAP = 6
_CHUNK = 1 << 20
_MODE = 0o777
_TICKS, _SINCE_1601 = 10_000_000, 11_644_473_600  # a second's; seconds from 1601 to 1970


class Ntfs:
    """One NTFS; ``answers.FileSystem``, and registry hives."""

    def __init__(self, pages: Pages) -> None:
        self._volume = pyfsntfs.volume()
        self._volume.open_file_object(pages)
        self._records = Records(pages, self._volume)
        self._meant: set[str] = set()  # directories whose names are written so
        head = pages.bytes_at(0, 512)
        self._sector = int.from_bytes(head[11:13], "little")
        self._sectors = int.from_bytes(head[40:48], "little")

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is."""
        self._directory(directory)
        found = [self._look(f"{directory.rstrip('/')}/{name}") for name in names]
        return [None if item is None else _stat(item) for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        entries = self._directory(directory).sub_file_entries
        if directory == "/":
            entries = (item for item in entries if not _is_system(item))
        return list(listing(entries))

    def readlink(self, path: str) -> str:
        """Links are not read here."""
        self._entry(path)
        raise NotThereError(f"{path} is not a link")

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file."""
        entry = self._file(path)
        length = min(length, entry.size - offset)
        return bytes(entry.read_buffer_at_offset(length, offset)) if length > 0 else b""

    def free(self) -> dict[str, int]:
        """Bytes free."""
        cluster = self._volume.cluster_block_size
        clusters = self._sectors * self._sector // cluster
        bitmap = self._volume.get_file_entry(_BITMAP)
        used, at = 0, 0
        while at < clusters // 8:
            chunk = bitmap.read_buffer_at_offset(min(_CHUNK, clusters // 8 - at), at)
            if not chunk:
                raise UnableError("its bitmap ends too early")
            used += int.from_bytes(chunk, "little").bit_count()
            at += len(chunk)
        rest = clusters % 8
        if rest:
            last = bitmap.read_buffer_at_offset(1, at)[0]
            used += (last & ((1 << rest) - 1)).bit_count()
        return {"free": (clusters - used) * cluster}

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[Mapping[str, Any]]:
        """Values of a registry hive."""
        return hive.values(self._file(path), wanted)

    def _look(self, path: str) -> Any | None:
        if "\\" in path:
            return None
        entry = self._volume.get_file_entry_by_path(path.replace("/", "\\"))
        if entry is None or not self._is_meant(path, entry):
            return None
        if (entry.file_attribute_flags or 0) & (_REPARSE_POINT | _ENCRYPTED):
            raise UnableError(f"{path} is a reparse point or encrypted")
        self._records.require_sound(entry.file_reference)
        return entry

    def _is_meant(self, path: str, entry: Any) -> bool:
        """Whether an entry that was found has the very name that was asked for, and what it lies in.

        Raises ``UnableError`` when there is one of that name as well, which the library cannot reach.
        """
        parent, _, name = path.rpartition("/")
        if not name or path in self._meant:
            return True
        if parent and self._look(parent) is None:
            return False
        if entry.name != name:
            if name in listing(self._directory(parent or "/").sub_file_entries):
                raise UnableError(f"{path} has a twin whose name differs in case")
            return False
        if entry.has_directory_entries_index():
            self._meant.add(path)
        return True

    def _entry(self, path: str) -> Any:
        entry = self._look(path)
        if entry is None:
            raise NotThereError(f"{path}: no such file")
        return entry

    def _file(self, path: str) -> Any:
        entry = self._entry(path)
        if not entry.has_default_data_stream():
            raise NotThereError(f"{path} is not a file")
        return entry

    def _directory(self, path: str) -> Any:
        entry = self._entry(path)
        if not entry.has_directory_entries_index():
            raise NotThereError(f"{path} is not a directory")
        return entry


def _stat(entry: Any) -> Stat:
    modified = entry.get_modification_time_as_integer() // _TICKS - _SINCE_1601
    if entry.has_directory_entries_index():
        return ("directory", 0, _MODE, modified)
    return ("other" if _is_special(entry) else "file", entry.size, _MODE, modified)


def _is_special(entry: Any) -> bool:
    """Whether it is a FIFO or socket, as Interix and ntfs-3g write them: system files of 0 or 1 byte.

    Links and devices of that kind begin with "Intx"; they are not read here.
    """
    if not entry.file_attribute_flags & _SYSTEM or entry.size > _LARGEST_INTERIX:
        return False
    if entry.size > 1 and entry.read_buffer_at_offset(min(4, entry.size), 0) == b"Intx":
        raise UnableError("it is a link or device of Interix")
    return bool(entry.size <= 1)


def _is_system(entry: Any) -> bool:
    return int(entry.file_reference & _RECORD) < _FIRST_USER_RECORD

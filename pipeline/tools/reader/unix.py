"""What ext and XFS answer alike: their libraries have the same methods, and their inodes the same modes."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

from pipeline.tools.reader.answers import NotThereError, Stat, inside, listing, unix


class UnixFiles:
    """The files of one volume; ``answers.FileSystem`` but for ``readlink`` and ``free``."""

    def __init__(self, volume: Any, require_sound: Callable[[Any], None]) -> None:
        """``require_sound`` raises ``UnableError`` for an entry that must not be believed."""
        self._volume = volume
        self._require_sound = require_sound
        self._walked: set[str] = set()  # directories that are sound, and all above them

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is."""
        self._directory(directory)
        found = [self._look(inside(directory, name)) for name in names]
        return [None if item is None else unix(item) for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        return list(listing(self._directory(directory).sub_file_entries))

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file."""
        entry = self._entry(path)
        length = min(length, entry.size - offset)
        return bytes(entry.read_buffer_at_offset(length, offset)) if length > 0 else b""

    def _look(self, path: str) -> Any | None:
        """What is at a path.  The kernel goes through no damaged directory, and neither do we."""
        parent = path.rpartition("/")[0] or "/"
        if parent not in self._walked and path != "/":
            if self._look(parent) is None:
                return None
            self._walked.add(parent)
        entry = self._found(path)
        if entry is not None:
            self._require_sound(entry)
        return entry

    def _found(self, path: str) -> Any | None:
        """The library's entry of what is at a path, whose directory is sound."""
        return self._volume.get_file_entry_by_path(path)

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

    def _link(self, path: str) -> Any:
        entry = self._entry(path)
        if not stat.S_ISLNK(entry.file_mode):
            raise NotThereError(f"{path} is not a link")
        return entry

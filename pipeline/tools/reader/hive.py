"""Values of a registry hive, read by libregf; answers as hivex in the appliance does.

Names of keys and values do not mind upper and lower case.  The hive's transaction logs are not
replayed: the hive is looked at as it lies.
"""

from __future__ import annotations

import encodings.utf_16_le  # noqa: F401 - nothing can be imported once the child is locked in
from collections.abc import Mapping, Sequence
from typing import Any

import pyregf

from pipeline.guest.registry import KEY
from pipeline.tools.reader.answers import UnableError

_STRINGS, _NUMBERS = (1, 2), (4, 11)  # REG_SZ, REG_EXPAND_SZ; REG_DWORD, REG_QWORD
_RAW_LIMIT = 4096  # bytes of a value of another type
_CHUNK = 64 << 10


class _EntryFile:
    """A file of the guest as libregf wants it, read in larger pieces than it asks for."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry
        self._size: int = entry.size
        self._at = 0
        self._start = 0
        self._piece = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        size = max(0, min(self._size - self._at, self._size if size < 0 else size))
        end = self._start + len(self._piece)
        if not self._start <= self._at <= self._at + size <= end:
            length = min(max(size, _CHUNK), self._size - self._at)
            self._start = self._at
            self._piece = bytes(self._entry.read_buffer_at_offset(length, self._at))
        data = self._piece[self._at - self._start :][:size]
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to an offset, as ``os.lseek``."""
        self._at = offset + (0, self._at, self._size)[whence]

    def get_offset(self) -> int:
        """Where the next read begins."""
        return self._at

    def get_size(self) -> int:
        """Bytes of the file."""
        return self._size


def values(
    entry: Any, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
) -> list[Mapping[str, Any]]:
    """For each (keys from the root, value names) the values that are there."""
    hive = pyregf.file()
    hive.open_file_object(_EntryFile(entry))
    if hive.is_corrupted():
        raise UnableError("the registry hive is damaged")
    return [_found(hive.root_key, keys, names) for keys, names in wanted]


def _found(key: Any, keys: Sequence[str], names: Sequence[str]) -> Mapping[str, Any]:
    for name in keys:
        key = key.get_sub_key_by_name(name)
        if key is None:
            return {}
    found: dict[str, Any] = {KEY: 1} if KEY in names else {}
    for name in names:
        value = None if name == KEY else key.get_value_by_name(name)
        if value is not None:
            found[name] = _value(value)
    return found


def _value(value: Any) -> Any:
    raw = value.data or b""
    if value.type in _STRINGS:
        return raw.decode("utf-16-le", "replace").rstrip("\0")
    if value.type in _NUMBERS:
        return int.from_bytes(raw[:8], "little")
    return raw[:_RAW_LIMIT].hex()

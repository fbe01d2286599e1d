"""What every file system of the reader's child answers with, and how it says that it cannot."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

MAX_NAMES = 100_000  # entries of one directory, as in the appliance

Stat: TypeAlias = "tuple[str, int, int, int | None] | None"
"""Kind, size, mode, last change in seconds since 1970 or None; None: not there."""


class NotThereError(Exception):
    """The disk says no, as a kernel would: no such directory, no such file, not a link."""


class UnableError(Exception):
    """This reader cannot tell; another may."""


class FileSystem(Protocol):
    """One volume, opened.  Methods raise the two errors above, and ``OSError`` from the library."""

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is."""
        ...

    def names(self, directory: str) -> list[str]:
        """The names in a directory; those that are no UTF-8 are left out."""
        ...

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        ...

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file."""
        ...

    def free(self) -> dict[str, int]:
        """Bytes free for everybody."""
        ...


def unix(entry: Any) -> Stat:
    """The answer for an inode, whose time the libraries give in nanoseconds."""
    mode = entry.file_mode
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    modified = entry.get_modification_time_as_integer() // 1_000_000_000
    return (kinds.get(stat.S_IFMT(mode), "other"), entry.size, stat.S_IMODE(mode), modified)


def listing(entries: Any) -> Iterator[str]:
    """The names of a library's entries."""
    count = 0
    for entry in entries:
        count += 1
        if count > MAX_NAMES:
            raise UnableError(f"it has more than {MAX_NAMES} entries")
        try:
            name = entry.name
        except OSError:  # no UTF-8
            continue
        if "/" in name:
            raise UnableError("a name in the directory has a slash")  # the kernel lists none of it
        if name:
            yield name


def inside(directory: str, name: str) -> str:
    """The path of a name in a directory."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"

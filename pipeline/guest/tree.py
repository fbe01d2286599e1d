"""A guest's files, read carefully.

The guest is somebody else's: a path may lead through links that loop or leave the guest, a file may
be a FIFO, a device, or a terabyte of holes.  So a path is resolved here, component by component,
within the guest; a file is read only when it is a regular one, and never beyond a limit.

    Files.text("/etc/os-release")
      lstat etc ─ directory ─▶ lstat os-release ─ link ../usr/lib/os-release ─▶ … ─ file ─▶ pread
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

TEXT_LIMIT = 256 * 1024  # bytes of a configuration file that are looked at
MAX_LINKS = 16  # links that one path may go through; Linux allows 40


@dataclass(frozen=True)
class Entry:
    """What a name stands for."""

    kind: Literal["file", "directory", "link", "other"]
    size: int
    mode: int = 0o644
    modified: int | None = None  # seconds since 1970; None: who answers does not tell


class TreeError(Exception):
    """One question about a guest's files failed; others may still be answered."""


class Tree(Protocol):
    """One mounted file system.  Paths are absolute within it.  All methods raise ``TreeError``."""

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        """What each of the names in a directory is, links not followed; None: not there."""
        ...

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        ...

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes of a regular file; fewer only at its end."""
        ...

    def free(self) -> Mapping[str, int]:
        """Bytes ``free`` for everybody, and ``free_inodes`` where there are any to count."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """Stands at the mount point of a volume that cannot be read: every question fails and says why."""

    reason: str

    def stat(self, *_: Any, **__: Any) -> NoReturn:
        """Fails."""
        raise TreeError(self.reason)

    names = readlink = read = free = stat


@dataclass(frozen=True)
class Found:
    """Where a path led to: the tree, the path within it, and what is there."""

    tree: Tree
    path: str  # within the tree
    guest_path: str  # without links, as the guest sees it
    entry: Entry


class Files:
    """The guest's whole name space: trees at their mount points, links resolved.

    ``prefix`` is where the root lies within its own tree: a btrfs subvolume, mostly empty.
    """

    def __init__(self, root: Tree, prefix: str = "") -> None:
        self._mounts: dict[str, tuple[Tree, str]] = {"": (root, prefix)}
        self._entries: dict[str, Entry | None] = {"/": Entry("directory", 0)}
        self._links: dict[str, str] = {}

    def attach(self, mountpoint: str, tree: Tree, prefix: str = "") -> None:
        """Put another tree at a mount point; do it before anything below it is asked for."""
        self._mounts[mountpoint.rstrip("/")] = (tree, prefix)
        self._entries = {
            path: entry
            for path, entry in self._entries.items()
            if not path.startswith(mountpoint.rstrip("/") + "/")
        }
        self._entries[mountpoint.rstrip("/") or "/"] = Entry("directory", 0)

    def find(self, path: str, *, follow: bool = True) -> Found | None:
        """Where ``path`` leads to; None when it is not there, loops, or goes through a file."""
        todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                done[-1:] = []
                continue
            entry = self._lstat("/".join(["", *done]) or "/", name)
            if entry is None:
                return None
            if entry.kind != "link" or (not todo and not follow):
                done.append(name)
                if todo and entry.kind != "directory":
                    return None
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            target = self._readlink("/".join(["", *done, name]))
            if target.startswith("/"):
                done = []
            todo.extend([part for part in target.split("/") if part not in ("", ".")][::-1])
        return self._found("/".join(["", *done]) or "/")

    def prefetch(self, directory: str, names: Sequence[str]) -> None:
        """Learn about many names of one directory in one question."""
        found = self.find(directory)
        if found is None or found.entry.kind != "directory":
            return
        base = found.guest_path.rstrip("/")
        wanted = [name for name in names if f"{base}/{name}" not in self._entries]
        for name, entry in zip(wanted, found.tree.stat(found.path, wanted), strict=True):
            self._entries[f"{base}/{name}"] = entry

    def entry(self, path: str, *, follow: bool = True) -> Entry | None:
        """What ``path`` is, or None."""
        found = self.find(path, follow=follow)
        return found.entry if found else None

    def is_file(self, path: str) -> bool:
        """Whether it leads to a regular file."""
        entry = self.entry(path)
        return entry is not None and entry.kind == "file"

    def is_directory(self, path: str) -> bool:
        """Whether it leads to a directory."""
        entry = self.entry(path)
        return entry is not None and entry.kind == "directory"

    def names(self, directory: str) -> list[str]:
        """The names in a directory; none when there is no such directory."""
        found = self.find(directory)
        if found is None or found.entry.kind != "directory":
            return []
        return found.tree.names(found.path)

    def matching(self, directory: str, *suffixes: str) -> Iterator[str]:
        """Full paths of the names in a directory that end so."""
        for name in self.names(directory):
            if name.endswith(suffixes):
                yield f"{directory.rstrip('/')}/{name}"

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        """The first ``limit`` bytes of a regular file, or None when there is none."""
        found = self.find(path)
        if found is None or found.entry.kind != "file":
            return None
        wanted = min(limit, found.entry.size)
        return found.tree.read(found.path, 0, wanted) if wanted else b""

    def read_at(self, path: str, offset: int, length: int) -> bytes | None:
        """Up to ``length`` bytes at ``offset`` of a regular file, or None when there is none."""
        found = self.find(path)
        if found is None or found.entry.kind != "file":
            return None
        wanted = min(length, found.entry.size - offset)
        return found.tree.read(found.path, offset, wanted) if wanted > 0 else b""

    def text(self, path: str, limit: int = TEXT_LIMIT) -> str | None:
        """``read`` as text; bytes that are not UTF-8 become escapes."""
        raw = self.read(path, limit)
        return None if raw is None else raw.decode("utf-8", "backslashreplace")

    def _locate(self, path: str) -> tuple[Tree, str]:
        """The tree that holds a resolved path, and the path within it."""
        at = "" if path == "/" else path
        mountpoint = max(
            (point for point in self._mounts if at == point or at.startswith(f"{point}/")), key=len
        )
        tree, prefix = self._mounts[mountpoint]
        return tree, f"{prefix}{at[len(mountpoint) :]}" or "/"

    def _found(self, path: str) -> Found | None:
        entry = self._entries[path]
        if entry is None:
            return None
        tree, inside = self._locate(path)
        return Found(tree, inside, path, entry)

    def _lstat(self, directory: str, name: str) -> Entry | None:
        path = f"{directory.rstrip('/')}/{name}"
        if path not in self._entries:
            tree, inside = self._locate(directory)
            self._entries[path] = tree.stat(inside, [name])[0]
        return self._entries[path]

    def _readlink(self, path: str) -> str:
        if path not in self._links:
            tree, inside = self._locate(path)
            self._links[path] = tree.readlink(inside)
        return self._links[path]

"""A guest's files, read carefully.

The guest is somebody else's: a path may lead through links that loop or leave the guest, a file may
be a FIFO, a device, or a terabyte of holes.  So a path is resolved here, component by component,
within the guest; a file is read only when it is a regular one, and never beyond a limit.

    Files.text("/etc/os-release")
      lstat etc ─ directory ─▶ lstat os-release ─ link ../usr/lib/os-release ─▶ … ─ file ─▶ pread
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

TEXT_LIMIT = 256 * 1024  # bytes of a configuration file that are looked at
KEPT_NAMES = 1000  # of one directory, for who asks again
KEPT_BYTES = 16 * 1024  # of one file
MAX_LINKS = 16  # links that one path may go through; Linux allows 40
MAX_PATH = 4096  # characters, with the zero at the end; PATH_MAX of Linux
MAX_EFFORT = 100_000  # paths looked up; a hundred names or 4 KiB that are read count as one more


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
    """One mounted file system.  Paths are absolute within it.  All methods raise ``TreeError``.

    Two threads may ask at once.
    """

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
        self._names: dict[str, list[str]] = {}
        self._texts: dict[tuple[str, int], bytes] = {}
        self.effort = 0

    def attach(self, mountpoint: str, tree: Tree, prefix: str = "") -> None:
        """Put another tree at a mount point; do it before anything below it is asked for."""
        self._mounts[mountpoint.rstrip("/")] = (tree, prefix)
        self._entries = {
            path: entry
            for path, entry in self._entries.items()
            if not path.startswith(mountpoint.rstrip("/") + "/")
        }
        self._entries[mountpoint.rstrip("/") or "/"] = Entry("directory", 0)
        self._links, self._names, self._texts = {}, {}, {}

    def find(self, path: str, *, follow: bool = True) -> Found | None:
        """Where ``path`` leads to; None when it is not there, loops, or goes through a file."""
        self._spend(1)
        if len(path) >= MAX_PATH:
            return None
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
        if not wanted:
            return
        for name, entry in zip(wanted, found.tree.stat(found.path, wanted), strict=True):
            self._entries[f"{base}/{name}"] = entry

    def expect(self, *paths: str) -> None:
        """Learn about paths that will be asked for: one question a directory, from the top down.

        What cannot be told now is told to who asks for it.
        """
        below: dict[str, dict[str, None]] = {}
        for path in paths:
            parts = path.strip("/").split("/")
            for depth, name in enumerate(parts):
                below.setdefault("/".join(["", *parts[:depth]]), {})[name] = None
        for directory in sorted(below, key=lambda path: path.count("/")):
            with contextlib.suppress(TreeError):
                self.prefetch(directory, list(below[directory]))

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
        known = self._names.get(found.guest_path)
        if known is None:
            known = found.tree.names(found.path)
            self._spend(len(known) // 100)
            if len(known) <= KEPT_NAMES:
                self._names[found.guest_path] = known
        return list(known)

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
        if not wanted:
            return b""
        known = self._texts.get((found.guest_path, wanted))
        if known is None:
            known = found.tree.read(found.path, 0, wanted)
            self._spend(len(known) // 4096)
            if len(known) <= KEPT_BYTES:
                self._texts[found.guest_path, wanted] = known
        return known

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

    def _spend(self, effort: int) -> None:
        """A configuration may name any number of patterns, and they any number of paths."""
        self.effort += effort
        if self.effort > MAX_EFFORT:
            raise TreeError(f"the guest's files lead to more than {MAX_EFFORT} others")

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

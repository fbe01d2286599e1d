"""Phony guests: the builders of fixtures/guests, and a directory that answers as an appliance does."""

import importlib
import importlib.util
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.guest.registry import KEY
from pipeline.guest.tree import Entry, Files, TreeError

BUILDERS = Path(__file__).resolve().parents[1] / "fixtures" / "guests"


def builder(name: str = "build_guests") -> Any:
    """A module of ``fixtures/guests``: a folder of programs, and no package."""
    build = _program(BUILDERS / "build_guests.py", "phony_guests")
    return build if name == "build_guests" else importlib.import_module(name)


def watching() -> Any:
    """``tests/hostile/watching.py``: who opens files in a directory."""
    return _program(Path(__file__).parent / "hostile" / "watching.py", "watching")


def _program(path: Path, name: str) -> Any:
    """A file as a module under a name of its own, as its folder is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Directory:
    """A guest's file system as a directory of this machine: real files, links and FIFOs.

    It counts what is read, so that a test can tell that a limit held.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bytes_read = 0

    def _path(self, path: str) -> str:
        return f"{self.root}{path}"

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        return [self._entry(f"{self._path(directory)}/{name}") for name in names]

    def _entry(self, path: str) -> Entry | None:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise TreeError(str(error)) from error
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        kind: Any = kinds.get(stat.S_IFMT(found.st_mode), "other")
        return Entry(kind, found.st_size, stat.S_IMODE(found.st_mode), int(found.st_mtime))

    def names(self, directory: str) -> list[str]:
        names = os.listdir(os.fsencode(self._path(directory)))
        return sorted(name.decode() for name in names if name.isascii())

    def readlink(self, path: str) -> str:
        return os.readlink(self._path(path))

    def read(self, path: str, offset: int, length: int) -> bytes:
        with open(self._path(path), "rb") as file:
            assert stat.S_ISREG(os.fstat(file.fileno()).st_mode), path
            data = os.pread(file.fileno(), length, offset)
        self.bytes_read += len(data)
        return data

    def free(self) -> dict[str, int]:
        return {"free": 1 << 30, "free_inodes": 1000}

    def hive(self, path: str, wanted: Any) -> list[dict[str, Any]]:
        import hivex

        handle = hivex.Hivex(self._path(path))
        return [self._values(handle, keys, values) for keys, values in wanted]

    @staticmethod
    def _values(handle: Any, keys: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
        node = handle.root()
        for key in keys:
            node = handle.node_get_child(node, key)
            if not node:
                return {}
        found: dict[str, Any] = {KEY: 1} if KEY in values else {}
        for name in values:
            try:
                value = None if name == KEY else handle.node_get_value(node, name)
            except RuntimeError:  # there is none
                continue
            if value:
                kind, raw = handle.value_value(value)
                found[name] = {
                    1: lambda raw: raw.decode("utf-16-le").rstrip("\0"),
                    4: lambda raw: int.from_bytes(raw, "little"),
                }.get(kind, bytes.hex)(raw)
        return found


def planted(directory: Path, tree: dict) -> Files:
    """The files of a tree, planted in a directory."""
    builder("guest_disks").plant(directory, tree)
    return Files(Directory(directory))


class Memory:
    """A guest's file system as a dictionary: path to text, bytes, Link, Sparse, Fifo; None is a directory."""

    def __init__(self, tree: dict[str, Any], times: dict[str, int] | None = None) -> None:
        self.nodes: dict[str, Any] = {"": None}
        self.times = times or {}
        for name, content in tree.items():
            parts = name.strip("/").split("/")
            for depth in range(1, len(parts)):
                self.nodes.setdefault("/".join(parts[:depth]), None)
            self.nodes["/".join(parts)] = content.encode() if isinstance(content, str) else content

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        return [self._entry(f"{directory.strip('/')}/{name}".strip("/")) for name in names]

    def _entry(self, path: str) -> Entry | None:
        if path not in self.nodes:
            return None
        content, time = self.nodes[path], self.times.get(path, 1_700_000_000)
        if content is None:
            return Entry("directory", 4096, 0o755, time)
        if isinstance(content, bytes):
            return Entry("file", len(content), 0o644, time)
        kinds: dict[str, Any] = {"Link": "link", "Sparse": "file"}
        kind = kinds.get(type(content).__name__, "other")
        return Entry(kind, getattr(content, "size", 0), 0o644, time)

    def names(self, directory: str) -> list[str]:
        top = directory.strip("/")
        start = f"{top}/" if top else ""
        rest = (path[len(start) :] for path in self.nodes if path.startswith(start))
        return sorted({name for name in rest if name and "/" not in name})

    def readlink(self, path: str) -> str:
        return str(self.nodes[path.strip("/")].target)

    def read(self, path: str, offset: int, length: int) -> bytes:
        content = self.nodes[path.strip("/")]
        if isinstance(content, bytes):
            return content[offset : offset + length]
        data = content.start.ljust(min(content.size, offset + length), b"\0")
        return data[offset : offset + length]

    def free(self) -> dict[str, int]:
        return {"size": 2 << 30, "free": 1 << 30, "free_inodes": 1000}

    def hive(self, path: str, wanted: Any) -> list[dict[str, Any]]:
        raise TreeError("there are no hives here")


def files_of(tree: dict[str, Any]) -> Files:
    """The files of a tree, in memory."""
    return Files(Memory(tree))

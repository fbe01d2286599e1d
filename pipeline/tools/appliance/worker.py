"""The only program that talks to libguestfs; it runs under a Python that has the guestfs module.

    /usr/bin/python3 -I worker.py FD       FD: our end of a socket pair, inherited

Each request is one line of JSON, ``{"call": NAME, …}``; each answer is one line, ``{"value": …}`` or
``{"error": TEXT}``.  It knows nothing about guests: it mounts read-only, lists, and reads so many
bytes of a regular file.  What the bytes mean is the caller's business, in another process.

It imports nothing of ours, because its Python may be another one than the program's.  The guest's
files are read with lstatnslist and pread only: ``cat``, ``read_file`` and ``download`` have no limit,
and on a FIFO they never return (https://libguestfs.org/guestfs.3.html).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

MAX_READ = 1 << 20  # bytes a pread; the appliance refuses 4 MiB
MAX_NAMES = 100_000  # entries of one directory
_KEY = "\0key"  # pipeline.guest.registry.KEY


class Worker:
    """One appliance with one image."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.mounts = 0

    def launch(
        self, socket_path: str, settings: list[str], memory: int, append: str, verbose: bool
    ) -> dict[str, Any]:
        """Start the appliance on the disk that an NBD server offers at ``socket_path``.

        ``append``: words for the kernel's command line.
        The server was told the image's format, so what arrives here is raw, and is called so.
        """
        import guestfs

        handle = guestfs.GuestFS(python_return_dict=True)
        handle.set_verbose(verbose)
        handle.set_backend("direct")
        handle.set_backend_settings(settings)
        handle.set_network(False)
        handle.set_memsize(memory)
        handle.set_append(append)
        handle.set_autosync(False)
        handle.add_drive_opts(
            "", protocol="nbd", server=[f"unix:{socket_path}"], format="raw", readonly=1
        )
        started = time.monotonic()
        handle.launch()
        self.handle = handle
        version = handle.version()
        return {
            "seconds": time.monotonic() - started,
            "version": f"{version['major']}.{version['minor']}.{version['release']}",
        }

    def empty_launch(self, settings: list[str], verbose: bool) -> dict[str, Any]:
        """Start an appliance without any image, to see whether it can."""
        import guestfs

        handle = guestfs.GuestFS(python_return_dict=True)
        handle.set_verbose(verbose)
        handle.set_backend("direct")
        handle.set_backend_settings(settings)
        handle.add_drive_scratch(1 << 20)
        started = time.monotonic()
        handle.launch()
        seconds = time.monotonic() - started
        handle.close()
        return {"seconds": seconds}

    def mount(self, device: str, kind: str, options: str) -> str:
        """Mount ``device`` read-only, its type named; the answer is where."""
        at = f"/v{self.mounts}"
        self.handle.mkmountpoint(at)
        self.mounts += 1
        self.handle.mount_vfs(options, kind, device, at)
        return at

    def unmount(self, at: str) -> None:
        """Unmount what ``mount`` mounted there."""
        self.handle.umount(at)

    def stat(self, directory: str, names: list[str]) -> list[list[Any] | None]:
        """Kind, size, mode and last change of each name; None for what is not there."""
        found = self.handle.lstatnslist(directory, names)
        return [_entry(item) if item["st_ino"] != -1 else None for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory; those that are not UTF-8 cannot be asked for, so are left out."""
        try:
            found = self.handle.ls(directory)
        except UnicodeDecodeError:
            found = self._raw_names(directory)
        if len(found) > MAX_NAMES:
            raise RuntimeError(f"{directory} has {len(found)} entries")
        return sorted(found)

    def _raw_names(self, directory: str) -> list[str]:
        path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"names-{os.getpid()}")  # noqa: S108
        try:
            self.handle.ls0(directory, path)
            with open(path, "rb") as file:
                raw = file.read(64 * MAX_NAMES)
        finally:
            if os.path.exists(path):
                os.unlink(path)
        names = []
        for item in raw.split(b"\0"):
            try:
                names.append(item.decode())
            except UnicodeDecodeError:
                continue
        return [name for name in names if name]

    def readlink(self, path: str) -> str:
        """Where a symbolic link points to, as it is written."""
        return str(self.handle.readlink(path))

    def read(self, path: str, offset: int, length: int) -> str:
        """Up to ``length`` bytes at ``offset``, in base64; the caller saw that it is a file."""
        data = self.handle.pread(path, min(length, MAX_READ), offset)
        return base64.b64encode(data).decode()

    def free(self, at: str) -> dict[str, int]:
        """Free bytes and inodes of a mounted file system."""
        seen = self.handle.statvfs(at)
        return {
            "free": seen["bavail"] * seen["bsize"],
            "free_inodes": seen["favail"],
        }

    def hive(self, path: str, wanted: list[list[Any]]) -> list[dict[str, Any]]:
        """Values of a registry hive: for each [[key, …], [value, …]] a mapping of those there.

        A key that is not there gives an empty mapping, the name ``_KEY`` 1 for one that is.  Strings
        come as they are stored, numbers as numbers.
        """
        self.handle.hivex_open(path, unsafe=True)
        try:
            return [self._values(keys, values) for keys, values in wanted]
        finally:
            self.handle.hivex_close()

    def _values(self, keys: list[str], values: list[str]) -> dict[str, Any]:
        node = self.handle.hivex_root()
        for key in keys:
            node = self.handle.hivex_node_get_child(node, key)
            if not node:
                return {}
        found: dict[str, Any] = {_KEY: 1} if _KEY in values else {}
        for name in values:
            value = 0 if name == _KEY else self.handle.hivex_node_get_value(node, name)
            if value:
                found[name] = self._value(value)
        return found

    def _value(self, value: int) -> Any:
        kind = self.handle.hivex_value_type(value)
        raw = self.handle.hivex_value_value(value)
        if kind in (1, 2):
            return raw.decode("utf-16-le", "replace").rstrip("\0")
        if kind in (4, 11):
            return int.from_bytes(raw[:8], "little")
        return raw[:4096].hex()

    def inspect(self) -> list[dict[str, Any]]:
        """What libguestfs' own inspection finds: for roots that the caller could not place."""
        found = []
        for root in self.handle.inspect_os():
            points = self.handle.inspect_get_mountpoints(root)
            kinds = {device: self.kind(device) for device in {root, *points.values()}}
            found.append({"root": root, "mountpoints": points, "kinds": kinds})
        return found

    def kind(self, device: str) -> str:
        """The type of what is on a device; empty when that is not known."""
        try:
            return str(self.handle.vfs_type(device))
        except RuntimeError:
            return ""

    def close(self) -> None:
        """Stop the appliance; what is on the disk was never written to."""
        if self.handle is not None:
            self.handle.close()
            self.handle = None


def _entry(item: dict[str, int]) -> list[Any]:
    mode = item["st_mode"]
    kind = "other"
    for test, name in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link")):
        if test(mode):
            kind = name
    return [kind, item["st_size"], stat.S_IMODE(mode), item["st_mtime_sec"]]


def serve(channel: socket.socket) -> None:
    """Answer requests until the other end closes."""
    worker = Worker()
    calls: dict[str, Callable[..., Any]] = {
        name: getattr(worker, name) for name in vars(Worker) if not name.startswith("_")
    }
    try:
        with channel.makefile("rwb") as stream:
            for line in stream:
                request = json.loads(line)
                try:
                    answer = {"value": calls[request.pop("call")](**request)}
                except Exception as error:  # noqa: BLE001 - every failure is an answer
                    answer = {"error": f"{error}" or type(error).__name__}
                stream.write(json.dumps(answer).encode("utf-8", "backslashreplace") + b"\n")
                stream.flush()
    except BrokenPipeError:
        pass  # the asker went away while we were at work
    finally:
        worker.close()


if __name__ == "__main__":
    # SIGTERM comes to the whole group.  It ends qemu, so that a launch fails and libguestfs comes back
    # to us; we live on until our handle is closed, which removes what libguestfs left on the disk.
    signal.signal(signal.SIGTERM, lambda *_: None)
    serve(socket.socket(fileno=int(sys.argv[1])))

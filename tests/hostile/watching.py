"""Who opens files in a directory: inotify through ctypes, as the standard library has none.

inotify(7): an event is int32 watch, uint32 mask, uint32 cookie, uint32 length, then the name.
"""

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType

IN_ACCESS, IN_OPEN, IN_ISDIR, IN_Q_OVERFLOW = 0x1, 0x20, 0x40000000, 0x4000


class Watch:
    """Collects the names of files in ``directory`` that anybody opened or read."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = libc.inotify_add_watch(self._fd, os.fsencode(directory), IN_ACCESS | IN_OPEN)
        if self._fd < 0 or watch < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self._seen: set[str] = set()

    def seen(self) -> set[str]:
        """The names so far."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return self._seen
            position = 0
            while position < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, position)
                name = data[position + 16 : position + 16 + length].rstrip(b"\0")
                position += 16 + length
                if mask & IN_Q_OVERFLOW:
                    self._seen.add("(too many events to tell)")
                elif not mask & IN_ISDIR:
                    self._seen.add(os.fsdecode(name))

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

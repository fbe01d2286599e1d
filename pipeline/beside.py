"""A private directory beside a file that is to be written, of which nothing is left behind.

    /images/.imgprep-<job>/   mode 0700, flock(2)ed by the process that works in it
    /images/disk.vhd          gets its name by a rename on the same file system

A process that was killed leaves the directory without a lock: whoever writes beside it next removes
it.  The kernel gives the lock back whatever way a process ends, so no clock and no process id is
trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = ".imgprep-"


class Beside:
    """The directory for one job; made when it is asked for, removed at the end."""

    def __init__(self, parent: Path, job_id: str, *, keep: bool = False) -> None:
        """``keep``: what a finished stage left there is there for the next run of the same job."""
        self._parent = parent
        self._name = f"{PREFIX}{job_id}"
        self._keep = keep
        self._made: tuple[Path, int] | None = None  # the path, and the descriptor that locks it

    def directory(self) -> Path:
        """The directory.  Raises ``OSError`` when it cannot be made."""
        if self._made is None:
            sweep(self._parent, but=self._name)
            self._made = self._locked(self._name) or self._locked(f"{self._name}-{os.getpid()}")
            if self._made is None:
                raise BlockingIOError(None, "another process works there", str(self._parent))
        return self._made[0]

    def _locked(self, name: str) -> tuple[Path, int] | None:
        path = self._parent / name
        while True:
            path.mkdir(mode=0o700, exist_ok=True)
            handle = _lock(path)
            if handle is None:
                return None
            if _is_still(path, handle):  # nobody swept it between mkdir and lock
                return path, handle
            os.close(handle)

    def close(self) -> None:
        """Remove it, unless it is kept and holds something; a second call does nothing."""
        if self._made is None:
            return
        path, handle = self._made
        self._made = None
        if self._keep:
            with contextlib.suppress(OSError):
                path.rmdir()
        else:
            shutil.rmtree(path, ignore_errors=True)
        os.close(handle)

    def finish(self) -> None:
        """The job ended well: nothing is kept."""
        self._keep = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def abandoned(parent: Path) -> Iterator[Path]:
    """The directories of ours in ``parent`` whose process is gone; locked while they are looked at."""
    for path in sorted(parent.glob(f"{PREFIX}*")):
        handle = _lock(path) if path.is_dir() and not path.is_symlink() else None
        if handle is None:
            continue
        try:
            yield path
        finally:
            os.close(handle)


def sweep(parent: Path, *, but: str = "") -> None:
    """Remove what killed processes left in ``parent``."""
    for path in abandoned(parent):
        if path.name != but:
            shutil.rmtree(path, ignore_errors=True)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the directory's lock; None when somebody else has it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False

"""What the appliance's quicker starts keep on this machine, and what of it goes.

    ~/.cache/imgprep/appliance/
        NAME/in-use               locked (flock(2), shared) by every process that uses the directory
             vmlinux              an unpacked kernel, 66 MB
             supermin.d           links, and a shorter init
             .guestfs-UID         what supermin makes: an appliance, 300 MB
             does-not-work        a note, which stays

A name stands for what the directory was made of, so another kernel or another libguestfs makes another one.
When a new appliance has started, those that nobody uses any more, and that nothing on this machine would use
again, are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from platformdirs import user_cache_path

NOTE = "does-not-work"
_LOCK = "in-use"


def place() -> Path:
    """The user's directory of them."""
    return user_cache_path("imgprep") / "appliance"


@contextlib.contextmanager
def in_use(directories: Collection[Path]) -> Iterator[None]:
    """Keep directories from ``sweep`` while the block lasts, whatever becomes of this process."""
    with contextlib.ExitStack() as stack:
        for directory in directories:
            with contextlib.suppress(
                OSError
            ):  # where nothing can be locked, nothing is removed either
                directory.mkdir(parents=True, exist_ok=True)
                handle = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def sweep(cache: Path, kept: Collection[Path]) -> None:
    """Remove what no living process uses, but for the directories that are kept, and notes."""
    with contextlib.suppress(OSError):
        for directory in [path for path in cache.iterdir() if path.is_dir()]:
            if directory not in kept:
                _empty(directory)


def _empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for item in directory.iterdir():
                if item.is_dir() and not item.is_symlink():
                    shutil.rmtree(item, ignore_errors=True)
                elif item.name not in (NOTE, _LOCK):
                    item.unlink()
            (directory / _LOCK).unlink()
            directory.rmdir()  # unless a note stays
        finally:
            os.close(handle)


def size(cache: Path) -> int:
    """Bytes that it takes on the disk."""
    total = 0
    for directory, _, names in os.walk(cache):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total

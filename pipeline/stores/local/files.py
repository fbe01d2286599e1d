"""What ``local`` asks of a file system: durable names, holes, extended attributes, clear errors."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError

_XATTR = "user.imgprep"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def name_object(data: Path, final: Path, *, replace: bool) -> None:
    """Give the finished data its name; ``StoreError`` ``object-exists`` when it is taken."""
    if replace:
        data.replace(final)
        return
    try:
        os.link(data, final)
    except FileExistsError:
        raise exists(final) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (FAT, some network shares): the look and the rename are two steps.
        if final.exists():
            raise exists(final) from None
        data.rename(final)


def exists(final: Path) -> StoreError:
    """The error for a taken name."""
    return StoreError(
        "object-exists",
        f"{final} exists already",
        hint="choose another --name, or --if-exists replace",
    )


def full(path: Path, detail: str) -> StoreError:
    """The error for a full disk."""
    return StoreError(
        "store-full",
        f"there is no space for the object in {path}: {detail}",
        hint="free some space or choose another destination; the same command continues",
    )


def locked(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None when somebody else does.

    Somebody else did, too, when the file is not under this name any more.  Where the file system
    knows no locks, everybody gets one.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(fd)
            return None
    if not _is_at(fd, path):
        os.close(fd)
        return None
    return fd


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file; not where there is none."""
    if not path.exists():
        return False
    fd = locked(path)
    if fd is not None:
        os.close(fd)
    return fd is None


def write_all(fd: int, piece: bytes | memoryview, offset: int) -> None:
    """Write the whole piece at its offset."""
    view = memoryview(piece)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def is_hole(fd: int, offset: int, length: int) -> bool:
    """Whether nothing was ever written to the range."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA) >= offset + length
    except OSError as error:
        return error.errno == errno.ENXIO


def attribute(path: Path) -> dict[str, Any]:
    """What the file's extended attribute holds; {} where there is none."""
    try:
        value = json.loads(os.getxattr(path, _XATTR))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def set_attribute(fd: int, about: dict[str, Any]) -> None:
    """Write down what the file is, with its time, where the file system can."""
    about["mtime_ns"] = os.fstat(fd).st_mtime_ns
    try:
        os.setxattr(fd, _XATTR, json.dumps(about).encode())
    except OSError as error:
        # Without extended attributes the object is as good, only its origin is not written on it.
        if error.errno not in (errno.EOPNOTSUPP, errno.E2BIG, errno.ENOSPC, errno.EPERM):
            raise


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by one with this content; readers see the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)


def sync_directory(path: Path) -> None:
    """Make names in the directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """An ``OSError`` of the destination becomes a ``StoreError`` with the path and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(path, str(error.strerror)) from None
        code, hint = "store-failed", "check the file system of the destination"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            code, hint = "store-forbidden", "choose a directory that this user may write"
        raise StoreError(
            code, f"{path}: {str(error.strerror or error).lower()}", hint=hint
        ) from None

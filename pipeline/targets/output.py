"""A local file that is written whole or not at all, and gets its name at the end.

    O_TMPFILE ──write──▶ fsync ──linkat──▶ /images/disk.vhd       killed before: the kernel frees it
    or, where the file system has no nameless files or an old file is replaced:
    .imgprep-<job>/disk.vhd ──fsync──rename──▶ /images/disk.vhd   killed before: ``pipeline.beside``

open(2), linkat(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import text
from pipeline.beside import Beside
from pipeline.errors import EnvironmentFailed, UsageError
from pipeline.source import Extent, Source

_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


def require_writable(path: Path, source: Source, *, overwrite: bool) -> None:
    """Raise ``UsageError`` unless ``path`` may be made and is not the source."""
    directory = path.parent
    if not directory.is_dir():
        raise UsageError(
            "output-directory-missing",
            f"there is no directory {str(directory)!r}",
            hint="make it first, or choose another output",
        )
    if not os.path.lexists(path):
        return
    source.require_other(path)
    if not path.is_file():
        raise UsageError(
            "output-exists",
            f"{str(path)!r} exists and is no file that could be replaced",
            hint="choose another output",
        )
    if not overwrite:
        raise UsageError(
            "output-exists",
            f"{str(path)!r} exists",
            hint="remove it, choose another output, or ask for it to be replaced "
            "(convert --force, run --if-exists replace)",
        )


def require_space(directory: Path, size: int, extents: Iterable[Extent]) -> None:
    """Raise ``EnvironmentFailed`` unless there is room for the data; holes take none.

    ``size``: of the whole file, holes included; only when that does not fit are the runs counted.
    """
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free >= size:
        return
    needed = sum(item.length for item in extents if item.kind == "data")
    if free < needed:
        raise EnvironmentFailed(
            "no-space",
            f"{directory} has {text.size(free)} free, the output needs {text.size(needed)} "
            f"({needed} bytes of data)",
            hint="free some space, or choose another place; 'imgprep run' needs no local copy",
        )


@contextlib.contextmanager
def new_file(path: Path, beside: Beside, *, overwrite: bool) -> Iterator[int]:
    """A descriptor of a new file that gets the name ``path`` when the block ends well.

    The file and its directory are synced.  Raises ``EnvironmentFailed`` when that fails,
    ``UsageError`` when somebody else took the name meanwhile.
    """
    try:
        handle, temporary = _opened(path, beside)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        try:
            yield handle
            os.fsync(handle)
            if temporary is None:
                _link(handle, path, beside, overwrite=overwrite)
        finally:
            os.close(handle)
        if temporary is not None:
            publish(temporary, path, overwrite=overwrite)
        _sync_directory(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished, synced file its final name, and sync that too."""
    if overwrite:
        os.replace(temporary, path)
    else:
        with _nobody_was_faster(path):
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                    raise
                os.rename(temporary, path)  # a file system without hard links
    _sync_directory(path.parent)


def unwritable(path: Path, error: OSError) -> EnvironmentFailed:
    """The error for a failed system call on an output file."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return EnvironmentFailed(
        "no-space" if full else "output-unwritable",
        f"{str(path)!r} cannot be written: {error.strerror}",
        hint="free some space, or choose another place"
        if full
        else "check the directory's permissions and its storage",
    )


def _opened(path: Path, beside: Beside) -> tuple[int, Path | None]:
    """A descriptor, and the file's temporary name where it needs one."""
    try:
        return os.open(path.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666), None
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
    temporary = beside.directory() / path.name
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(temporary, flags, 0o666), temporary


def _link(handle: int, path: Path, beside: Beside, *, overwrite: bool) -> None:
    """Give a nameless file its name; one that is there is replaced at once or not at all."""
    descriptors = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        if overwrite and path.exists():
            temporary = beside.directory() / path.name
            os.link(str(handle), temporary, src_dir_fd=descriptors, follow_symlinks=True)
            os.replace(temporary, path)
            return
        with _nobody_was_faster(path):
            os.link(str(handle), path, src_dir_fd=descriptors, follow_symlinks=True)
    finally:
        os.close(descriptors)


@contextlib.contextmanager
def _nobody_was_faster(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise UsageError(
            "output-exists",
            f"{str(path)!r} was made by another program meanwhile",
            hint="remove it, or choose another output",
        ) from error


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

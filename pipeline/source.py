"""The image under test: opened once, read-only, and watched for changes.

    path ──resolve once──▶ open(O_RDONLY|O_NOFOLLOW|O_NONBLOCK) ──fstat──▶ Source
                                                                    │
             read(offset, n)  ◀── our own parsers                   │ fd
             /proc/self/fd/N  ◀── tools (pass_fds), never the path ─┘

Everything that looks at the image, our parsers and every tool, goes through the one descriptor that
was opened here, so nobody can swap the file between the check and the use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from pipeline.errors import SourceError, UsageError


@dataclass(frozen=True)
class Identity:
    """What makes this file this file: the same values mean unchanged content."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class RemoteIdentity:
    """The same of what a server holds, in the server's own words."""

    url: str
    size: int | None  # None: it does not tell
    etag: str  # "" as well
    modified: str  # Last-Modified, RFC 9110

    @property
    def mtime_ns(self) -> int:
        """When it changed last; 0 where that is not told."""
        from email.utils import parsedate_to_datetime

        try:
            return int(parsedate_to_datetime(self.modified).timestamp()) * 1_000_000_000
        except ValueError:
            return 0


@dataclass(frozen=True)
class Extent:
    """A run of guest-visible bytes.

    ``zero`` reads as zeros without anybody reading it; ``data`` may hold anything.
    """

    offset: int
    length: int
    kind: Literal["data", "zero"]


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """The same runs, neighbours of one kind put together."""
    run: Extent | None = None
    for extent in extents:
        if run is not None and run.kind == extent.kind:
            run = Extent(run.offset, run.length + extent.length, run.kind)
            continue
        if run is not None:
            yield run
        run = extent
    if run is not None:
        yield run


class Reader(Protocol):
    """Random access to bytes of known size.  Short reads happen only at the end."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``."""
        ...


@runtime_checkable
class DiskView(Reader, Protocol):
    """The guest-visible disk behind a container, as ``pipeline.disk.GuestDisk`` lends it.

    May be used from several threads at once.
    """

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the disk's bytes at its offset."""
        ...

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Contiguous, ascending, covering the range; unknown allocation counts as data."""
        ...


@dataclass(frozen=True)
class Place:
    """A run of bytes, and where they lie in a file as they are; ``at`` None: nowhere."""

    offset: int
    length: int
    at: int | None


@runtime_checkable
class Placed(Protocol):
    """What can tell which of its bytes lie in the source's file as they are."""

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """Contiguous, ascending, covering the range."""
        ...


_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class Source:
    """An open image file.  Use as a context manager, or close it."""

    is_file = True

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.fd = fd
        self.size = size
        self._first: Identity | RemoteIdentity = self.identity()

    @classmethod
    def open(cls, path: str | Path, *, allow_device: bool = False) -> Self:
        """Open ``path`` for reading only.

        A symbolic link is resolved once.  Raises ``SourceError`` for anything but a regular file (or,
        with ``allow_device``, a block device).
        """
        wanted = os.fspath(path)
        try:
            if not wanted:  # which realpath would take for the working directory
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), wanted)
            resolved = os.path.realpath(wanted, strict=True)
            _require_kind(os.stat(resolved).st_mode, wanted, allow_device)
            fd = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise _cannot_open(wanted, error) from error
        try:
            found = os.fstat(fd)
            _require_kind(found.st_mode, wanted, allow_device)
            os.set_blocking(fd, True)
            size = os.lseek(fd, 0, os.SEEK_END) if stat.S_ISBLK(found.st_mode) else found.st_size
        except BaseException:
            os.close(fd)
            raise
        return cls(Path(resolved), fd, size)

    @property
    def name(self) -> str:
        """The file's name, for messages and for the object's name."""
        return self.path.name

    @property
    def address(self) -> str:
        """Where it lies, for people."""
        return str(self.path)

    @property
    def fd_path(self) -> str:
        """How a child that inherits ``fd`` under the same number opens this very inode."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def allocated_size(self) -> int | None:
        """Bytes on disk, as the file system counts them; None where nobody tells."""
        return os.fstat(self.fd).st_blocks * 512

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the file, none behind it."""
        parts = []
        length = min(length, self.size - offset)  # the kernel takes no offset above 2**63
        while length > 0:
            try:
                part = os.pread(self.fd, length, offset)
            except OSError as error:
                raise SourceError(
                    "source-read-failed",
                    f"{self.path}: reading {length} bytes at offset {offset} failed: "
                    f"{error.strerror}",
                    hint="check the disk or network share that holds the image",
                ) from error
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def identity(self) -> Identity | RemoteIdentity:
        """Device, inode, size, mtime and ctime of the open file, now."""
        found = os.fstat(self.fd)
        return Identity(
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )

    def require_unchanged(self) -> None:
        """Raise ``SourceError`` when the file changed since it was opened."""
        now = self.identity()
        if now == self._first:
            return
        seen = ", ".join(
            f"{name} {getattr(self._first, name)} became {getattr(now, name)}"
            for name in Identity.__dataclass_fields__
            if getattr(self._first, name) != getattr(now, name)
        )
        raise SourceError(
            "source-changed",
            f"{self.path} changed while it was being read ({seen})",
            hint="stop the virtual machine or the copy that writes to it, then run again",
        )

    def require_other(self, output: str | Path) -> None:
        """Raise ``UsageError`` when ``output``, which is to be written, is this very file."""
        with contextlib.suppress(OSError, ValueError):  # it is not there: then it is no source
            if os.path.samestat(os.stat(output), os.fstat(self.fd)):
                raise output_is_source(output)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def output_is_source(output: str | Path) -> UsageError:
    """The error for whoever asks to overwrite the image."""
    return UsageError(
        "output-is-source",
        f"{str(output)!r} is the source image itself",
        hint="choose another output: imgprep never changes a source",
    )


def _require_kind(mode: int, path: str, allow_device: bool) -> None:
    if stat.S_ISREG(mode) or (allow_device and stat.S_ISBLK(mode)):
        return
    kind = next((words for test, words in _KINDS if test(mode)), "not a regular file")
    hint = "give the path of an image file"
    if stat.S_ISBLK(mode):
        hint = "give --allow-device if the whole device is the image"
    raise SourceError("source-not-a-file", f"{path!r} is {kind}, not a file", hint=hint)


def _cannot_open(path: str, error: OSError | ValueError) -> SourceError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        return SourceError(
            "source-missing", f"there is no file {path!r}", hint="check the path and its spelling"
        )
    if number in (errno.EACCES, errno.EPERM):
        return SourceError(
            "source-unreadable",
            f"{path!r} may not be read by this user",
            hint="change its permissions, or run as a user who may read it",
        )
    words = error.strerror if isinstance(error, OSError) else str(error)
    return SourceError(
        "source-unreadable", f"{path!r} cannot be opened: {words}", hint="check the path"
    )

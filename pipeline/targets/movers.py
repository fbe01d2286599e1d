"""Bytes that go from the source's file into a new file without passing through this program.

    clone       FICLONERANGE      the files share the blocks (XFS, btrfs): nothing is copied
    mapped      write, O_DIRECT   the disk takes them out of the source's pages in the page cache
    in kernel   copy_file_range   where O_DIRECT is refused (tmpfs): one copy, within one file system

A way that the file systems refuse once is not tried again.  What no way moves is read and written as
everything else is (``pipeline.targets.file_writer``); that also tells what is wrong with a source that
cannot be read.  All offsets and lengths here are multiples of PAGE.

ioctl_ficlonerange(2), open(2), copy_file_range(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from typing import Protocol

from pipeline.source import Source

PAGE = 4096  # what O_DIRECT and clones want on every disk of today
_FICLONERANGE = 0x4020940D  # _IOW(0x94, 13, struct file_clone_range)
_CLONE_RANGE = struct.Struct(
    "=qQQQ"
)  # source's descriptor, its offset, length, offset in the new file


class Mover(Protocol):
    """One way; used by several threads at once."""

    reads_nothing: bool
    """Whether it is worth while although somebody else reads the same bytes (for a checksum)."""

    def move(self, at: int, offset: int, length: int) -> int:
        """Bring bytes from ``at`` of the source to ``offset``; how many, a number of whole pages.

        Raises ``OSError`` when the file systems or the kernel refuse.
        """
        ...

    def close(self) -> None:
        """Give back what is held; a second call does nothing."""
        ...


class Clone:
    """Both files share the blocks, until somebody writes to one of them."""

    reads_nothing = True

    def __init__(self, source: Source, handle: int) -> None:
        self._source = source
        self._handle = handle

    def move(self, at: int, offset: int, length: int) -> int:
        """See ``Mover``."""
        asked = _CLONE_RANGE.pack(self._source.fd, at, length, offset)
        fcntl.ioctl(self._handle, _FICLONERANGE, asked)
        return length

    def close(self) -> None:
        """See ``Mover``."""


class Mapped:
    """The disk reads the page cache itself.

    Only the kernel ever touches the map, so a source that gets shorter meanwhile is an error of the
    system call (EFAULT), never a signal.  Pages are let go after each run: they would count as ours.
    """

    reads_nothing = False

    def __init__(self, source: Source, direct: int) -> None:
        """``direct``: a descriptor of the new file with O_DIRECT.  Raises ``OSError``, ``ValueError``."""
        self._source = source
        self._direct = direct
        self._map = mmap.mmap(source.fd, source.size, mmap.MAP_SHARED, mmap.PROT_READ)
        self._pages = memoryview(self._map)

    def move(self, at: int, offset: int, length: int) -> int:
        """See ``Mover``."""
        os.posix_fadvise(self._source.fd, at, length, os.POSIX_FADV_WILLNEED)
        try:
            count = os.pwrite(self._direct, self._pages[at : at + length], offset)
        finally:
            self._map.madvise(mmap.MADV_DONTNEED, at, length)
        return count // PAGE * PAGE

    def close(self) -> None:
        """See ``Mover``."""
        self._pages.release()
        self._map.close()


class InKernel:
    """The kernel copies from page cache to page cache."""

    reads_nothing = False

    def __init__(self, source: Source, handle: int) -> None:
        self._source = source
        self._handle = handle

    def move(self, at: int, offset: int, length: int) -> int:
        """See ``Mover``."""
        return os.copy_file_range(self._source.fd, self._handle, length, at, offset) // PAGE * PAGE

    def close(self) -> None:
        """See ``Mover``."""


def movers(source: Source, handle: int, direct: int | None) -> list[Mover]:
    """The ways to try, the best first, for a new file that is a hole of its size.

    ``direct``: its descriptor with O_DIRECT, if any.
    What lies on a server has no descriptor to move from.
    """
    if not source.is_file:
        return []
    found: list[Mover] = [Clone(source, handle)] if _shares(source, handle) else []
    if direct is None:
        return [*found, InKernel(source, handle)]
    with contextlib.suppress(OSError, ValueError):  # an empty source, or one that cannot be mapped
        found.append(Mapped(source, direct))
    return found


def _shares(source: Source, handle: int) -> bool:
    """Whether the new file may share the source's blocks: tried with the first page, then taken back."""
    size = os.fstat(handle).st_size
    try:
        Clone(source, handle).move(0, 0, PAGE)
    except OSError:
        return False
    os.ftruncate(handle, 0)
    os.ftruncate(handle, size)
    return True

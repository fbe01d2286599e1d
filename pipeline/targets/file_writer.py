"""Bytes into a new file: past the page cache where the file system lets us, through it elsewhere.

    run   │ head │ whole pages of a run of DIRECT_LEAST bytes or more │ tail │
            │        └── O_DIRECT: the disk takes them from our buffer          │
            └── pwrite through the page cache ─────────────────────────────────┘

Writing through the page cache copies every byte once more and makes all threads that write to one file
wait for each other.  O_DIRECT (open(2)) wants offset, length and memory aligned; the file systems that
refuse it (tmpfs, some network shares) say EINVAL, and then everything goes through the page cache.
The two ways never touch the same page, so they never disagree.

Where the file system can, the space is reserved first (fallocate(2)): a full disk is known before the
first byte, and threads that write past the cache into reserved space do not wait for each other.

Whole pages that lie in the source's file as they are need not even be read (``move``).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Self

from pipeline.source import Place, Source
from pipeline.targets.movers import PAGE, Clone, Mover, movers

DIRECT_LEAST = 64 << 10  # bytes: of a shorter run the page cache is quicker
BEHIND = 32 << 20  # bytes whose writing to the disk is begun at once, as far behind the writers


class FileWriter:
    """The new file behind a descriptor, a hole of its size; used by several threads at once."""

    def __init__(self, handle: int, source: Source | None = None) -> None:
        """``source``: where bytes may be moved from."""
        self._handle = handle
        self._opened = _open_direct(handle)
        self._direct = self._opened  # None: the file system refused
        self._movers = [] if source is None else movers(source, handle, self._opened)
        self._refused: set[Mover] = set()

    def reserve(self, runs: Iterable[tuple[int, int]]) -> bool:
        """Have the file system set space aside for these runs (offset, length) of bytes.

        Returns whether it did: not where it cannot, nor where blocks will be shared.  Raises ``OSError``
        when there is no space.
        """
        if self._direct is None or any(isinstance(mover, Clone) for mover in self._movers):
            return False
        return all(_reserved(self._handle, offset, length) for offset, length in runs)

    def move(self, place: Place, *, read_already: bool) -> tuple[int, int]:
        """Bring what can be moved of a place to its offset; the range that is done, maybe empty.

        ``read_already``: somebody needed to see the bytes, so only sharing them is worth while.
        """
        low = place.offset + -place.offset % PAGE
        end = place.offset + place.length
        high = end - end % PAGE
        if place.at is None or (place.at - place.offset) % PAGE or high - low < DIRECT_LEAST:
            return end, end
        shift, done = place.at - place.offset, low
        for mover in self._willing(read_already=read_already):
            try:
                while done < high and (count := mover.move(done + shift, done, high - done)):
                    done += count
            except OSError:
                self._refused.add(mover)
        return (low, done) if done > low else (end, end)

    def moves(self, *, read_already: bool) -> bool:
        """Whether it is worth while to ask for places."""
        return any(True for _ in self._willing(read_already=read_already))

    def _willing(self, *, read_already: bool) -> Iterable[Mover]:
        for mover in self._movers:
            if mover not in self._refused and (mover.reads_nothing or not read_already):
                yield mover

    def write(self, data: memoryview, offset: int, *, run: int | None = None) -> None:
        """All of ``data`` at ``offset``; raises ``OSError``.

        ``data`` begins in memory where ``offset`` begins in its page.  ``run``: bytes of the run that
        it is a part of, if it is one; a page of a long run need not wait for the others' writes.
        """
        start = -offset % PAGE
        whole = (len(data) - start) // PAGE * PAGE
        direct = self._direct
        if direct is None or whole < PAGE or (run or whole) < DIRECT_LEAST:
            _write_all(self._handle, data, offset)
            return
        _write_all(self._handle, data[:start], offset)
        done = self._past_the_cache(direct, data[start : start + whole], offset + start)
        _write_all(self._handle, data[start + done :], offset + start + done)

    def _past_the_cache(self, direct: int, data: memoryview, offset: int) -> int:
        """How many bytes, a number of whole pages, the disk took."""
        done = 0
        while done < len(data):
            try:
                count = os.pwrite(direct, data[done:], offset + done) // PAGE * PAGE
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # The descriptor stays open: another thread may be in a system call with it.
                self._direct = None
                break
            if count == 0:
                break
            done += count
        return done

    def begin_writeback(self, end: int) -> None:
        """Let the disk work on what was written a while ago, instead of when everybody waits for fsync.

        For pages that are not on the disk yet this advice only begins to write them.  It waits for
        every core, so it is given in long runs.
        """
        if self._direct is None and end >= 2 * BEHIND:
            os.posix_fadvise(self._handle, end - 2 * BEHIND, BEHIND, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close what was opened here; a second call does nothing."""
        for mover in self._movers:
            mover.close()
        self._movers = []
        opened, self._opened, self._direct = self._opened, None, None
        if opened is not None:
            os.close(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_direct(handle: int) -> int | None:
    """The same file again, past the page cache; None where the file system refuses."""
    try:
        return os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None


def _write_all(handle: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(handle, data, offset)
        data, offset = data[count:], offset + count


_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)  # off_t is a long


def _reserved(handle: int, offset: int, length: int) -> bool:
    """fallocate(2), since posix_fallocate(3) writes zeros where the file system cannot reserve."""
    while _fallocate(handle, 0, offset, length) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(number, os.strerror(number))
        if number != errno.EINTR:
            return False
    return True

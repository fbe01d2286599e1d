"""Writing an artifact to a file: in parallel, whole or not at all, its checksum on the way.

    workers   take the next range ─ read it into a buffer ─ write its data runs ─┐
    hasher    range 0, range 1, range 2 … in order, gives the buffers back  ◀────┘

A range is a whole block of the artifact, on pages of its own (``OpenArtifact.grid``), so it is read and
written in one go, past the page cache where that is possible (``pipeline.targets.file_writer``).  Long
zero runs stay holes.  Without a checksum nobody needs to see the bytes: what lies in the source's file
as it is, is moved from there (``pipeline.targets.movers``), and only the rest is read.  A worker takes
its buffer before its range, so the range that the hasher waits for always has one, and nobody waits for
ever.  Memory: one block a worker and AHEAD more.

Through the page cache, or into space that is not reserved, the kernel lets one at a time write to a file,
and those who wait for it spin: 4 workers on 2 cores took up to twice the CPU time of 2.  Past the cache into
reserved space they only wait for the disk, which likes a queue: there are DEEP of them then, unless
the hasher is what everybody waits for.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.beside import Beside
from pipeline.disk import GuestDisk
from pipeline.model import Artifact
from pipeline.source import Extent, Place
from pipeline.stage import Cancellation
from pipeline.targets import output
from pipeline.targets.artifact import OpenArtifact, file_plan, open_artifact
from pipeline.targets.file_writer import BEHIND, FileWriter
from pipeline.targets.movers import PAGE

AHEAD = 4  # buffers besides one a worker, so that the hasher has something to do
SHORT_HOLE = 64 << 10  # bytes of zeros that are written, so that a block takes one system call
WORKERS = min(max(os.cpu_count() or 1, 2), 4)
DEEP = 8  # workers whose writes the disk has at once
PROGRESS_S = 0.1  # between two reports

Progress = Callable[[int, int], None]
"""Called with bytes written, and all of them."""


def write_artifact(
    artifact: Artifact,
    disk: GuestDisk,
    path: Path,
    beside: Beside,
    *,
    overwrite: bool = False,
    connections: int | None = None,
    checksum: bool = True,
    cancellation: Cancellation | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Write the artifact to ``path``; the same artifact with that copy, and its sha256 if wanted.

    ``connections``: how many ranges at once; None: as many as the file system likes.
    Raises ``UsageError`` when ``path`` exists (without ``overwrite``) or is the source,
    ``EnvironmentFailed`` when there is no space or it cannot be written, ``ConversionFailed`` when
    the source cannot be read, ``SourceError`` when it changed, ``Interrupted`` when ``cancellation``
    is set.  In all these cases no file of ours is left behind.
    """
    output.require_writable(path, disk.source, overwrite=overwrite)
    stop = cancellation or Cancellation()
    with open_artifact(artifact, disk) as opened:
        output.require_space(path.parent, opened.size, opened.extents())
        with output.new_file(path, beside, overwrite=overwrite) as handle:
            os.ftruncate(handle, opened.size)
            with FileWriter(handle, disk.source) as writer:
                reserved = writer.reserve(data_runs(opened.extents()))
                workers = connections or (DEEP if reserved and not checksum else WORKERS)
                work = _Work(opened, writer, hashlib.sha256() if checksum else None)
                work.run(workers, stop, progress or (lambda _done, _total: None))
            disk.source.require_unchanged()
    return replace(artifact, copy=file_plan(path), sha256=work.digest)


def ranges(size: int, first: int, step: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is made and written in one go, by ``OpenArtifact.grid``."""
    offset = 0
    while offset < size:
        stop = min(offset + step, size)
        if offset < first:
            stop = min(stop, first)
        yield offset, stop - offset
        offset = stop


def data_runs(extents: Iterable[Extent]) -> Iterator[tuple[int, int]]:
    """Offset and length of what is to be written: a short hole costs less than two writes."""
    start = end = -1
    for extent in extents:
        if extent.kind == "zero":
            continue
        if start >= 0 and extent.offset - end < SHORT_HOLE:
            end = extent.offset + extent.length
            continue
        if start >= 0:
            yield start, end - start
        start, end = extent.offset, extent.offset + extent.length
    if start >= 0:
        yield start, end - start


def whole_pages(
    runs: Iterable[tuple[int, int]], offset: int, length: int
) -> Iterator[tuple[int, int]]:
    """The same runs with the rest of their first and last pages, inside a range that begins with a page."""
    for start, count in runs:
        end = min(offset + length, start + count + -(start + count) % PAGE)
        start -= start % PAGE
        yield start, end - start


def joined(places: Iterable[Place]) -> Iterator[Place]:
    """The same places, neighbours that lie nowhere put together."""
    run: Place | None = None
    for place in places:
        if run is not None and run.at is None and place.at is None:
            run = replace(run, length=run.length + place.length)
            continue
        if run is not None:
            yield run
        run = place
    if run is not None:
        yield run


class _Work:
    """One artifact on its way into one file."""

    def __init__(
        self, artifact: OpenArtifact, writer: FileWriter, checksum: hashlib._Hash | None
    ) -> None:
        self._artifact = artifact
        self._writer = writer
        self._checksum = checksum
        self._first, self._step = artifact.grid
        self._ranges = ranges(artifact.size, self._first, self._step)
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._ready: dict[int, memoryview] = {}  # offset -> the buffer that holds that range
        self._free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._written = 0
        self._failed: BaseException | None = None

    @property
    def digest(self) -> str | None:
        """The sha256 of everything, when it was wanted."""
        return None if self._checksum is None else self._checksum.hexdigest()

    def run(self, workers: int, stop: Cancellation, progress: Progress) -> None:
        """Do it; raises what a worker raised."""
        for _ in range(workers + AHEAD):
            self._free.put(memoryview(mmap.mmap(-1, self._step)))  # O_DIRECT wants whole pages
        jobs: list[Callable[[], None]] = [self._copy] * workers
        if self._checksum is not None:
            jobs.append(self._hash)
        threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, stop, progress)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failed is not None:
            raise self._failed
        progress(self._written, self._artifact.size)

    def _watch(
        self, threads: list[threading.Thread], stop: Cancellation, progress: Progress
    ) -> None:
        reported = time.monotonic()
        for thread in threads:
            while thread.is_alive():
                stop.check()
                thread.join(0.02)
                if time.monotonic() - reported >= PROGRESS_S:
                    reported = time.monotonic()
                    progress(self._written, self._artifact.size)

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised by run() in the caller's thread
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = self._failed or error
            self._changed.notify_all()
        self._free.put(None)

    def _copy(self) -> None:
        """A worker: ranges until none is left."""
        while True:
            buffer = self._free.get()
            if buffer is None or self._failed is not None:
                self._free.put(None)  # wake the next one too
                return
            with self._lock:
                found = next(self._ranges, None)
            if found is None:
                self._free.put(buffer)
                return
            self._copy_range(*found, buffer)
            self._hand_over(*found, buffer)

    def _copy_range(self, offset: int, length: int, buffer: memoryview) -> None:
        if self._checksum is not None:
            self._artifact.read_into(offset, buffer[:length])
        runs = data_runs(self._artifact.extents(offset, length))
        for start, count in whole_pages(runs, offset, length):
            for place in self._places(start, count):
                self._put(place, buffer[place.offset - offset :][: place.length], count)

    def _places(self, offset: int, length: int) -> Iterator[Place]:
        if self._writer.moves(read_already=self._checksum is not None):
            return joined(self._artifact.places(offset, length))
        return iter([Place(offset, length, None)])

    def _put(self, place: Place, part: memoryview, run: int) -> None:
        """Bring a part of a run to its place, by way of the buffer where it cannot be moved."""
        start, end = place.offset, place.offset + place.length
        low, high = self._writer.move(place, read_already=self._checksum is not None)
        for first, last in ((start, min(low, end)), (high, end)):
            if first < last:
                piece = part[first - start : last - start]
                if self._checksum is None:
                    self._artifact.read_into(first, piece)
                self._writer.write(piece, first, run=run)

    def _hand_over(self, offset: int, length: int, buffer: memoryview) -> None:
        with self._changed:
            before, self._written = self._written, self._written + length
            if self._checksum is None:
                self._free.put(buffer)
            else:
                self._ready[offset] = buffer
                self._changed.notify_all()
        if before // BEHIND != self._written // BEHIND:
            self._writer.begin_writeback(before // BEHIND * BEHIND)

    def _hash(self) -> None:
        assert self._checksum is not None
        for offset, length in ranges(self._artifact.size, self._first, self._step):
            with self._changed:
                while offset not in self._ready:
                    if self._failed is not None:
                        return
                    self._changed.wait()
                buffer = self._ready.pop(offset)
            self._checksum.update(buffer[:length])
            self._free.put(buffer)

"""Writing an artifact to a file: in parallel, whole or not at all, its checksum on the way.

    workers   take the next range ─ read it into a buffer ─ pwrite its data runs ─┐
    hasher    range 0, range 1, range 2 … in order, gives the buffers back  ◀─────┘

Zero runs stay holes.  A worker takes its buffer before its range, so the range that the hasher waits
for always has one, and nobody waits for ever.  Memory: BUFFERS times CHUNK.

More workers than cores only wait: the kernel lets one at a time write to a file, and those who wait for
it spin (4 workers on 2 cores took up to twice the CPU time of 2).
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.beside import Beside
from pipeline.disk import GuestDisk
from pipeline.model import Artifact
from pipeline.stage import Cancellation
from pipeline.targets import output
from pipeline.targets.artifact import OpenArtifact, file_plan, open_artifact

CHUNK = 1 << 20  # bytes of the artifact that a worker takes at once
BUFFERS = 12
WORKERS = min(max(os.cpu_count() or 1, 2), 4)
BEHIND = 32 << 20  # bytes whose writing to the disk is begun at once, as far behind the workers
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
    connections: int = WORKERS,
    checksum: bool = True,
    cancellation: Cancellation | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Write the artifact to ``path``; the same artifact with that copy, and its sha256 if wanted.

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
            work = _Work(opened, handle, hashlib.sha256() if checksum else None)
            work.run(connections, stop, progress or (lambda _done, _total: None))
            disk.source.require_unchanged()
    return replace(artifact, copy=file_plan(path), sha256=work.digest)


class _Work:
    """One artifact on its way into one file."""

    def __init__(self, artifact: OpenArtifact, handle: int, checksum: hashlib._Hash | None) -> None:
        self._artifact = artifact
        self._handle = handle
        self._checksum = checksum
        self._offsets = iter(range(0, artifact.size, CHUNK))
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._ready: dict[int, tuple[bytearray, int]] = {}  # offset -> buffer, bytes in it
        self._free: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
        self._written = 0
        self._failed: BaseException | None = None

    @property
    def digest(self) -> str | None:
        """The sha256 of everything, when it was wanted."""
        return None if self._checksum is None else self._checksum.hexdigest()

    def run(self, workers: int, stop: Cancellation, progress: Progress) -> None:
        """Do it; raises what a worker raised."""
        for _ in range(BUFFERS):
            self._free.put(bytearray(CHUNK))
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
                offset = next(self._offsets, None)
            if offset is None:
                self._free.put(buffer)
                return
            count = self._copy_range(offset, memoryview(buffer))
            self._hand_over(offset, buffer, count)
            if offset % BEHIND == 0 and offset > 0:
                self._begin_writeback(offset - 2 * BEHIND)

    def _copy_range(self, offset: int, buffer: memoryview) -> int:
        count = self._artifact.read_into(offset, buffer)
        for extent in self._artifact.extents(offset, count):
            if extent.kind == "data":
                start = extent.offset - offset
                _write_all(self._handle, buffer[start : start + extent.length], extent.offset)
        return count

    def _begin_writeback(self, offset: int) -> None:
        """Let the disk work while the rest is made, instead of when everybody waits for fsync.

        For pages that are not on the disk yet this advice only begins to write them.  It waits for
        every core, so it is not given for every chunk.
        """
        if offset >= 0:
            os.posix_fadvise(self._handle, offset, BEHIND, os.POSIX_FADV_DONTNEED)

    def _hand_over(self, offset: int, buffer: bytearray, count: int) -> None:
        with self._changed:
            self._written += count
            if self._checksum is None:
                self._free.put(buffer)
            else:
                self._ready[offset] = (buffer, count)
                self._changed.notify_all()

    def _hash(self) -> None:
        assert self._checksum is not None
        for offset in range(0, self._artifact.size, CHUNK):
            with self._changed:
                while offset not in self._ready:
                    if self._failed is not None:
                        return
                    self._changed.wait()
                buffer, count = self._ready.pop(offset)
            self._checksum.update(memoryview(buffer)[:count])
            self._free.put(buffer)


def _write_all(handle: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(handle, data, offset)
        data, offset = data[count:], offset + count

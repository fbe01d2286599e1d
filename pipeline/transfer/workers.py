"""N workers, each making, hashing and sending one segment at a time.

segment held by the store? ──size and MD5 right──▶ reused
│ no                        │ MD5 not written down: made and hashed here, not sent
▼
send ──MD5 of the store = ours──▶ done
│  answer lost: look first, it may be there
└─ mismatch, 5xx, connection: again, this segment only
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from pipeline.errors import TemporaryStoreError
from pipeline.stage import Cancellation
from pipeline.transfer.body import ArtifactReader, SegmentBody, ZeroMap
from pipeline.transfer.journal import UploadJournal
from pipeline.transfer.protocol import ObjectStore, StoredSegment, Upload
from pipeline.transfer.retry import Retrier

T = TypeVar("T")

_REPORT_S = 0.1
_LIVELY = 64 << 20  # bytes a second; what sends slower leaves room on the line for another
_PATIENCE_S = 10.0  # the longest wait for a turn


class StoppedError(Exception):
    """Another worker failed first: this one's work is of no use any more."""


class Layout:
    """How the artifact is cut: equal segments, the last one shorter."""

    def __init__(self, reader: ArtifactReader, zeros: ZeroMap, segment_size: int) -> None:
        self.reader = reader
        self.zeros = zeros
        self.size = reader.size
        self.segment_size = segment_size
        self.count = -(-reader.size // segment_size)

    def range(self, number: int) -> tuple[int, int]:
        """Offset and size of a segment."""
        offset = number * self.segment_size
        return offset, min(self.segment_size, self.size - offset)

    def body(
        self,
        number: int,
        offset: int,
        size: int,
        *,
        check: Callable[[], None],
        watch: Callable[[int], None] | None = None,
        want_sha256: bool = False,
    ) -> SegmentBody:
        """The bytes of any range, as a segment of that number."""
        return SegmentBody(
            self.reader,
            self.zeros,
            number=number,
            offset=offset,
            size=size,
            want_sha256=want_sha256,
            check=check,
            watch=watch,
        )


class Pool:
    """Runs work on all numbers in parallel; the first error stops everybody within a piece."""

    def __init__(self, connections: int, cancellation: Cancellation) -> None:
        self._connections = connections
        self._cancellation = cancellation
        self._stop = threading.Event()

    def watch(self) -> None:
        """Raise when this work shall stop; called for every piece."""
        self._cancellation.check()
        if self._stop.is_set():
            raise StoppedError

    def each(self, work: Callable[[int], T], count: int) -> tuple[T, ...]:
        """The values in order, or the first real error."""
        self._stop.clear()
        with ThreadPoolExecutor(max(min(self._connections, count), 1), "segment") as pool:
            futures = [pool.submit(self._guarded, work, number) for number in range(count)]
            _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            if waiting:
                self._stop.set()
                for future in waiting:
                    future.cancel()
        errors = [future.exception() for future in futures if not future.cancelled()]
        for error in sorted(filter(None, errors), key=lambda e: isinstance(e, StoppedError)):
            raise error
        return tuple(future.result() for future in futures)

    def _guarded(self, work: Callable[[int], T], number: int) -> T:
        self.watch()
        return work(number)


class Turns:
    """Who makes and sends a segment now: as few as keep the machine busy.

    After a kill every segment that was half sent is sent again, so few shall be.  A segment whose
    last byte is out needs no turn any more: while the store still writes it, the next one is made.
    Where a segment takes long the line or the store is slow, not we: whoever has waited as long as
    a segment should take goes too, and from then on there is one turn more.
    """

    def __init__(self, at_once: int) -> None:
        self._free = threading.Semaphore(at_once)
        self._left: dict[int, int] = {}  # bytes, of the segments that have a turn

    def take(self, number: int, size: int) -> bool:
        """Wait for a turn, which ``flew`` or ``end`` gives back; False: none was free in time."""
        free = self._free.acquire(timeout=min(size / _LIVELY, _PATIENCE_S))
        self._left[number] = size
        return free

    def flew(self, number: int, length: int) -> None:
        """A piece of this segment is going out; the last one ends the turn."""
        if number in self._left:
            self._left[number] -= length
            if self._left[number] <= 0:
                self.end(number)

    def end(self, number: int) -> None:
        """The turn is over; it may be already."""
        if self._left.pop(number, None) is not None:
            self._free.release()


class Progress:
    """Bytes done, from several threads, told at most ten times a second."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._total = total
        self._tell = tell
        self._lock = threading.Lock()
        self._flying: dict[int, int] = {}
        self._finished: dict[int, int] = {}
        self._told = 0.0
        self.sent = 0  # bytes that went out, those that were sent again included
        self.reused = 0  # bytes that the store held already

    def flew(self, number: int, length: int) -> None:
        """A piece of this segment was made for sending."""
        with self._lock:
            self._flying[number] = self._flying.get(number, 0) + length
            self.sent += length
            self._report()

    def failed(self, number: int) -> None:
        """What was sent of this segment does not count."""
        with self._lock:
            self._flying.pop(number, None)

    def finished(self, number: int, size: int, *, reused: bool) -> None:
        """The segment is in the store."""
        with self._lock:
            self._flying.pop(number, None)
            if reused and number not in self._finished:
                self.reused += size
            self._finished[number] = size
            self._report(now=len(self._flying) == 0)

    def _report(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._told >= _REPORT_S:
            self._told = time.monotonic()
            done = sum(self._finished.values()) + sum(self._flying.values())
            self._tell(min(done, self._total), self._total)


class Sender:
    """What a worker does with one segment of one upload."""

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        journal: UploadJournal,
        retrier: Retrier,
        pool: Pool,
        progress: Progress,
    ) -> None:
        self.store, self.layout, self.journal = store, layout, journal
        self.retrier, self.pool, self.progress = retrier, pool, progress
        self.turns = Turns(max(os.cpu_count() or 1, 2))
        self.sha256: str | None = None  # of the whole, when one segment is the whole

    def all(
        self, upload: Upload, present: Mapping[int, StoredSegment], *, resuming: bool
    ) -> tuple[StoredSegment, ...]:
        """Every segment is in the store with the right size and MD5 when this returns."""

        def work(number: int) -> StoredSegment:
            held = present.get(number)
            if held is None and resuming:
                held = self.retrier.call(lambda: self.store.stat_segment(upload, number))
            return self._ensure(upload, number, held)

        return self.pool.each(work, self.layout.count)

    def remembered(self) -> tuple[StoredSegment, ...]:
        """Every segment with the MD5 that it must have: written down, or made and hashed now."""

        def work(number: int) -> StoredSegment:
            size = self.layout.range(number)[1]
            return StoredSegment(number, size, self._expected(self._body(number)))

        return self.pool.each(work, self.layout.count)

    def _ensure(self, upload: Upload, number: int, held: StoredSegment | None) -> StoredSegment:
        body = self._body(number)
        right_size = held is not None and held.size == body.size and held.md5 is not None
        if held is not None and right_size and held.md5 == self._expected(body):
            self.journal.sent(number, str(held.md5))
            self.progress.finished(number, body.size, reused=True)
            return held
        stored = self._send(upload, body)
        if self.layout.count == 1:
            self.sha256 = body.sha256
        self.journal.sent(number, str(stored.md5))
        self.progress.finished(number, body.size, reused=False)
        return stored

    def _expected(self, body: SegmentBody) -> str:
        return self.journal.md5(body.number) or body.digest()

    def _send(self, upload: Upload, body: SegmentBody) -> StoredSegment:
        attempts = 0

        def attempt() -> StoredSegment:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and body.md5 is not None:
                held = self.store.stat_segment(upload, body.number)
                if held is not None and (held.size, held.md5) == (body.size, body.md5):
                    return held
            self.turns.take(body.number, body.size)
            try:
                return self._sent_once(upload, body)
            except BaseException:
                self.progress.failed(body.number)
                raise
            finally:
                self.turns.end(body.number)

        return self.retrier.call(attempt)

    def _sent_once(self, upload: Upload, body: SegmentBody) -> StoredSegment:
        stored: StoredSegment | None = self.store.put_segment(upload, body)
        if stored is not None and stored.md5 is None:
            stored = self.store.stat_segment(upload, body.number)
        if stored is not None and (stored.size, stored.md5) == (body.size, body.md5):
            return stored
        raise TemporaryStoreError(
            "segment-mismatch",
            f"segment {body.number} arrived with MD5 {stored.md5 if stored else None}, "
            f"sent was {body.md5}",
            hint="the network or a proxy changes data on its way; run the same command again",
        )

    def _body(self, number: int) -> SegmentBody:
        offset, size = self.layout.range(number)

        def watch(length: int) -> None:
            self.progress.flew(number, length)
            self.turns.flew(number, length)

        return self.layout.body(
            number,
            offset,
            size,
            want_sha256=self.store.wants_sha256 or self.layout.count == 1,
            check=self.pool.watch,
            watch=watch,
        )

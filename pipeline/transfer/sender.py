"""Sending: N workers, each making, hashing and sending one segment at a time.

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

from pipeline.errors import TemporaryStoreError
from pipeline.pool import Pool
from pipeline.transfer.journal import UploadJournal
from pipeline.transfer.protocol import ObjectStore, StoredSegment, Upload
from pipeline.transfer.retrying import Retrying
from pipeline.transfer.segments import Segmentation, SegmentPayload

_REPORT_S = 0.1
_LIVELY = 64 << 20  # bytes a second; what sends slower leaves room on the line for another
_PATIENCE_S = 10.0  # the longest wait for a turn


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
        store: Retrying,
        segmentation: Segmentation,
        journal: UploadJournal,
        pool: Pool,
        progress: Progress,
        pace: Callable[[int], None],
    ) -> None:
        self.pace = pace
        self.store, self.segmentation, self.journal = store, segmentation, journal
        self.pool, self.progress = pool, progress
        self.turns = Turns(max(os.cpu_count() or 1, 2))
        self.sha256: str | None = None  # of the whole, when one segment is the whole

    def all(
        self, upload: Upload, present: Mapping[int, StoredSegment], *, resuming: bool
    ) -> tuple[StoredSegment, ...]:
        """Every segment is in the store with the right size and MD5 when this returns."""

        def work(number: int) -> StoredSegment:
            held = present.get(number)
            if held is None and resuming:
                held = self.store.stat_segment(upload, number)
            return self._ensure(upload, number, held)

        return self.pool.each(work, range(self.segmentation.count))

    def remembered(self) -> tuple[StoredSegment, ...]:
        """Every segment with the MD5 that it must have: written down, or made and hashed now."""

        def work(number: int) -> StoredSegment:
            size = self.segmentation.range(number)[1]
            return StoredSegment(number, size, self._expected(self._payload(number)))

        return self.pool.each(work, range(self.segmentation.count))

    def _ensure(self, upload: Upload, number: int, held: StoredSegment | None) -> StoredSegment:
        payload = self._payload(number)
        right_size = held is not None and held.size == payload.size and held.md5 is not None
        if held is not None and right_size and held.md5 == self._expected(payload):
            self.journal.sent(number, str(held.md5))
            self.progress.finished(number, payload.size, reused=True)
            return held
        stored = self._send(upload, payload, replace=held is not None)
        if self.segmentation.count == 1:
            self.sha256 = payload.sha256
        self.journal.sent(number, str(stored.md5))
        self.progress.finished(number, payload.size, reused=False)
        return stored

    def _expected(self, payload: SegmentPayload) -> str:
        return self.journal.md5(payload.number) or payload.digest()

    def _send(self, upload: Upload, payload: SegmentPayload, *, replace: bool) -> StoredSegment:
        attempts = 0

        def attempt(store: ObjectStore) -> StoredSegment:
            nonlocal attempts, replace
            attempts += 1
            held = store.stat_segment(upload, payload.number) if attempts > 1 else None
            if held is not None:
                if (held.size, held.md5) == (payload.size, payload.digest()):
                    return held
                replace = True
            self.turns.take(payload.number, payload.size)
            try:
                return _sent_once(store, upload, payload, replace=replace)
            except BaseException:
                self.progress.failed(payload.number)
                raise
            finally:
                self.turns.end(payload.number)

        return self.store.together(attempt)

    def _payload(self, number: int) -> SegmentPayload:
        offset, size = self.segmentation.range(number)

        def watch(length: int) -> None:
            self.pace(length)
            self.progress.flew(number, length)
            self.turns.flew(number, length)

        return self.segmentation.payload(
            number,
            offset,
            size,
            want_sha256=self.store.wants_sha256 or self.segmentation.count == 1,
            check=self.pool.watch,
            watch=watch,
        )


def _sent_once(
    store: ObjectStore, upload: Upload, payload: SegmentPayload, *, replace: bool
) -> StoredSegment:
    stored: StoredSegment | None = store.put_segment(upload, payload, replace=replace)
    if stored is not None and stored.md5 is None:
        stored = store.stat_segment(upload, payload.number)
    if stored is not None and (stored.size, stored.md5) == (payload.size, payload.digest()):
        return stored
    raise TemporaryStoreError(
        "segment-mismatch",
        f"segment {payload.number} arrived with MD5 {stored.md5 if stored else None}, "
        f"sent was {payload.md5}",
        hint="the network or a proxy changes data on its way; run the same command again",
    )

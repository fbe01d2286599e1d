"""Whether an object that is already there holds the same bytes: what ``--if-exists skip`` asks.

Where the store tells the MD5 of what it holds, the artifact is hashed in the same cuts and nothing
is downloaded; where it does not (a directory), both are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from pipeline.transfer.protocol import READ_SIZE, ObjectStore, StoredObject, StoredSegment
from pipeline.transfer.retry import Retrier
from pipeline.transfer.workers import Layout, Pool


def same_content(
    store: ObjectStore, stored: StoredObject, layout: Layout, retrier: Retrier, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    """The object's segments when its bytes are the artifact's; None when they differ."""
    if stored.size != layout.size:
        return None
    told = retrier.call(lambda: store.stored_segments(stored.name))
    if told is None:
        return _by_etag(store, stored, layout, pool) or _read_both(
            store, stored, layout, retrier, pool
        )
    starts = [0]
    for segment in told:
        starts.append(starts[-1] + segment.size)
    if starts[-1] != layout.size:
        return None

    def equal(index: int) -> bool:
        segment = told[index]
        body = layout.body(index, starts[index], segment.size, check=pool.watch)
        return segment.md5 is not None and body.digest() == segment.md5

    return told if all(pool.each(equal, len(told))) else None


def _by_etag(
    store: ObjectStore, stored: StoredObject, layout: Layout, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    """The ETag tells the MD5 of the MD5s: equal when the object was cut as we would cut it."""

    def made(number: int) -> StoredSegment:
        start, size = layout.range(number)
        body = layout.body(number, start, size, check=pool.watch)
        return StoredSegment(number, size, body.digest(), stored.name)

    segments = pool.each(made, layout.count)
    wanted = store.expected_etag(segments)
    return segments if wanted is not None and wanted == stored.etag else None


def _read_both(
    store: ObjectStore, stored: StoredObject, layout: Layout, retrier: Retrier, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    def hashed(number: int) -> StoredSegment | None:
        start, size = layout.range(number)
        body = layout.body(number, start, size, check=pool.watch)
        theirs = range_md5(store, stored.name, start, size, retrier, pool.watch)
        return StoredSegment(number, size, theirs) if theirs == body.digest() else None

    found = pool.each(hashed, layout.count)
    return tuple(item for item in found if item is not None) if all(found) else None


def range_md5(
    store: ObjectStore,
    name: str,
    start: int,
    size: int,
    retrier: Retrier,
    check: Callable[[], None],
) -> str:
    """The MD5 of a range of a committed object, read back piece by piece."""
    md5 = hashlib.md5(usedforsecurity=False)
    for offset in range(start, start + size, READ_SIZE):
        check()
        length = min(READ_SIZE, start + size - offset)
        md5.update(retrier.call(partial(store.read_range, name, offset, length)))
    return md5.hexdigest()

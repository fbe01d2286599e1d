"""Whether an object that is already there holds the same bytes: what ``--if-exists skip`` asks.

Where the store tells the MD5 of what it holds, the artifact is hashed in the same cuts and nothing
is downloaded; where it does not (a directory), both are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pipeline.pool import Pool
from pipeline.transfer.protocol import READ_SIZE, ObjectStore, StoredObject, StoredSegment
from pipeline.transfer.segments import Segmentation


def same_content(
    store: ObjectStore, stored: StoredObject, cut: Segmentation, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    """The object's segments when its bytes are the artifact's; None when they differ."""
    if stored.size != cut.size:
        return None
    told = store.stored_segments(stored.name)
    if told is None:
        return _by_etag(store, stored, cut, pool) or _read_both(store, stored, cut, pool)
    starts = [0]
    for segment in told:
        starts.append(starts[-1] + segment.size)
    if starts[-1] != cut.size:
        return None

    def equal(index: int) -> bool:
        segment = told[index]
        ours = cut.payload(index, starts[index], segment.size, check=pool.watch)
        return segment.md5 is not None and ours.digest() == segment.md5

    return told if all(pool.each(equal, range(len(told)))) else None


def _by_etag(
    store: ObjectStore, stored: StoredObject, cut: Segmentation, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    """The ETag tells the MD5 of the MD5s: equal when the object was cut as we would cut it."""

    def made(number: int) -> StoredSegment:
        start, size = cut.range(number)
        ours = cut.payload(number, start, size, check=pool.watch)
        return StoredSegment(number, size, ours.digest(), stored.name)

    segments = pool.each(made, range(cut.count))
    wanted = store.expected_etag(segments)
    return segments if wanted is not None and wanted == stored.etag else None


def _read_both(
    store: ObjectStore, stored: StoredObject, cut: Segmentation, pool: Pool
) -> tuple[StoredSegment, ...] | None:
    def hashed(number: int) -> StoredSegment | None:
        start, size = cut.range(number)
        ours = cut.payload(number, start, size, check=pool.watch)
        theirs = range_md5(store, stored.name, start, size, pool.watch)
        return StoredSegment(number, size, theirs) if theirs == ours.digest() else None

    found = pool.each(hashed, range(cut.count))
    return tuple(item for item in found if item is not None) if all(found) else None


def range_md5(
    store: ObjectStore, name: str, start: int, size: int, check: Callable[[], None]
) -> str:
    """The MD5 of a range of a committed object, read back piece by piece."""
    md5 = hashlib.md5(usedforsecurity=False)
    for offset in range(start, start + size, READ_SIZE):
        check()
        md5.update(store.read_range(name, offset, min(READ_SIZE, start + size - offset)))
    return md5.hexdigest()

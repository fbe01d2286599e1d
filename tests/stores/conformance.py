"""What the conformance suite does with any store: the artifact, its segments, the calls in order."""

from __future__ import annotations

from patterns import MIB, Pattern

from pipeline.transfer.protocol import ObjectStore, StoredObject, StoredSegment, Upload, upload_id
from pipeline.transfer.segments import SegmentPayload, ZeroMap

SEGMENT = 5 * MIB  # the least that S3 takes
SIZE = 2 * SEGMENT + 12345
NAME = "disk.vhd"
TYPE = "application/x-vhd"
ABOUT = {"source": "ünï çødé 磁盘 (1)%20.qcow2", "virtual-size": "1073741824"}


def body(pattern: Pattern, number: int) -> SegmentPayload:
    offset = number * SEGMENT
    size = min(SEGMENT, pattern.size - offset)
    zeros = ZeroMap(pattern.extents())
    return SegmentPayload(pattern, zeros, number=number, offset=offset, size=size)


def begin(store: ObjectStore, pattern: Pattern, name: str = NAME, token: str = "") -> Upload:
    unique = upload_id("job", pattern.seed)
    size = pattern.size
    return store.begin(name, unique, size, SEGMENT, token, metadata=ABOUT, content_type=TYPE)


def send(
    store: ObjectStore, upload: Upload, pattern: Pattern, *, replace: bool = False
) -> tuple[StoredSegment, ...]:
    count = -(-pattern.size // SEGMENT)
    return tuple(
        store.put_segment(upload, body(pattern, number), replace=replace) for number in range(count)
    )


def commit(
    store: ObjectStore,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
    *,
    replace: bool = False,
) -> StoredObject:
    return store.commit(upload, segments, replace=replace)


def stored(store: ObjectStore, pattern: Pattern, name: str = NAME) -> StoredObject:
    upload = begin(store, pattern, name)
    return commit(store, upload, send(store, upload, pattern))

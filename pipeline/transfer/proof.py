"""Whether the store holds what was sent: by its own words, or by every byte read back.

manifest   size and ETag against those computed here; every segment's size and MD5 as the store
tells them; where it tells no checksum at all, the bytes are read
readback   all bytes, in parallel ranges, each hashed and compared, and hashed as a whole
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

from pipeline.errors import ConversionFailed, StoreError
from pipeline.model import Receipt
from pipeline.pool import Pool
from pipeline.source import Reader
from pipeline.transfer.compare import range_md5
from pipeline.transfer.protocol import READ_SIZE, ObjectStore, StoredSegment

Watcher: TypeAlias = Callable[[int, bytes], str | None]
"""Gets bytes of the object with their offset; says what is wrong with them, or None."""

_READINGS = 3
"""A segment that reads wrong is read again: the bytes may have changed on their way back."""


_FRONT = 4 << 20  # holds the tables of a 2 TiB VHD
_BACK = 128 << 10  # holds any footer


def check_ends(store: ObjectStore, name: str, artifact: Reader) -> None:
    """Both ends of the object, where headers, tables and footers are, against the artifact's.

    What lies between was proved by the segments' checksums.  Raises ``StoreError``
    ``object-mismatch``.
    """
    size = artifact.size
    front = min(_FRONT, size)
    for start, length in ((0, front), (max(front, size - _BACK), _BACK)):
        for offset in range(start, min(start + length, size), READ_SIZE):
            count = min(READ_SIZE, start + length - offset, size - offset)
            if store.read_range(name, offset, count) != artifact.read(offset, count):
                where = f"bytes {offset} to {offset + count} read back differently"
                raise _mismatch(store, name, where)


def check_manifest(
    store: ObjectStore, name: str, receipt: Receipt, check: Callable[[], None]
) -> None:
    """The store's own words against the receipt.  Raises ``StoreError`` ``object-mismatch``."""
    stored = store.stat(name)
    if stored is None:
        raise _mismatch(store, name, "it is not there any more")
    if stored.size != receipt.size:
        raise _mismatch(store, name, f"it has {stored.size} bytes, {receipt.size} were stored")
    wanted = _etags(store, receipt)
    if stored.etag is not None and wanted and stored.etag not in wanted:
        raise _mismatch(store, name, f"its ETag is {stored.etag}, it should be {wanted[0]}")
    told = store.stored_segments(name)
    if told is not None:
        _compare(store, name, told, receipt)
    elif stored.etag is None or not wanted:
        _read_segments(store, name, receipt, check)


def readback(
    store: ObjectStore,
    name: str,
    receipt: Receipt,
    *,
    connections: int,
    watcher: Watcher,
) -> str:
    """Read everything; returns the sha256 of the object.

    Raises ``StoreError`` ``object-mismatch`` for a segment that is not what was sent, and
    ``ConversionFailed`` ``result-differs`` when the bytes are what was sent but ``watcher`` says
    that they are wrong.
    """
    whole = hashlib.sha256()
    pool = Pool(connections)
    for number, segment in enumerate(receipt.segments):
        start, size = int(segment["offset"]), int(segment["size"])
        for _ in range(_READINGS):
            attempt, md5 = whole.copy(), hashlib.md5(usedforsecurity=False)
            said: str | None = None
            for offset, data in _in_order(store, name, start, size, pool):
                md5.update(data)
                attempt.update(data)
                said = watcher(offset, data) or said
            if md5.hexdigest() == segment["md5"]:
                break
        else:
            raise _mismatch(store, name, f"segment {number} reads back with another MD5")
        if said is not None:
            raise ConversionFailed(
                "result-differs",
                f"{store.url(name)}: {said}",
                hint="do not use the object; please report this with the report file",
            )
        whole = attempt
    return whole.hexdigest()


def _in_order(
    store: ObjectStore, name: str, start: int, size: int, pool: Pool
) -> Iterator[tuple[int, bytes]]:
    """The pieces of a range, while the next ones are on their way."""

    def fetch(offset: int) -> tuple[int, bytes]:
        length = min(READ_SIZE, start + size - offset)
        return offset, store.read_range(name, offset, length)

    return pool.ahead(fetch, range(start, start + size, READ_SIZE))


def _etags(store: ObjectStore, receipt: Receipt) -> tuple[str, ...]:
    """What the ETag may be: what was sent tells it.

    An object that was there already, and whose content was compared, keeps the one it had then.
    """
    sent = tuple(
        StoredSegment(number, int(segment["size"]), str(segment["md5"]))
        for number, segment in enumerate(receipt.segments)
    )
    computed = store.expected_etag(sent)
    adopted = receipt.sent_bytes == 0 and receipt.reused_bytes == receipt.size
    kept = (receipt.checksum or "").removeprefix("etag:") if adopted else ""
    return tuple(etag for etag in (computed, kept) if etag)


def _compare(
    store: ObjectStore, name: str, told: tuple[StoredSegment, ...], receipt: Receipt
) -> None:
    if len(told) != len(receipt.segments):
        count = len(receipt.segments)
        raise _mismatch(store, name, f"it has {len(told)} segments, {count} were stored")
    for held, sent in zip(told, receipt.segments, strict=True):
        if (held.size, held.md5) != (sent["size"], sent["md5"]):
            raise _mismatch(
                store,
                name,
                f"segment {held.number} has {held.size} bytes and MD5 {held.md5}, sent were "
                f"{sent['size']} and {sent['md5']}",
            )


def _read_segments(
    store: ObjectStore, name: str, receipt: Receipt, check: Callable[[], None]
) -> None:
    for number, segment in enumerate(receipt.segments):
        start, size = int(segment["offset"]), int(segment["size"])
        if range_md5(store, name, start, size, check) != segment["md5"]:
            raise _mismatch(store, name, f"segment {number} reads back with another MD5")


def _mismatch(store: ObjectStore, name: str, what: str) -> StoreError:
    return StoreError(
        "object-mismatch",
        f"{store.url(name)} is not what was stored: {what}",
        hint="another program changed it, or the store damaged it; "
        "run again with --if-exists replace",
    )

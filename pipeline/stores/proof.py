"""Whether the store holds what was sent: by its own words, or by every byte read back.

    manifest   size and ETag against those computed here; every segment's size and MD5 as the store
               tells them; where it tells no checksum at all, the bytes are read
    readback   all bytes, in parallel ranges, each hashed and compared, and hashed as a whole
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import StoreError
from pipeline.model import JsonObject, Receipt
from pipeline.stores.base import READ_SIZE, ObjectStore, StoredSegment
from pipeline.stores.compare import range_md5
from pipeline.stores.retry import Retrier

_AGAIN = 3
"""A range that reads wrong is read again: the bytes may have changed on their way back."""


class StoredReader:
    """``pipeline.source.Reader`` of a committed object; small reads at both ends are answered from
    memory."""

    def __init__(self, store: ObjectStore, name: str, size: int, retrier: Retrier) -> None:
        self.size = size
        self._store, self._name, self._retrier = store, name, retrier
        self._lock = threading.Lock()
        self._kept: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end.  Raises ``StoreError``."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            block = offset - offset % _BLOCK
            data = self._block(block)
            part = data[offset - block : end - block]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _block(self, at: int) -> bytes:
        with self._lock:
            kept = self._kept.get(at)
        if kept is not None:
            return kept
        length = min(_BLOCK, self.size - at)
        data = self._retrier.call(lambda: self._store.read_range(self._name, at, length))
        with self._lock:
            while len(self._kept) >= _BLOCKS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[at] = data
        return data


_BLOCK = 128 << 10
_BLOCKS = 64


def check_manifest(
    store: ObjectStore, name: str, receipt: Receipt, retrier: Retrier, check: Callable[[], None]
) -> None:
    """The store's own words against the receipt.  Raises ``StoreError`` ``object-mismatch``."""
    stored = retrier.call(lambda: store.stat(name))
    if stored is None:
        raise _mismatch(store, name, "it is not there any more")
    if stored.size != receipt.size:
        raise _mismatch(store, name, f"it has {stored.size} bytes, {receipt.size} were stored")
    sent = _sent(receipt)
    wanted = store.expected_etag(sent)
    told = retrier.call(lambda: store.stored_segments(name))
    if stored.etag is not None and wanted is not None and not _is_other_cut(told, sent):
        if stored.etag != wanted:
            raise _mismatch(store, name, f"its ETag is {stored.etag}, it should be {wanted}")
    elif told is None:
        _read_segments(store, name, receipt, retrier, check)
    if told is not None:
        _compare(store, name, told, receipt)


def readback(
    store: ObjectStore,
    name: str,
    receipt: Receipt,
    retrier: Retrier,
    *,
    connections: int,
    see: Callable[[int, bytes], None],
) -> str:
    """Read everything; returns the sha256 of the object.

    ``see`` gets each range in order, right by its segment's MD5 once ``readback`` returned; it may
    raise.  Raises ``StoreError`` ``object-mismatch`` naming the first segment that is wrong.
    """
    whole = hashlib.sha256()
    cuts = [(int(s["offset"]), int(s["size"]), str(s["md5"])) for s in receipt.segments]

    def fetch(part: tuple[int, int]) -> bytes:
        return retrier.call(lambda: store.read_range(name, *part))

    with ThreadPoolExecutor(connections, "readback") as pool:
        for number, (start, size, md5) in enumerate(cuts):
            found = hashlib.md5(usedforsecurity=False)
            for offset, data in _ordered(pool, fetch, start, size, connections):
                found.update(data)
                whole.update(data)
                see(offset, data)
            if found.hexdigest() != md5:
                raise _Wrong(number)
    return whole.hexdigest()

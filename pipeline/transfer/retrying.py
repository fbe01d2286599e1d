"""A store whose every request is repeated while its failure is temporary: what the engine works with.

    caller ──▶ Retrying.stat ──▶ Retrier ──▶ store.stat
                                    ▲  │ TemporaryStoreError: wait, once more
                                    └──┘

``together`` repeats several requests as one, where a repetition must look before it acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.stage import Cancellation
from pipeline.transfer.protocol import (
    OCTETS,
    ObjectStore,
    Payload,
    StoredObject,
    StoredSegment,
    StoreLimits,
    Unfinished,
    Upload,
)
from pipeline.transfer.retry import Retrier, RetryPolicy

T = TypeVar("T")


class Retrying:
    """An ``ObjectStore`` around another; each method keeps the contract written there."""

    def __init__(
        self,
        store: ObjectStore,
        policy: RetryPolicy,
        cancellation: Cancellation,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.place = store.place
        self.connections = store.connections
        self.keeps_holes = store.keeps_holes
        self.wants_sha256 = store.wants_sha256
        self._store = store
        self._again = Retrier(policy, cancellation, tell=tell)
        self._first = Retrier(policy.short(), cancellation, tell=tell)

    def together(self, action: Callable[[ObjectStore], T]) -> T:
        """Do something with the bare store, all of it again after a temporary failure."""
        return self._again.call(lambda: action(self._store))

    def once(self, action: Callable[[ObjectStore], T]) -> T:
        """Do something with the bare store; nobody waits for another try."""
        return action(self._store)

    @property
    def limits(self) -> StoreLimits:
        """Of the store."""
        return self._again.call(lambda: self._store.limits)

    def url(self, name: str) -> str:
        """Asks nobody."""
        return self._store.url(name)

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """The first contact: somebody waits in front of the screen, so it gives up sooner."""
        self._first.call(lambda: self._store.prepare(create=create, size=size))

    def stat(self, name: str) -> StoredObject | None:
        """Repeated."""
        return self._again.call(lambda: self._store.stat(name))

    def begin(
        self,
        name: str,
        upload_id: str,
        size: int,
        segment_size: int,
        token: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = OCTETS,
    ) -> Upload:
        """Repeated: it is idempotent."""
        return self._again.call(
            lambda: self._store.begin(
                name,
                upload_id,
                size,
                segment_size,
                token,
                metadata=metadata,
                content_type=content_type,
            )
        )

    def put_segment(
        self, upload: Upload, payload: Payload, *, replace: bool = False
    ) -> StoredSegment:
        """Repeated without a look whether the first attempt arrived."""
        return self._again.call(lambda: self._store.put_segment(upload, payload, replace=replace))

    def renew(self, upload: Upload, owner: str) -> None:
        """Repeated."""
        self._again.call(lambda: self._store.renew(upload, owner))

    def release(self, upload: Upload) -> None:
        """Repeated."""
        self._again.call(lambda: self._store.release(upload))

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """Repeated."""
        return self._again.call(lambda: self._store.list_segments(upload))

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """Repeated."""
        return self._again.call(lambda: self._store.stat_segment(upload, number))

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """Asks nobody."""
        return self._store.expected_etag(segments)

    def commit(
        self, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
    ) -> StoredObject:
        """Repeated: a repeated commit finds the object that is its own."""
        return self._again.call(lambda: self._store.commit(upload, segments, replace=replace))

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """Repeated."""
        return self._again.call(lambda: self._store.stored_segments(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Repeated."""
        return self._again.call(lambda: self._store.read_range(name, offset, length))

    def discard(self, upload: Upload) -> None:
        """Repeated."""
        self._again.call(lambda: self._store.discard(upload))

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Repeated."""
        return self._again.call(self._store.unfinished)

    def delete(self, name: str) -> None:
        """Repeated."""
        self._again.call(lambda: self._store.delete(name))

    def close(self) -> None:
        """Close the store."""
        self._store.close()

"""A server's object, asked again while its failure may pass: ``pipeline.remote.source.Origin``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from pipeline.source import RemoteIdentity
from pipeline.stage import Cancellation
from pipeline.stores.sources.clients import Clients
from pipeline.transfer.retry import Retrier, RetryPolicy

Pace: TypeAlias = Callable[[int], None]
"""Called with a number of bytes before they are asked for or taken; waits where a rate is to be kept."""


def unpaced(length: int) -> None:
    """No rate is to be kept."""


class Once(Protocol):
    """A server's object; every method makes one attempt, and raises as ``Origin`` does."""

    by_ranges: bool

    def look(self) -> RemoteIdentity:
        """What the server says of it now; finds ``by_ranges`` out."""
        ...

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """Exactly these bytes of what is known."""
        ...

    def pieces(self, known: RemoteIdentity) -> Iterator[bytes]:
        """All of it, by one request."""
        ...

    def close(self) -> None:
        """Close what is its own."""
        ...


class Repeating:
    """See the module."""

    def __init__(
        self,
        once: Once,
        policy: RetryPolicy,
        stop: Cancellation,
        *,
        clients: Clients | None = None,
        pace: Pace = unpaced,
    ) -> None:
        """``clients``: closed with it.  ``pace``: see ``open_source``."""
        self._once = once
        self._pace = pace
        self._clients = clients
        self._patient = Retrier(policy, stop)
        self._retrier = Retrier(policy.short(), stop)  # until it was there once

    @property
    def by_ranges(self) -> bool:
        """See ``Origin``."""
        return self._once.by_ranges

    def look(self) -> RemoteIdentity:
        """See ``Origin``."""
        found = self._retrier.call(self._once.look)
        self._retrier = self._patient
        return found

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """See ``Origin``."""

        def attempt() -> bytes:
            self._pace(length)
            return self._once.read(known, offset, length)

        return self._retrier.call(attempt)

    def whole(self, known: RemoteIdentity, take: Callable[[Iterator[bytes]], None]) -> None:
        """See ``Origin``."""
        self._retrier.call(lambda: take(self._paced(self._once.pieces(known))))

    def _paced(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._pace(len(piece))
            yield piece

    def close(self) -> None:
        """See ``Origin``."""
        self._once.close()
        if self._clients is not None:
            self._clients.close()

"""Object stores: the only room that may open a network connection.

``open_store`` is the door; ``transfer.upload`` moves an artifact into what it returns.
"""

from __future__ import annotations

from pipeline.stores.destination import Destination, parse
from pipeline.transfer.protocol import ObjectStore
from pipeline.transfer.retry import Policy

__all__ = ["open_store", "parse"]


def open_store(destination: str | Destination, *, policy: Policy | None = None) -> ObjectStore:
    """The store behind a destination.  Opens no connection yet; ``prepare`` does.

    Raises ``UsageError`` for a malformed destination, or when no credentials are configured.
    """
    place = parse(destination) if isinstance(destination, str) else destination
    policy = policy or Policy.from_environment()
    if place.scheme == "swift":
        from pipeline.stores.swift.store import SwiftStore

        return SwiftStore(place, policy)
    if place.scheme == "s3":
        from pipeline.stores.s3.store import S3Store

        return S3Store(place, policy)
    from pipeline.stores.local.store import LocalStore

    return LocalStore(place)

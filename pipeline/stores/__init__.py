"""Object stores: the only room that may open a network connection.

``open_store`` is the door; ``transfer.upload`` moves an artifact into what it returns.
"""

from __future__ import annotations

from pipeline.stores.destination import parse
from pipeline.stores.location import Destination
from pipeline.stores.schemes import SCHEMES
from pipeline.transfer.protocol import ObjectStore
from pipeline.transfer.retry import RetryPolicy

__all__ = ["open_store", "parse"]


def open_store(destination: str | Destination, *, policy: RetryPolicy | None = None) -> ObjectStore:
    """The store behind a destination.  Opens no connection yet; ``prepare`` does.

    Raises ``UsageError`` for a malformed destination, or when no credentials are configured.
    """
    place = parse(destination) if isinstance(destination, str) else destination
    return SCHEMES[place.scheme].open(place, policy or RetryPolicy.from_environment())

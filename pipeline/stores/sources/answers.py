"""What objects of all kinds of servers share: all of one by ranges, and what is said when it is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.errors import SourceError, TemporaryStoreError
from pipeline.source import RemoteIdentity

PIECE = 1 << 20
"""Bytes that are asked for or taken at once."""


def by_ranges(
    read: Callable[[RemoteIdentity, int, int], bytes], known: RemoteIdentity
) -> Iterator[bytes]:
    """All of an object, one range after the other."""
    size = known.size or 0
    for at in range(0, size, PIECE):
        yield read(known, at, min(PIECE, size - at))


def missing(url: str) -> SourceError:
    """The error for an address where nothing is."""
    return SourceError(
        "source-missing",
        f"there is nothing at {url}",
        hint="check the address; of a store also its region and account",
    )


def short(url: str, got: int, wanted: int, offset: int) -> TemporaryStoreError:
    """The error for an answer that ended early."""
    return TemporaryStoreError(
        "store-short-read", f"{url} gave {got} of {wanted} bytes at offset {offset}"
    )

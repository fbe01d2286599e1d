"""What is said of an object that is not there, or of which less came than was asked for."""

from __future__ import annotations

from pipeline.errors import SourceError, TemporaryStoreError


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

"""Sources by address: ``s3://bucket/key``, ``swift://container/object``, ``http(s)://host/path``.

    open_source(job) ─┬─ a path ─────▶ Source, the local file
                      └─ an address ─▶ RemoteSource over an object of this room, which is asked again
                                       while its failure may pass

Credentials are those of the stores, from the environment; by http those of ``~/.netrc``.
"""

from __future__ import annotations

from pipeline.errors import UsageError
from pipeline.model import Job
from pipeline.remote.source import RemoteSource
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.stores.sources.address import Address, is_address, parse
from pipeline.stores.sources.repeating import Once, Repeating
from pipeline.transfer.retry import RetryPolicy

__all__ = ["is_address", "open_address", "open_source", "parse"]


def open_source(job: Job, stop: Cancellation) -> Source:
    """A job's source.  Raises ``SourceError``, ``UsageError`` and ``StoreError``."""
    if is_address(job.source):
        return open_address(job.source, stop)
    return Source.open(job.source, allow_device=job.options.allow_device)


def open_address(text: str, stop: Cancellation) -> RemoteSource:
    """The image at an address.  Asks its server once; raises what ``open_source`` does."""
    place, policy = parse(text), RetryPolicy.from_environment()
    origin = Repeating(_object(place, policy), policy, stop)
    try:
        return RemoteSource(text, origin)
    except BaseException:
        origin.close()
        raise


def _object(place: Address, policy: RetryPolicy) -> Once:
    """The libraries of one kind of server are loaded only where there is one."""
    if place.destination is None:
        from pipeline.stores.sources.http import HttpObject

        return HttpObject(place.url, policy)
    if place.scheme == "swift":
        from pipeline.stores.sources.swift import SwiftObject

        return SwiftObject(place, policy)
    if place.scheme == "s3":
        from pipeline.stores.sources.s3 import S3Object

        return S3Object(place, policy)
    raise UsageError("address-malformed", f"nothing is read from {place.scheme}://")

"""Sources by address: ``s3://bucket/key``, ``swift://container/object``, ``http(s)://host/path``.

    open_source(job) ─┬─ a path ─────▶ Source, the local file
                      └─ an address ─▶ RemoteSource over an object of this room, which is asked again
                                       while its failure may pass

Credentials are those of the stores, from the environment; by http those of ``~/.netrc``.
"""

from __future__ import annotations

from pipeline.model import Job
from pipeline.remote.source import RemoteSource
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.stores.sources.address import Address, is_address, parse
from pipeline.stores.sources.clients import Clients
from pipeline.stores.sources.repeating import Once, Pace, Repeating, unpaced

__all__ = ["Clients", "is_address", "open_address", "open_source", "parse"]


def open_source(job: Job, stop: Cancellation, pace: Pace = unpaced) -> Source:
    """A job's source.  Raises ``SourceError``, ``UsageError`` and ``StoreError``.

    ``pace`` is called with a number of bytes before a server is asked for them.
    """
    if is_address(job.source):
        return open_address(job.source, stop, pace=pace)
    return Source.open(job.source, allow_device=job.options.allow_device)


def open_address(
    text: str, stop: Cancellation, clients: Clients | None = None, pace: Pace = unpaced
) -> RemoteSource:
    """The image at an address.  Asks its server once; raises what ``open_source`` does.

    ``clients``: of somebody who opens many, and closes them himself.
    """
    place = parse(text)
    mine = clients or Clients()
    closed_too = None if clients else mine
    origin = Repeating(_object(place, mine), mine.policy, stop, clients=closed_too, pace=pace)
    try:
        return RemoteSource(text, origin)
    except BaseException:
        origin.close()
        raise


def _object(place: Address, clients: Clients) -> Once:
    """The libraries of one kind of server are loaded only where there is one."""
    if place.destination is None:
        from pipeline.stores.sources.http import HttpObject

        return HttpObject(place.url, clients.policy)
    if place.scheme == "swift":
        from pipeline.stores.sources.swift import SwiftObject

        return SwiftObject(place, clients.swift())
    from pipeline.stores.sources.s3 import S3Object

    return S3Object(place, clients.s3())

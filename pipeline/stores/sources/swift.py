"""An object in Swift, of any kind: a large one reads as a whole.

https://docs.openstack.org/api-ref/object-store/#get-object-content-and-metadata
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.remote.source import changed
from pipeline.source import RemoteIdentity
from pipeline.stores import responses
from pipeline.stores.sources.address import Address
from pipeline.stores.sources.answers import PIECE, by_ranges, missing, short
from pipeline.stores.swift.client import Client

_CHANGED = object()


class SwiftObject:
    """``Once`` by swiftclient."""

    by_ranges = True

    def __init__(self, place: Address, client: Client) -> None:
        self._place = place
        self._client = client

    def look(self) -> RemoteIdentity:
        """HEAD."""
        place, action = self._place, f"looking at {self._place.url}"
        told = self._client.call(
            action, lambda c: c.head_object(place.container, place.key), missing=None
        )
        if told is None:
            raise missing(place.url)
        head = responses.read(action, told, responses.Head)
        return RemoteIdentity(
            place.url, head.content_length, head.checksum or "", head.last_modified
        )

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """GET with a range."""
        place = self._place
        wanted = {
            "Range": f"bytes={offset}-{offset + length - 1}",
            "If-Match": f'"{known.etag}"',
        }

        def get(connection: Any) -> bytes:
            _, body = connection.get_object(
                place.container, place.key, headers=wanted, resp_chunk_size=PIECE
            )
            return _taken(body, length)

        action = f"reading {length} bytes at {offset} of {place.url}"
        data = self._client.call(action, get, missing=None, taken=_CHANGED, reading=True)
        if data is None:
            raise missing(place.url)
        if data is _CHANGED:
            raise changed(place.url, known)
        if len(data) != length:
            raise short(place.url, len(data), length, offset)
        return bytes(data)

    def pieces(self, known: RemoteIdentity) -> Iterator[bytes]:
        """By ranges, one after the other."""
        return by_ranges(self.read, known)

    def close(self) -> None:
        """The client is not its own."""


def _taken(body: Any, most: int) -> bytes:
    """No more than ``most`` bytes and one piece, whatever comes."""
    parts, got = [], 0
    for piece in body:
        parts.append(piece)
        got += len(piece)
        if got > most:
            break
    return b"".join(parts)

"""An object in S3.  https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html ."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any

from pipeline.remote.source import changed
from pipeline.source import RemoteIdentity
from pipeline.stores import responses
from pipeline.stores.s3.client import Client, S3Error
from pipeline.stores.sources.address import Address
from pipeline.stores.sources.answers import by_ranges, missing, short


class S3Object:
    """``Once`` by boto3."""

    by_ranges = True

    def __init__(self, place: Address, client: Client) -> None:
        self._place = place
        self._client = client

    def look(self) -> RemoteIdentity:
        """HeadObject."""
        place, action = self._place, f"looking at {self._place.url}"
        told = self._client.call(
            action, lambda s3: s3.head_object(Bucket=place.container, Key=place.key), missing=None
        )
        if told is None:
            raise missing(place.url)
        head = responses.read(action, told, responses.S3Head)
        when = format_datetime(head.LastModified)
        return RemoteIdentity(place.url, head.ContentLength, head.ETag, when)

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """GetObject with a range."""
        place = self._place
        wanted = {
            "Bucket": place.container,
            "Key": place.key,
            "Range": f"bytes={offset}-{offset + length - 1}",
            "IfMatch": known.etag,
        }

        def get(s3: Any) -> bytes:
            data: bytes = s3.get_object(**wanted)["Body"].read(length + 1)
            return data

        try:
            action = f"reading {length} bytes at {offset} of {place.url}"
            data = self._client.call(action, get, missing=None)
        except S3Error as error:
            if error.s3_code == "PreconditionFailed":
                raise changed(place.url, known) from None
            raise
        if data is None:
            raise missing(place.url)
        if len(data) != length:
            raise short(place.url, len(data), length, offset)
        return bytes(data)

    def pieces(self, known: RemoteIdentity) -> Iterator[bytes]:
        """By ranges, one after the other."""
        return by_ranges(self.read, known)

    def close(self) -> None:
        """The client is not its own."""

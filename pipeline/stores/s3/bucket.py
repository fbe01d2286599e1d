"""A bucket's objects, and the multipart uploads under way in it, for one destination.

What the store, its commit and its markers share: requests with their keys and pages, no policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

from pipeline.stores import responses
from pipeline.stores.location import Destination
from pipeline.stores.s3.client import Client
from pipeline.transfer.protocol import StoredObject, StoredSegment, Upload, UploadLostError

ATTEMPT_KEY = "imgprep-attempt"
"""The metadata key that tells of which multipart upload an object was made."""


class Bucket:
    """Requests about one destination."""

    def __init__(self, destination: Destination, client: Client) -> None:
        self.destination = destination
        self.name = destination.container
        self.client = client
        self.opaque_etags = False  # SSE-KMS: learned from the answers

    def url(self, name: str) -> str:
        """``s3://bucket/prefix/name``."""
        return f"s3://{self.name}/{self.destination.key(name)}"

    def place(self, name: str) -> dict[str, str]:
        """Bucket and key, as boto3 takes them."""
        return {"Bucket": self.name, "Key": self.destination.key(name)}

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        found = self.head(self.destination.key(name))
        if found is None:
            return None
        metadata = {
            key.lower(): unquote(value)
            for key, value in found.Metadata.items()
            if key.lower() != ATTEMPT_KEY
        }
        etag = found.ETag.strip('"') or None
        return StoredObject(name, found.ContentLength, etag, found.ContentType, metadata)

    def head(self, key: str) -> responses.S3Head | None:
        """HeadObject of a key; None when there is none."""
        action = f"looking at s3://{self.name}/{key}"
        found = self.client.call(
            action, lambda s3: s3.head_object(Bucket=self.name, Key=key), missing=None
        )
        return None if found is None else responses.read(action, found, responses.S3Head)

    def delete(self, key: str) -> None:
        """DeleteObject."""
        self.client.call(
            f"deleting s3://{self.name}/{key}",
            lambda s3: s3.delete_object(Bucket=self.name, Key=key),
            missing=None,
        )

    def parts(self, upload: Upload) -> list[responses.Part]:
        """ListParts, all pages; ``UploadLostError`` when the store forgot the upload."""
        return list(self.pages(upload, 0, 1000))

    def pages(self, upload: Upload, after: int, most: int) -> Iterator[responses.Part]:
        """ListParts behind part ``after``, ``most`` with a request."""
        action = f"listing the segments of {self.url(upload.name)}"
        while True:
            told = self.client.call(
                action,
                partial(_list_parts, self.place(upload.name), native_id(upload), after, most),
                of_upload=True,
            )
            page = responses.read(action, told, responses.PartsPage)
            yield from page.Parts
            if not page.IsTruncated:
                return
            if page.NextPartNumberMarker <= after:
                raise responses.misunderstood(action, "the same page again and again")
            after = page.NextPartNumberMarker

    def is_known(self, upload: Upload) -> bool:
        """Whether the store remembers this multipart upload."""
        try:
            next(self.pages(upload, 0, 1), None)
        except UploadLostError:
            return False
        return True

    def abort(self, upload: Upload) -> None:
        """AbortMultipartUpload; one that is forgotten is as good."""
        with suppress(UploadLostError):
            self.client.call(
                f"aborting the upload of {self.url(upload.name)}",
                lambda s3: s3.abort_multipart_upload(
                    **self.place(upload.name), UploadId=native_id(upload)
                ),
                of_upload=True,
            )

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The MD5 of the parts' MD5s in binary, a dash, and their number."""
        if self.opaque_etags:
            return None
        joined = b"".join(bytes.fromhex(segment.md5 or "") for segment in segments)
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(segments)}"


def native_id(upload: Upload) -> str:
    """S3's UploadId: the token without the mark of the attempt."""
    return upload.token.partition(".")[2]


def _list_parts(place: dict[str, str], token: str, after: int, most: int, s3: Any) -> Any:
    return s3.list_parts(**place, UploadId=token, PartNumberMarker=after, MaxParts=most)

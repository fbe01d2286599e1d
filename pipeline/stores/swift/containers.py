"""The two containers of a destination: requests about their objects, and the names of segments.

What the store and its large objects share: requests, their pages, headers as facts, no policy.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pipeline.errors import StoreError
from pipeline.pool import Pool
from pipeline.stores import responses
from pipeline.stores.location import SEGMENTS, Destination
from pipeline.stores.swift.client import Client, Sending
from pipeline.transfer.protocol import UPLOAD_ID, Payload, StoredObject, StoredSegment, Upload

META = "x-object-meta-"
_CEPH = f"{META}static-large-object"  # Ceph's gateway adds this one
PAGE = 10_000
_EXPIRES_S = 7 * 24 * 3600  # a segment of no object, so long after it was sent
_LEASE_EXPIRES_S = 24 * 3600
_UPLOAD = rf"(?P<name>.+)/(?P<id>{UPLOAD_ID.pattern})"
SEGMENT_NAME = re.compile(rf"{_UPLOAD}/(?P<number>\d{{8}})")
LEASE_NAME = re.compile(rf"{_UPLOAD}\.lease")


class Containers:
    """Requests about one destination."""

    def __init__(self, destination: Destination, client: Client, pool: Pool) -> None:
        self.destination = destination
        self.objects = destination.container
        self.segments = destination.container + SEGMENTS
        self.client = client
        self.pool = pool
        self._lock = threading.Lock()
        self._info: responses.Capabilities | None = None

    def url(self, name: str) -> str:
        """``swift://container/prefix/name``."""
        return f"swift://{self.objects}/{self.destination.key(name)}"

    @property
    def has_slo(self) -> bool:
        """Static large objects; without them the manifest is a dynamic one."""
        return self.info().slo is not None

    def info(self) -> responses.Capabilities:
        """What the store says of itself; Swift's defaults where it does not."""
        with self._lock:
            if self._info is None:
                action = "asking for the store's limits"
                told = self.client.call(action, _capabilities)
                self._info = responses.read(action, told or {"slo": {}}, responses.Capabilities)
            return self._info

    def require(self) -> Mapping[str, str]:
        """The headers of the container of objects; ``StoreError`` when there is none."""
        found: Mapping[str, str] | None = self.client.call(
            f"looking at container {self.objects}",
            lambda c: c.head_container(self.objects),
            missing=None,
        )
        if found is None:
            raise StoreError(
                "container-missing",
                f"there is no container {self.objects!r} in this account and region",
                hint="check its name and OS_REGION_NAME, or give --create",
            )
        return found

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        headers = self._headers(self.objects, self.destination.key(name))
        if headers is None:
            return None
        metadata = {
            key[len(META) :]: value  # swiftclient decoded it
            for key, value in headers.items()
            if key.startswith(META) and key != _CEPH
        }
        found = responses.read(f"looking at {self.url(name)}", headers, responses.Head)
        return StoredObject(
            name, found.content_length, found.checksum, found.content_type, metadata
        )

    def head(self, container: str, name: str) -> responses.Head | None:
        """HeadObject; None when there is none."""
        headers = self._headers(container, name)
        action = f"looking at {container}/{name}"
        return None if headers is None else responses.read(action, headers, responses.Head)

    def _headers(self, container: str, name: str) -> Mapping[str, str] | None:
        found: Mapping[str, str] | None = self.client.call(
            f"looking at {container}/{name}", lambda c: c.head_object(container, name), missing=None
        )
        return found

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """The listing of the upload's prefix."""
        found = {}
        for item in self.listing(self.segments, self.segment_prefix(upload)):
            match = SEGMENT_NAME.fullmatch(item.name)
            if match is not None:
                number = int(match["number"])
                address = self.address(item.name)
                found[number] = StoredSegment(number, item.bytes, item.hash, address)
        return found

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """HEAD of the segment."""
        name = self.segment_name(upload, number)
        found = self.head(self.segments, name)
        if found is None:
            return None
        return StoredSegment(number, found.content_length, found.checksum, self.address(name))

    def put_segment(self, upload: Upload, payload: Payload, *, replace: bool) -> str | None:
        """PUT one segment that expires; the MD5 of what arrived, None when one is there already."""
        name = self.segment_name(upload, payload.number)
        headers = {"X-Delete-After": str(_EXPIRES_S)} | ({} if replace else {"If-None-Match": "*"})
        etag: str | None = self.client.call(
            f"sending segment {payload.number}",
            lambda c: c.put_object(
                self.segments,
                name,
                Sending(payload),
                content_length=payload.size,
                etag=payload.md5,
                content_type="application/octet-stream",
                headers=headers,
            ),
            taken=None,
        )
        return etag

    def put_lease(self, upload: Upload, owner: str) -> None:
        """Write the lease anew, which gives it the store's time."""
        name = self.lease_name(upload)
        content = json.dumps({"owner": owner}).encode()
        headers = {"X-Delete-After": str(_LEASE_EXPIRES_S)}
        self.client.call(
            f"renewing the lease of {self.url(upload.name)}",
            lambda c: c.put_object(self.segments, name, content, headers=headers),
        )

    def lease(self, name: str) -> tuple[str, float] | None:
        """Owner and age of a lease by its name in the segments' container."""
        action = f"looking at {self.address(name)}"
        answer = self.client.call(action, lambda c: c.get_object(self.segments, name), missing=None)
        if answer is None:
            return None
        headers, data = answer
        return responses.read_json(action, data, responses.Marker).owner, responses.age_s(headers)

    def segment_prefix(self, upload: Upload) -> str:
        """Where an upload's segments are."""
        return f"{self.destination.key(upload.name)}/{upload.id}/"

    def segment_name(self, upload: Upload, number: int) -> str:
        """A segment's name in the segments' container."""
        return f"{self.segment_prefix(upload)}{number:08d}"

    def lease_name(self, upload: Upload) -> str:
        """Beside the segments and not among them: a dynamic manifest takes all that is there."""
        return f"{self.destination.key(upload.name)}/{upload.id}.lease"

    def listing(self, container: str, prefix: str) -> Iterator[responses.Listed]:
        """Everything under a prefix, page by page; nothing when the container is missing."""
        marker, action = "", f"listing container {container}"
        while True:
            _, told = self.client.call(
                action, partial(_page, container, prefix, marker), missing=({}, [])
            )
            page = responses.read(action, told, tuple[responses.Listed, ...])
            yield from page
            if not page:
                return
            if page[-1].name == marker:
                raise responses.misunderstood(action, "the same page again and again")
            marker = page[-1].name

    def delete_all(self, container: str, names: Iterable[str]) -> None:
        """Delete objects; one that is gone already is as good."""

        def remove(name: str) -> None:
            self.client.call(
                f"deleting {container}/{name}",
                lambda c: c.delete_object(container, name),
                missing=None,
            )

        self.pool.each(remove, names)

    def address(self, name: str) -> str:
        """Of a segment: with its container, as manifests name it."""
        return f"{self.segments}/{name}"


def _capabilities(connection: Any) -> Any:
    from swiftclient.client import ClientException

    try:
        found = connection.get_capabilities()
    except ClientException as error:
        status = error.http_status or 0
        if status in (408, 429) or status >= 500:
            raise
        return {}
    return found


def _page(container: str, prefix: str, marker: str, connection: Any) -> Any:
    return connection.get_container(container, prefix=prefix, marker=marker, limit=PAGE)

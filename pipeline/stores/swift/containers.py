"""The two containers of a destination: requests about their objects, and the names of segments.

What the store and its large objects share: requests, their pages, headers as facts, no policy.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pipeline.errors import StoreError
from pipeline.stores.location import SEGMENTS, Destination
from pipeline.stores.swift.client import Client
from pipeline.transfer.pool import Pool
from pipeline.transfer.protocol import UPLOAD_ID, StoredObject, StoredSegment, Upload

META = "x-object-meta-"
_CEPH = f"{META}static-large-object"  # Ceph's gateway adds this one
PAGE = 10_000
SEGMENT_NAME = re.compile(rf"(?P<name>.+)/(?P<id>{UPLOAD_ID.pattern})/(?P<number>\d{{8}})")


class Containers:
    """Requests about one destination."""

    def __init__(self, destination: Destination, client: Client, pool: Pool) -> None:
        self.destination = destination
        self.objects = destination.container
        self.segments = destination.container + SEGMENTS
        self.client = client
        self.pool = pool
        self._lock = threading.Lock()
        self._info: Mapping[str, Any] | None = None

    def url(self, name: str) -> str:
        """``swift://container/prefix/name``."""
        return f"swift://{self.objects}/{self.destination.key(name)}"

    @property
    def has_slo(self) -> bool:
        """Static large objects; without them the manifest is a dynamic one."""
        info = self.info()
        return "slo" in info or not info

    def info(self) -> Mapping[str, Any]:
        """What the store says of itself; {} where it does not."""
        with self._lock:
            if self._info is None:
                self._info = self.client.call("asking for the store's limits", _capabilities)
            found: Mapping[str, Any] = self._info
            return found

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
        headers = self.head(self.objects, self.destination.key(name))
        if headers is None:
            return None
        metadata = {
            key[len(META) :]: value  # swiftclient decoded it
            for key, value in headers.items()
            if key.startswith(META) and key != _CEPH
        }
        return StoredObject(
            name,
            int(headers.get("content-length", 0)),
            _etag(headers),
            headers.get("content-type"),
            metadata,
        )

    def head(self, container: str, name: str) -> Mapping[str, str] | None:
        """HeadObject; None when there is none."""
        found: Mapping[str, str] | None = self.client.call(
            f"looking at {container}/{name}", lambda c: c.head_object(container, name), missing=None
        )
        return found

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """The listing of the upload's prefix."""
        found = {}
        for item in self.listing(self.segments, self.segment_prefix(upload)):
            match = SEGMENT_NAME.fullmatch(item["name"])
            if match is not None:
                number = int(match["number"])
                address = self.address(item["name"])
                found[number] = StoredSegment(number, item["bytes"], item["hash"], address)
        return found

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """HEAD of the segment."""
        name = self.segment_name(upload, number)
        headers = self.head(self.segments, name)
        if headers is None:
            return None
        size = int(headers.get("content-length", 0))
        return StoredSegment(number, size, _etag(headers), self.address(name))

    def segment_prefix(self, upload: Upload) -> str:
        """Where an upload's segments are."""
        return f"{self.destination.key(upload.name)}/{upload.id}/"

    def segment_name(self, upload: Upload, number: int) -> str:
        """A segment's name in the segments' container."""
        return f"{self.segment_prefix(upload)}{number:08d}"

    def listing(self, container: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Everything under a prefix, page by page; nothing when the container is missing."""
        marker = ""
        while True:
            page: list[dict[str, Any]]
            _, page = self.client.call(
                f"listing container {container}",
                partial(_page, container, prefix, marker),
                missing=({}, []),
            )
            yield from (item for item in page if "name" in item)
            if not page:
                return
            marker = page[-1].get("name", "")

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


def _capabilities(connection: Any) -> Mapping[str, Any]:
    from swiftclient.client import ClientException

    try:
        found = connection.get_capabilities()
    except ClientException as error:
        status = error.http_status or 0
        if status in (408, 429) or status >= 500:
            raise
        return {}
    return found if isinstance(found, dict) else {}


def _page(container: str, prefix: str, marker: str, connection: Any) -> Any:
    return connection.get_container(container, prefix=prefix, marker=marker, limit=PAGE)


def _etag(headers: Mapping[str, str]) -> str | None:
    return headers.get("etag", "").strip('"') or None

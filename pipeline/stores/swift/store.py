"""OpenStack Swift (Rackspace Cloud Files, Ceph's gateway): segments, then a manifest over them.

    container             disk.vhd                                    the manifest: SLO, or DLO
    container_segments    disk.vhd/imgprep-<job>-<content>/00000000   the segments
                          disk.vhd/imgprep-<job>-<content>/00000001

Segments expire by themselves (``X-Delete-After``) until the commit: that is taken away, then the
manifest is put, so a committed object never decays.  Listings lag behind; what is missing in one is
looked at by HEAD before anything is concluded.

https://docs.openstack.org/swift/latest/overview_large_objects.html
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores.destination import SEGMENTS, Destination
from pipeline.stores.swift import manifest
from pipeline.stores.swift.auth import Session, from_environment
from pipeline.stores.swift.client import Client, Sending
from pipeline.transfer.protocol import (
    OCTETS,
    UPLOAD_ID,
    Body,
    Limits,
    Scheme,
    StoredObject,
    StoredSegment,
    Unfinished,
    Upload,
    marked,
    slo_etag,
)
from pipeline.transfer.retry import Policy

_EXPIRES_S = 7 * 24 * 3600  # after this an interrupted upload starts from nothing
_META = "x-object-meta-"
_CEPH = f"{_META}static-large-object"  # Ceph's gateway adds this one
_PAGE = 10_000
_MIB = 1 << 20
_SEGMENT_NAME = re.compile(rf"(?P<name>.+)/(?P<id>{UPLOAD_ID.pattern})/(?P<number>\d{{8}})")


class SwiftStore:
    """The ``swift://`` store."""

    scheme: Scheme = "swift"
    keeps_holes = False
    wants_sha256 = False

    def __init__(self, destination: Destination, policy: Policy) -> None:
        environment = dict(os.environ)
        self.destination = destination
        self.container = destination.container
        self.segments = destination.container + SEGMENTS
        self.connections = min(max(2 * (os.cpu_count() or 1), 4), 8)
        session = Session(from_environment(policy.stall_s, environment))
        self.client = Client(session, stall_s=policy.stall_s)
        self._lock = threading.Lock()
        self._info: Mapping[str, Any] | None = None

    @property
    def limits(self) -> Limits:
        """From ``/info``; where that tells nothing, Swift's defaults."""
        info = self.info()
        swift, slo = info.get("swift", {}), info.get("slo", {})
        longest = int(swift.get("max_object_name_length", 1024))
        most = int(swift.get("max_file_size", 5 * (1 << 30) + 2))
        return Limits(
            min_segment=int(slo.get("min_segment_size", 1)),
            max_segment=max(most // _MIB * _MIB, min(most, _MIB)),
            preferred_segment=128 * _MIB,
            max_segments=int(slo.get("max_manifest_segments", 1000)) if self.has_slo else _PAGE,
            max_name_bytes=longest - 64 - len(self.destination.prefix.encode()),
        )

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

    def url(self, name: str) -> str:
        """``swift://container/prefix/name``."""
        return f"swift://{self.container}/{self.destination.key(name)}"

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """Log in, ask for limits, look at the container and the quotas."""
        self.client.login()
        self.info()
        action = f"looking at container {self.container}"
        headers = self.client.call(action, lambda c: c.head_container(self.container), missing=None)
        if headers is None and not create:
            raise StoreError(
                "container-missing",
                f"there is no container {self.container!r} in this account and region",
                hint="check its name and OS_REGION_NAME, or give --create",
            )
        if headers is None:
            self._make_container(self.container)
        _require_room(f"container {self.container}", headers or {}, size)
        _require_room(f"container {self.segments}", self._numbers(self.segments), size)
        _require_room("the account", self._numbers(), size)

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        headers = self._head(self.container, self.destination.key(name))
        if headers is None:
            return None
        metadata = {
            key[len(_META) :]: value  # swiftclient decoded it
            for key, value in headers.items()
            if key.startswith(_META) and key != _CEPH
        }
        return StoredObject(
            name,
            int(headers.get("content-length", 0)),
            _etag(headers),
            headers.get("content-type"),
            metadata,
        )

    def begin(
        self,
        name: str,
        upload_id: str,
        size: int,
        segment_size: int,
        token: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = OCTETS,
    ) -> Upload:
        """Make the segments' container; the upload's place in it is its prefix."""
        del token
        self._require_segments_container()
        about = marked(metadata, upload_id)
        return Upload(name, upload_id, size, segment_size, "", about, content_type)

    def put_segment(self, upload: Upload, body: Body) -> StoredSegment:
        """PUT one segment, hashed while it is sent; a MD5 known from before is sent along."""
        name = self.segment_name(upload, body.number)
        etag = self.client.call(
            f"sending segment {body.number}",
            lambda c: c.put_object(
                self.segments,
                name,
                Sending(body),
                content_length=body.size,
                etag=body.md5,
                content_type="application/octet-stream",
                headers={"X-Delete-After": str(_EXPIRES_S)},
            ),
        )
        return StoredSegment(body.number, body.size, etag.strip('"') or None, self._address(name))

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """The listing of the upload's prefix."""
        found = {}
        for item in self.listing(self.segments, self.segment_prefix(upload)):
            match = _SEGMENT_NAME.fullmatch(item["name"])
            if match is not None:
                number = int(match["number"])
                address = self._address(item["name"])
                found[number] = StoredSegment(number, item["bytes"], item["hash"], address)
        return found

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """HEAD of the segment."""
        name = self.segment_name(upload, number)
        headers = self._head(self.segments, name)
        if headers is None:
            return None
        size = int(headers.get("content-length", 0))
        return StoredSegment(number, size, _etag(headers), self._address(name))

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The ETag of a large object, static or dynamic."""
        return slo_etag(segments)

    def commit(
        self, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
    ) -> StoredObject:
        """See ``swift_manifest``."""
        return manifest.commit(self, upload, segments, replace=replace)

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """The manifest's segments, with size and MD5 from the segments themselves."""
        return manifest.read(self, name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """GET with a range."""
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        key = self.destination.key(name)
        _, data = self.client.call(
            f"reading {length} bytes at {offset} of {self.url(name)}",
            lambda c: c.get_object(self.container, key, headers=wanted),
            reading=True,
        )
        if len(data) != length:
            raise TemporaryStoreError(
                "store-short-read",
                f"{self.url(name)} gave {len(data)} of {length} bytes at offset {offset}",
            )
        return bytes(data)

    def discard(self, upload: Upload) -> None:
        """Delete the segments, unless the object that is there is made of them."""
        items = list(self.listing(self.segments, self.segment_prefix(upload)))
        if not manifest.uses(self, upload.name, upload.id, items):
            self.delete_all(self.segments, [item["name"] for item in items])

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Groups of segments under an upload's name, without an object made of them.

        Somebody may have copied the manifest to another name: then its ETag tells it in the listing.
        """
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for item in self.listing(self.segments, self.destination.prefix):
            match = _SEGMENT_NAME.fullmatch(item["name"][len(self.destination.prefix) :])
            if match is not None:
                groups.setdefault((match["name"], match["id"]), []).append(item)
        objects = self.listing(self.container, "") if groups else ()
        made = {str(item.get("slo_etag", "")).strip('"') for item in objects}
        return tuple(
            _leftover(name, upload_id, items)
            for (name, upload_id), items in sorted(groups.items())
            if manifest.etag_of(items) not in made
            and not manifest.uses(self, name, upload_id, items)
        )

    def delete(self, name: str) -> None:
        """Delete the manifest, then its segments."""
        held = manifest.listed(self, name)
        key = self.destination.key(name)
        self.delete_all(self.container, [key])
        for address in held or ():
            container, _, segment = address.partition("/")
            self.delete_all(container, [segment])

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

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

    def parallel(self, work: Any, items: Iterable[Any]) -> list[Any]:
        """``work`` on every item, with as many connections as a transfer has."""
        with ThreadPoolExecutor(self.connections, "swift") as pool:
            return list(pool.map(work, items))

    def delete_all(self, container: str, names: Iterable[str]) -> None:
        """Delete objects; one that is gone already is as good."""

        def remove(name: str) -> None:
            self.client.call(
                f"deleting {container}/{name}",
                lambda c: c.delete_object(container, name),
                missing=None,
            )

        self.parallel(remove, names)

    def _head(self, container: str, name: str) -> Mapping[str, str] | None:
        found: Mapping[str, str] | None = self.client.call(
            f"looking at {container}/{name}", lambda c: c.head_object(container, name), missing=None
        )
        return found

    def _numbers(self, container: str = "") -> Mapping[str, str]:
        """The headers of a container or the account; {} where it is missing or may not be seen."""

        def head(connection: Any) -> Any:
            return connection.head_container(container) if container else connection.head_account()

        try:
            found: Mapping[str, str] = self.client.call(
                f"looking at container {container}" if container else "looking at the account",
                head,
                missing={},
            )
        except StoreError as error:
            if error.code != "store-forbidden":
                raise
            return {}
        return found

    def _address(self, name: str) -> str:
        return f"{self.segments}/{name}"

    def _require_segments_container(self) -> None:
        """Make it if it is missing; who may only write to containers needs it made by the owner."""
        try:
            self._make_container(self.segments)
        except StoreError as error:
            if error.code != "store-forbidden":
                raise
            if not self._numbers(self.segments):
                raise StoreError(
                    error.code,
                    error.message,
                    hint=f"this user may not make containers: the account's owner can make "
                    f"{self.segments} and give the rights to read and write there",
                ) from None

    def _make_container(self, name: str) -> None:
        self.client.call(f"creating container {name}", lambda c: c.put_container(name))


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
    return connection.get_container(container, prefix=prefix, marker=marker, limit=_PAGE)


def _etag(headers: Mapping[str, str]) -> str | None:
    return headers.get("etag", "").strip('"') or None


def _leftover(name: str, upload_id: str, items: list[dict[str, Any]]) -> Unfinished:
    match = UPLOAD_ID.fullmatch(upload_id)
    assert match is not None
    newest = max(str(item.get("last_modified", "")) for item in items)
    size = sum(int(item["bytes"]) for item in items)
    return Unfinished(name, upload_id, match["job"], size, len(items), newest)


def _require_room(place: str, headers: Mapping[str, str], size: int) -> None:
    kind = "container" if place.startswith("container") else "account"
    quota = headers.get(f"x-{kind}-meta-quota-bytes", "")
    used = headers.get(f"x-{kind}-bytes-used", "0")
    if quota.isdigit() and used.isdigit() and int(used) + size > int(quota):
        raise StoreError(
            "store-quota",
            f"the quota of {place} is {quota} bytes: {used} are used and {size} more are needed",
            hint="delete what is not needed, or ask for a larger quota",
        )

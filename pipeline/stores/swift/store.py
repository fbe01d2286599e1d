"""OpenStack Swift (Rackspace Cloud Files, Ceph's gateway): segments, then a manifest over them.

    container             disk.vhd                                    the manifest: SLO, or DLO
    container_segments    disk.vhd/imgprep-<job>-<content>/00000000   the segments
                          disk.vhd/imgprep-<job>-<content>/00000001
                          disk.vhd/imgprep-<job>-<content>.lease      while somebody works on it

Segments expire by themselves (``X-Delete-After``) until the commit: that is taken away, then the
manifest is put, so a committed object never decays.  Listings lag behind; what is missing in one is
looked at by HEAD before anything is concluded.

https://docs.openstack.org/swift/latest/overview_large_objects.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.pool import Pool
from pipeline.stores.location import Destination
from pipeline.stores.responses import Listed
from pipeline.stores.swift import large_object
from pipeline.stores.swift.auth import Session, from_environment
from pipeline.stores.swift.client import Client
from pipeline.stores.swift.containers import LEASE_NAME, PAGE, SEGMENT_NAME, Containers
from pipeline.transfer.protocol import (
    OCTETS,
    UPLOAD_ID,
    Payload,
    StoredObject,
    StoredSegment,
    StoreLimits,
    Unfinished,
    Upload,
    marked,
    slo_etag,
)
from pipeline.transfer.retry import RetryPolicy

_MIB = 1 << 20


class SwiftStore:
    """The ``swift://`` store."""

    place = "container"
    keeps_holes = False
    wants_sha256 = False

    def __init__(self, destination: Destination, policy: RetryPolicy) -> None:
        self.connections = min(max(2 * (os.cpu_count() or 1), 4), 8)
        session = Session(from_environment(policy.stall_s, dict(os.environ)))
        self.client = Client(session, stall_s=policy.stall_s)
        self.containers = Containers(destination, self.client, Pool(self.connections))

    @property
    def limits(self) -> StoreLimits:
        """From ``/info``; where that tells nothing, Swift's defaults."""
        info = self.containers.info()
        most = info.swift.max_file_size
        return StoreLimits(
            min_segment=max(info.slo.min_segment_size, 1) if info.slo else 1,
            max_segment=max(most // _MIB * _MIB, min(most, _MIB)),
            preferred_segment=128 * _MIB,
            max_segments=info.slo.max_manifest_segments if info.slo else PAGE,
            max_name_bytes=info.swift.max_object_name_length
            - 64
            - len(self.containers.destination.prefix.encode()),
        )

    def url(self, name: str) -> str:
        """``swift://container/prefix/name``."""
        return self.containers.url(name)

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """Log in, ask for limits, look at the container and the quotas."""
        self.client.login()
        self.containers.info()
        headers: Mapping[str, str] = {}
        try:
            headers = self.containers.require()
        except StoreError as error:
            if error.code != "container-missing" or not create:
                raise
            self._make_container(self.containers.objects)
        _require_room(f"container {self.containers.objects}", headers, size)
        _require_room(
            f"container {self.containers.segments}", self._numbers(self.containers.segments), size
        )
        _require_room("the account", self._numbers(), size)

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        return self.containers.stat(name)

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

    def put_segment(
        self, upload: Upload, payload: Payload, *, replace: bool = False
    ) -> StoredSegment:
        """PUT one segment, hashed while it is sent; a MD5 known from before is sent along.

        It expires, so it must not come over one that an object is made of by now: one that is there
        stays, unless it is bad and ``replace`` says so.
        """
        etag = self.containers.put_segment(upload, payload, replace=replace)
        if etag is None:
            there = self.containers.stat_segment(upload, payload.number)
            if there is not None:
                return there
        address = self.containers.address(self.containers.segment_name(upload, payload.number))
        return StoredSegment(payload.number, payload.size, (etag or "").strip('"') or None, address)

    def renew(self, upload: Upload, owner: str) -> None:
        """PUT of the lease."""
        self.containers.put_lease(upload, owner)

    def release(self, upload: Upload) -> None:
        """DELETE of the lease."""
        lease = self.containers.lease_name(upload)
        self.containers.delete_all(self.containers.segments, [lease])

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """The listing of the upload's prefix."""
        return self.containers.list_segments(upload)

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """HEAD of the segment."""
        return self.containers.stat_segment(upload, number)

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The ETag of a large object, static or dynamic."""
        return slo_etag(segments)

    def commit(
        self, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
    ) -> StoredObject:
        """See ``large_object.py``."""
        return large_object.commit(self.containers, upload, segments, replace=replace)

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """The manifest's segments, with size and MD5 from the segments themselves."""
        return large_object.read(self.containers, name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """GET with a range."""
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        key = self.containers.destination.key(name)
        _, data = self.client.call(
            f"reading {length} bytes at {offset} of {self.url(name)}",
            lambda c: c.get_object(self.containers.objects, key, headers=wanted),
            reading=True,
        )
        if len(data) != length:
            raise TemporaryStoreError(
                "store-short-read",
                f"{self.url(name)} gave {len(data)} of {length} bytes at offset {offset}",
            )
        return bytes(data)

    def discard(self, upload: Upload) -> None:
        """Delete the segments, unless the object that is there is made of them; and the lease."""
        held = self.containers
        items = list(held.listing(held.segments, held.segment_prefix(upload)))
        if not large_object.uses(held, upload.name, upload.id, items):
            held.delete_all(held.segments, [item.name for item in items])
        self.release(upload)

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Groups of segments under an upload's name, without an object made of them.

        Somebody may have copied the manifest to another name: then its ETag tells it in the listing.
        """
        held, groups, leases = (
            self.containers,
            dict[tuple[str, str], list[Listed]](),
            dict[tuple[str, str], str](),
        )
        for item in held.listing(held.segments, held.destination.prefix):
            name = item.name[len(held.destination.prefix) :]
            if match := SEGMENT_NAME.fullmatch(name):
                groups.setdefault((match["name"], match["id"]), []).append(item)
            elif match := LEASE_NAME.fullmatch(name):
                groups.setdefault((match["name"], match["id"]), [])
                leases[match["name"], match["id"]] = item.name
        objects = held.listing(held.objects, "") if groups else ()
        made = {item.slo_etag.strip('"') for item in objects}
        return tuple(
            _leftover(key, items, held.lease(leases[key]) if key in leases else None)
            for key, items in sorted(groups.items())
            if large_object.etag_of(items) not in made and not large_object.uses(held, *key, items)
        )

    def delete(self, name: str) -> None:
        """Delete the manifest, then its segments."""
        held = large_object.listed(self.containers, name)
        key = self.containers.destination.key(name)
        self.containers.delete_all(self.containers.objects, [key])
        for address in held or ():
            container, _, segment = address.partition("/")
            self.containers.delete_all(container, [segment])

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

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

    def _require_segments_container(self) -> None:
        """Make it if it is missing; who may only write to containers needs it made by the owner."""
        try:
            self._make_container(self.containers.segments)
        except StoreError as error:
            if error.code != "store-forbidden":
                raise
            if not self._numbers(self.containers.segments):
                raise StoreError(
                    error.code,
                    error.message,
                    hint=f"this user may not make containers: the account's owner can make "
                    f"{self.containers.segments} and give the rights to read and write there",
                ) from None

    def _make_container(self, name: str) -> None:
        self.client.call(f"creating container {name}", lambda c: c.put_container(name))


def _leftover(
    key: tuple[str, str], items: list[Listed], lease: tuple[str, float] | None
) -> Unfinished:
    name, upload_id = key
    match = UPLOAD_ID.fullmatch(upload_id)
    assert match is not None
    # always UTC; Swift leaves the zone out, radosgw writes Z
    newest = max((f"{item.last_modified.rstrip('Z')}+00:00" for item in items), default="")
    size = sum(item.bytes for item in items)
    owner, age = lease or ("", 0.0)
    return Unfinished(
        name, upload_id, match["job"], size, len(items), newest, owner=owner, lease_age_s=age
    )


def _require_room(place: str, headers: Mapping[str, str], size: int) -> None:
    kind = "container" if place.startswith("container") else "account"
    quota = headers.get(f"x-{kind}-meta-quota-bytes", "")
    used = headers.get(f"x-{kind}-bytes-used", "0")
    if size and quota.isdigit() and used.isdigit() and int(used) + size > int(quota):
        raise StoreError(
            "store-quota",
            f"the quota of {place} is {quota} bytes: {used} are used and {size} more are needed",
            hint="delete what is not needed, or ask for a larger quota",
        )

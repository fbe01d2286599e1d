"""How segments become one object in Swift, and how an object's segments are looked at.

1  the name: free, ours already (an earlier answer was lost), or to be replaced
2  every segment: POST takes its expiry away, and tells when it is gone; then listing or HEAD
says size and MD5 (Ceph's gateway does not compare them with the manifest's)
3  PUT of the manifest, with If-None-Match unless it replaces
4  HEAD: what is there now; and HEAD of every segment, which must not expire
5  the segments of a replaced object, which nothing refers to any more, are deleted

Step 4 is done for an object that is ours already, too: two uploaders of the same bytes may meet, and
a segment that the slower one put last would expire under the object of the faster one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores import responses
from pipeline.stores.responses import Listed
from pipeline.stores.swift.containers import Containers
from pipeline.transfer.protocol import (
    SAFE,
    UPLOAD_KEY,
    SegmentsChangedError,
    StoredObject,
    StoredSegment,
    Upload,
    slo_etag,
)

_PUT = "multipart-manifest=put"
_GET = "multipart-manifest=get"
_KEEPINGS = 3  # how often an expiry may come back while it is taken away


def commit(
    containers: Containers,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
    *,
    replace: bool,
) -> StoredObject:
    """Do the five steps; safe to be repeated after any failure."""
    existing = containers.stat(upload.name)
    replaced: tuple[str, ...] = ()
    if existing is None or not _is_this(existing, upload, segments):
        if existing is not None and not replace:
            raise _exists(containers, upload)
        replaced = (listed(containers, upload.name) or ()) if existing is not None else ()
        settle(containers, upload, segments)
        _put(containers, upload, segments, replace=replace)
    require_lasting(containers, upload, segments)
    stored = containers.stat(upload.name)
    if stored is None:
        raise TemporaryStoreError(
            "store-lost-object",
            f"{containers.url(upload.name)} is not there although it was accepted",
        )
    _delete_replaced(containers, upload, replaced)
    return stored


def read(containers: Containers, name: str) -> tuple[StoredSegment, ...] | None:
    """Size and MD5 of each segment, from the store's listing or from HEAD, in order."""
    addresses = listed(containers, name)
    if not addresses:
        stored = containers.stat(name)
        if stored is None or addresses is None:
            return None
        return (StoredSegment(0, stored.size, stored.etag, name),)
    common = _common_prefix(addresses)
    container, _, prefix = common.partition("/")
    known = {f"{container}/{i.name}": i for i in containers.listing(container, prefix)}

    def look(numbered: tuple[int, str]) -> StoredSegment:
        number, address = numbered
        item = known.get(address)
        if item is not None:
            return StoredSegment(number, item.bytes, item.hash, address)
        return _head(containers, number, address) or StoredSegment(number, 0, None, address)

    return tuple(containers.pool.each(look, enumerate(addresses)))


def listed(containers: Containers, name: str) -> tuple[str, ...] | None:
    """The addresses (``container/name``) of an object's segments.

    () for a plain one or none, None where the store does not tell.
    """
    key = containers.destination.key(name)
    head = containers.head(containers.objects, key)
    if head is None:
        return ()
    if head.x_object_manifest:
        container, _, prefix = head.x_object_manifest.partition("/")
        return _under(containers, container, prefix)
    if head.x_static_large_object.lower() != "true":
        return ()
    action = f"reading the manifest of {containers.url(name)}"
    _, data = containers.client.call(
        action, lambda c: c.get_object(containers.objects, key, query_string=_GET)
    )
    if not data:  # Ceph's gateway answers so; the mark on the object leads to what is ours
        mark = head.x_object_meta_imgprep_upload
        found = _under(containers, containers.segments, f"{key}/{mark}/") if mark else ()
        return found or None
    entries = responses.read_json(action, data, tuple[responses.Named, ...])
    return tuple(entry.name.lstrip("/") for entry in entries)


def uses(containers: Containers, name: str, upload_id: str, items: Sequence[Listed]) -> bool:
    """Whether the object of this name is made of an upload's segments, ``items`` of their listing.

    Its mark says so at once.  A change of the object's metadata takes the mark away; then the
    manifest tells, and where the store does not show that (Ceph's gateway), the ETag.
    """
    stored = containers.stat(name)
    if stored is None or not items:
        return False
    if stored.metadata.get(UPLOAD_KEY) == upload_id:
        return True
    addresses = listed(containers, name)
    if addresses is None:
        return stored.etag == etag_of(items)
    return not {f"{containers.segments}/{item.name}" for item in items}.isdisjoint(addresses)


def etag_of(items: Iterable[Listed]) -> str:
    """The ETag of a large object that is made of a listing's segments, in the order of names."""
    ordered = sorted(items, key=lambda item: item.name)
    return slo_etag(tuple(StoredSegment(n, i.bytes, i.hash) for n, i in enumerate(ordered)))


def _under(containers: Containers, container: str, prefix: str) -> tuple[str, ...]:
    return tuple(f"{container}/{item.name}" for item in containers.listing(container, prefix))


def settle(containers: Containers, upload: Upload, segments: tuple[StoredSegment, ...]) -> None:
    """Before the commit: no segment expires any more, and each is what was sent."""
    kept = _keep(containers, upload, segments)
    now = containers.list_segments(upload)

    def right(segment: StoredSegment) -> bool:
        found = now.get(segment.number)
        if found is None or (found.size, found.md5) != (segment.size, segment.md5):
            # The listing may lag behind.
            found = containers.stat_segment(upload, segment.number)
        return found is not None and (found.size, found.md5) == (segment.size, segment.md5)

    same = containers.pool.each(right, segments)
    bad = [s.number for s, *ok in zip(segments, kept, same, strict=True) if not all(ok)]
    if bad:
        raise _changed(bad)


def _keep(
    containers: Containers, upload: Upload, segments: Sequence[StoredSegment]
) -> tuple[bool, ...]:
    """Take the expiry of segments away; False for one that is gone."""

    def keep(segment: StoredSegment) -> bool:
        name = containers.segment_name(upload, segment.number)
        kept: bool = containers.client.call(
            f"keeping segment {segment.number}",
            lambda c: c.post_object(containers.segments, name, {"X-Remove-Delete-At": "1"}) is None,
            missing=False,
        )
        return kept

    return containers.pool.each(keep, segments)


def require_lasting(
    containers: Containers, upload: Upload, segments: tuple[StoredSegment, ...]
) -> None:
    """Every segment is there, is what was sent, and will not expire: by HEAD, not by a listing."""
    waning = segments
    for _ in range(_KEEPINGS):
        heads = containers.pool.each(
            lambda segment: containers.head(
                containers.segments, containers.segment_name(upload, segment.number)
            ),
            waning,
        )
        seen = tuple(zip(waning, heads, strict=True))
        bad = [
            sent.number
            for sent, head in seen
            if head is None or (head.content_length, head.checksum) != (sent.size, sent.md5)
        ]
        if bad:
            raise _changed(bad)
        waning = tuple(sent for sent, head in seen if head is not None and head.x_delete_at)
        if not waning:
            return
        _keep(containers, upload, waning)
    raise TemporaryStoreError(
        "segments-expire",
        f"segment {waning[0].number} of {containers.url(upload.name)} will expire, and the store "
        "does not take that away",
        hint="another imgprep may store the same object; let it finish, then run again",
    )


def _put(
    containers: Containers,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
    *,
    replace: bool,
) -> None:
    sent = {
        f"X-Object-Meta-{key}": quote(value, safe=SAFE) for key, value in upload.metadata.items()
    }
    sent["Content-Type"] = upload.content_type
    if not replace:
        sent["If-None-Match"] = "*"
    if containers.has_slo:
        query, content = _PUT, _slo(containers, upload, segments)
    else:
        place = f"{containers.segments}/{containers.segment_prefix(upload)}"
        sent["X-Object-Manifest"] = quote(place)
        query, content = None, b""
    key = containers.destination.key(upload.name)
    try:
        containers.client.call(
            f"committing {containers.url(upload.name)}",
            lambda c: c.put_object(
                containers.objects, key, content, headers=sent, query_string=query
            ),
            patient=True,
        )
    except TemporaryStoreError:
        raise
    except StoreError as error:
        _explain(containers, upload, segments, error)


def _explain(
    containers: Containers, upload: Upload, segments: tuple[StoredSegment, ...], error: StoreError
) -> None:
    """A refused manifest: taken name, changed segments, a missing container, or as it was said."""
    stored = containers.stat(upload.name)
    if "answered 412" in error.message and stored is not None:
        if _is_this(stored, upload, segments):
            return
        raise _exists(containers, upload)
    if "answered 400" in error.message or "answered 404" in error.message:
        containers.require()
        bad = [
            segment.number
            for segment in segments
            if _head(containers, segment.number, segment.name) is None
        ]
        raise _changed(bad)
    raise error


def _slo(containers: Containers, upload: Upload, segments: tuple[StoredSegment, ...]) -> bytes:
    return json.dumps(
        [
            {
                "path": f"/{containers.segments}/{containers.segment_name(upload, segment.number)}",
                "etag": segment.md5,
                "size_bytes": segment.size,
            }
            for segment in segments
        ]
    ).encode()


def _is_this(
    stored: StoredObject,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
) -> bool:
    return (
        stored.metadata.get(UPLOAD_KEY) == upload.id
        and stored.size == upload.size
        and stored.etag == slo_etag(segments)
    )


def _delete_replaced(containers: Containers, upload: Upload, replaced: tuple[str, ...]) -> None:
    mine = f"{containers.segments}/{containers.segment_prefix(upload)}"
    for address in replaced:
        container, _, name = address.partition("/")
        if not address.startswith(mine):
            containers.delete_all(container, [name])


def _head(containers: Containers, number: int, address: str) -> StoredSegment | None:
    container, _, name = address.partition("/")
    head = containers.head(container, name)
    if head is None:
        return None
    return StoredSegment(number, head.content_length, head.checksum, address)


def _common_prefix(addresses: tuple[str, ...]) -> str:
    first, last = min(addresses), max(addresses)
    count = next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]),
        len(first),
    )
    return first[:count]


def _changed(numbers: list[int]) -> SegmentsChangedError:
    shown = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
    return SegmentsChangedError(
        "segments-changed",
        f"segments changed or vanished in the store before the commit: {shown or 'unknown ones'}",
        hint="another program changes the container; run the same command again",
    )


def _exists(containers: Containers, upload: Upload) -> StoreError:
    return StoreError(
        "object-exists",
        f"{containers.url(upload.name)} exists already",
        hint="choose another --name, or --if-exists skip or replace",
    )

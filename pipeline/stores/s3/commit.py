"""CompleteMultipartUpload, believed only as far as HEAD confirms it.

1  the name: free, ours already (an earlier answer was lost), or to be replaced
2  ListParts: every part with the size and MD5 that was sent
3  Complete, with If-None-Match unless it replaces
4  HEAD: what is there now (an old Ceph answers Complete with an empty ETag)
5  the marker is deleted
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores.s3.client import S3Error
from pipeline.transfer.protocol import (
    UPLOAD_KEY,
    SegmentsChangedError,
    StoredObject,
    StoredSegment,
    Upload,
    UploadLostError,
)

if TYPE_CHECKING:
    from pipeline.stores.s3.store import S3Store

_CHANGED = frozenset({"InvalidPart", "InvalidPartOrder"})
_TAKEN = frozenset({"PreconditionFailed"})


def commit(
    store: S3Store, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
) -> StoredObject:
    """Do the five steps; safe to be repeated after any failure."""
    existing = store.stat(upload.name)
    if not _is_this(store, existing, upload, segments):
        if existing is not None and not replace:
            raise _exists(store, upload)
        try:
            _complete(store, upload, segments, replace=replace)
        except (UploadLostError, S3Error) as error:
            _explain(store, upload, segments, error)
    stored = store.stat(upload.name)
    if stored is None:
        raise TemporaryStoreError(
            "store-lost-object", f"{store.url(upload.name)} is not there although it was accepted"
        )
    store.discard(upload)
    return stored


def _complete(
    store: S3Store, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
) -> None:
    held = {int(part["PartNumber"]) - 1: part for part in store.parts(upload)}
    bad = [s.number for s in segments if not _is_right(store, held.get(s.number), s)]
    if bad:
        raise _changed(bad)
    named = [_named(segment.number, held[segment.number]) for segment in segments]
    condition = {} if replace else {"IfNoneMatch": "*"}
    store.client.call(
        f"committing {store.url(upload.name)}",
        lambda s3: s3.complete_multipart_upload(
            **store.place(upload.name),
            UploadId=upload.token.partition(".")[2],
            MultipartUpload={"Parts": named},
            **condition,
        ),
        of_upload=True,
    )


def _is_right(store: S3Store, part: Mapping[str, Any] | None, segment: StoredSegment) -> bool:
    if part is None or int(part["Size"]) != segment.size:
        return False
    return store.opaque_etags or str(part["ETag"]).strip('"') == segment.md5


def _named(number: int, part: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {"PartNumber": number + 1, "ETag": part["ETag"]}
    if "ChecksumSHA256" in part:
        named["ChecksumSHA256"] = part["ChecksumSHA256"]
    return named


def _explain(
    store: S3Store, upload: Upload, segments: tuple[StoredSegment, ...], error: StoreError
) -> None:
    """A refused commit: done before, a taken name, changed parts, or as it was said."""
    stored = store.stat(upload.name)
    if _is_this(store, stored, upload, segments):
        return
    code = error.s3_code if isinstance(error, S3Error) else ""
    if code in _TAKEN and stored is not None:
        raise _exists(store, upload)
    if code in _CHANGED:
        raise _changed([])
    raise error


def _is_this(
    store: S3Store,
    stored: StoredObject | None,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
) -> bool:
    if stored is None or stored.metadata.get(UPLOAD_KEY) != upload.id:
        return False
    return stored.size == upload.size and stored.etag == (
        store.expected_etag(segments) or stored.etag
    )


def _changed(numbers: list[int]) -> SegmentsChangedError:
    shown = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
    return SegmentsChangedError(
        "segments-changed",
        f"segments changed or vanished in the store before the commit: {shown or 'unknown ones'}",
        hint="another program changes the upload; run the same command again",
    )


def _exists(store: S3Store, upload: Upload) -> StoreError:
    return StoreError(
        "object-exists",
        f"{store.url(upload.name)} exists already",
        hint="choose another --name, or --if-exists skip or replace",
    )

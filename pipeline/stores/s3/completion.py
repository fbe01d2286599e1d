"""CompleteMultipartUpload, believed only as far as HEAD confirms it.

1  the name: free, ours already (an earlier answer was lost), or to be replaced
2  ListParts: every part with the size and MD5 that was sent
3  Complete, with If-None-Match unless it replaces
4  HEAD: what is there now (an old Ceph answers Complete with an empty ETag)
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores.responses import Part
from pipeline.stores.s3.bucket import Bucket, native_id
from pipeline.stores.s3.client import S3Error
from pipeline.transfer.protocol import (
    UPLOAD_KEY,
    SegmentsChangedError,
    StoredObject,
    StoredSegment,
    Upload,
    UploadLostError,
)

_CHANGED = frozenset({"InvalidPart", "InvalidPartOrder"})
_TAKEN = frozenset({"PreconditionFailed"})


def commit(
    bucket: Bucket, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
) -> StoredObject:
    """Do the four steps; safe to be repeated after any failure."""
    existing = bucket.stat(upload.name)
    if not _is_this(bucket, existing, upload, segments):
        if existing is not None and not replace:
            raise _exists(bucket, upload)
        try:
            _complete(bucket, upload, segments, replace=replace)
        except (UploadLostError, S3Error) as error:
            _explain(bucket, upload, segments, error)
    stored = bucket.stat(upload.name)
    if stored is None:
        raise TemporaryStoreError(
            "store-lost-object", f"{bucket.url(upload.name)} is not there although it was accepted"
        )
    return stored


def _complete(
    bucket: Bucket, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
) -> None:
    held = {part.PartNumber - 1: part for part in bucket.parts(upload)}
    bad = [s.number for s in segments if not _is_right(bucket, held.get(s.number), s)]
    if bad:
        raise _changed(bad)
    named = [_named(segment.number, held[segment.number]) for segment in segments]
    condition = {} if replace else {"IfNoneMatch": "*"}
    bucket.client.call(
        f"committing {bucket.url(upload.name)}",
        lambda s3: s3.complete_multipart_upload(
            **bucket.place(upload.name),
            UploadId=native_id(upload),
            MultipartUpload={"Parts": named},
            **condition,
        ),
        of_upload=True,
    )


def _is_right(bucket: Bucket, part: Part | None, segment: StoredSegment) -> bool:
    if part is None or part.Size != segment.size:
        return False
    return bucket.opaque_etags or part.checksum == segment.md5


def _named(number: int, part: Part) -> dict[str, Any]:
    named: dict[str, Any] = {"PartNumber": number + 1, "ETag": part.ETag}
    if part.ChecksumSHA256 is not None:
        named["ChecksumSHA256"] = part.ChecksumSHA256
    return named


def _explain(
    bucket: Bucket, upload: Upload, segments: tuple[StoredSegment, ...], error: StoreError
) -> None:
    """A refused commit: done before, a taken name, changed parts, or as it was said."""
    stored = bucket.stat(upload.name)
    if _is_this(bucket, stored, upload, segments):
        return
    code = error.s3_code if isinstance(error, S3Error) else ""
    if code in _TAKEN and stored is not None:
        raise _exists(bucket, upload)
    if code in _CHANGED:
        raise _changed([])
    raise error


def _is_this(
    bucket: Bucket,
    stored: StoredObject | None,
    upload: Upload,
    segments: tuple[StoredSegment, ...],
) -> bool:
    if stored is None or stored.metadata.get(UPLOAD_KEY) != upload.id:
        return False
    return stored.size == upload.size and stored.etag == (
        bucket.expected_etag(segments) or stored.etag
    )


def _changed(numbers: list[int]) -> SegmentsChangedError:
    shown = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
    return SegmentsChangedError(
        "segments-changed",
        f"segments changed or vanished in the store before the commit: {shown or 'unknown ones'}",
        hint="another program changes the upload; run the same command again",
    )


def _exists(bucket: Bucket, upload: Upload) -> StoreError:
    return StoreError(
        "object-exists",
        f"{bucket.url(upload.name)} exists already",
        hint="choose another --name, or --if-exists skip or replace",
    )

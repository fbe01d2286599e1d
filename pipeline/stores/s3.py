"""S3 and what speaks like it: one multipart upload, completed at once.

    bucket/disk.vhd                                             appears with CompleteMultipartUpload
    multipart upload of disk.vhd                                parts 1, 2, … (our segments 0, 1, …)
    bucket/.imgprep-segments/imgprep-<job>-<content>/disk.vhd   the marker, while it is under way

An upload of S3 has no name of ours on it.  The marker is put before it is begun and holds its
UploadId: so a resume finds it without a journal, and ``unfinished`` tells ours from anybody else's.

Every part is sent with Content-MD5, and the ETag of the answer is compared: the first makes the store
refuse what arrived wrong, the second notices a store that does not look.  The MD5 has to be known
before the first byte is sent; so a part is at most ``KEEP_SIZE`` where 10,000 of those suffice
(78 GiB): its bytes are made once, hashed, kept and sent.  Larger parts are made twice from there on.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores import s3_commit
from pipeline.stores.base import (
    OCTETS,
    SAFE,
    UPLOAD_ID,
    Body,
    Limits,
    Scheme,
    StoredObject,
    StoredSegment,
    Unfinished,
    Upload,
    UploadLostError,
    marked,
)
from pipeline.stores.body import KEEP_SIZE
from pipeline.stores.destination import Destination
from pipeline.stores.retry import Policy
from pipeline.stores.s3_client import Client, SendingPart

MARKERS = ".imgprep-segments/"
_CLOCK = timedelta(seconds=2)  # S3 tells whole seconds
_LIMITS = Limits(
    min_segment=5 << 20,
    max_segment=5 << 30,
    preferred_segment=KEEP_SIZE,
    max_segments=10_000,
    max_name_bytes=1024 - 80,
)


class S3Store:
    """The ``s3://`` store."""

    scheme: Scheme = "s3"
    keeps_holes = False

    def __init__(self, destination: Destination, policy: Policy) -> None:
        self.destination = destination
        self.bucket = destination.container
        self.connections = min(max(2 * (os.cpu_count() or 1), 4), 8)
        self.client = Client(policy, self.connections)
        wish = os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "")
        self.opaque_etags = False  # SSE-KMS
        self.wants_sha256 = self.client.is_amazon or wish.lower() == "when_supported"

    @property
    def limits(self) -> Limits:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html ."""
        return _LIMITS

    def url(self, name: str) -> str:
        """``s3://bucket/prefix/name``."""
        return f"s3://{self.bucket}/{self.destination.key(name)}"

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """Credentials and bucket; S3 tells no quota."""
        del size
        action = f"looking at bucket {self.bucket}"
        found = self.client.call(
            action, lambda s3: s3.head_bucket(Bucket=self.bucket), missing=None
        )
        if found is not None:
            return
        if not create:
            raise StoreError(
                "container-missing",
                f"there is no bucket {self.bucket!r} for this account at {self.client.host}",
                hint="check its name, AWS_ENDPOINT_URL_S3 and the region, or give --create",
            )
        self._create_bucket()

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        answer = self._head(self.destination.key(name))
        if answer is None:
            return None
        metadata = {key.lower(): unquote(value) for key, value in answer["Metadata"].items()}
        return StoredObject(
            name,
            int(answer["ContentLength"]),
            str(answer.get("ETag", "")).strip('"') or None,
            answer.get("ContentType"),
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
        """The multipart upload of the token, of the marker, or a new one."""
        about = marked(metadata, upload_id)
        wanted = Upload(name, upload_id, size, segment_size, token, about, content_type)
        noted = self._marker_token(wanted)
        for known in dict.fromkeys((token, noted)):
            if known and self._is_known(replace(wanted, token=known)):
                return replace(wanted, token=known)
        if noted == "":
            for lost in self._nameless(wanted):
                self._abort(replace(wanted, token=lost))
        self._put_marker(replace(wanted, token=""))
        checksum = {"ChecksumAlgorithm": "SHA256"} if self.wants_sha256 else {}
        answer = self.client.call(
            f"beginning the upload of {self.url(name)}",
            lambda s3: s3.create_multipart_upload(
                **self.place(name),
                ContentType=content_type,
                Metadata={key: quote(value, safe=SAFE) for key, value in about.items()},
                **checksum,
            ),
        )
        begun = replace(wanted, token=str(answer["UploadId"]))
        self._put_marker(begun)
        return begun

    def put_segment(self, upload: Upload, body: Body) -> StoredSegment:
        """Send one part with its Content-MD5 (and SHA-256 where the store checks it)."""
        md5 = body.digest()
        sums = {"ContentMD5": _base64(md5)}
        if self.wants_sha256 and body.sha256:
            sums["ChecksumSHA256"] = _base64(body.sha256)
        sending = SendingPart(body)
        try:
            answer = self.client.call(
                f"sending segment {body.number}",
                lambda s3: s3.upload_part(
                    **self.place(upload.name),
                    UploadId=upload.token,
                    PartNumber=body.number + 1,
                    ContentLength=body.size,
                    Body=sending,
                    **sums,
                ),
                of_upload=True,
            )
        except StoreError:
            if sending.failure is not None:
                raise sending.failure from None
            raise
        etag = str(answer.get("ETag", "")).strip('"') or None
        if str(answer.get("ServerSideEncryption", "")).startswith("aws:kms"):
            # Then an ETag is no MD5; what arrived was compared with Content-MD5 all the same.
            self.opaque_etags, etag = True, md5
        return StoredSegment(body.number, body.size, etag, self._part_name(upload, body.number))

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """ListParts."""
        found: dict[int, StoredSegment] = {}
        with suppress(UploadLostError):
            for part in self.parts(upload):
                segment = self._segment(upload, part)
                found[segment.number] = segment
        return found

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """ListParts of one: S3 has no HEAD of a part."""
        try:
            found = next(self._pages(upload, number, 1), None)
        except UploadLostError:
            return None
        segment = None if found is None else self._segment(upload, found)
        return segment if segment is not None and segment.number == number else None

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The MD5 of the parts' MD5s in binary, a dash, and their number."""
        if self.opaque_etags:
            return None
        joined = b"".join(bytes.fromhex(segment.md5 or "") for segment in segments)
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(segments)}"

    def commit(
        self, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
    ) -> StoredObject:
        """See ``s3_commit``."""
        return s3_commit.commit(self, upload, segments, replace=replace)

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """S3 forgets the parts' MD5s at the commit: only their number stays, in the ETag."""
        stored = self.stat(name)
        if stored is None or stored.etag is None or "-" in stored.etag:
            return None
        return (StoredSegment(0, stored.size, stored.etag, name),)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """GET with a range."""
        action = f"reading {length} bytes at {offset} of {self.url(name)}"
        wanted = f"bytes={offset}-{offset + length - 1}"
        data: bytes = self.client.call(
            action, lambda s3: s3.get_object(**self.place(name), Range=wanted)["Body"].read()
        )
        if len(data) != length:
            raise TemporaryStoreError(
                "store-short-read",
                f"{self.url(name)} gave {len(data)} of {length} bytes at offset {offset}",
            )
        return data

    def discard(self, upload: Upload) -> None:
        """Abort the multipart upload, then delete the marker."""
        known = upload.token or self._marker_token(upload)
        for token in [known] if known else self._nameless(upload):
            self._abort(replace(upload, token=token))
        self.delete_marker(upload)

    def unfinished(self) -> tuple[Unfinished, ...]:
        """What has a marker."""
        start = self.destination.prefix + MARKERS
        found = ((self._marked(key[len(start) :]), when) for key, when in self._keys(start))
        return tuple(self._leftover(upload, when) for upload, when in found if upload is not None)

    def delete(self, name: str) -> None:
        """Delete the object; its parts go with it."""
        self._delete(self.destination.key(name))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def place(self, name: str) -> dict[str, str]:
        """Bucket and key, as boto3 takes them."""
        return {"Bucket": self.bucket, "Key": self.destination.key(name)}

    def parts(self, upload: Upload) -> list[dict[str, Any]]:
        """ListParts, all pages; ``UploadLostError`` when the store forgot the upload."""
        return list(self._pages(upload, 0, 1000))

    def delete_marker(self, upload: Upload) -> None:
        """The upload is over."""
        self._delete(self._marker_key(upload))

    def _pages(self, upload: Upload, after: int, most: int) -> Iterator[dict[str, Any]]:
        while True:
            page = self.client.call(
                f"listing the segments of {self.url(upload.name)}",
                partial(_list_parts, self.place(upload.name), upload.token, after, most),
                of_upload=True,
            )
            yield from page.get("Parts", [])
            if not page.get("IsTruncated"):
                return
            after = int(page["NextPartNumberMarker"])

    def _segment(self, upload: Upload, part: dict[str, Any]) -> StoredSegment:
        number = int(part["PartNumber"]) - 1
        md5 = None if self.opaque_etags else str(part["ETag"]).strip('"')
        return StoredSegment(number, int(part["Size"]), md5, self._part_name(upload, number))

    def _part_name(self, upload: Upload, number: int) -> str:
        return f"{self.destination.key(upload.name)}?partNumber={number + 1}"

    def _is_known(self, upload: Upload) -> bool:
        try:
            next(self._pages(upload, 0, 1), None)
        except UploadLostError:
            return False
        return True

    def _abort(self, upload: Upload) -> None:
        with suppress(UploadLostError):
            self.client.call(
                f"aborting the upload of {self.url(upload.name)}",
                lambda s3: s3.abort_multipart_upload(
                    **self.place(upload.name), UploadId=upload.token
                ),
                of_upload=True,
            )

    def _marker_key(self, upload: Upload) -> str:
        return f"{self.destination.prefix}{MARKERS}{upload.id}/{upload.name}"

    def _put_marker(self, upload: Upload) -> None:
        self.client.call(
            f"writing down the upload of {self.url(upload.name)}",
            lambda s3: s3.put_object(
                Bucket=self.bucket,
                Key=self._marker_key(upload),
                Body=json.dumps({"token": upload.token}).encode(),
                ContentType="application/json",
            ),
        )

    def _marked(self, key: str) -> Upload | None:
        """The upload of a marker's key, without the markers' prefix; None when it is no marker."""
        upload_id, _, name = key.partition("/")
        if not UPLOAD_ID.fullmatch(upload_id) or not name:
            return None
        upload = Upload(name, upload_id, 0, 0)
        return replace(upload, token=self._marker_token(upload) or "")

    def _marker_token(self, upload: Upload) -> str | None:
        """What the marker says: a token, "" before there was one; None without a marker."""
        data = self.client.call(
            f"looking for an earlier upload of {self.url(upload.name)}",
            lambda s3: s3.get_object(Bucket=self.bucket, Key=self._marker_key(upload))[
                "Body"
            ].read(),
            missing=None,
        )
        if data is None:
            return None
        try:
            return str(json.loads(data)["token"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _nameless(self, upload: Upload) -> list[str]:
        """Uploads of this key without parts, begun after the marker: a kill came in between."""
        marker = self._head(self._marker_key(upload))
        if marker is None:
            return []
        key = self.destination.key(upload.name)
        answer = self.client.call(
            f"looking for uploads of {self.url(upload.name)}",
            lambda s3: s3.list_multipart_uploads(Bucket=self.bucket, Prefix=key),
        )
        since = marker["LastModified"] - _CLOCK
        tokens = [
            str(item["UploadId"])
            for item in answer.get("Uploads", [])
            if item["Key"] == key and item["Initiated"] >= since
        ]
        return [t for t in tokens if self._is_empty(replace(upload, token=t))]

    def _is_empty(self, upload: Upload) -> bool:
        try:
            return next(self._pages(upload, 0, 1), None) is None
        except UploadLostError:
            return False

    def _leftover(self, upload: Upload, when: str) -> Unfinished:
        parts: list[dict[str, Any]] = []
        if upload.token:
            with suppress(UploadLostError):
                parts = self.parts(upload)
        match = UPLOAD_ID.fullmatch(upload.id)
        job = match["job"] if match else ""
        size = sum(int(part["Size"]) for part in parts)
        return Unfinished(upload.name, upload.id, job, size, len(parts), when, upload.token)

    def _keys(self, prefix: str) -> Iterator[tuple[str, str]]:
        after = ""
        while True:
            page = self.client.call(
                f"listing s3://{self.bucket}/{prefix}",
                partial(_list_objects, self.bucket, prefix, after),
            )
            for item in page.get("Contents", []):
                after = str(item["Key"])
                yield after, item["LastModified"].isoformat(timespec="seconds")
            if not page.get("IsTruncated"):
                return

    def _head(self, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.client.call(
            f"looking at s3://{self.bucket}/{key}",
            lambda s3: s3.head_object(Bucket=self.bucket, Key=key),
            missing=None,
        )
        return found

    def _delete(self, key: str) -> None:
        self.client.call(
            f"deleting s3://{self.bucket}/{key}",
            lambda s3: s3.delete_object(Bucket=self.bucket, Key=key),
            missing=None,
        )

    def _create_bucket(self) -> None:
        def create(s3: Any) -> Any:
            region = s3.meta.region_name
            # Amazon wants its first region unsaid.
            there = {"LocationConstraint": region} if region != "us-east-1" else {}
            more = {"CreateBucketConfiguration": there} if there else {}
            return s3.create_bucket(Bucket=self.bucket, **more)

        self.client.call(f"creating bucket {self.bucket}", create)


def _list_parts(place: dict[str, str], token: str, after: int, most: int, s3: Any) -> Any:
    return s3.list_parts(**place, UploadId=token, PartNumberMarker=after, MaxParts=most)


def _list_objects(bucket: str, prefix: str, after: str, s3: Any) -> Any:
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after)


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()

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
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores.location import Destination
from pipeline.stores.responses import Marker, Part
from pipeline.stores.s3 import completion
from pipeline.stores.s3.bucket import ATTEMPT_KEY, Bucket, native_id
from pipeline.stores.s3.client import Client, SendingPart
from pipeline.stores.s3.markers import Markers
from pipeline.transfer.protocol import (
    OCTETS,
    SAFE,
    UPLOAD_ID,
    UPLOAD_KEY,
    Payload,
    StoredObject,
    StoredSegment,
    StoreLimits,
    Unfinished,
    Upload,
    UploadLostError,
    marked,
)
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.segments import KEEP_SIZE

_LIMITS = StoreLimits(
    min_segment=5 << 20,
    max_segment=5 << 30,
    preferred_segment=KEEP_SIZE,
    max_segments=10_000,
    max_name_bytes=1024 - 80,
)


class S3Store:
    """The ``s3://`` store."""

    place = "bucket"
    keeps_holes = False

    def __init__(self, destination: Destination, policy: RetryPolicy) -> None:
        self.connections = min(max(2 * (os.cpu_count() or 1), 4), 8)
        self.client = Client(policy, self.connections)
        self.bucket = Bucket(destination, self.client)
        self.markers = Markers(self.bucket)
        wish = os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "")
        self.wants_sha256 = self.client.is_amazon or wish.lower() == "when_supported"

    @property
    def limits(self) -> StoreLimits:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html ."""
        return _LIMITS

    def url(self, name: str) -> str:
        """``s3://bucket/prefix/name``."""
        return self.bucket.url(name)

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """Credentials and bucket; S3 tells no quota."""
        del size
        found = self._look_at_bucket()
        if found is not None:
            return
        if not create:
            raise StoreError(
                "container-missing",
                f"there is no bucket {self.bucket.name!r} for this account at {self.client.host}",
                hint="check its name, AWS_ENDPOINT_URL_S3 and the region, or give --create",
            )
        self._create_bucket()

    def stat(self, name: str) -> StoredObject | None:
        """HEAD of the object."""
        return self.bucket.stat(name)

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
        noted = self.markers.token(wanted)
        for known in dict.fromkeys((token, noted)):
            if known and self.bucket.is_known(replace(wanted, token=known)):
                return replace(wanted, token=known)
        if noted == "":
            for lost in self.markers.nameless(wanted):
                self.bucket.abort(lost)
        self.markers.put(replace(wanted, token=""))
        attempt = secrets.token_hex(4)
        told = {**about, ATTEMPT_KEY: attempt}
        checksum = {"ChecksumAlgorithm": "SHA256"} if self.wants_sha256 else {}
        answer = self.client.call(
            f"beginning the upload of {self.url(name)}",
            lambda s3: s3.create_multipart_upload(
                **self.bucket.place(name),
                ContentType=content_type,
                Metadata={key: quote(value, safe=SAFE) for key, value in told.items()},
                **checksum,
            ),
        )
        begun = replace(wanted, token=f"{attempt}.{answer['UploadId']}")
        self.markers.put(begun)
        return begun

    def put_segment(
        self, upload: Upload, payload: Payload, *, replace: bool = False
    ) -> StoredSegment:
        """Send one part with its Content-MD5 (and SHA-256 where the store checks it).

        One that is there is replaced: a part belongs to its multipart upload until that is complete,
        never to an object, and never expires alone.
        """
        del replace
        md5 = payload.digest()
        sums = {"ContentMD5": _base64(md5)}
        if self.wants_sha256 and payload.sha256:
            sums["ChecksumSHA256"] = _base64(payload.sha256)
        sending = SendingPart(payload)
        try:
            answer = self.client.call(
                f"sending segment {payload.number}",
                lambda s3: s3.upload_part(
                    **self.bucket.place(upload.name),
                    UploadId=native_id(upload),
                    PartNumber=payload.number + 1,
                    ContentLength=payload.size,
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
            self.bucket.opaque_etags, etag = True, md5
        return StoredSegment(
            payload.number, payload.size, etag, self._part_name(upload, payload.number)
        )

    def renew(self, upload: Upload, owner: str) -> None:
        """Put the marker again."""
        self.markers.put(upload, owner)

    def release(self, upload: Upload) -> None:
        """Take the owner off the marker; of an upload that became the object nothing stays."""
        found = self.markers.read(upload)
        if found is None:
            return
        stored = self.bucket.stat(upload.name)
        if stored is not None and stored.metadata.get(UPLOAD_KEY) == upload.id:
            self.markers.delete(upload)
        else:
            self.markers.put(replace(upload, token=found[0].token))

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """ListParts."""
        found: dict[int, StoredSegment] = {}
        with suppress(UploadLostError):
            for part in self.bucket.parts(upload):
                segment = self._segment(upload, part)
                found[segment.number] = segment
        return found

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """ListParts of one: S3 has no HEAD of a part."""
        try:
            found = next(self.bucket.pages(upload, number, 1), None)
        except UploadLostError:
            return None
        segment = None if found is None else self._segment(upload, found)
        return segment if segment is not None and segment.number == number else None

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The MD5 of the parts' MD5s in binary, a dash, and their number."""
        return self.bucket.expected_etag(segments)

    def commit(
        self, upload: Upload, segments: tuple[StoredSegment, ...], *, replace: bool
    ) -> StoredObject:
        """See ``completion.py``; then the marker goes."""
        stored = completion.commit(self.bucket, upload, segments, replace=replace)
        self.discard(upload)
        return stored

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
            action, lambda s3: s3.get_object(**self.bucket.place(name), Range=wanted)["Body"].read()
        )
        if len(data) != length:
            raise TemporaryStoreError(
                "store-short-read",
                f"{self.url(name)} gave {len(data)} of {length} bytes at offset {offset}",
            )
        return data

    def discard(self, upload: Upload) -> None:
        """Abort the multipart upload, unless it became the object, then delete the marker.

        Swift's S3 gateway, killed in the middle of a commit, still knows an upload whose parts the
        object is made of: to abort that would delete the object's data.
        """
        known = upload.token or self.markers.token(upload)
        stored = self.bucket.head(self.bucket.destination.key(upload.name))
        made_of = "" if stored is None else stored.Metadata.get(ATTEMPT_KEY, "")
        for left in [replace(upload, token=known)] if known else self.markers.nameless(upload):
            if left.token.partition(".")[0] != made_of:
                self.bucket.abort(left)
        self.markers.delete(upload)

    def unfinished(self) -> tuple[Unfinished, ...]:
        """What has a marker."""
        return tuple(self._leftover(*found) for found in self.markers.listed())

    def delete(self, name: str) -> None:
        """Delete the object; its parts go with it."""
        self.bucket.delete(self.bucket.destination.key(name))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _segment(self, upload: Upload, part: Part) -> StoredSegment:
        number = part.PartNumber - 1
        md5 = None if self.bucket.opaque_etags else part.checksum
        return StoredSegment(number, part.Size, md5, self._part_name(upload, number))

    def _part_name(self, upload: Upload, number: int) -> str:
        return f"{self.bucket.destination.key(upload.name)}?partNumber={number + 1}"

    def _leftover(self, upload: Upload, marker: Marker, age_s: float, modified: str) -> Unfinished:
        parts: list[Part] = []
        if upload.token:
            with suppress(UploadLostError):
                parts = self.bucket.parts(upload)
        match = UPLOAD_ID.fullmatch(upload.id)
        return Unfinished(
            upload.name,
            upload.id,
            match["job"] if match else "",
            sum(part.Size for part in parts),
            len(parts),
            modified,
            upload.token,
            marker.owner,
            age_s,
        )

    def _look_at_bucket(self) -> Any:
        """HeadBucket; None when there is none.

        An answer to HEAD has no body: of a 403 only a listing tells whether the key is wrong.
        """
        action = f"looking at bucket {self.bucket.name}"
        try:
            return self.client.call(
                action, lambda s3: s3.head_bucket(Bucket=self.bucket.name), missing=None
            )
        except StoreError as error:
            if error.code == "store-forbidden":
                self.client.call(
                    action, lambda s3: s3.list_objects_v2(Bucket=self.bucket.name, MaxKeys=1)
                )
            raise

    def _create_bucket(self) -> None:
        def create(s3: Any) -> Any:
            region = s3.meta.region_name
            # Amazon wants its first region unsaid.
            there = {"LocationConstraint": region} if region != "us-east-1" else {}
            more = {"CreateBucketConfiguration": there} if there else {}
            return s3.create_bucket(Bucket=self.bucket.name, **more)

        self.client.call(f"creating bucket {self.bucket.name}", create)


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()

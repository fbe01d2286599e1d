"""Markers: what makes a multipart upload ours, and its UploadId known to any machine.

    bucket/prefix/.imgprep-segments/imgprep-<job>-<content>/disk.vhd     {"token": "…", "owner": "…"}

A marker is put before the upload is begun, without a token, and again with it; so a kill between the
two leaves at worst an upload without parts, which ``nameless`` finds by its key and its time.

The marker is the lease as well: whoever works on the upload puts it again from time to time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from pipeline.errors import TemporaryStoreError
from pipeline.stores import responses
from pipeline.stores.s3.bucket import Bucket
from pipeline.transfer.protocol import UPLOAD_ID, Upload, UploadLostError

FOLDER = ".imgprep-segments/"
_CLOCK = timedelta(seconds=2)  # S3 tells whole seconds


class Markers:
    """The markers of one destination."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._start = bucket.destination.prefix + FOLDER

    def put(self, upload: Upload, owner: str = "") -> None:
        """Write down the upload's token, and who works on it."""
        bucket = self._bucket
        bucket.client.call(
            f"writing down the upload of {bucket.url(upload.name)}",
            lambda s3: s3.put_object(
                Bucket=bucket.name,
                Key=self._key(upload),
                Body=json.dumps({"token": upload.token, "owner": owner}).encode(),
                ContentType="application/json",
            ),
        )

    def token(self, upload: Upload) -> str | None:
        """What the marker says: a token, "" before there was one; None without a marker."""
        found = self.read(upload)
        return None if found is None else found[0].token

    def read(self, upload: Upload) -> tuple[responses.Marker, float] | None:
        """The marker and its age in seconds."""
        bucket = self._bucket
        action = f"looking for an earlier upload of {bucket.url(upload.name)}"

        def get(s3: Any) -> tuple[Any, bytes]:
            answer = s3.get_object(Bucket=bucket.name, Key=self._key(upload))
            return answer, answer["Body"].read()

        found = bucket.client.call(action, get, missing=None)
        if found is None:
            return None
        answer, data = found
        try:
            marker = responses.read_json(action, data, responses.Marker)
        except TemporaryStoreError:  # somebody wrote over it
            marker = responses.Marker()
        return marker, responses.age_s(answer["ResponseMetadata"]["HTTPHeaders"])

    def delete(self, upload: Upload) -> None:
        """The upload is over."""
        self._bucket.delete(self._key(upload))

    def listed(self) -> Iterator[tuple[Upload, responses.Marker, float, str]]:
        """Every upload that has a marker, the marker, its age, and when it was put (ISO 8601)."""
        for item in self._keys():
            upload_id, _, name = item.Key[len(self._start) :].partition("/")
            if UPLOAD_ID.fullmatch(upload_id) and name:
                upload = Upload(name, upload_id, 0, 0)
                marker, age = self.read(upload) or (responses.Marker(), 0.0)
                when = item.LastModified.isoformat(timespec="seconds")
                yield replace(upload, token=marker.token), marker, age, when

    def nameless(self, upload: Upload) -> list[Upload]:
        """Uploads of this key without parts, begun after the marker: a kill came in between."""
        bucket = self._bucket
        marker = bucket.head(self._key(upload))
        if marker is None:
            return []
        key = bucket.destination.key(upload.name)
        action = f"looking for uploads of {bucket.url(upload.name)}"
        told = bucket.client.call(
            action, lambda s3: s3.list_multipart_uploads(Bucket=bucket.name, Prefix=key)
        )
        since = marker.LastModified - _CLOCK
        found = [
            replace(upload, token=f".{item.UploadId}")
            for item in responses.read(action, told, responses.UploadsPage).Uploads
            if item.Key == key and item.Initiated >= since
        ]
        return [item for item in found if self._is_empty(item)]

    def _is_empty(self, upload: Upload) -> bool:
        try:
            return next(self._bucket.pages(upload, 0, 1), None) is None
        except UploadLostError:
            return False

    def _key(self, upload: Upload) -> str:
        return f"{self._start}{upload.id}/{upload.name}"

    def _keys(self) -> Iterator[responses.Key]:
        bucket, after = self._bucket, ""
        action = f"listing s3://{bucket.name}/{self._start}"
        while True:
            told = bucket.client.call(
                action, partial(_list_objects, bucket.name, self._start, after)
            )
            page = responses.read(action, told, responses.KeysPage)
            yield from page.Contents
            if not page.IsTruncated:
                return
            if not page.Contents or page.Contents[-1].Key == after:
                raise responses.misunderstood(action, "the same page again and again")
            after = page.Contents[-1].Key


def _list_objects(bucket: str, prefix: str, after: str, s3: Any) -> Any:
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after)

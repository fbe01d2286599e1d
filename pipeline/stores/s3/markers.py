"""Markers: what makes a multipart upload ours, and its UploadId known to any machine.

    bucket/prefix/.imgprep-segments/imgprep-<job>-<content>/disk.vhd     {"token": "…"}

A marker is put before the upload is begun, without a token, and again with it; so a kill between the
two leaves at worst an upload without parts, which ``nameless`` finds by its key and its time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from pipeline.stores.s3.bucket import Bucket
from pipeline.transfer.protocol import UPLOAD_ID, Upload, UploadLostError

FOLDER = ".imgprep-segments/"
_CLOCK = timedelta(seconds=2)  # S3 tells whole seconds


class Markers:
    """The markers of one destination."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._start = bucket.destination.prefix + FOLDER

    def put(self, upload: Upload) -> None:
        """Write the upload's token down."""
        bucket = self._bucket
        bucket.client.call(
            f"writing down the upload of {bucket.url(upload.name)}",
            lambda s3: s3.put_object(
                Bucket=bucket.name,
                Key=self._key(upload),
                Body=json.dumps({"token": upload.token}).encode(),
                ContentType="application/json",
            ),
        )

    def token(self, upload: Upload) -> str | None:
        """What the marker says: a token, "" before there was one; None without a marker."""
        bucket = self._bucket
        data = bucket.client.call(
            f"looking for an earlier upload of {bucket.url(upload.name)}",
            lambda s3: s3.get_object(Bucket=bucket.name, Key=self._key(upload))["Body"].read(),
            missing=None,
        )
        if data is None:
            return None
        try:
            return str(json.loads(data)["token"])
        except (ValueError, KeyError, TypeError):
            return ""

    def delete(self, upload: Upload) -> None:
        """The upload is over."""
        self._bucket.delete(self._key(upload))

    def listed(self) -> Iterator[tuple[Upload, str]]:
        """Every upload that has a marker, and when that was put (ISO 8601)."""
        for key, modified in self._keys():
            upload_id, _, name = key[len(self._start) :].partition("/")
            if UPLOAD_ID.fullmatch(upload_id) and name:
                upload = Upload(name, upload_id, 0, 0)
                yield replace(upload, token=self.token(upload) or ""), modified

    def nameless(self, upload: Upload) -> list[Upload]:
        """Uploads of this key without parts, begun after the marker: a kill came in between."""
        bucket = self._bucket
        marker = bucket.head(self._key(upload))
        if marker is None:
            return []
        key = bucket.destination.key(upload.name)
        answer = bucket.client.call(
            f"looking for uploads of {bucket.url(upload.name)}",
            lambda s3: s3.list_multipart_uploads(Bucket=bucket.name, Prefix=key),
        )
        since = marker["LastModified"] - _CLOCK
        found = [
            replace(upload, token=f".{item['UploadId']}")
            for item in answer.get("Uploads", [])
            if item["Key"] == key and item["Initiated"] >= since
        ]
        return [item for item in found if self._is_empty(item)]

    def _is_empty(self, upload: Upload) -> bool:
        try:
            return next(self._bucket.pages(upload, 0, 1), None) is None
        except UploadLostError:
            return False

    def _key(self, upload: Upload) -> str:
        return f"{self._start}{upload.id}/{upload.name}"

    def _keys(self) -> Iterator[tuple[str, str]]:
        bucket, after = self._bucket, ""
        while True:
            page = bucket.client.call(
                f"listing s3://{bucket.name}/{self._start}",
                partial(_list_objects, bucket.name, self._start, after),
            )
            for item in page.get("Contents", []):
                after = str(item["Key"])
                yield after, item["LastModified"].isoformat(timespec="seconds")
            if not page.get("IsTruncated"):
                return


def _list_objects(bucket: str, prefix: str, after: str, s3: Any) -> Any:
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after)

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
from typing import TYPE_CHECKING, Any

from pipeline.transfer.protocol import UPLOAD_ID, Upload, UploadLostError

if TYPE_CHECKING:
    from pipeline.stores.s3.store import S3Store

FOLDER = ".imgprep-segments/"
_CLOCK = timedelta(seconds=2)  # S3 tells whole seconds


class Markers:
    """The markers of one destination."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._start = store.destination.prefix + FOLDER

    def put(self, upload: Upload) -> None:
        """Write the upload's token down."""
        store = self._store
        store.client.call(
            f"writing down the upload of {store.url(upload.name)}",
            lambda s3: s3.put_object(
                Bucket=store.bucket,
                Key=self._key(upload),
                Body=json.dumps({"token": upload.token}).encode(),
                ContentType="application/json",
            ),
        )

    def token(self, upload: Upload) -> str | None:
        """What the marker says: a token, "" before there was one; None without a marker."""
        store = self._store
        data = store.client.call(
            f"looking for an earlier upload of {store.url(upload.name)}",
            lambda s3: s3.get_object(Bucket=store.bucket, Key=self._key(upload))["Body"].read(),
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
        self._store.delete_key(self._key(upload))

    def listed(self) -> Iterator[tuple[Upload, str]]:
        """Every upload that has a marker, and when that was put (ISO 8601)."""
        for key, modified in self._keys():
            upload_id, _, name = key[len(self._start) :].partition("/")
            if UPLOAD_ID.fullmatch(upload_id) and name:
                upload = Upload(name, upload_id, 0, 0)
                yield replace(upload, token=self.token(upload) or ""), modified

    def nameless(self, upload: Upload) -> list[Upload]:
        """Uploads of this key without parts, begun after the marker: a kill came in between."""
        store = self._store
        marker = store.head(self._key(upload))
        if marker is None:
            return []
        key = store.destination.key(upload.name)
        answer = store.client.call(
            f"looking for uploads of {store.url(upload.name)}",
            lambda s3: s3.list_multipart_uploads(Bucket=store.bucket, Prefix=key),
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
            return next(self._store.pages(upload, 0, 1), None) is None
        except UploadLostError:
            return False

    def _key(self, upload: Upload) -> str:
        return f"{self._start}{upload.id}/{upload.name}"

    def _keys(self) -> Iterator[tuple[str, str]]:
        store, after = self._store, ""
        while True:
            page = store.client.call(
                f"listing s3://{store.bucket}/{self._start}",
                partial(_list_objects, store.bucket, self._start, after),
            )
            for item in page.get("Contents", []):
                after = str(item["Key"])
                yield after, item["LastModified"].isoformat(timespec="seconds")
            if not page.get("IsTruncated"):
                return


def _list_objects(bucket: str, prefix: str, after: str, s3: Any) -> Any:
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after)

"""What stores answer, checked by schema in one place before anybody believes it.

    headers, JSON, parsed XML ──read──▶ a record of this file
                                 └────▶ TemporaryStoreError store-misunderstood: what was answered

A login page, a broken proxy or a store of another kind answers 200 too; such an answer is the store's
failure, never a surprise of ours.  Fields that nobody needs are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar

import msgspec

from pipeline.errors import TemporaryStoreError
from pipeline.text import clean

T = TypeVar("T")
_HINT = (
    "a proxy or a login page may answer instead of the store: check the address and HTTP(S)_PROXY"
)
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class SwiftLimits(msgspec.Struct, frozen=True):
    """``swift`` of ``/info``, with Swift's own defaults.  Bytes."""

    max_file_size: Positive = 5 * (1 << 30) + 2
    max_object_name_length: Positive = 1024


class SloLimits(msgspec.Struct, frozen=True):
    """``slo`` of ``/info``: static large objects."""

    min_segment_size: Count = 1
    max_manifest_segments: Positive = 1000


class Capabilities(msgspec.Struct, frozen=True):
    """Swift's ``/info``: https://docs.openstack.org/swift/latest/api/discoverability.html ."""

    swift: SwiftLimits = SwiftLimits()
    slo: SloLimits | None = None


class Listed(msgspec.Struct, frozen=True):
    """One object in a Swift container's listing."""

    name: str
    bytes: Count
    hash: str
    last_modified: str = ""
    slo_etag: str = ""  # of a static large object, in quotes


class Named(msgspec.Struct, frozen=True):
    """One segment in a static large object's manifest."""

    name: str  # /container/object


class Head(msgspec.Struct, frozen=True, rename="kebab"):
    """The headers of an object in Swift."""

    content_length: Count
    etag: str = ""
    last_modified: str = ""
    content_type: str | None = None
    x_static_large_object: str = ""
    x_object_manifest: str = ""
    x_delete_at: str = ""
    x_object_meta_imgprep_upload: str = ""

    @property
    def checksum(self) -> str | None:
        """The ETag without its quotes."""
        return self.etag.strip('"') or None


class Endpoint(msgspec.Struct, frozen=True):
    """One place of a service in an identity service's catalog."""

    region: str = ""
    public: str | None = msgspec.field(default=None, name="publicURL")
    internal: str | None = msgspec.field(default=None, name="internalURL")


class Service(msgspec.Struct, frozen=True):
    """One service in that catalog."""

    type: str
    endpoints: tuple[Endpoint, ...] = ()


class Token(msgspec.Struct, frozen=True):
    """What lets in."""

    id: str


class User(msgspec.Struct, frozen=True):
    """Who is let in."""

    region: str | None = msgspec.field(default=None, name="RAX-AUTH:defaultRegion")


class Entrance(msgspec.Struct, frozen=True):
    """``access`` of Rackspace's identity v2.0."""

    token: Token
    catalog: tuple[Service, ...] = msgspec.field(name="serviceCatalog")
    user: User = User()


class Identity(msgspec.Struct, frozen=True):
    """The answer of Rackspace's identity v2.0, see ``pipeline.stores.swift.rackspace``."""

    access: Entrance


class Upload(msgspec.Struct, frozen=True):
    """One item of S3's ListMultipartUploads."""

    Key: str
    UploadId: str
    Initiated: datetime


class Part(msgspec.Struct, frozen=True):
    """One item of S3's ListParts."""

    PartNumber: Positive
    Size: Count
    ETag: str
    ChecksumSHA256: str | None = None

    @property
    def checksum(self) -> str:
        """The ETag without its quotes: the MD5, unless the store encrypts with keys of its own."""
        return self.ETag.strip('"')


class PartsPage(msgspec.Struct, frozen=True):
    """One page of S3's ListParts."""

    Parts: tuple[Part, ...] = ()
    IsTruncated: bool = False
    NextPartNumberMarker: Count = 0


class UploadsPage(msgspec.Struct, frozen=True):
    """One page of S3's ListMultipartUploads."""

    Uploads: tuple[Upload, ...] = ()


class Key(msgspec.Struct, frozen=True):
    """One item of S3's ListObjectsV2."""

    Key: str
    LastModified: datetime


class KeysPage(msgspec.Struct, frozen=True):
    """One page of S3's ListObjectsV2."""

    Contents: tuple[Key, ...] = ()
    IsTruncated: bool = False


class S3Head(msgspec.Struct, frozen=True):
    """S3's HeadObject."""

    ContentLength: Count
    LastModified: datetime
    ETag: str = ""
    ContentType: str | None = None
    Metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Marker(msgspec.Struct, frozen=True):
    """What our marker of an upload in S3 holds, and a lease in Swift or a directory."""

    token: str = ""
    owner: str = ""  # "" when nobody works on it


def read(action: str, data: Any, kind: type[T]) -> T:
    """The record, if the answer is one; headers' numbers are strings."""
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise misunderstood(action, str(error), data) from None


def read_json(action: str, data: bytes | str, kind: type[T]) -> T:
    """The record that a JSON text holds."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise misunderstood(action, str(error), data) from None


def read_identity(action: str, data: bytes, *, hint: str) -> Entrance:
    """What an identity service lets in with; its answer is never shown, since it may hold a token."""
    try:
        return msgspec.json.decode(data, type=Identity).access
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise misunderstood(action, str(error), hint=hint) from None


def misunderstood(
    action: str, why: str, data: Any = "", *, hint: str = _HINT
) -> TemporaryStoreError:
    """The error for an answer that makes no sense."""
    shown = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
    said = f"; it was: {clean(shown[:200], 120)}" if shown else ""
    return TemporaryStoreError(
        "store-misunderstood",
        f"{action}: the answer makes no sense ({clean(why, 120)}){said}",
        hint=hint,
    )


def age_s(headers: Mapping[str, str]) -> float:
    """Seconds since an object was written, by the clock of the store that answers."""
    try:
        now, then = (parsedate_to_datetime(headers[key]) for key in ("date", "last-modified"))
    except (KeyError, ValueError):
        return 0.0
    return max((now - then).total_seconds(), 0.0)

"""What every object store promises to the segment engine, and how a destination is named.

    destination ──open_store──▶ ObjectStore
                                   prepare      credentials, container, quota: before the first byte
                                   begin        a place for one upload, found again after a kill
                                   put_segment  one range of the object, with its MD5
                                   list_segments / stat_segment   what is really there
                                   commit       segments become the object, at once or not at all
                                   stat / read_range / stored_segments   the object, looked at
                                   discard / unfinished / delete         tidying

An object is visible under its name only after ``commit``: before that there are segments, which an
interrupted upload leaves behind, a resume uses again, and ``unfinished`` finds.

Errors: ``TemporaryStoreError`` when the same request may succeed later; any other ``StoreError`` is
final.  A store never repeats a request by itself: that is what ``Retrying`` around it does.
The only exception is authentication: an expired token is renewed once, for all threads together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from pipeline.errors import StoreError

Piece: TypeAlias = bytes | memoryview

PIECE_SIZE = 1 << 20
"""The largest piece of a segment that is in memory at once."""

READ_SIZE = 4 << 20
"""How much of an object is read back with one request."""

UPLOAD_ID = re.compile(r"imgprep-(?P<job>[A-Za-z0-9]{1,16})-(?P<content>[0-9a-f]{16})")
"""What tells our leftovers from anybody else's objects; see ``upload_id``."""

OCTETS = "application/octet-stream"

SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What metadata keep as they are when they travel as a header; all else is percent-encoded."""

NO_ROOM = frozenset({"store-quota", "store-full"})
"""Errors of ``prepare`` that are no obstacle where nothing has to be sent."""

UPLOAD_KEY = "imgprep-upload"
"""The metadata key whose value is the upload id: how an object is known to be this upload's."""


@dataclass(frozen=True)
class StoreLimits:
    """What a store can take, in bytes and numbers.  Known after ``prepare``."""

    min_segment: int  # of every segment but the last
    max_segment: int
    preferred_segment: int
    max_segments: int
    max_name_bytes: int  # of the object's name in UTF-8, segments' names considered


@dataclass(frozen=True)
class StoredObject:
    """A committed object, as the store tells it."""

    name: str
    size: int
    etag: str | None  # without quotes; see ``ObjectStore.expected_etag``
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # ours only, keys lower case


@dataclass(frozen=True)
class StoredSegment:
    """One segment that the store holds; ``md5`` was computed from the bytes that arrived there."""

    number: int  # from 0
    size: int
    md5: str | None  # None: this store cannot tell
    name: str = ""  # its address in the store


@dataclass(frozen=True)
class Upload:
    """One upload under way.  Equal values mean the same place in the store, in any process."""

    name: str  # the object's name in the store
    id: str  # from job and content, see ``upload_id``
    size: int
    segment_size: int
    token: str = ""  # the store's own handle, e.g. an S3 UploadId; kept in the journal
    metadata: Mapping[str, str] = field(default_factory=dict)  # ASCII or not, no secrets
    content_type: str = OCTETS


@dataclass(frozen=True)
class Unfinished:
    """What an interrupted upload left in the destination."""

    name: str  # the object that it would have become
    upload_id: str
    job: str  # the job's part of ``upload_id``
    size: int  # bytes of whole segments: what a resume need not send again
    segments: int
    modified: str  # ISO 8601 with its zone, of the newest piece; "" when the store does not tell
    token: str = ""
    owner: str = ""  # who holds the lease; "" when nobody does
    lease_age_s: float = 0.0  # since it was renewed, by the store's clock
    on_disk: int | None = None  # bytes it takes up, where holes and halves of segments count

    @property
    def upload(self) -> Upload:
        """What ``ObjectStore.discard`` takes."""
        return Upload(self.name, self.upload_id, self.size, 0, self.token)


class SegmentsChangedError(StoreError):
    """At commit, segments were missing or different: list them again and send the bad ones."""


class UploadLostError(StoreError):
    """The store does not know the upload (any more): begin again."""


class Payload(Protocol):
    """The bytes of one segment, made anew at every ``pieces()``, never whole in memory."""

    @property
    def size(self) -> int:
        """Bytes in the segment."""
        ...

    @property
    def md5(self) -> str | None:
        """Hex MD5 of the bytes; None until ``pieces`` ended or ``digest`` was called."""
        ...

    @property
    def sha256(self) -> str | None:
        """Hex SHA-256, where the store wants it (``wants_sha256``), known when ``md5`` is."""
        ...

    @property
    def number(self) -> int:
        """The segment's number, from 0."""
        ...

    @property
    def offset(self) -> int:
        """Where the segment starts in the object."""
        ...

    def pieces(self) -> Iterator[Piece]:
        """From the first byte to the last, at most ``PIECE_SIZE`` each."""
        ...

    def digest(self) -> str:
        """The MD5 before anything is sent; costs a pass unless it is known.

        What was read is kept for ``pieces`` as far as the memory limit of a worker allows.
        """
        ...


class ObjectStore(Protocol):
    """One destination: a container or bucket with a prefix, or a directory.

    Names are relative to it.  All methods may be called from several threads.
    """

    place: str  # what its container is called, for people: container, bucket, directory
    connections: int  # a good number of parallel transfers
    keeps_holes: bool  # zeros take no room
    wants_sha256: bool  # the store checks it, so payloads shall know it

    @property
    def limits(self) -> StoreLimits:
        """Known after ``prepare``."""
        ...

    def url(self, name: str) -> str:
        """The object's address for people; holds no credentials."""
        ...

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """Check everything that can be checked before the first byte.

        Credentials are accepted, the container exists (``create``: is made), it may take ``size``
        more bytes where the store tells its quota.  Without ``create`` nothing is written.
        """
        ...

    def stat(self, name: str) -> StoredObject | None:
        """The committed object; None when there is none.  Never answers from a listing."""
        ...

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
        """A place for the upload.  Idempotent; ``token`` is what an earlier ``begin`` returned.

        A token that the store forgot is replaced by a new one, and nothing is reused then.  Raises
        ``StoreError`` code ``upload-in-progress`` where two cannot work on one upload.
        The object's metadata are known here, because S3 takes them at no other time; ``UPLOAD_KEY``
        is added to them.
        """
        ...

    def put_segment(
        self, upload: Upload, payload: Payload, *, replace: bool = False
    ) -> StoredSegment:
        """Send one segment.

        Returns what the store then holds under this number; the caller compares.  Where one is there
        already it may stay, unless ``replace``: another uploader of the same bytes may have it in an
        object by now.  After a failure the segment is either absent, or whole and as sent.
        """
        ...

    def renew(self, upload: Upload, owner: str) -> None:
        """Leave a sign that somebody works on this upload: see ``lease.py``."""
        ...

    def release(self, upload: Upload) -> None:
        """Take the sign away; what was stored stays.  Nothing is left of an upload that is over."""
        ...

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """What this upload has stored, by number.  May lag behind: see ``stat_segment``."""
        ...

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """One segment, never answered from a listing; None when it is not there."""
        ...

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The ETag that the object must have, computed here; None: the store has none."""
        ...

    def commit(
        self,
        upload: Upload,
        segments: tuple[StoredSegment, ...],
        *,
        replace: bool,
    ) -> StoredObject:
        """Make the object of these segments, all at once; returns what ``stat`` then says.

        None of its segments will expire when this returns, whoever sent them.
        Raises ``StoreError`` code ``object-exists`` when the name is taken and ``replace`` is
        False, unless the object there is this upload's (a repeated commit succeeds).  Raises
        ``SegmentsChangedError`` or ``UploadLostError`` when the segments are no longer what was
        sent.  What a replaced object leaves (its own segments) is removed.
        """
        ...

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """The committed object's segments in order, from the store; None: it cannot tell them."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Exactly these bytes of the committed object (a short answer is temporary)."""
        ...

    def discard(self, upload: Upload) -> None:
        """Remove what this upload stored and no committed object uses; it may be nothing."""
        ...

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Every upload of imgprep that was begun and not committed in this destination."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object and its segments; nothing when there is none."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def upload_id(job: str, content: str) -> str:
    """The name of an upload, unique to a job and to a content.

    ``content`` is a digest of everything that decides the object's bytes: the same id means the same
    bytes, so segments may be used again; another id never shares a name with this one.
    """
    clean = re.sub(r"[^A-Za-z0-9]", "", job)[:16] or "0"
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"imgprep-{clean}-{digest}"


def marked(metadata: Mapping[str, str] | None, upload_id: str) -> Mapping[str, str]:
    """The object's metadata with the mark by which it is known to be this upload's."""
    return {**(metadata or {}), UPLOAD_KEY: upload_id}


def slo_etag(segments: tuple[StoredSegment, ...]) -> str:
    """The MD5 of the segments' MD5s in hex: what Swift calls the ETag of a large object.

    https://docs.openstack.org/swift/latest/overview_large_objects.html
    """
    joined = "".join(segment.md5 or "" for segment in segments)
    return hashlib.md5(joined.encode(), usedforsecurity=False).hexdigest()

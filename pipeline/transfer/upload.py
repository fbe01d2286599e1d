"""The segment engine: artifact in, proved object out, whatever happens in between.

    artifact ──ranges──▶ N workers ──make, hash, send──▶ segments ──commit──▶ object
                              │                             │
                              └── journal (a hint) ── list + HEAD (the truth) ── resume

A worker makes one segment piece by piece while it sends it, and compares the MD5 that the store
computed with its own.  Only a segment that is missing or different is sent again: after a bit flip,
after a lost answer, after SIGKILL, after somebody deleted it.
"""

from __future__ import annotations

from typing import TypeAlias

from pipeline.errors import SourceError, StoreError, UsageError
from pipeline.model import Receipt
from pipeline.pool import Pool
from pipeline.transfer import lease
from pipeline.transfer.compare import same_content
from pipeline.transfer.journal import UploadJournal
from pipeline.transfer.protocol import (
    NO_ROOM,
    UPLOAD_KEY,
    ObjectStore,
    SegmentsChangedError,
    StoredObject,
    StoredSegment,
    Upload,
    UploadLostError,
)
from pipeline.transfer.request import Handles, UploadPlan, UploadRequest, segment_size
from pipeline.transfer.retrying import Retrying
from pipeline.transfer.segments import ArtifactReader, Segmentation, ZeroMap
from pipeline.transfer.sender import Progress, Sender

_MIB = 1 << 20
_TURN_S = 0.5  # how often is looked whether another one let go
_ROUNDS = 4  # how often segments may vanish under us before we give up
_NO_SHA256 = (
    "segments are made and hashed in parallel; the sha256 of the whole would need a second pass "
    "(--verify readback makes one)"
)


_Stored: TypeAlias = tuple[StoredObject, tuple[StoredSegment, ...]]


def plan(
    store: ObjectStore, reader: ArtifactReader, request: UploadRequest, handles: Handles
) -> UploadPlan:
    """Preflight without a change in the store: credentials, container, quota, segment plan."""
    return _Transfer(store, reader, request, handles).plan()


def upload(
    store: ObjectStore, reader: ArtifactReader, request: UploadRequest, handles: Handles
) -> Receipt:
    """Store the artifact; returns what the store then holds.

    Raises ``StoreError`` (final), ``Interrupted`` (the same call continues), or what reading the
    artifact raises.  What was stored so far stays for the next call, except when that would be of
    no use: another object took the name.
    """
    return _Transfer(store, reader, request, handles).run()


class _Transfer:
    def __init__(
        self, store: ObjectStore, reader: ArtifactReader, request: UploadRequest, handles: Handles
    ) -> None:
        if reader.size == 0:
            raise UsageError(
                "upload-empty",
                f"{request.name}: there are no bytes to store",
                hint="check the file",
            )
        stop = handles.cancellation
        self.store = Retrying(store, handles.policy, stop, tell=handles.note)
        self.reader, self.request, self.handles = reader, request, handles
        self.zeros = ZeroMap(reader.extents())
        self.connections = request.connections or store.connections
        self.pool = Pool(self.connections, stop.check)
        self.progress = Progress(reader.size, handles.progress)
        self.no_room: StoreError | None = None  # no obstacle where nothing has to be sent
        self.damaged = False  # this upload's object is there, and segments of it are not

    def plan(self) -> UploadPlan:
        """The segment plan, after a preflight that writes nothing."""
        missing = False
        try:
            self._preflight(create=False)
        except StoreError as error:
            if error.code != "container-missing" or not self.request.create:
                raise
            missing = True
        cut = self._cut()
        exists = not missing and self.store.stat(self.request.name) is not None
        if self.no_room is not None and not (exists and self.request.if_exists == "skip"):
            raise self.no_room
        return UploadPlan(
            self.store.url(self.request.name),
            self.request.upload_id,
            cut.size,
            self.zeros.total,
            cut.segment_size,
            cut.count,
            min(self.connections, cut.count),
            exists,
            missing,
            self.store.place,
        )

    def run(self) -> Receipt:
        """Preflight, then whatever is left to do."""
        self._preflight(create=self.request.create)
        self.segmentation = self._cut()
        self.journal = UploadJournal(
            self.handles.notebook, self.request.upload_id, self.segmentation.segment_size
        )
        self.sender = Sender(
            self.store, self.segmentation, self.journal, self.pool, self.progress, self.handles.pace
        )
        try:
            stored, segments = self._stored()
        finally:
            self.journal.flush()
        return self._receipt(stored, segments)

    def _stored(self) -> _Stored:
        """The object, found or made.  Segments may vanish under us: then it is looked at anew."""
        for attempt in range(_ROUNDS):
            found = self._found()
            if found is not None:
                self.progress.reused = found[0].size
                return found
            if self.no_room is not None:
                raise self.no_room
            try:
                return self._transferred(attempt)
            except (SegmentsChangedError, UploadLostError) as error:
                if attempt == _ROUNDS - 1:
                    raise
                self.handles.note(f"{error.message}; every segment is looked at again")
        raise AssertionError("the loop returns or raises")

    def _preflight(self, *, create: bool) -> None:
        store, request = self.store, self.request
        held = UploadJournal.held(self.handles.notebook, request.upload_id)
        needed = self.reader.size - held - (self.zeros.total if store.keeps_holes else 0)
        try:
            store.prepare(create=create, size=max(needed, 0))
        except StoreError as error:
            if error.code not in NO_ROOM:
                raise
            self.no_room = error

    def _cut(self) -> Segmentation:
        store, request = self.store, self.request
        if len(request.name.encode()) > store.limits.max_name_bytes:
            raise UsageError(
                "name-malformed",
                f"the name is longer than the {store.limits.max_name_bytes} bytes this store takes",
                hint="choose another with --name",
            )
        size = segment_size(self.reader.size, store.limits, request.segment_size)
        return Segmentation(self.reader, self.zeros, size)

    def _found(self) -> _Stored | None:
        """An object that needs no upload; None when there is none, or it shall be replaced."""
        stored = self.store.stat(self.request.name)
        if stored is None:
            return None
        if stored.metadata.get(UPLOAD_KEY) == self.request.upload_id:
            found = self._found_ours(stored)
            if found is not None:
                return found
        if self.request.if_exists == "replace" or self.damaged:
            return None
        if self.request.if_exists == "skip":
            segments = self._require_same(stored)
            self.store.discard(self._upload())
            return stored, segments
        raise StoreError(
            "object-exists",
            f"{self.store.url(stored.name)} exists already",
            hint="choose another --name, or --if-exists skip or replace",
        )

    def _found_ours(self, stored: StoredObject) -> _Stored | None:
        """This very upload was committed before: by a run that was killed then, or that ended well.

        Who replaces it by itself without having been killed wants it made anew.
        """
        if self.request.if_exists == "replace" and not self.journal.committing:
            return None
        segments = self.sender.remembered()
        if not self._is_right(stored, segments):
            if self.journal.committing:
                raise self._mismatch(stored, segments)
            return None
        try:
            made = self._commit(self._upload(), segments)
        except (SegmentsChangedError, UploadLostError):
            self.damaged = True  # whatever --if-exists says: it is this upload that goes on
            return None
        self.store.release(self._upload())  # of a run that was killed while it committed
        return made, segments

    def _require_same(self, stored: StoredObject) -> tuple[StoredSegment, ...]:
        self.handles.note(f"{self.store.url(stored.name)} exists; its content is compared")
        segments = same_content(self.store, stored, self.segmentation, self.pool)
        if segments is None:
            raise StoreError(
                "object-differs",
                f"{self.store.url(stored.name)} exists and holds something else",
                hint="choose another --name, or --if-exists replace",
            )
        return segments

    def _transferred(self, attempt: int) -> _Stored:
        resuming = self.journal.began or attempt > 0
        upload, waited = self._begin()
        if waited and (found := self._found()) is not None:
            self.store.discard(upload)
            return found
        with lease.kept(self.store, upload):
            # A listing that lags behind would say the same again.
            present = self.store.list_segments(upload) if attempt == 0 else {}
            segments = self.sender.all(upload, present, resuming=resuming or bool(present))
            self._require_unchanged(upload)
            self.journal.commit()
            stored = self._commit(upload, segments)
        self._take_back_if_changed(stored)
        if not self._is_right(stored, segments):
            raise self._mismatch(stored, segments)
        return stored, segments

    def _require_unchanged(self, upload: Upload) -> None:
        """Before the commit: what was sent of a source that changed is of no use to anybody."""
        try:
            self.handles.unchanged()
        except SourceError:
            self.store.discard(upload)
            raise

    def _take_back_if_changed(self, stored: StoredObject) -> None:
        try:
            self.handles.unchanged()
        except SourceError as error:
            url = self.store.url(stored.name)
            try:
                self.store.delete(stored.name)
                what = f"{url} was taken back"
            except StoreError as refused:
                what = f"{url} could not be taken back ({refused.message}): do not use it"
            raise SourceError(error.code, f"{error.message}; {what}", hint=error.hint) from None

    def _begin(self) -> tuple[Upload, bool]:
        """The upload, and whether another one of it had to end first."""
        wish, told = self._upload(), False
        while True:
            try:
                upload = self.store.begin(
                    wish.name,
                    wish.id,
                    wish.size,
                    wish.segment_size,
                    wish.token,
                    metadata=self.request.metadata,
                    content_type=self.request.content_type,
                )
                break
            except StoreError as error:
                if error.code != "upload-in-progress":
                    raise
                if not told:
                    self.handles.note(f"{error.message}; waiting for it")
                told = True
            if self.handles.cancellation.wait(_TURN_S):
                self.handles.cancellation.check()
        self.journal.start(upload.token)
        return upload, told

    def _upload(self) -> Upload:
        request, cut = self.request, self.segmentation
        return Upload(
            request.name, request.upload_id, cut.size, cut.segment_size, self.journal.token
        )

    def _commit(self, upload: Upload, segments: tuple[StoredSegment, ...]) -> StoredObject:
        request = self.request
        try:
            return self.store.commit(upload, segments, replace=request.if_exists == "replace")
        except StoreError as error:
            if error.code == "object-exists":
                self.store.discard(upload)
            raise

    def _is_right(self, stored: StoredObject, segments: tuple[StoredSegment, ...]) -> bool:
        wanted = self.store.expected_etag(segments)
        same = stored.etag == wanted or wanted is None or stored.etag is None
        return same and stored.size == self.segmentation.size

    def _mismatch(self, stored: StoredObject, segments: tuple[StoredSegment, ...]) -> StoreError:
        return StoreError(
            "object-mismatch",
            f"{self.store.url(stored.name)} has {stored.size} bytes and ETag {stored.etag}; "
            f"{self.segmentation.size} bytes and ETag {self.store.expected_etag(segments)} were sent",
            hint="another program may have replaced it; run again with --if-exists replace",
        )

    def _receipt(self, stored: StoredObject, segments: tuple[StoredSegment, ...]) -> Receipt:
        offset, listed = 0, []
        for segment in segments:
            listed.append(
                {"name": segment.name, "offset": offset, "size": segment.size, "md5": segment.md5}
            )
            offset += segment.size
        sha256 = self.request.sha256 or self.sender.sha256
        etag = stored.etag or self.store.expected_etag(segments)
        return Receipt(
            url=self.store.url(stored.name),
            size=stored.size,
            segments=tuple(listed),
            checksum=f"etag:{etag}" if etag else None,
            sha256=sha256,
            sha256_note=None if sha256 else _NO_SHA256,
            reused_bytes=self.progress.reused,
            sent_bytes=self.progress.sent,
        )

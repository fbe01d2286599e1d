"""A directory as an object store: hidden until it is whole, durable when it is there.

    dir/.imgprep-<job>-<content>/     one upload under way
        data                            the object, segments written at their offsets
        about                           JSON: name, size, segment size
        log                             a line for every whole segment: number, size, MD5
        lock                            JSON: who works on it, and locked while that lasts
    dir/disk.vhd                      appears by link() or rename() after fsync, never half-written

Nobody else writes to an upload that is locked: its file is the object's own from the commit on.
``link`` fails when the name is taken, so two uploads cannot overwrite each other unasked.  The log
is a hint: ``list_segments`` reads the data and tells its real MD5, so that a torn write after a
power cut is found and written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.pool import Pool
from pipeline.stores.local import files, leftovers
from pipeline.stores.location import Destination
from pipeline.transfer.protocol import (
    OCTETS,
    PIECE_SIZE,
    UPLOAD_KEY,
    Payload,
    SegmentsChangedError,
    StoredObject,
    StoredSegment,
    StoreLimits,
    Unfinished,
    Upload,
    UploadLostError,
    marked,
    slo_etag,
)
from pipeline.transfer.segments import is_shared_zeros

_LIMITS = StoreLimits(
    min_segment=1,
    max_segment=1 << 40,
    preferred_segment=32 << 20,
    max_segments=100_000,
    max_name_bytes=255,
)


class LocalStore:
    """The ``file://`` store."""

    place = "directory"
    keeps_holes = True
    wants_sha256 = False

    def __init__(self, destination: Destination) -> None:
        self.directory = Path(destination.container)
        self.connections = min(max(os.cpu_count() or 1, 2), 4)
        self._files: dict[str, int] = {}  # descriptors by upload
        self._locks: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def limits(self) -> StoreLimits:
        """A file system's limits are above any image's."""
        return _LIMITS

    def url(self, name: str) -> str:
        """``file:///dir/name``."""
        return f"file://{self.directory / name}"

    def prepare(self, *, create: bool = False, size: int = 0) -> None:
        """The directory is there (``create``: is made), may be written and has the space."""
        with files.told(self.directory):
            if create:
                self.directory.mkdir(parents=True, exist_ok=True)
            if not self.directory.exists():
                raise StoreError(
                    "container-missing",
                    f"there is no directory {str(self.directory)!r}",
                    hint="make it, or give --create",
                )
            if not self.directory.is_dir():
                raise StoreError(
                    "container-missing",
                    f"{str(self.directory)!r} is not a directory",
                    hint="give a directory; the object's name is --name",
                )
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise StoreError(
                    "store-forbidden",
                    f"no write permission on {self.directory}",
                    hint="give another directory, or change its permissions",
                )
            found = os.statvfs(self.directory)
        free = found.f_bavail * found.f_frsize
        if size > free:
            raise files.full(self.directory, f"{size} bytes are needed, {free} are free")

    def stat(self, name: str) -> StoredObject | None:
        """The file, and what the extended attribute says about it while it is unchanged."""
        path = self.directory / name
        with files.told(path):
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
            about = files.attribute(path)
        if (about.get("size"), about.get("mtime_ns")) != (found.st_size, found.st_mtime_ns):
            about = {}
        return StoredObject(
            name,
            found.st_size,
            about.get("etag"),
            about.get("content_type"),
            about.get("metadata", {}),
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
        """Make or find the hidden directory of this upload."""
        del token
        about = marked(metadata, upload_id)
        upload = Upload(name, upload_id, size, segment_size, "", about, content_type)
        place = self._workplace(upload)
        with files.told(place):
            place.mkdir(exist_ok=True)
            self._lock_up(upload)
            plan = {"name": name, "size": size, "segment_size": segment_size}
            files.write_whole(place / "about", json.dumps(plan).encode())
            os.truncate(self._data(upload), size)
        return upload

    def put_segment(
        self, upload: Upload, payload: Payload, *, replace: bool = False
    ) -> StoredSegment:
        """Write at the segment's offset, then say so in the log; nobody else is at it."""
        del replace
        with files.told(self.directory):
            fd = self._data(upload)
            fresh = files.is_hole(fd, payload.offset, payload.size)
            offset = payload.offset
            for piece in payload.pieces():
                if not (fresh and is_shared_zeros(piece)):
                    files.write_all(fd, piece, offset)
                offset += len(piece)
            md5 = payload.digest()
            try:
                with self._lock, (self._workplace(upload) / "log").open("a") as log:
                    log.write(f"{payload.number} {payload.size} {md5}\n")
            except FileNotFoundError:
                raise _lost(self._workplace(upload)) from None
        return StoredSegment(payload.number, payload.size, md5, upload.name)

    def renew(self, upload: Upload, owner: str) -> None:
        """Write the owner into the lock, which gives it a new time."""
        with files.told(self.directory), self._lock:
            if upload.id in self._locks:
                content = json.dumps({"owner": owner}).encode()
                os.pwrite(self._locks[upload.id], content, 0)
                os.truncate(self._locks[upload.id], len(content))

    def release(self, upload: Upload) -> None:
        """Unlock it, and take the owner's name back."""
        with files.told(self.directory), self._lock:
            if upload.id in self._locks:
                os.truncate(self._locks[upload.id], 0)
            self._close(upload)

    def list_segments(self, upload: Upload) -> Mapping[int, StoredSegment]:
        """The segments of the log, with the MD5 that their bytes have now."""
        logged = leftovers.logged(self._workplace(upload))
        if not logged:
            return {}
        hashed = Pool(self.connections).each(
            lambda entry: self._hashed(upload, *entry[:2]), logged.values()
        )
        return {segment.number: segment for segment in hashed}

    def stat_segment(self, upload: Upload, number: int) -> StoredSegment | None:
        """The segment, hashed now."""
        logged = leftovers.logged(self._workplace(upload)).get(number)
        return None if logged is None else self._hashed(upload, *logged[:2])

    def expected_etag(self, segments: tuple[StoredSegment, ...]) -> str | None:
        """The MD5 of the MD5s, which the file's extended attribute keeps."""
        return slo_etag(segments)

    def commit(
        self,
        upload: Upload,
        segments: tuple[StoredSegment, ...],
        *,
        replace: bool,
    ) -> StoredObject:
        """Flush, name, flush the directory, and only then forget the upload."""
        final = self.directory / upload.name
        with files.told(final):
            if not self._is_ours(upload):
                fd = self._data(upload, must_exist=True)
                self._require_logged(upload, segments)
                about = {
                    "metadata": dict(upload.metadata),
                    "content_type": upload.content_type,
                    "etag": slo_etag(segments),
                    "size": upload.size,
                }
                os.fsync(fd)
                files.set_attribute(fd, about)
                files.name_object(self._workplace(upload) / "data", final, replace=replace)
            files.sync_directory(self.directory)
            self._forget(upload)
        stored = self.stat(upload.name)
        if stored is None:
            raise UploadLostError("store-lost-object", f"{final} vanished after it was written")
        return stored

    def stored_segments(self, name: str) -> tuple[StoredSegment, ...] | None:
        """A file has no segments."""
        del name
        return None

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Read from the file."""
        path = self.directory / name
        with files.told(path), path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise StoreError(
                "store-short-read",
                f"{path} has only {len(data)} of {length} bytes at offset {offset}",
                hint="something shortened the file; upload it again",
            )
        return data

    def discard(self, upload: Upload) -> None:
        """Remove the hidden directory."""
        with files.told(self.directory):
            self._forget(upload)

    def unfinished(self) -> tuple[Unfinished, ...]:
        """The hidden directories that carry an upload's name."""
        with files.told(self.directory):
            if not self.directory.is_dir():
                return ()
            places = sorted(self.directory.glob(".imgprep-*"))
            return tuple(found for found in map(leftovers.leftover, places) if found is not None)

    def delete(self, name: str) -> None:
        """Remove the file."""
        path = self.directory / name
        with files.told(path):
            path.unlink(missing_ok=True)
            files.sync_directory(self.directory)

    def close(self) -> None:
        """Close the data files."""
        with self._lock:
            for held in (self._files, self._locks):
                while held:
                    os.close(held.popitem()[1])

    def _workplace(self, upload: Upload) -> Path:
        return self.directory / f".{upload.id}"

    def _data(self, upload: Upload, *, must_exist: bool = False) -> int:
        with self._lock:
            if upload.id not in self._files:
                flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
                flags |= 0 if must_exist else os.O_CREAT
                try:
                    fd = os.open(self._workplace(upload) / "data", flags, 0o666)
                except FileNotFoundError:
                    raise _lost(self._workplace(upload)) from None
                self._files[upload.id] = fd
            return self._files[upload.id]

    def _lock_up(self, upload: Upload) -> None:
        """Be the only one that works on it, in this process and in others."""
        with self._lock:
            if upload.id in self._locks:
                return
            fd = files.locked(self._workplace(upload) / "lock")
            if fd is None:
                raise StoreError(
                    "upload-in-progress",
                    f"another imgprep process is storing {self.directory / upload.name} just now",
                    hint="wait for it; the same command then finds what it stored",
                )
            self._locks[upload.id] = fd

    def _close(self, upload: Upload) -> None:
        for held in (self._files, self._locks):
            fd = held.pop(upload.id, None)
            if fd is not None:
                os.close(fd)

    def _require_logged(self, upload: Upload, segments: tuple[StoredSegment, ...]) -> None:
        logged = leftovers.logged(self._workplace(upload))
        bad = [s.number for s in segments if logged.get(s.number) != (s.number, s.size, s.md5)]
        if bad:
            raise SegmentsChangedError(
                "segments-changed",
                f"{self._workplace(upload)}: segment {bad[0]} is not what was written",
                hint="another program changed it; run the same command again",
            )

    def _hashed(self, upload: Upload, number: int, size: int) -> StoredSegment:
        fd, md5 = self._data(upload), hashlib.md5(usedforsecurity=False)
        start = number * upload.segment_size
        for offset in range(start, start + size, PIECE_SIZE):
            md5.update(os.pread(fd, min(PIECE_SIZE, start + size - offset), offset))
        return StoredSegment(number, size, md5.hexdigest(), upload.name)

    def _is_ours(self, upload: Upload) -> bool:
        stored = self.stat(upload.name)
        if stored is None:
            return False
        if stored.metadata.get(UPLOAD_KEY) == upload.id and stored.size == upload.size:
            return True
        data = self._workplace(upload) / "data"
        return data.exists() and data.samefile(self.directory / upload.name)

    def _forget(self, upload: Upload) -> None:
        """Remove its directory, and only then let others at it."""
        if self._workplace(upload).exists():
            shutil.rmtree(self._workplace(upload))
            files.sync_directory(self.directory)
        with self._lock:
            self._close(upload)


def _lost(place: Path) -> UploadLostError:
    return UploadLostError("upload-lost", f"{place} was removed while it was written")

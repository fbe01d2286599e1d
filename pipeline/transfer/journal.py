"""What an upload writes down while it works, so that a killed one knows what it had sent.

It is a hint: the store is always asked, and a segment that is not written down here but held by the
store is hashed and compared.  Losing the journal costs reading, never correctness.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from pipeline.stage import Notebook

_NAME = "upload"


class UploadJournal:
    """The record of one upload; a record of another upload counts as none."""

    def __init__(self, notebook: Notebook, upload_id: str, segment_size: int) -> None:
        self._notebook = notebook
        self._lock = threading.Lock()
        self._saved = 0.0
        self._record: dict[str, Any] = {
            "upload": upload_id,
            "segment_size": segment_size,
            "token": "",
            "committing": False,
            "md5": {},
        }
        found = notebook.load(_NAME)
        self.began = _is_record(found, upload_id, segment_size)
        if self.began and isinstance(found, dict):
            self._record |= {key: found[key] for key in self._record if key in found}

    @staticmethod
    def held(notebook: Notebook, upload_id: str) -> int:
        """About how many bytes of this upload are in the store, by what was written down."""
        found = notebook.load(_NAME)
        if not isinstance(found, dict) or found.get("upload") != upload_id:
            return 0
        size, sent = found.get("segment_size"), found.get("md5")
        return size * len(sent) if isinstance(size, int) and isinstance(sent, dict) else 0

    @property
    def token(self) -> str:
        """The store's handle, "" when none is known."""
        return str(self._record["token"])

    @property
    def committing(self) -> bool:
        """Whether a commit was tried: an object with our id is then ours, its answer was lost."""
        return bool(self._record["committing"])

    @property
    def count(self) -> int:
        """How many segments are written down."""
        return len(self._record["md5"])

    def md5(self, number: int) -> str | None:
        """The MD5 that the segment had when it was sent."""
        value = self._record["md5"].get(str(number))
        return str(value) if value else None

    def start(self, token: str) -> None:
        """The store has a place for the upload."""
        with self._lock:
            if token != self._record["token"]:
                self._record |= {"token": token, "md5": {}}
            self._save()

    def sent(self, number: int, md5: str) -> None:
        """A segment is in the store.  A long record is saved once in a while only."""
        with self._lock:
            self._record["md5"][str(number)] = md5
            if time.monotonic() - self._saved > 0.001 * self.count:
                self._save()

    def commit(self) -> None:
        """All segments are there and the commit begins."""
        with self._lock:
            self._record["committing"] = True
            self._save()

    def flush(self) -> None:
        """Write down everything now."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        self._notebook.save(_NAME, {**self._record, "md5": dict(self._record["md5"])})
        self._saved = time.monotonic()


def _is_record(found: Any, upload_id: str, segment_size: int) -> bool:
    return (
        isinstance(found, dict)
        and (found.get("upload"), found.get("segment_size")) == (upload_id, segment_size)
        and isinstance(found.get("md5"), dict)
        and isinstance(found.get("token"), str)
    )

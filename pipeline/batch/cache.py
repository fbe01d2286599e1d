"""What was found out about a disk once, for whoever asks again: within a batch, and in later ones.

    <cache>/imgprep/facts/<key>.json     mode 0600: guest facts name users and hosts
                          └── digest of content id, stage, its version and options, tools, imgprep

A file is the entry and its lock: who finds it empty inspects while he holds the lock, and those who
ask meanwhile wait for him, so that equal disks are inspected once.  A reader that changed has another
version, an upgraded tool another stamp: both are another key.  What is not asked for goes first when the
cache is too large.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec

from pipeline import __version__
from pipeline.model import Job, Outcome, StageStatus, digest, from_json, to_json
from pipeline.stage import Cancellation, Context, Stage

CACHED = frozenset({"inspect_disk", "inspect_guest"})
"""Stages whose outcome depends on the disk's content, their options and the tools alone."""

MOST_BYTES = 64 << 20
LARGEST_ENTRY = 1 << 20
TOOLS = ("qemu-img", "qemu-nbd", "qemu-system-x86_64", "supermin")
KNOWN = "known from an earlier look"
_POLL_S = 0.05


def default_directory() -> Path:
    """Private to the user."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("imgprep")) / "facts"


class FactsCache:
    """The entries in one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._tools = digest([_tool(name) for name in TOOLS])

    @classmethod
    def opened(cls, directory: Path | None) -> Self | None:
        """The cache, where there shall and can be one: nothing depends on it."""
        if directory is None:
            return None
        try:
            return cls(directory)
        except OSError:
            return None

    def key(self, content_id: str, stage: Stage, job: Job) -> str:
        """What an outcome is known by."""
        asked = dict(stage.options(job))
        return digest([content_id, stage.name, stage.version, asked, self._tools, __version__])

    @contextmanager
    def entry(self, key: str, stop: Cancellation) -> Iterator[int | None]:
        """The entry's file, locked; waits for whoever is about to fill it.  None: there is no room."""
        path = self._directory / f"{key}.json"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield None
            return
        try:
            while not _is_ours(handle):
                if stop.wait(_POLL_S):
                    stop.check()
            yield handle
        finally:
            os.close(handle)

    def trim(self) -> None:
        """Remove what nobody asked for in the longest time, down to the size that is allowed."""
        files = [(path, path.stat()) for path in self._directory.glob("*.json")]
        total = sum(found.st_size for _, found in files)
        for path, found in sorted(files, key=lambda item: item[1].st_mtime):
            if total <= MOST_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= found.st_size


class Remembering:
    """A stage that looks only at what the cache does not know."""

    def __init__(self, stage: Stage, cache: FactsCache) -> None:
        self._stage = stage
        self._cache = cache
        self.name, self.version, self.reusable = stage.name, stage.version, stage.reusable

    def options(self, job: Job) -> Mapping[str, Any]:
        """Those of the stage itself."""
        return self._stage.options(job)

    def run(self, context: Context) -> Outcome:
        """The outcome, from the cache or from the stage."""
        key = self._cache.key(context.disk.content_id, self._stage, context.job)
        with self._cache.entry(key, context.cancellation) as handle:
            if handle is None:
                return self._stage.run(context)
            known = _read(handle)
            if known is not None:
                return replace(known, reason=known.reason or KNOWN)
            outcome = self._stage.run(context)
            if outcome.status is StageStatus.DONE:
                context.source.require_unchanged()
                _write(handle, outcome)
            return outcome


def _is_ours(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> Outcome | None:
    data = os.pread(handle, LARGEST_ENTRY + 1, 0)
    if not data:
        return None
    with suppress(ValueError, msgspec.ValidationError):  # cut short by a kill, or an older shape
        found = from_json(json.loads(data), Outcome)
        os.utime(handle)
        return found
    return None


def _write(handle: int, outcome: Outcome) -> None:
    """A cache may fail: nothing depends on it."""
    data = json.dumps(to_json(outcome), separators=(",", ":")).encode()
    with suppress(OSError):
        os.ftruncate(handle, 0)
        if len(data) <= LARGEST_ENTRY:
            os.pwrite(handle, data, 0)


def _tool(name: str) -> list[Any]:
    """A program that changed is another file."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return [name]
    found = os.stat(path)
    return [name, path, found.st_size, found.st_mtime_ns]

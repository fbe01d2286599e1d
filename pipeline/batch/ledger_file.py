"""The ledger's file: its place, its tables, its version, and what is said when it cannot be used.

DIR/                    mode 0700
ledger.db           tasks, reports, findings; WAL, so that status may look while a batch works
lock                held by the batch that works on this directory
jobs/<job id>/      what run_job keeps for a resume
shared/             what running jobs share: see budget
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import EnvironmentFailed

NAME = "ledger.db"

VERSION = 1
"""Of the tables below; in ``PRAGMA user_version``."""

APPLICATION = 0x696D6770  # "imgp", in ``PRAGMA application_id``
_WAIT_S = 30.0  # for a reader's lock; writers there is one

_TABLES = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    stamp TEXT NOT NULL,
    listed INTEGER NOT NULL,           -- 0: the manifest no longer names it
    position INTEGER NOT NULL,         -- in the manifest
    job TEXT NOT NULL,                 -- JSON, as model.Job
    size INTEGER NOT NULL,             -- of the source on the disk, bytes
    state TEXT NOT NULL,
    chosen INTEGER NOT NULL DEFAULT 0, -- 1: the batch that works now shall do it
    attempts INTEGER NOT NULL DEFAULT 0, -- begun so often since it last ended
    verdict TEXT,
    exit_code INTEGER,
    reason TEXT,                       -- an error's code and message, or why it was skipped
    seconds REAL,
    finished REAL                      -- seconds since 1970
);
CREATE INDEX tasks_by_position ON tasks (position);
CREATE TABLE reports (task INTEGER PRIMARY KEY REFERENCES tasks (id), report BLOB NOT NULL);  -- JSON, zlib
CREATE TABLE findings (
    task INTEGER NOT NULL REFERENCES tasks (id),
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL
);
CREATE INDEX findings_by_task ON findings (task);
"""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make a batch's directory when it is missing, and have it alone.

    Raises ``EnvironmentFailed`` code ``batch-locked`` when another batch works on it.
    """
    import filelock

    with told(directory / NAME):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / "lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise EnvironmentFailed(
                "batch-locked",
                f"another imgprep batch works on {directory}",
                hint="wait for it, or stop it; 'imgprep batch status' shows how far it is",
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def connected(path: Path, *, make: bool) -> Iterator[sqlite3.Connection]:
    """The ledger's file, of this version; made when it is missing and ``make`` is set."""
    with told(path):
        if make:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    try:
        with told(path):
            if make:
                connection.execute("PRAGMA journal_mode = WAL")
                # A process that dies loses nothing.  Power that fails may take the last tasks' ends
                # away; they are then done again, and find in the store what they had stored.
                connection.execute("PRAGMA synchronous = NORMAL")
            _require_version(path, connection, make=make)
        yield connection
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _require_version(path: Path, connection: sqlite3.Connection, *, make: bool) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0 and make:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif found != VERSION:
        raise EnvironmentFailed(
            "ledger-version",
            f"{path} has version {found} of the ledger, this imgprep knows {VERSION}",
            hint="use the imgprep that wrote it, or another --dir",
        )


_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DENIED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors in our words: ``EnvironmentFailed``, ``ledger-…``."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _FULL or code in _DENIED:
            raise _unwritable(path, str(error)) from error
        raise EnvironmentFailed(
            "ledger-damaged",
            f"the ledger {path} cannot be used: {error}",
            hint="is it another program's file? give another --dir; what is stored is found there again",
        ) from error


def _unwritable(path: Path, why: str) -> EnvironmentFailed:
    return EnvironmentFailed(
        "ledger-unwritable",
        f"the ledger {path} cannot be written: {why}",
        hint="free some space, or see to its permissions; nothing that was done is lost: run again",
    )

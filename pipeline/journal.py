"""The job directory: what is already known about a job, so that the same command continues.

    <state>/jobs/<job id>/      mode 0700
        lock                    held while a process works on the job
        <stage>.json            one finished stage: {"id", "seconds", "outcome"}
        notes/<name>.json       what a stage writes down while it works
        scratch/                files of this job; removed when it ends well

A record is true only under its *id*, which chains what the stage's outcome depends on: source
identity, profile content, stage version, options, and the id of the stage before.  There is no status
column to go stale: what has another id is simply not found.  Every file is written under a temporary
name, synced and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import EnvironmentFailed
from pipeline.model import Outcome, from_json, to_json


def default_directory() -> Path:
    """Where job directories live unless the user says otherwise."""
    import platformdirs

    return Path(platformdirs.user_state_dir("imgprep")) / "jobs"


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by a file with ``data``, or leave it as it was."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(handle, mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Journal:
    """The records of one job.  Made by ``open_journal``, which holds the lock, or ``passing``."""

    def __init__(self, directory: Path, *, keeps: bool = True) -> None:
        self.directory = directory
        self._keeps = keeps
        self.scratch = directory / "scratch"
        self._notes = directory / "notes"
        for path in (self.scratch, self._notes):
            path.mkdir(mode=0o700, exist_ok=True)

    def find(self, stage: str, record_id: str) -> tuple[Outcome, float] | None:
        """The outcome of a stage that finished under this id, and the seconds it took then."""
        record = _read(self.directory / f"{stage}.json")
        if not isinstance(record, dict) or record.get("id") != record_id:
            return None
        try:
            return from_json(record["outcome"], Outcome), float(record["seconds"])
        except (KeyError, TypeError, ValueError, msgspec.ValidationError):
            return None

    def record(self, stage: str, record_id: str, outcome: Outcome, seconds: float) -> None:
        """Remember that a stage finished."""
        if not self._keeps:
            return
        value = {"id": record_id, "seconds": seconds, "outcome": to_json(outcome)}
        self._write(self.directory / f"{stage}.json", value)

    def load(self, name: str) -> Any | None:
        """A note that a stage wrote down, or None."""
        return _read(self._notes / f"{name}.json")

    def save(self, name: str, value: Any) -> None:
        """Write a note down."""
        self._write(self._notes / f"{name}.json", to_json(value))

    def finish(self) -> None:
        """The job ended well: its notes and scratch files are of no use to anybody."""
        for path in (self.scratch, self._notes):
            shutil.rmtree(path, ignore_errors=True)

    def _write(self, path: Path, value: Any) -> None:
        try:
            write_atomically(path, json.dumps(value, separators=(",", ":")).encode())
        except OSError as error:
            raise _unwritable(path, error) from error


@contextmanager
def passing() -> Iterator[Journal]:
    """The journal of a job that stores nothing: there is nothing to resume, so nothing is kept.

    It takes no lock and waits for no disk.
    """
    with tempfile.TemporaryDirectory(prefix="imgprep-") as name, _told(Path(name)):
        yield Journal(Path(name), keeps=False)


@contextmanager
def open_journal(root: Path, job_id: str) -> Iterator[Journal]:
    """The journal of a job, locked against a second process that does the same job."""
    import filelock

    directory = root.absolute() / job_id  # children that are confined run elsewhere
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / "lock", mode=0o600)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise EnvironmentFailed(
            "job-locked",
            f"another imgprep process is working on this very job ({directory})",
            hint="wait for it, or stop it; the same command then continues",
        ) from error
    except OSError as error:
        raise _unwritable(directory, error) from error
    try:
        with _told(directory):
            _remove_torn(directory)
            yield Journal(directory)
    finally:
        lock.release()


def _remove_torn(directory: Path) -> None:
    """Files that ``write_atomically`` was killed at; the lock says that nobody is at it now."""
    for path in (*directory.glob(".*.json.*"), *directory.glob("notes/.*.json.*")):
        path.unlink(missing_ok=True)


def jobs_at_work(root: Path) -> tuple[str, ...]:
    """The ids of the jobs that some process on this machine holds the lock of right now."""
    import filelock

    held = []
    for path in sorted(root.glob("*/lock")):
        lock = filelock.FileLock(path, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            held.append(path.parent.name)
        else:
            lock.release()
    return tuple(held)


def _read(path: Path) -> Any | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Say so when it is the job directory that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.filename and str(error.filename).startswith(str(directory)):
            raise _unwritable(directory, error) from error
        raise


def _unwritable(path: Path, error: OSError) -> EnvironmentFailed:
    return EnvironmentFailed(
        "state-unwritable",
        f"the job directory cannot be written: {path}: {error.strerror}",
        hint="free some space, or choose another place with --job-dir DIR",
    )

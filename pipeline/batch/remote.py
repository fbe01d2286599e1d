"""What runs on a worker of a cluster: a job, an answer to what is there, a stop.

Everything here is called by name: a worker needs the same imgprep installed.  Credentials are those of
the worker's own environment; a task carries none.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.batch import cache, worker
from pipeline.batch.budget import Capacity
from pipeline.batch.messages import Work
from pipeline.batch.telling import Telling
from pipeline.batch.worker import Settings
from pipeline.errors import ImgprepError
from pipeline.events import Event
from pipeline.model import JsonObject, to_json
from pipeline.stage import Cancellation
from pipeline.stores import open_store

PROGRESS_S = 1.0
"""A stage's progress is told so often: it travels through the scheduler, with everybody else's."""

TOOLS = ("qemu-img", "qemu-nbd")

_running: dict[str, list[Cancellation]] = {}
_stopped: set[str] = set()  # batches that begin nothing more here
_lock = threading.Lock()


@dataclass(frozen=True)
class Remote:
    """What a task says about its batch."""

    batch: str
    topic: str  # of the scheduler's events, on which progress is told
    version: str  # of imgprep where the batch was begun
    rate: int | None  # bytes a second in each direction, of all jobs on one host
    jobs: int  # at once on one host, whose workers share what there is
    remember: bool


def perform(works: Sequence[Work], remote: Remote) -> list[JsonObject | None]:
    """Do jobs in a thread of a Dask worker, one after the other.

    Their reports; None for those that the batch was stopped before.
    """
    from distributed import get_worker

    if remote.version != __version__:  # of a worker that joined later
        raise RuntimeError(f"this worker has imgprep {__version__}, the batch {remote.version}")
    here = get_worker()
    with Telling(here, remote.topic) as batch:
        return [_perform(work, remote, here, batch) for work in works]


def _perform(work: Work, remote: Remote, here: Any, batch: Telling) -> JsonObject | None:
    cancellation = Cancellation()

    def happened(event: Event) -> None:
        batch.tell(work.task, type(event).__name__, to_json(event))

    with _lock:
        if remote.batch in _stopped:
            return None
        _running.setdefault(remote.batch, []).append(cancellation)
    batch.tell(work.task, "Started", here.address)
    try:
        return worker.do(
            work,
            tell=happened,
            cancellation=cancellation,
            settings=_settings(Path(here.local_directory), remote),
            progress_s=PROGRESS_S,
        )
    finally:
        with _lock:
            _running[remote.batch].remove(cancellation)


def packed(
    works: Sequence[Work], remote: Remote
) -> tuple[Callable[[bytes], list[JsonObject | None]], bytes]:
    """A function and its argument: ``perform`` for somebody who does not know us.

    The scheduler unpacks the function, which therefore travels as code; only the worker looks inside
    the argument.  So a scheduler needs no imgprep.
    """

    def unpack(data: bytes) -> list[JsonObject | None]:
        from pipeline.batch import remote as there

        return there.perform(*pickle.loads(data))  # noqa: S301  # ours

    return unpack, pickle.dumps((tuple(works), remote))


def stop(batch: str, signal_number: int) -> None:
    """Ask this worker's jobs of a batch to stop, and begin none of those that wait here."""
    with _lock:
        _stopped.add(batch)
        for cancellation in _running.get(batch, ()):
            cancellation.set(signal_number)


def _settings(directory: Path, remote: Remote) -> Settings:
    """State dies with the worker: another one resumes from the store.  Workers of a host share."""
    import platformdirs

    jobs = directory / "imgprep"
    jobs.mkdir(mode=0o700, exist_ok=True)
    # beside the cache, because it is private; by host, because a home may be on many
    shared = Path(platformdirs.user_cache_dir("imgprep")) / "cluster" / os.uname().nodename
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    capacity = Capacity.of_machine(jobs, remote.jobs, remote.rate)
    return Settings(jobs, shared, capacity, cache.default_directory() if remote.remember else None)


def looking(stores: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """A function that tells what a worker has.

    It travels as code and not by name, so that a worker without imgprep can run it, and say so.
    """
    wanted = list(stores)

    def look() -> dict[str, Any]:
        python = ".".join(map(str, sys.version_info[:2]))
        try:
            from pipeline.batch import remote

            return {"python": python, **remote.described(wanted)}
        except ImportError as error:
            return {"python": python, "version": None, "why": str(error)}

    return look


def described(stores: Sequence[str]) -> dict[str, Any]:
    """This worker: versions, tools, and stores that it has no credentials for."""
    from pipeline.tools import qemu_img

    missing = [name for name in TOOLS if shutil.which(name) is None]
    return {
        "version": __version__,
        "qemu": qemu_img.version() if not missing else None,
        "missing": missing,
        "problems": [problem for place in stores if (problem := _problem(place))],
    }


def _problem(store: str) -> str | None:
    try:
        open_store(store).close()
    except ImgprepError as error:
        return f"{error.message} [{error.code}]"
    return None

"""A worker process: gets one task after the other through a pipe, and tells what happens.

    parent ──Work──▶ listener thread ──queue──▶ main thread: run_job
           ──signal number──▶ listener: the job's Cancellation
           ◀──Started, Happened, Finished── both
    the pipe ends: the parent is gone, so are we

Signals from the keyboard reach the whole process group; here they are ignored, because the parent
decides what they mean.  Nothing is global to the process: a job finds it as the one before did.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.batch.budget import Budget, Capacity, Line
from pipeline.batch.cache import FactsCache
from pipeline.batch.failures import bug_report
from pipeline.batch.messages import Finished, Happened, Message, Started, Work
from pipeline.batch.sharing import shared
from pipeline.engine import run_job
from pipeline.events import Event, JobFinished, JobStarted, Progress
from pipeline.model import Job, JsonObject, to_json
from pipeline.stage import Cancellation
from pipeline.stores.sources import open_source

PROGRESS_S = 0.2
"""A stage's progress is told so often."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Settings:
    """What every worker of a batch is told when it starts."""

    jobs: Path  # where run_job keeps what a resume needs
    shared: Path  # where what all jobs share is counted
    capacity: Capacity
    cache: Path | None = None  # of facts; None: nothing is remembered


def main(pipe: Connection, name: str, parent: int, settings: Settings) -> None:
    """The process.  Ends when its pipe does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with(parent)
    Worker(pipe, name, settings).serve()


def _die_with(parent: int) -> None:
    """Be killed when the parent is: what is left undone is found by the next batch."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Worker:
    """One task at a time."""

    def __init__(self, pipe: Connection, name: str, settings: Settings) -> None:
        self._pipe = pipe
        self._name = name
        self._settings = settings
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._cancellation = Cancellation()

    def serve(self) -> None:
        """Until the parent is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            self._do(self._work.get())

    def _listen(self) -> None:
        while True:
            try:
                told = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(told, Work):
                self._cancellation = Cancellation()
                self._work.put(told)
            else:
                self._cancellation.set(told)

    def _do(self, work: Work) -> None:
        self._send(Started(work.task, self._name))
        report = do(
            work,
            tell=lambda event: self._send(Happened(work.task, event)),
            cancellation=self._cancellation,
            settings=self._settings,
        )
        self._send(Finished(work.task, self._name, report))

    def _send(self, message: Message) -> None:
        with self._sending:
            self._pipe.send(message)


def do(
    work: Work,
    *,
    tell: Callable[[Event], None],
    cancellation: Cancellation,
    settings: Settings,
    progress_s: float = PROGRESS_S,
) -> JsonObject:
    """One job, whoever is the worker; its report as JSON.  A bug of ours is a report, too."""
    directory = settings.jobs if work.job.destination is not None else None
    try:
        budget = Budget(settings.shared, settings.capacity)
        cache = FactsCache.opened(settings.cache)
        with ExitStack() as held:
            report = run_job(
                _with_connections(work.job, settings.capacity),
                shared(work.stages(), budget, cache, held),
                thinned(tell, progress_s),
                cancellation=cancellation,
                job_dir=directory,
                pace=lambda length: budget.pace(Line.OUT, length, cancellation),
                open_source=partial(
                    open_source, pace=lambda length: budget.pace(Line.IN, length, cancellation)
                ),
            )
    except Exception as error:  # noqa: BLE001  # one image's bug is not the others'
        return bug_report(work.job, error)
    found: JsonObject = to_json(report)
    return found


def _with_connections(job: Job, capacity: Capacity) -> Job:
    """A job's share of the connections to stores, where its author did not say how many."""
    if job.options.connections is not None:
        return job
    return replace(job, options=replace(job.options, connections=capacity.connections))


def thinned(tell: Callable[[Event], None], progress_s: float) -> Callable[[Event], None]:
    """A monitor that tells of progress now and then, and nothing that the report says as well."""
    last = 0.0

    def monitor(event: Event) -> None:
        nonlocal last
        if isinstance(event, JobStarted | JobFinished):
            return
        if isinstance(event, Progress):
            now = time.monotonic()
            if now - last < progress_s and event.done != event.total:
                return
            last = now
        tell(event)

    return monitor

"""Workers of a Dask cluster: the same jobs, the same ledger, more machines.

    here: Cluster ──submit──▶ scheduler ──▶ worker: remote.perform ─▶ run_job
          ◀─────── events of a topic, futures ───────┘
    a worker dies            the scheduler gives its task to another, which resumes from the store
    the scheduler is gone    an error; the ledger has what ended, the same command does the rest
    a stop                   is sent to every worker

A worker says with ``--resources "imgprep=2"`` how many jobs it takes.  Before anything starts all
workers are asked for their versions, tools and credentials; nothing is guessed.
https://distributed.dask.org/en/stable/resources.html
"""

from __future__ import annotations

import logging
import os
import queue
import select
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pipeline import __version__, events
from pipeline.batch import remote
from pipeline.batch.messages import Finished, Happened, Lost, Message, Returned, Started, Work
from pipeline.batch.remote import Remote
from pipeline.errors import EnvironmentFailed
from pipeline.model import from_json

RESOURCE = "imgprep"
CONNECT_S = 10.0
LOST_S = 15.0
"""So long a scheduler may be away before the batch gives up."""

_RESULT_S = 60.0
_ASK_S = 5.0  # how old the answer about workers may be

_EVENTS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (events.StageStarted, events.Progress, events.Note, events.StageFinished)
}


class Cluster:
    """An ``Executor``; made by ``cluster``."""

    def __init__(
        self, client: Any, address: str, *, rate: int | None, remember: bool, eager: bool = True
    ) -> None:
        """``eager``: give a worker its next task before the last one's report was fetched."""
        self._client = client
        self._eager = eager
        self._done: list[Any] = []  # futures whose reports are still to be fetched
        self._address = address
        self._batch = uuid.uuid4().hex[:12]
        self._topic = f"imgprep-{self._batch}"
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._futures: dict[str, tuple[int, Any]] = {}
        self._at: dict[int, str] = {}  # which worker began a task last
        self._made = 0
        self._away_since: float | None = None
        self._workers: dict[str, Any] = {}
        self._asked = 0.0
        self._look()
        hosts: Counter[str] = Counter()
        for info in self._workers.values():
            hosts[info["host"]] += _places(info)
        most = max(hosts.values(), default=1)
        share = max(1, rate // max(1, len(hosts))) if rate else None
        self._remote = Remote(self._batch, self._topic, __version__, share, most, remember)
        client.subscribe_topic(self._topic, self._event)

    @property
    def size(self) -> int:
        """The places of all workers together."""
        self._look()
        return sum(_places(info) for info in self._workers.values())

    def room(self) -> int:
        """How many tasks it takes now."""
        return max(0, self.size - len(self._futures) + len(self._done))

    def submit(self, work: Work, *, avoid: str | None = None) -> None:
        """Give it to the scheduler; not for the worker of that name, if there is another."""
        self._made += 1
        key = f"{self._topic}-{work.task}-{self._made}"
        others = [name for name in self._workers if name != avoid] if avoid else None
        perform, data = remote.packed(work, self._remote)
        try:
            future = self._client.submit(
                perform,
                data,
                key=key,
                resources={RESOURCE: 1},
                workers=others or None,
                allow_other_workers=bool(others),
                pure=False,
            )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise self._lost() from error
        self._futures[key] = (work.task, future)
        future.add_done_callback(self._tell)

    def wait(self, timeout_s: float, wake: int) -> Sequence[Message]:
        """What was told.  Raises ``EnvironmentFailed`` when the scheduler is gone."""
        select.select([self._reader, wake], [], [], 0 if self._done else timeout_s)
        with suppress(BlockingIOError):
            os.read(self._reader, 1 << 16)
        self._require_scheduler()
        messages: list[Message] = []
        ended = []
        while not self._told.empty():
            told = self._told.get()
            if isinstance(told, Started | Happened | Returned):
                messages.append(told)
            elif told.key in self._futures and not self._taken_back(told):
                ended.append(told)
        if self._eager:  # whoever is free gets work before we read what he did
            ended, self._done = self._done, ended
        return [*messages, *self._ended(ended)]

    def interrupt(self, signal_number: int) -> None:
        """Ask every running job to stop, and take back what has not begun."""
        with suppress(Exception):  # of a worker that is about to go: its task is pending anyway
            self._client.run(remote.stop, self._batch, signal_number, wait=False)
        waiting = self._client.processing()
        known = {key for keys in waiting.values() for key in keys}
        for key, (task, future) in list(self._futures.items()):
            if key not in known and not future.done():
                del self._futures[key]
                future.cancel()
                self._put(Returned(task))

    def close(self) -> None:
        """Take back what runs; a worker forgets it, and ends it when it can."""
        with suppress(Exception):  # whatever the network says now: we leave
            self._client.run(remote.stop, self._batch, 15, wait=False)
            self._client.cancel([future for _, future in self._futures.values()], force=True)
        self._client.close(timeout=5)
        os.close(self._reader)
        self._writer, writer = -1, self._writer
        os.close(writer)

    # --- what is told

    def _event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, told = event
        if told["kind"] == "Started":
            self._at[told["task"]] = told["data"]
            self._put(Started(told["task"], told["data"]))
        elif told["kind"] in _EVENTS:
            self._put(Happened(told["task"], from_json(told["data"], _EVENTS[told["kind"]])))

    def _tell(self, future: Any) -> None:
        self._put(future)

    def _put(self, told: Any) -> None:
        self._told.put(told)
        with suppress(OSError):  # it is full: then somebody is about to read
            os.write(self._writer, b"x")

    def _taken_back(self, future: Any) -> bool:
        """Whether a scheduler that is gone ended it: that is told as such."""
        return self._away_since is not None and bool(future.cancelled())

    def _ended(self, futures: Sequence[Any]) -> Iterator[Message]:
        if not futures:
            return
        reports = self._reports([future for future in futures if future.status == "finished"])
        for future in futures:
            task, _ = self._futures.pop(future.key)
            where = self._at.pop(task, "")
            yield self._end(task, where, future, reports.get(future.key))
            future.release()

    def _end(self, task: int, worker: str, future: Any, report: Any) -> Message:
        try:
            found = report if report is not None else future.result(timeout=_RESULT_S)
            return Finished(task, worker, found)
        except Exception as error:  # noqa: BLE001  # whatever a cluster says instead of a report
            words = " ".join(str(error).split()) or type(error).__name__
            return Lost(task, worker, words[:500])

    def _reports(self, futures: Sequence[Any]) -> Mapping[str, Any]:
        """The reports, fetched together; those that cannot be are asked for one by one."""
        with suppress(Exception):
            return dict(self._client.gather({future.key: future for future in futures}))
        return {}

    # --- who is there

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._asked < _ASK_S and self._workers:
            return
        self._asked = now
        with suppress(
            Exception
        ):  # an old answer will do; whether anybody is there is asked elsewhere
            self._workers = dict(self._client.scheduler_info(n_workers=-1)["workers"])

    def _require_scheduler(self) -> None:
        if self._client.status == "running":
            self._away_since = None
            return
        now = time.monotonic()
        self._away_since = self._away_since or now
        if self._client.status == "closed" or now - self._away_since > LOST_S:
            raise self._lost()

    def _lost(self) -> EnvironmentFailed:
        return EnvironmentFailed(
            "scheduler-lost",
            f"the Dask scheduler {self._address} has gone away",
            hint="what ended is in the ledger; when the scheduler is back, the same command continues",
        )


def _places(info: Mapping[str, Any]) -> int:
    return int(info["resources"].get(RESOURCE, 0))


@contextmanager
def cluster(
    address: str, stores: Sequence[str], *, rate: int | None, remember: bool, eager: bool = True
) -> Iterator[tuple[Cluster, tuple[str, ...]]]:
    """The cluster behind a scheduler, and what is to be said about it.

    Raises ``EnvironmentFailed`` when it is not there, has no worker for us, or when any of its workers
    differs from us or cannot do it: all that is wrong with all of them.
    """
    client = _connected(address)
    try:
        notes = _require_equal(client, stores)
    except BaseException:
        client.close(timeout=5)
        raise
    opened = Cluster(client, address, rate=rate, remember=remember, eager=eager)
    try:
        yield opened, notes
    finally:
        opened.close()


def _connected(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise EnvironmentFailed(
            "cluster-missing",
            "a Dask cluster was asked for, and distributed is not installed",
            hint="install imgprep[cluster]",
        ) from error
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell it in our words
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise EnvironmentFailed(
            "scheduler-unreachable",
            f"there is no Dask scheduler at {address}: {error}",
            hint="check the address; start one with 'dask scheduler'",
        ) from error


def _require_equal(client: Any, stores: Sequence[str]) -> tuple[str, ...]:
    """What is worth a note; raises with everything that is wrong."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    ours = [name for name, info in workers.items() if _places(info)]
    if not ours:
        raise EnvironmentFailed(
            "cluster-without-resource",
            f"none of the {len(workers)} workers takes jobs of imgprep",
            hint="start workers with --resources 'imgprep=N', N jobs at a time",
        )
    found = client.run(remote.looking(stores), workers=ours, on_error="return")
    wrong = [line for name, told in sorted(found.items()) for line in _wrong(name, told)]
    if wrong:
        raise EnvironmentFailed(
            "cluster-unfit",
            f"{len(wrong)} problems with {len(ours)} workers: {'; '.join(wrong)}",
            hint=f"every worker needs imgprep {__version__}, its tools and the store's credentials",
        )
    versions = sorted({f"qemu {told['qemu']}" for told in found.values()})
    pythons = sorted({f"Python {told['python']}" for told in found.values()})
    return tuple(
        f"the workers have {' and '.join(kinds)}" for kinds in (versions, pythons) if len(kinds) > 1
    )


def _wrong(name: str, told: Any) -> Iterator[str]:
    if isinstance(told, BaseException):
        yield f"{name} does not answer: {told}"
    elif told["version"] is None:
        yield f"{name} has no imgprep ({told['why']})"
    else:
        if told["version"] != __version__:
            yield f"{name} has imgprep {told['version']}, here is {__version__}"
        yield from (f"{name} has no {tool}" for tool in told["missing"])
        yield from (f"{name}: {problem}" for problem in told["problems"])

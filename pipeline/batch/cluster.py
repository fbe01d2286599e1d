"""Workers of a Dask cluster: the same jobs, the same ledger, more machines.

here: Cluster ──submit──▶ scheduler ──▶ worker: remote.perform ─▶ run_job
◀─────── events of a topic, futures ───────┘
a worker dies            the scheduler gives its task to another, which resumes from the store
the scheduler is gone    an error; the ledger has what ended, the same command does the rest
a stop                   is sent to every worker

"""

from __future__ import annotations

import os
import queue
import select
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from pipeline import __version__, events
from pipeline.batch import remote
from pipeline.batch.joining import RESOURCE, connected, places, require_equal
from pipeline.batch.messages import Finished, Happened, Lost, Message, Returned, Started, Work
from pipeline.batch.remote import Remote
from pipeline.batch.telling import Told
from pipeline.errors import EnvironmentFailed
from pipeline.model import JsonObject, from_json

LOST_S = 15.0
"""So long a scheduler may be away before the batch gives up."""

TOGETHER_S = 1.0
"""Seconds.  Short jobs travel several to a task of the scheduler, which has its work with each task.

An image that is larger than all that were short so far travels alone: nobody shall wait behind it.
"""

_MOST_TOGETHER = 16
_RESULT_S = 60.0
_ASK_S = 5.0  # how old the answer about workers may be

_Reports: TypeAlias = Mapping[str, list[JsonObject | None]]
"""By the scheduler's task: a report of each of its jobs, None where a stop came first."""

_EVENTS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (events.StageStarted, events.Progress, events.Note, events.StageFinished)
}


@dataclass(frozen=True)
class _Sent:
    """A task of the scheduler: one job, or several short ones."""

    works: tuple[Work, ...]
    future: Any


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
        self._unsent: deque[Work] = deque()  # until a place is free
        self._sent: dict[str, _Sent] = {}
        self._at: dict[int, str] = {}  # which worker began a task last
        self._made = 0
        self._usual_s: float | None = None  # seconds of a job, the last ones counting most
        self._short = 0  # bytes of the largest source whose job was a short one
        self._away_since: float | None = None
        self._workers: dict[str, Any] = {}
        self._asked = 0.0
        self._look()
        hosts: Counter[str] = Counter()
        for info in self._workers.values():
            hosts[info["host"]] += places(info)
        most = max(hosts.values(), default=1)
        share = max(1, rate // max(1, len(hosts))) if rate else None
        self._remote = Remote(self._batch, self._topic, __version__, share, most, remember)
        client.subscribe_topic(self._topic, self._event)

    @property
    def size(self) -> int:
        """The places of all workers together."""
        self._look()
        return sum(places(info) for info in self._workers.values())

    def room(self) -> int:
        """How many tasks it takes now."""
        busy = len(self._unsent) + sum(len(each.works) for each in self._flying())
        return max(0, self.size * self._together() - busy)

    def submit(self, work: Work, *, avoid: str | None = None) -> None:
        """Give it to the scheduler; not for the worker of that name, if there is another."""
        if avoid is None:
            self._unsent.append(work)
        else:
            self._send([work], avoid)

    def _send(self, works: Sequence[Work], avoid: str | None = None) -> None:
        self._made += 1
        key = f"{self._topic}-{works[0].task}-{self._made}"
        others = [name for name in self._workers if name != avoid] if avoid else None
        perform, data = remote.packed(works, self._remote)
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
        self._sent[key] = _Sent(tuple(works), future)
        future.add_done_callback(self._tell)

    def wait(self, timeout_s: float, wake: int) -> Sequence[Message]:
        """What was told.  Raises ``EnvironmentFailed`` when the scheduler is gone."""
        self._send_what_fits()
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
            elif told.key in self._sent and not self._taken_back(told):
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
        for key, sent in list(self._sent.items()):
            if key not in known and not sent.future.done():
                del self._sent[key]
                sent.future.cancel()
                self._return(sent.works)
        self._return(self._unsent)
        self._unsent.clear()

    def close(self) -> None:
        """Take back what runs; a worker forgets it, and ends it when it can."""
        with suppress(Exception):  # whatever the network says now: we leave
            self._client.run(remote.stop, self._batch, 15, wait=False)
            self._client.cancel([sent.future for sent in self._sent.values()], force=True)
        self._client.close(timeout=5)
        os.close(self._reader)
        self._writer, writer = -1, self._writer
        os.close(writer)

    # --- several jobs together

    def _together(self) -> int:
        """How many jobs a task of the scheduler has."""
        if not self._usual_s:
            return 1
        return max(1, min(_MOST_TOGETHER, int(TOGETHER_S / self._usual_s)))

    def _flying(self) -> Iterator[_Sent]:
        ended = {future.key for future in self._done}
        return (sent for key, sent in self._sent.items() if key not in ended)

    def _send_what_fits(self) -> None:
        """As many of those that wait as there are free places, the short ones evenly over them."""
        free = self.size - sum(1 for _ in self._flying())
        while self._unsent and free > 0:
            each = min(self._together(), -(-len(self._unsent) // free))
            works = [self._unsent.popleft()]
            while len(works) < each and self._unsent and self._is_short(works[0], self._unsent[0]):
                works.append(self._unsent.popleft())
            self._send(works)
            free -= 1

    def _is_short(self, *works: Work) -> bool:
        return all(work.size <= self._short for work in works)

    # --- what is told

    def _event(self, event: tuple[float, Sequence[Told]]) -> None:
        _, happened = event
        for told in happened:
            if told["kind"] == "Started":
                self._at[told["task"]] = told["data"]
                self._put(Started(told["task"], told["data"]))
            elif told["kind"] in _EVENTS:
                self._put(Happened(told["task"], from_json(told["data"], _EVENTS[told["kind"]])))

    def _tell(self, future: Any) -> None:
        self._put(future)

    def _return(self, works: Iterable[Work]) -> None:
        for work in works:
            self._put(Returned(work.task))

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
            works = self._sent.pop(future.key).works
            found = self._fetched(future, reports)
            if isinstance(found, str):
                yield from (Lost(work.task, self._at.pop(work.task, ""), found) for work in works)
            else:
                yield from map(self._finished, works, found)
            future.release()

    def _fetched(self, future: Any, reports: _Reports) -> list[JsonObject | None] | str:
        """The reports of a task, or why there are none."""
        if future.key in reports:
            return reports[future.key]
        try:
            found: list[JsonObject | None] = future.result(timeout=_RESULT_S)
        except Exception as error:  # noqa: BLE001  # whatever a cluster says instead of reports
            return (" ".join(str(error).split()) or type(error).__name__)[:500]
        return found

    def _finished(self, work: Work, report: JsonObject | None) -> Message:
        if report is None:  # a stop came first
            return Returned(work.task)
        seconds = sum(stage["seconds"] for stage in report["stages"])
        before = seconds if self._usual_s is None else self._usual_s
        self._usual_s = 0.8 * before + 0.2 * seconds
        if seconds < TOGETHER_S:
            self._short = max(self._short, work.size)
        return Finished(work.task, self._at.pop(work.task, ""), report)

    def _reports(self, futures: Sequence[Any]) -> _Reports:
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


@contextmanager
def cluster(
    address: str, stores: Sequence[str], *, rate: int | None, remember: bool, eager: bool = True
) -> Iterator[tuple[Cluster, tuple[str, ...]]]:
    """The cluster behind a scheduler, and what is to be said about it.

    Raises ``EnvironmentFailed`` when it is not there, has no worker for us, or when any of its workers
    differs from us or cannot do it: all that is wrong with all of them.
    """
    client = connected(address)
    try:
        notes = require_equal(client, stores)
    except BaseException:
        client.close(timeout=5)
        raise
    opened = Cluster(client, address, rate=rate, remember=remember, eager=eager)
    try:
        yield opened, notes
    finally:
        opened.close()

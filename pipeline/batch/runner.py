"""The loop: from the ledger to whoever runs jobs, and back.

    ledger.pending ─▶ submit ─▶ wait ─▶ Finished ─▶ ledger.ended
                        ▲                 │ temporary failure, worker died: later, by another worker
                        └──── waiting ◀───┘

One image's failure never stops the others.  What ends a batch early is a signal, ``--max-failures``,
or a ledger that cannot be written.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice

from pipeline.batch.events import (
    BatchEnded,
    BatchNote,
    BatchStarted,
    TaskEnded,
    TaskEvent,
    TaskStarted,
    Watch,
)
from pipeline.batch.failures import died_report, is_temporary
from pipeline.batch.ledger import Ended, Ledger, Row, State
from pipeline.batch.messages import (
    Executor,
    Finished,
    Happened,
    Lost,
    Message,
    Returned,
    StagesOf,
    Started,
    Work,
)
from pipeline.batch.stopping import DRAINING, STOPPING, Stop
from pipeline.errors import EnvironmentFailed
from pipeline.model import ExitCode, Job, JsonObject

GRACE_S = 8.0
"""Seconds that running jobs have to stop in order: less than the ten that a container has."""

_PAGE = 256
_TICK_S = 0.5


@dataclass(frozen=True)
class Policy:
    """When to try again, and when to give up."""

    attempts: int = 3
    first_s: float = 2.0  # then four times as long, with jitter
    cap_s: float = 60.0
    max_failures: int | None = (
        None  # images that failed or were refused; then nothing more is begun
    )


@dataclass
class _Running:
    row: Row
    attempts: int = 1
    avoid: str | None = None  # the worker that had failed with it
    begun: int = 0  # times: a cluster gives the task of a dead worker to another by itself


@dataclass(order=True)
class _Waiting:
    due: float
    task: int
    again: _Running = field(compare=False)


class Runner:
    """One run over a ledger.  Use once."""

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        stages_of: Mapping[bool, StagesOf],
        watch: Watch,
        stop: Stop,
        policy: Policy | None = None,
    ) -> None:
        self._ledger, self._executor, self._watch, self._stop = ledger, executor, watch, stop
        self._stages_of = stages_of  # by whether there is a destination
        self._policy = policy or Policy()
        self._running: dict[int, _Running] = {}
        self._waiting: list[_Waiting] = []
        self._page: deque[Row] = deque()
        self._position = -1
        self._exhausted = False
        self._failures = 0
        self._interrupted_at: float | None = None
        self._told_draining = False

    def run(self, total: int, to_do: int, size: int) -> None:
        """Until everything chosen is done, or the end is asked for.  Raises what the ledger raises."""
        self._watch(BatchStarted(total, to_do, size))
        try:
            while self._goes_on():
                self._dispatch()
                self._take(self._executor.wait(self._patience(), self._stop.fileno()))
        finally:
            self._give_back()
        if self._too_many():
            with self._ledger.transaction():
                self._ledger.skip_rest(f"the batch ended after {self._failures} failures")
        self._watch(BatchEnded(self._ledger.counts()))

    # --- going on

    def _goes_on(self) -> bool:
        level = self._stop.level
        if level >= STOPPING:
            return self._stopping()
        if level == DRAINING or self._too_many():
            self._tell_draining(level)
            return bool(self._running)
        return bool(self._running or self._waiting or not self._nothing_left())

    def _stopping(self) -> bool:
        now = time.monotonic()
        if self._interrupted_at is None:
            self._interrupted_at = now
            self._executor.interrupt(self._stop.signal)
        return bool(self._running) and now - self._interrupted_at < GRACE_S

    def _tell_draining(self, level: int) -> None:
        if self._told_draining or not self._running:
            return
        self._told_draining = True
        count = len(self._running)
        words = f"finishing {count} running job{'' if count == 1 else 's'}, beginning no other"
        again = "; once more stops at once" if level else ""
        self._watch(BatchNote(f"{words}{again}"))

    def _too_many(self) -> bool:
        most = self._policy.max_failures
        return most is not None and self._failures >= most

    def _nothing_left(self) -> bool:
        self._fill()
        return self._exhausted and not self._page

    def _fill(self) -> None:
        if not self._page and not self._exhausted:
            self._page.extend(self._ledger.pending(self._position, _PAGE))
            self._exhausted = not self._page
            if self._page:
                self._position = self._page[-1].position

    def _patience(self) -> float:
        if self._waiting and self._executor.room():
            return max(0.0, min(_TICK_S, self._waiting[0].due - time.monotonic()))
        return _TICK_S

    # --- giving work out

    def _dispatch(self) -> None:
        if self._stop.level or self._too_many() or not self._executor.room():
            return
        chosen = list(islice(self._next(), self._executor.room()))
        if not chosen:
            return
        with self._ledger.transaction():
            for one in chosen:
                self._ledger.started(one.row.id)
        for one in chosen:
            self._running[one.row.id] = one
            stages = self._stages_of[one.row.job.destination is not None]
            work = Work(one.row.id, _job(one), stages, one.row.size)
            self._executor.submit(work, avoid=one.avoid)

    def _next(self) -> Iterator[_Running]:
        """What waited long enough, then what was not begun yet."""
        while True:
            if self._waiting and self._waiting[0].due <= time.monotonic():
                yield heapq.heappop(self._waiting).again
                continue
            self._fill()
            if not self._page:
                return
            yield _Running(self._page.popleft())

    # --- taking results

    def _take(self, messages: Sequence[Message]) -> None:
        ends = [message for message in messages if isinstance(message, Finished | Lost | Returned)]
        for message in messages:
            if isinstance(message, Started):
                self._has_started(message)
            elif isinstance(message, Happened):
                self._watch(TaskEvent(message.task, message.event))
        if not ends:
            return
        with self._ledger.transaction():
            for end in ends:
                one = self._running.pop(end.task, None)
                if one is not None:
                    self._end(one, end)

    def _has_started(self, message: Started) -> None:
        one = self._running.get(message.task)
        if one is not None:
            one.begun += 1
            job = one.row.job
            self._watch(TaskStarted(message.task, job.source, job.profile, message.worker))

    def _end(self, one: _Running, end: Finished | Lost | Returned) -> None:
        if isinstance(end, Returned):
            self._ledger.again(one.row.id)
            return
        report = end.report if isinstance(end, Finished) else died_report(one.row.job, end.reason)
        if report["verdict"] == "interrupted":
            self._ledger.again(one.row.id)
            self._tell(one, State.PENDING, report, None)
            return
        mine = _may_be_mine(one, report)
        if mine or (is_temporary(report) and one.attempts < self._policy.attempts):
            self._later(one, end.worker, report)
            return
        state = _state(report)
        reason = _reason(report)
        self._failures += state in (State.FAILED, State.REFUSED)
        self._ledger.ended(one.row.id, Ended(state, report, reason))
        self._tell(one, state, report, reason)

    def _later(self, one: _Running, worker: str, report: JsonObject) -> None:
        longest = min(self._policy.cap_s, self._policy.first_s * 4 ** (one.attempts - 1))
        wait_s = random.uniform(longest / 2, longest)  # noqa: S311  # jitter
        reason = f"{_reason(report)}; again in {wait_s:.0f} s"
        self._ledger.again(one.row.id, reason)
        again = _Running(one.row, one.attempts + 1, avoid=worker)
        heapq.heappush(self._waiting, _Waiting(time.monotonic() + wait_s, one.row.id, again))
        self._tell(one, State.PENDING, report, reason)

    def _tell(self, one: _Running, state: State, report: JsonObject, reason: str | None) -> None:
        seconds = sum(stage["seconds"] for stage in report["stages"])
        row = one.row
        verdict = None if state is State.PENDING else report["verdict"]
        self._watch(TaskEnded(row.id, row.job.source, row.size, state, verdict, seconds, reason))

    def _give_back(self) -> None:
        """Whatever still runs is pending: it is about to be killed, and continues next time."""
        if not self._running:
            return
        with suppress(EnvironmentFailed), self._ledger.transaction():
            for task in self._running:
                self._ledger.again(task)


def _may_be_mine(one: _Running, report: JsonObject) -> bool:
    """Whether the object in the way may be what this task stored when it was begun before."""
    error = report["error"]
    in_the_way = error is not None and error["code"] == "object-exists"
    return in_the_way and one.begun > 1 and one.attempts == 1


def _job(one: _Running) -> Job:
    """The job; of one that was begun before, what is stored already may be its own.

    Who stored it may have died before he could say so, and his notes with him.  An object of equal
    content is what this job would make: it is no reason to fail.
    """
    job = one.row.job
    begun = one.row.attempts > 0 or one.attempts > 1
    if begun and job.options.if_exists == "fail":
        return replace(job, options=replace(job.options, if_exists="skip"))
    return job


def _state(report: JsonObject) -> State:
    code = report["exit_code"]
    if code == ExitCode.OK:
        return State.DONE
    return State.REFUSED if code in (ExitCode.REFUSED, ExitCode.UNDETERMINED) else State.FAILED


def _reason(report: JsonObject) -> str | None:
    """The error, or the rules that do not hold."""
    error = report["error"]
    if error is not None:
        return f"{error['code']}: {error['message']}"
    rules = [
        item["rule"]
        for item in report["findings"]
        if item["status"] == "fail" and item["severity"] == "error"
    ]
    return ", ".join(dict.fromkeys(rules)) or None

"""The ledger: every task of a batch, what became of it, and its report.  Its file: see ``ledger_file``.

    pending ──▶ running ──▶ done      stored, or judged and found fit
       ▲           │   ├──▶ refused   the image does not meet the requirements, or could not be judged
       │           │   └──▶ failed    the machine, the conversion or the store; done again by the next run
       └───────────┘ interrupted, or found so by a batch that begins: whoever ran it is gone
    pending ──▶ skipped     not begun, because the batch ended early; done by the next run

A task is known by its key.  Its stamp says of which file, profile and options its result is: where that
is another now, the task is pending again.  What the manifest no longer lists stays, and does not count.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.batch import ledger_file
from pipeline.batch.plan import Task
from pipeline.errors import EnvironmentFailed
from pipeline.model import Job, JsonObject, from_json, to_json

ENOUGH = 256 << 20
"""Bytes of sources: of fewer the pace is that of starting and stopping."""


class State(StrEnum):
    """What a task is in."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    SKIPPED = "skipped"


TO_DO = (State.PENDING, State.RUNNING, State.FAILED, State.SKIPPED)
"""What a batch that begins does, unless it is told otherwise; it alone holds the lock."""


@dataclass(frozen=True)
class Row:
    """One task, as the ledger knows it."""

    id: int
    position: int
    job: Job
    state: State
    attempts: int
    size: int
    verdict: str | None
    exit_code: int | None
    reason: str | None
    seconds: float | None


@dataclass(frozen=True)
class Ended:
    """What became of a task that was run."""

    state: State
    report: JsonObject | None  # None: there is nothing to keep, as of an interrupted one
    reason: str | None = None


class Ledger:
    """An open ledger.  One thread uses it.  Raises ``EnvironmentFailed`` where the file fails."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    # --- what shall be done

    def adopt(self, tasks: Sequence[Task]) -> None:
        """Make these tasks the batch's: new and changed ones are pending, others stay as they are."""
        rows = [
            (task.key, task.stamp, place, json.dumps(to_json(task.job)), task.size)
            for place, task in enumerate(tasks)
        ]
        with self.transaction() as run:
            run.execute("UPDATE tasks SET listed = 0")
            run.executemany(_ADOPT, rows)

    def know_by_content(self) -> None:
        """Have every local image known by its content: a cluster does what began on one machine."""
        with self.transaction() as run:
            run.execute(
                "UPDATE tasks SET job = json_set(job, '$.options.identity', 'content') "
                "WHERE json_extract(job, '$.source') LIKE '/%'"  # no address
            )

    def begin(self, states: Iterable[State] = TO_DO) -> tuple[int, int]:
        """Choose what is in these states to be done now; the number of these tasks, and their bytes."""
        wanted = tuple(states)
        marks = ",".join("?" * len(wanted))
        with self.transaction() as run:
            run.execute(f"UPDATE tasks SET chosen = listed AND state IN ({marks})", wanted)  # noqa: S608
            # whoever ran them is gone: we hold the lock
            run.execute("UPDATE tasks SET state = 'pending' WHERE state = 'running'")
            run.execute(
                "UPDATE tasks SET state = 'pending', attempts = 0 "
                "WHERE chosen AND state != 'pending'"
            )
            run.execute("UPDATE tasks SET reason = NULL WHERE chosen")
        ((count, size),) = self._ask("SELECT count(*), total(size) FROM tasks WHERE chosen")
        return int(count), int(size)

    def pending(self, after: int, limit: int) -> list[Row]:
        """The next chosen tasks behind a position in the manifest."""
        return self._rows(
            "WHERE chosen AND state = 'pending' AND position > ? ORDER BY position LIMIT ?",
            (after, limit),
        )

    def stores(self) -> list[str]:
        """Every store that the chosen tasks read from or write to, each once."""
        written = self._ask(
            "SELECT DISTINCT json_extract(job, '$.destination') FROM tasks WHERE chosen"
        )
        read = self._ask(
            "SELECT DISTINCT json_extract(job, '$.source') AS source FROM tasks "
            "WHERE chosen AND (source LIKE 's3://%' OR source LIKE 'swift://%')"
        )
        held = {f"{source.rpartition('/')[0]}/" for (source,) in read}
        return sorted({place for (place,) in written if place is not None} | held)

    # --- what is being done

    def started(self, task: int) -> None:
        """Somebody works on it."""
        self._connection.execute(
            "UPDATE tasks SET state = 'running', attempts = attempts + 1 WHERE id = ?", (task,)
        )

    def again(self, task: int, reason: str | None = None) -> None:
        """It ended without an end: it is pending again."""
        self._connection.execute(
            "UPDATE tasks SET state = 'pending', reason = ? WHERE id = ?", (reason, task)
        )

    def ended(self, task: int, end: Ended) -> None:
        """It ended; its report replaces an older one."""
        report = end.report or {}
        seconds = sum(stage["seconds"] for stage in report.get("stages", ()))
        run = self._connection
        run.execute(
            "UPDATE tasks SET state = ?, verdict = ?, exit_code = ?, reason = ?, seconds = ?, "
            "finished = ? WHERE id = ?",
            (
                end.state,
                report.get("verdict"),
                report.get("exit_code"),
                end.reason,
                seconds,
                time.time(),
                task,
            ),
        )
        if end.report is None:
            return
        packed = zlib.compress(json.dumps(report, separators=(",", ":")).encode(), 6)
        run.execute("INSERT OR REPLACE INTO reports VALUES (?, ?)", (task, packed))
        run.execute("DELETE FROM findings WHERE task = ?", (task,))
        run.executemany(
            "INSERT INTO findings VALUES (?, ?, ?, ?)",
            {(task, item["rule"], item["severity"], item["status"]) for item in report["findings"]},
        )

    def skip_rest(self, reason: str) -> None:
        """The batch ends early: what was not begun is skipped."""
        self._connection.execute(
            "UPDATE tasks SET state = 'skipped', reason = ? WHERE chosen AND state = 'pending'",
            (reason,),
        )

    # --- what was done

    def counts(self) -> Mapping[State, int]:
        """How many tasks are in which state."""
        found = self._ask("SELECT state, count(*) FROM tasks WHERE listed GROUP BY state")
        return dict.fromkeys(State, 0) | {State(state): count for state, count in found}

    def rows(self, states: Iterable[State] = tuple(State)) -> list[Row]:
        """The tasks in these states, in the manifest's order."""
        wanted = tuple(states)
        marks = ",".join("?" * len(wanted))
        return self._rows(f"WHERE listed AND state IN ({marks}) ORDER BY position", wanted)

    def verdicts(self) -> Mapping[str, int]:
        """How many tasks that ended have which verdict."""
        found = self._ask(
            "SELECT verdict, count(*) FROM tasks WHERE listed AND verdict IS NOT NULL "
            "AND state NOT IN ('pending', 'running') GROUP BY verdict ORDER BY count(*) DESC"
        )
        return dict(found)

    def rules(self) -> list[tuple[str, str, int]]:
        """Rule, severity and number of tasks, of what does not hold; the most frequent first."""
        return self._ask(
            "SELECT rule, severity, count(DISTINCT task) AS n FROM findings JOIN tasks ON id = task "
            "WHERE listed AND status = 'fail' AND state NOT IN ('pending', 'running') "
            "GROUP BY rule, severity ORDER BY n DESC, rule"
        )

    def exit_codes(self) -> set[int]:
        """Of all tasks that ended."""
        found = self._ask(
            "SELECT DISTINCT exit_code FROM tasks WHERE listed AND exit_code IS NOT NULL "
            "AND state NOT IN ('pending', 'running')"
        )
        return {code for (code,) in found}

    def pace(self) -> float | None:
        """Bytes of sources a second of one worker, so far; None before there was enough to tell."""
        ((size, seconds),) = self._ask(
            "SELECT sum(size), sum(seconds) FROM tasks WHERE listed AND state = 'done'"
        )
        return size / seconds if seconds and size >= ENOUGH else None

    def reports(self) -> Iterator[JsonObject]:
        """The reports of all tasks that ended, in the manifest's order, one at a time."""
        found = self._ask(
            "SELECT task FROM reports JOIN tasks ON id = task WHERE listed "
            "AND state NOT IN ('pending', 'running') ORDER BY position"
        )
        for (task,) in found:
            report = self.report(task)
            if report is not None:
                yield report

    def report(self, task: int) -> JsonObject | None:
        """The report of one task."""
        found = self._ask("SELECT report FROM reports WHERE task = ?", (task,))
        return json.loads(zlib.decompress(found[0][0])) if found else None

    def size(self) -> int:
        """Bytes of the ledger's files."""
        files = self._path.parent.glob(self._path.name + "*")
        return sum(file.stat().st_size for file in files)

    # --- how

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        with ledger_file.told(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        with ledger_file.told(self._path):
            return self._connection.execute(question, values).fetchall()

    def _rows(self, where: str, values: Sequence[Any]) -> list[Row]:
        found = self._ask(
            "SELECT id, position, job, state, attempts, size, verdict, exit_code, reason, seconds "  # noqa: S608
            f"FROM tasks {where}",
            values,
        )
        return [
            Row(id_, place, from_json(json.loads(job), Job), State(state), *rest)
            for id_, place, job, state, *rest in found
        ]


_ADOPT = """
INSERT INTO tasks (key, stamp, listed, position, job, size, state)
VALUES (?, ?, 1, ?, ?, ?, 'pending')
ON CONFLICT (key) DO UPDATE SET
    listed = 1, position = excluded.position, job = excluded.job, size = excluded.size,
    state = CASE WHEN stamp = excluded.stamp THEN state ELSE 'pending' END,
    stamp = excluded.stamp
"""


@contextmanager
def open_ledger(directory: Path) -> Iterator[Ledger]:
    """The ledger in a batch's directory, made when it is missing, and ours alone until it is closed.

    Raises ``EnvironmentFailed``: ``batch-locked`` when another batch works on it, ``ledger-…`` when
    it cannot be used.
    """
    path = directory / ledger_file.NAME
    with ledger_file.locked(directory), ledger_file.connected(path, make=True) as connection:
        yield Ledger(path, connection)


@contextmanager
def read_ledger(directory: Path) -> Iterator[Ledger]:
    """The ledger of a batch that may be at work right now, to look at."""
    path = directory / ledger_file.NAME
    with ledger_file.told(path):
        missing = not path.exists()
    if missing:
        raise EnvironmentFailed(
            "ledger-missing",
            f"there is no batch in {str(directory)!r}: it has no ledger.db",
            hint="give the directory that 'imgprep batch' named when it began",
        )
    with ledger_file.connected(path, make=False) as connection:
        yield Ledger(path, connection)

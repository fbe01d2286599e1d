"""What happens during a batch, as frozen records; who watches decides what to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.batch.ledger import State
from pipeline.events import Event


@dataclass(frozen=True)
class BatchStarted:
    """So many tasks are to be done, of ``size`` bytes of sources; ``total`` are listed."""

    total: int
    to_do: int
    size: int


@dataclass(frozen=True)
class TaskStarted:
    """A worker begins a task."""

    task: int
    source: str
    profile: str | None
    worker: str


@dataclass(frozen=True)
class TaskEvent:
    """Something happened in a task's job."""

    task: int
    inner: Event


@dataclass(frozen=True)
class TaskEnded:
    """A task is over, or will be tried again (``pending``)."""

    task: int
    source: str
    size: int
    state: State
    verdict: str | None
    seconds: float
    reason: str | None


@dataclass(frozen=True)
class BatchNote:
    """A sentence for the person."""

    text: str


@dataclass(frozen=True)
class BatchEnded:
    """What the ledger holds in the end: tasks by state."""

    counts: Mapping[State, int]


BatchEvent: TypeAlias = BatchStarted | TaskStarted | TaskEvent | TaskEnded | BatchNote | BatchEnded
Watch: TypeAlias = Callable[[BatchEvent], None]

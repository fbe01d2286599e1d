"""What whoever runs jobs tells the batch, and what he has to offer.

runner ──submit(task, job)──▶ Executor: local processes, or a Dask cluster
       ◀──wait()── Started, Happened…, then Finished, Lost or Returned
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.events import Event
from pipeline.model import Job, JsonObject
from pipeline.stage import Stage

StagesOf: TypeAlias = Callable[[], Sequence[Stage]]
"""A function that any process can import by its name, as ``stages.for_run``."""


@dataclass(frozen=True)
class Work:
    """One task, as it travels to whoever does it."""

    task: int
    job: Job
    stages: StagesOf
    size: int = 0  # bytes of the source


@dataclass(frozen=True)
class Started:
    """A worker has begun."""

    task: int
    worker: str


@dataclass(frozen=True)
class Happened:
    """Something happened in a job."""

    task: int
    event: Event


@dataclass(frozen=True)
class Finished:
    """A job ended with this report."""

    task: int
    worker: str
    report: JsonObject


@dataclass(frozen=True)
class Lost:
    """A job ended without a report: whoever did it is gone."""

    task: int
    worker: str
    reason: str


@dataclass(frozen=True)
class Returned:
    """A task comes back as it was: nobody had begun it when a stop was asked for."""

    task: int


Message: TypeAlias = Started | Happened | Finished | Lost | Returned


class Executor(Protocol):
    """Whoever runs jobs."""

    @property
    def size(self) -> int:
        """How many jobs may run at once."""
        ...

    def room(self) -> int:
        """How many tasks it takes now."""
        ...

    def submit(self, work: Work, *, avoid: str | None = None) -> None:
        """Do it, not on the worker of that name.  The messages tell how it goes."""
        ...

    def wait(self, timeout_s: float, wake: int) -> Sequence[Message]:
        """What was told; returns early when the descriptor ``wake`` can be read."""
        ...

    def interrupt(self, signal_number: int) -> None:
        """Ask every running job to stop; each still ends with a message."""
        ...

"""What happens during a run, as frozen records.

A stage does not know who is watching: it emits records, and a monitor, which is anything callable
with an event, renders them (a live display, plain lines, JSON Lines) or ignores them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pipeline.model import OMIT_NONE, Report, StageStatus


@dataclass(frozen=True)
class JobStarted:
    """A job begins; ``stages`` are the names in the order in which they will be met."""

    job_id: str
    source: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class StageStarted:
    """A stage begins."""

    stage: str


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` bytes of this stage's work are finished; ``total`` None: unknown."""

    stage: str
    done: int
    total: int | None
    activity: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence for the person: a fallback that was taken, a limit that was met."""

    stage: str
    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class StageFinished:
    """A stage ended."""

    stage: str
    status: StageStatus
    seconds: float
    reason: str | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True)
class JobFinished:
    """A job ended; the report is the whole truth of it."""

    report: Report


Event: TypeAlias = JobStarted | StageStarted | Progress | Note | StageFinished | JobFinished
Monitor: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The monitor that watches nothing."""

"""What a batch will take, before anything is read: bytes, segments, seconds.

Only the file system is asked.  A compressed or packed image becomes more than its file, one with holes
inside no more; what is refused is not stored at all.  So these are expectations, and are called so.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import profile
from pipeline.batch.plan import Task

PACE = 100 << 20
"""Bytes of sources a second of one worker, where this batch has not done anything yet."""

SECONDS_OF_AN_IMAGE = 0.3
SEGMENT = 1 << 30
"""Bytes, where the profile wishes no size of segments."""


@dataclass(frozen=True)
class Estimate:
    """Expectations for one task, or for all of them."""

    size: int  # of sources on the disk, bytes
    segments: int  # to be stored
    seconds: float  # of one worker

    @classmethod
    def of(cls, task: Task, pace: float | None = None) -> Estimate:
        """One task's; ``pace`` in bytes a second."""
        segments = 0
        if task.job.destination is not None:
            segments = max(1, -(-task.size // _segment(task.job.profile)))
        return cls(task.size, segments, SECONDS_OF_AN_IMAGE + task.size / (pace or PACE))


def total(tasks: Sequence[Task], jobs: int, *, pace: float | None, rate: int | None) -> Estimate:
    """All of them by so many workers, never faster than ``rate`` bytes a second."""
    each = [Estimate.of(task, pace) for task in tasks]
    size = sum(one.size for one in each)
    seconds = sum(one.seconds for one in each) / max(1, min(jobs, len(each)))
    if rate is not None:
        seconds = max(seconds, size / rate)
    return Estimate(size, sum(one.segments for one in each), seconds)


@functools.cache
def _segment(name: str) -> int:
    return profile.load(name).target.segment_size or SEGMENT

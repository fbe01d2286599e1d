"""What happens in a worker's jobs, told the batch through the scheduler: together, a little later.

    job ──tell──▶ list ──every quarter of a second, and at the end──▶ one event of the batch's topic

Each event costs worker, scheduler and batch about a third of a millisecond, and a job has a dozen.
"""

from __future__ import annotations

import threading
from typing import Any, TypedDict

LATER_S = 0.25


class Told(TypedDict):
    """One thing that happened, as it travels."""

    task: int
    kind: str  # of ``pipeline.batch.messages`` or ``pipeline.events``
    data: Any


class Telling:
    """Of one Dask worker's thread.  Use in a ``with``: what is left is told at its end."""

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker = worker
        self._topic = topic
        self._lock = threading.Lock()
        self._told: list[Told] = []

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *_: object) -> None:
        self._send()

    def tell(self, task: int, kind: str, data: Any) -> None:
        """May be called from any thread."""
        with self._lock:
            self._told.append(Told(task=task, kind=kind, data=data))
            first = len(self._told) == 1
        if first:
            self._worker.loop.add_callback(self._worker.loop.call_later, LATER_S, self._send)

    def _send(self) -> None:
        with self._lock:
            told, self._told = self._told, []
        if told:
            self._worker.log_event(self._topic, told)

"""The one way to do the same to many things at once: so many threads, and never a long queue.

items ──one at a time──▶ N threads ──▶ values, in the order of the items
│
└── the first failure stops all of them, within a piece of a segment
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


class StoppedError(Exception):
    """Another thread failed first: this one's work is of no use any more."""


def _never() -> None:
    pass


class Pool:
    """Does work in ``size`` threads; ``check`` raises when a stop was asked for."""

    def __init__(self, size: int, check: Callable[[], None] = _never) -> None:
        self.size = size
        self._check = check
        self._stop = threading.Event()

    def watch(self) -> None:
        """Raise when this work shall stop; called for every piece."""
        self._check()
        if self._stop.is_set():
            raise StoppedError

    def each(self, work: Callable[[A], T], items: Iterable[A]) -> tuple[T, ...]:
        """The values in the order of the items; or the first failure, when nobody works any more."""
        todo, values = enumerate(items), dict[int, T]()
        failures: list[BaseException] = []
        turn = threading.Lock()
        self._stop.clear()

        def take() -> tuple[int, A] | None:
            with turn:
                return None if failures else next(todo, None)

        def worker() -> None:
            try:
                while (taken := take()) is not None:
                    self.watch()
                    values[taken[0]] = work(taken[1])
            except BaseException as error:  # noqa: BLE001 - raised again by who asked
                with turn:
                    failures.append(error)
                self._stop.set()

        self._run(worker)
        if failures:
            raise failures[0]
        return tuple(values[number] for number in range(len(values)))

    def _run(self, worker: Callable[[], None]) -> None:
        threads = [threading.Thread(target=worker, name=f"worker-{n}") for n in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def ahead(self, work: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
        """The values in the order of the items, while the next few are made; no more are kept."""
        waiting: deque[Future[T]] = deque()
        with ThreadPoolExecutor(self.size, "ahead") as threads:
            try:
                for item in items:
                    waiting.append(threads.submit(work, item))
                    if len(waiting) > self.size:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

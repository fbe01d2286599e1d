"""Worker processes on this machine.

LocalWorkers ──pipe──▶ worker 1      started when there is work for it, replaced when it dies
             ──pipe──▶ worker 2
a task that must not go back to the only worker gets a new one
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.batch import worker
from pipeline.batch.messages import Finished, Lost, Message, Work
from pipeline.batch.worker import Settings

_END_S = 5.0


@dataclass
class _Process:
    name: str
    process: BaseProcess
    pipe: Connection
    task: int | None = None


class LocalWorkers:
    """An ``Executor`` of processes; made by ``local_workers``."""

    def __init__(self, jobs: int, settings: Settings) -> None:
        self.size = jobs
        self._settings = settings
        self._context: Any = multiprocessing.get_context("spawn")
        self._processes: dict[str, _Process] = {}
        self._made = 0

    def room(self) -> int:
        """How many tasks it takes now."""
        return self.size - sum(each.task is not None for each in self._processes.values())

    def submit(self, work: Work, *, avoid: str | None = None) -> None:
        """Give it to an idle worker, or to a new one."""
        idle = [each for each in self._processes.values() if each.task is None]
        suitable = [each for each in idle if each.name != avoid]
        if not suitable and len(self._processes) >= self.size:
            self._end(idle[0])
        chosen = suitable[0] if suitable else self._start()
        chosen.task = work.task
        with suppress(OSError):  # it has just died: its sentinel tells
            chosen.pipe.send(work)

    def wait(self, timeout_s: float, wake: int) -> Sequence[Message]:
        """What the workers told; a death is told after everything that was said before it."""
        pipes = {each.pipe.fileno(): each for each in self._processes.values()}
        sentinels = {each.process.sentinel: each for each in self._processes.values()}
        ready = wait([*pipes, *sentinels, wake], timeout_s)
        messages: list[Message] = []
        for item in ready:
            if item in pipes:
                messages += self._read(pipes[int(item)])
        for item in ready:
            if item in sentinels:
                messages += self._buried(sentinels[int(item)])
        return messages

    def interrupt(self, signal_number: int) -> None:
        """Ask every running job to stop."""
        for each in self._processes.values():
            with suppress(OSError):
                each.pipe.send(signal_number)

    def close(self) -> None:
        """End every worker, whatever it does."""
        for each in list(self._processes.values()):
            self._end(each)

    def _start(self) -> _Process:
        self._made += 1
        name = f"worker-{self._made}"
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=worker.main, args=(theirs, name, os.getpid(), self._settings), name=name
        )
        process.start()
        theirs.close()
        self._processes[name] = _Process(name, process, ours)
        return self._processes[name]

    def _read(self, one: _Process) -> Iterator[Message]:
        with suppress(EOFError, OSError):
            while one.pipe.poll():
                message: Message = one.pipe.recv()
                if isinstance(message, Finished):
                    one.task = None
                yield message

    def _buried(self, one: _Process) -> Iterator[Message]:
        yield from self._read(one)
        one.process.join()
        task, one.task = one.task, None
        self._end(one)
        if task is not None:
            yield Lost(task, one.name, _how(one.process.exitcode))

    def _end(self, one: _Process) -> None:
        self._processes.pop(one.name, None)
        one.pipe.close()  # an idle worker ends by itself then
        if one.task is not None:
            one.process.kill()
        one.process.join(_END_S)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by signal {-status}" + (", as by a lack of memory" if status == -9 else "")
    return f"ended with status {status}"


@contextmanager
def local_workers(jobs: int, settings: Settings) -> Iterator[LocalWorkers]:
    """So many processes; none is left when the context is."""
    workers = LocalWorkers(jobs, settings)
    try:
        yield workers
    finally:
        workers.close()

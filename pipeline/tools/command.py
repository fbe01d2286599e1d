"""The one door to every child process.

    run()         start, read to the end, judge the exit status
    background()  start, keep while a ``with`` block lasts, kill

    us ──▶ setpriv --pdeathsig ──▶ prlimit … ──▶ [bwrap …] ──▶ tool
           dies when we die        limits set    sees only the    own session, so that its
                                   before exec   one image        whole group can be killed

argv only, no shell, stdin closed, an environment built from nothing, a wall-clock limit always,
CPU, address-space and file-size limits where an untrusted image is parsed, output read through a
cap, the whole process group killed and reaped.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.text import clean
from pipeline.tools import confine
from pipeline.tools.child import Child, Completed, Launch, OnStdout, Prefix, Stop, failure
from pipeline.tools.limits import MIB, Limits, Sandbox, find

__all__ = [
    "MIB",
    "Background",
    "Completed",
    "Limits",
    "OnStdout",
    "Sandbox",
    "Stop",
    "background",
    "failure",
    "find",
    "run",
]


_log = logging.getLogger("imgprep.tools")


def run(
    argv: Sequence[str],
    *,
    limits: Limits,
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: str | Path | None = None,
    on_stdout: OnStdout | None = None,
    cancellation: Stop | None = None,
    pass_fds: Sequence[int] = (),
    check: bool = True,
) -> Completed:
    """Run a program to its end.

    ``env`` is added to PATH and LC_ALL=C, which are all it gets.  With ``on_stdout`` the output is
    handed over as it comes and none is kept or counted.  ``pass_fds`` are inherited without a
    sandbox; a sandbox names its own.  With ``check``, an exit status other than 0 is an error.

    Raises ``ToolError`` with ``tool-missing``, ``tool-timeout``, ``tool-output-limit`` and, with
    ``check``, ``tool-failed`` and ``tool-killed``; ``Interrupted`` when ``cancellation`` is set.
    The child and its group are gone whenever this function is left.
    """
    started = time.monotonic()
    if cancellation is not None:
        cancellation.check()
    prefix, fds = _confined(sandbox), _inherited(sandbox, pass_fds)
    plan = Launch(tuple(argv), limits, prefix, env, stdin, cwd, fds, on_stdout)
    with Child(plan) as child:
        child.pump(started + limits.wall_s, cancellation)
    completed = child.completed(time.monotonic() - started)
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "%s ended with %s after %.2f s",
            clean(shlex.join(completed.argv), 2000),
            completed.returncode,
            completed.seconds,
        )
    if check and completed.returncode != 0:
        raise failure(completed, limits)
    return completed


class Background:
    """A running child, as ``background`` yields it."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        """Of the process group's leader."""
        return self._child.pid

    @property
    def stderr(self) -> str:
        """The end of what it wrote to stderr so far, cleaned."""
        return self._child.errors()

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._child.returncode()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ended and all its output was read; False when it still runs then."""
        return self._child.ended.wait(timeout_s)

    def end(self, timeout_s: float) -> bool:
        """Ask its group to end in its own way; False when it still runs after that time."""
        self._child.ask_to_end()
        return self.wait(timeout_s)

    def failure(self) -> ToolError:
        """The error that says how it ended: for a server that ended although it was needed."""
        return failure(self._child.completed(0.0), self._child.plan.limits)


class _Keeper(threading.Thread):
    """Starts a child, reads its pipes and reaps it.

    The thread that starts a child must live as long as the child: the kernel takes the end of that
    *thread* for the parent's death.
    """

    def __init__(self, child: Child) -> None:
        super().__init__(name=f"keep {child.plan.argv[0]}", daemon=True)
        self.child = child
        self.started = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            try:
                self.child.start()
            finally:
                self.started.set()
            with self.child:
                self.child.pump(None, None)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            self.problem = error

    def check(self) -> None:
        """Raise what went wrong in the thread."""
        if self.problem is not None:
            raise self.problem


@contextlib.contextmanager
def background(
    argv: Sequence[str],
    *,
    limits: Limits,
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: str | Path | None = None,
    on_stdout: OnStdout | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Background]:
    """Keep a program running while the block lasts, then kill and reap its group.

    ``limits.wall_s`` does not count here: the block's end is the limit.  Without ``on_stdout``
    (called from another thread) its stdout is thrown away.  Raises as ``run`` does when it starts,
    and what ``on_stdout`` raised when the block ends.
    """
    take = on_stdout or _ignore
    prefix, fds = _confined(sandbox), _inherited(sandbox, pass_fds)
    plan = Launch(tuple(argv), limits, prefix, env, stdin, cwd, fds, take, endless=True)
    child = Child(plan)
    keeper = _Keeper(child)
    keeper.start()
    keeper.started.wait()
    try:
        if keeper.problem is None:
            yield Background(child)
    finally:
        child.kill()
        keeper.join()
    keeper.check()


def _ignore(_chunk: bytes) -> None:
    """Throw output away, but keep reading it, so that the child never blocks."""


def _confined(
    sandbox: Sandbox | None,
) -> Callable[[str], contextlib.AbstractContextManager[Prefix]]:
    return functools.partial(confine.prefix, sandbox)


def _inherited(sandbox: Sandbox | None, pass_fds: Sequence[int]) -> tuple[int, ...]:
    return (*pass_fds, *(sandbox.fds if sandbox else ()))

"""A child that is a copy of this process, with limits, and that is waited for without blocking.

parent  fork ──> child: a group and a directory of its own, limits, a function, exit with its code
        poll <──        processor time (SIGXCPU) or patience (its group is killed) used up: no code
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rooms import CACHE

POLL_S = 0.01
MEMORY = 6 << 30  # of address space: a mutant may ask for any amount


@dataclass(frozen=True)
class Done:
    """How a child ended."""

    code: int | None  # None: it took too long
    output: str


class Forked:
    """A child that runs a function, and ends with what it returns."""

    def __init__(self, main: Callable[[], int], cpu_s: int, wall_s: float) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._late = time.monotonic() + wall_s
        self._work = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._child(main, cpu_s)

    def _child(self, main: Callable[[], int], cpu_s: int) -> None:
        code = 3
        try:
            os.setpgid(0, 0)
            out = os.open(self._work / "output", os.O_CREAT | os.O_WRONLY)
            for descriptor, to in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (out, 2)):
                os.dup2(descriptor, to)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(self._work)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
            code = main()
        except BaseException:  # noqa: BLE001 -- whatever it is, nothing of it may go on in a copy
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)

    def poll(self) -> Done | None:
        """How it ended; None: it still runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        late = pid == 0 and time.monotonic() > self._late
        if pid == 0 and not late:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        if late:
            os.waitpid(self._pid, 0)
        output = (self._work / "output").read_text(errors="replace")
        shutil.rmtree(self._work, ignore_errors=True)
        code = None if late else os.waitstatus_to_exitcode(status)
        return Done(None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code, output)

    def wait(self) -> Done:
        """Wait for its end."""
        while (done := self.poll()) is None:
            time.sleep(POLL_S)
        return done

    def kill(self) -> None:
        """End it now."""
        self._late = 0.0
        self.wait()

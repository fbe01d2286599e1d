"""A child that is a copy of this process, with limits, and that is waited for without blocking.

parent  fork ──> child: a group and a directory of its own, limits, a function, exit with its code
        poll <──        processor time (SIGXCPU) or patience used up, or nothing done for a while
                        (its group is killed): no code
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
STILL_S, STILL_CPU_S = 45.0, 0.5  # who does less than that waits for a lock, a pipe
LOOK_S = 5.0
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
        self._moved = self._looked = time.monotonic()
        self._late, self._used_s = self._moved + wall_s, 0.0
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
        late = pid == 0 and (time.monotonic() > self._late or self._is_still())
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

    def _is_still(self) -> bool:
        """Whether its group has used next to no processor time for a while, however busy the machine."""
        now = time.monotonic()
        if now < self._looked + LOOK_S:
            return False
        self._looked, used_s = now, _processor_time_s(self._pid)
        if abs(used_s - self._used_s) > STILL_CPU_S:
            self._used_s, self._moved = used_s, now
        return now > self._moved + STILL_S

    def wait(self) -> Done:
        """Wait for its end."""
        while (done := self.poll()) is None:
            time.sleep(POLL_S)
        return done

    def kill(self) -> None:
        """End it now."""
        self._late = 0.0
        self.wait()


def _processor_time_s(group: int) -> float:
    """What the processes of a group have used, and those that they have waited for (proc_pid_stat(5))."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()  # from the third on
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")

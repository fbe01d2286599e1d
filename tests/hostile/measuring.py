"""Run a command and measure it.  Imported by fresh processes: a child begins with the memory mark
of its parent, so the parent must be smaller than what is measured."""

import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass

_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans of our children become ours


@dataclass(frozen=True)
class Measured:
    code: int  # minus the signal's number when a signal ended it
    stdout: bytes
    stderr: bytes
    cpu_seconds: (
        float  # of the command and all that it started: the clock tells how busy others are
    )
    peak: int  # bytes of resident memory, the largest of the command and all that it started


def measure(argv: list[bytes], cwd: str, env: dict[str, str], timeout_s: float) -> Measured:
    """Run ``argv`` in ``cwd``; the whole process group is killed at the time limit."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile(dir="/tmp") as out, tempfile.TemporaryFile(dir="/tmp") as err:
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
        timer = threading.Timer(timeout_s, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        used = [usage, *_orphans()]
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        spent = sum(item.ru_utime + item.ru_stime for item in used)
        peak = max(item.ru_maxrss for item in used) * 1024
        return Measured(child.returncode, out.read(), err.read(), spent, peak)


def _orphans() -> list[resource.struct_rusage]:
    """What the programs used that bubblewrap started and did not wait for."""
    found = []
    while True:
        try:
            found.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return found

"""Run a command and measure it.  Imported by fresh processes: a child begins with the memory mark
of its parent, so the parent must be smaller than what is measured."""

import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    code: int  # minus the signal's number when a signal ended it
    stdout: bytes
    stderr: bytes
    cpu_seconds: float  # of the command and what it waited for: the clock tells how busy others are
    peak: int  # bytes of resident memory, the largest of the command and what it waited for


def measure(argv: list[bytes], cwd: str, env: dict[str, str], timeout_s: float) -> Measured:
    """Run ``argv`` in ``cwd``; the whole process group is killed at the time limit."""
    with tempfile.TemporaryFile(dir="/tmp") as out, tempfile.TemporaryFile(dir="/tmp") as err:
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
        timer = threading.Timer(timeout_s, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        spent = usage.ru_utime + usage.ru_stime
        return Measured(child.returncode, out.read(), err.read(), spent, usage.ru_maxrss * 1024)

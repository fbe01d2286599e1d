"""Machines under emulation (TCG) whose console is a file: what a guest says while it starts.

Nothing is written to the disk: qemu keeps what the guest writes in a file of its own (snapshot).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGIN = " login:"
FIRMWARE = "/usr/share/ovmf/OVMF.fd"  # with no variables set, as a new server has it
_POLL_S = 1.0


@contextmanager
def started(
    image: Path, log: Path, kind: str = "raw", *, uefi: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A machine without a network whose console is ``log``; it is ended in any case."""
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-m", "1024", "-smp", "2"]
    argv += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{log}"]
    argv += ["-drive", f"file={image},format={kind},if=virtio,snapshot=on"]
    if uefi:
        argv += ["-bios", FIRMWARE]
    machine = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(log.parent)},
    )  # fmt: skip
    try:
        yield machine
    finally:
        machine.kill()
        machine.communicate()


def said_until(machine: subprocess.Popen[str], log: Path, *words: str) -> str:
    """The console's text once any of these words is in it; what there is when the machine ends before."""
    while True:
        ended = machine.poll() is not None
        text = log.read_text(errors="replace") if log.exists() else ""
        if ended or any(each in text for each in words):
            return text
        time.sleep(_POLL_S)

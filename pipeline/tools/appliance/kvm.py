"""Whether KVM works here, by trying it.

    /dev/kvm usable? ──▶ make a virtual processor (30 ms) ──▶ boot a kernel to its panic (about 1 s)
         no: TCG              aborts: TCG                        hangs or fails: TCG

libguestfs only asks whether qemu was built with KVM.  In some virtual machines qemu then aborts while
it sets the processor up; in others (seen with kvm-pvm) the processor is made, the firmware runs, and
the first kernel hangs for ever.  So a kernel is booted, without a root file system, which it ends
with a panic.  The verdict is kept for the rest of the machine's uptime, at most a day.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ToolError
from pipeline.text import clean
from pipeline.tools import command
from pipeline.tools.command import Limits

QEMU = {"x86_64": ("qemu-system-x86_64", "pc"), "aarch64": ("qemu-system-aarch64", "virt")}
BOOT_S = 10.0  # a kernel panics after 1 s with KVM; under TCG it took 6 s on a busy machine
KEPT_S = 24 * 3600.0
_QUIT = b'{"execute":"qmp_capabilities"}{"execute":"quit"}'
_DEVICE = "/dev/kvm"


@dataclass(frozen=True)
class Accelerator:
    """How the appliance's processor is run."""

    name: Literal["kvm", "tcg"]
    reason: str  # why


def qemu() -> str:
    """The emulator's name for this machine's processor."""
    return QEMU.get(platform.machine(), QEMU["x86_64"])[0]


@functools.cache
def accelerator(kernel: Path | None, memory: Path | None = None) -> Accelerator:
    """KVM when it works, else TCG, with the reason.

    ``kernel`` is what the appliance will start; without one nothing but the virtual processor is
    tried.  ``memory`` is the file that keeps the verdict.
    """
    if not os.path.exists(_DEVICE):
        return Accelerator("tcg", f"there is no {_DEVICE}")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return Accelerator("tcg", f"{_DEVICE} may not be used by this user (group kvm)")
    kept = _recall(memory, kernel)
    if kept is not None:
        return kept
    found = _make_processor()
    if found.name == "kvm" and kernel is not None:
        found = _boot(kernel)
    _remember(memory, kernel, found)
    return found


def _argv(*more: str) -> list[str]:
    program, machine = QEMU.get(platform.machine(), QEMU["x86_64"])
    argv = [program, "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]
    return [*argv, "-machine", f"{machine},accel=kvm", "-cpu", "max", *more]


def _make_processor() -> Accelerator:
    argv = _argv("-m", "64", "-qmp", "stdio")
    try:
        tried = command.run(argv, limits=Limits(wall_s=10), stdin=_QUIT, check=False)
    except ToolError as error:
        return Accelerator("tcg", clean(error.message, 200))
    if tried.returncode == 0:
        return Accelerator("kvm", "a virtual processor can be made")
    return Accelerator("tcg", f"qemu fails with KVM: {_first_line(tried.stderr)}")


def _boot(kernel: Path) -> Accelerator:
    argv = _argv("-m", "256", "-no-reboot", "-kernel", str(kernel), "-append", "panic=-1")
    try:
        tried = command.run(argv, limits=Limits(wall_s=BOOT_S), check=False)
    except ToolError:
        return Accelerator("tcg", f"with KVM a kernel does not start within {BOOT_S:g} s")
    if tried.returncode == 0:
        return Accelerator("kvm", f"a kernel started in {tried.seconds:.1f} s")
    return Accelerator("tcg", f"qemu fails with KVM: {_first_line(tried.stderr)}")


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return clean(lines[0], 200) if lines else "without a word"


def _key(kernel: Path | None) -> list[str]:
    """What a verdict holds for: this uptime, this emulator, this kernel."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    program = command.find(qemu())
    return [boot, f"{program} {os.stat(program).st_mtime_ns}", str(kernel), str(os.getuid())]


def _recall(memory: Path | None, kernel: Path | None) -> Accelerator | None:
    if memory is None:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ToolError):
        kept: dict[str, Any] = json.loads(memory.read_text())
        fresh = 0 <= time.time() - float(kept["at"]) < KEPT_S
        if kept["key"] == _key(kernel) and fresh and kept["name"] in ("kvm", "tcg"):
            return Accelerator(kept["name"], str(kept["reason"]))
    return None


def _remember(memory: Path | None, kernel: Path | None, found: Accelerator) -> None:
    """Keep the verdict; a machine without a writable cache asks anew each time."""
    if memory is None:
        return
    with contextlib.suppress(OSError, ToolError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"at": time.time(), "key": _key(kernel), "name": found.name, "reason": found.reason}
        )
        partial = memory.with_name(f"{memory.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(memory)

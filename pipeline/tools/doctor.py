"""Whether this machine can do the work: every program and its version, confinement, space.

Whatever can be tried is tried: that a program is installed does not mean that it runs here.  Each
check says what it found, what that is needed for, and what to do when it is not well.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import text
from pipeline.errors import ToolError
from pipeline.tools import command, confine, seccomp
from pipeline.tools.appliance import cache
from pipeline.tools.appliance import launch as guest
from pipeline.tools.appliance.probe import Precondition
from pipeline.tools.command import Stop
from pipeline.tools.limits import MIB, Limits
from pipeline.tools.reader import client

PYTHON = (3, 11)
LOW_SPACE = 2048 * MIB
NO_SPACE = 64 * MIB
_ASKING = Limits(wall_s=10, output=MIB)

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at.  ``warning``: it works without, but less well or less safely."""

    name: str
    status: Status
    found: str  # a version, a size, or what is wrong
    needed_for: str
    remedy: str = ""  # what to do; empty when all is well


@dataclass(frozen=True)
class Program:
    """A program that we start.  ``package`` is its name in Debian and Ubuntu alike."""

    name: str
    package: str
    minimum: tuple[int, ...]  # the oldest version that has every option we use
    needed_for: str
    required: bool = True
    pattern: str = r"(\d+(?:\.\d+)+)"


PROGRAMS = (
    Program("qemu-img", "qemu-utils", (6, 2), "reading and writing image formats"),
    Program("qemu-nbd", "qemu-utils", (6, 2), "reading the disk inside qcow2, VMDK, VHDX and VDI"),
    Program("prlimit", "util-linux", (2, 33), "limits of child processes"),
    Program("setpriv", "util-linux", (2, 33), "ending child processes with us"),
    Program("bwrap", "bubblewrap", (0, 4), "confining image parsers", required=False),
)


def diagnose(
    directories: Mapping[str, Path] | None = None,
    *,
    launch: bool = False,
    cancellation: Stop | None = None,
) -> tuple[Diagnosis, ...]:
    """Look at everything.

    ``directories``: those that must take files, by what they are for.  ``launch`` also starts the
    appliance (10 to 20 s), which is the only proof that it starts; ``cancellation`` ends that.
    """
    places = {"temporary files": Path(tempfile.gettempdir()), **(directories or {})}
    return (
        _python(),
        *(_program(program) for program in PROGRAMS),
        _confinement(),
        _reader(),
        *(_guest(check) for check in guest.diagnose(launch=launch, cancellation=cancellation)),
        _kept(),
        *(_space(purpose, path) for purpose, path in places.items()),
    )


def versions() -> dict[str, str]:
    """The versions of the programs that are installed, by name."""
    found = ((program.name, _version(program)) for program in PROGRAMS)
    return {name: version for name, version in found if version is not None}


def _python() -> Diagnosis:
    good = sys.version_info[:2] >= PYTHON
    return Diagnosis(
        "Python",
        "ok" if good else "error",
        f"{platform.python_version()} ({sys.executable})",
        "imgprep itself",
        "" if good else "install Python 3.11 or newer",
    )


def _version(program: Program) -> str | None:
    """None: it is not installed, or does not run."""
    try:
        done = command.run([program.name, "--version"], limits=_ASKING)
    except ToolError:
        return None
    match = re.search(program.pattern, done.stdout.decode("utf-8", "replace"))
    return match.group(1) if match else "unknown"


def _program(program: Program) -> Diagnosis:
    bad: Status = "error" if program.required else "warning"
    install = f"apt-get install {program.package}"
    try:
        path = command.find(program.name)
    except ToolError as error:
        return Diagnosis(program.name, bad, error.message, program.needed_for, install)
    version = _version(program)
    if version is None:
        return Diagnosis(program.name, bad, f"{path} does not run", program.needed_for, install)
    old = _numbers(version) < program.minimum
    oldest = ".".join(map(str, program.minimum))
    return Diagnosis(
        program.name,
        bad if old else "ok",
        f"{version} ({path})" + (f", older than {oldest}" if old else ""),
        program.needed_for,
        f"install {program.package} {oldest} or newer" if old else "",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _confinement() -> Diagnosis:
    needed_for = "keeping a hijacked image parser from everything but the one image"
    found = confine.detect()
    if not found.available:
        return Diagnosis("confinement", "warning", found.reason, needed_for, _CONFINE_REMEDY)
    if seccomp.program() is None:
        seen = f"{found.reason}; no system-call filter for {platform.machine()}"
        return Diagnosis(
            "confinement", "warning", seen, needed_for, "use an x86_64 or arm64 machine"
        )
    return Diagnosis("confinement", "ok", f"{found.reason}, system-call filter", needed_for)


_CONFINE_REMEDY = (
    "apt-get install bubblewrap; in a container, allow it to make namespaces (docker run "
    "--security-opt seccomp=unconfined --security-opt systempaths=unconfined); on Ubuntu 24.04, "
    "copy /usr/share/apparmor/extra-profiles/bwrap-userns-restrict to /etc/apparmor.d and run "
    "apparmor_parser -r on it"
)


def _reader() -> Diagnosis:
    """Whether guests can be read without an appliance, found out by starting the reader."""
    purpose = "looking into the guest system without an appliance"
    try:
        locked = client.try_out()
    except ToolError as error:
        return Diagnosis("direct reader", "warning", error.message, purpose, error.hint)
    if locked:
        return Diagnosis("direct reader", "ok", "starts, and is locked in", purpose, "")
    remedy = "a kernel with system-call filters on x86_64 or aarch64; --guest=direct uses it all the same"
    return Diagnosis("direct reader", "warning", "it cannot be locked in here", purpose, remedy)


def _guest(check: Precondition) -> Diagnosis:
    """A part of the appliance: without it, what the direct reader cannot read stays unknown."""
    needed_for = (
        "guests on btrfs, F2FS, striped or thin LVM, or with features that are not read directly"
    )
    if not check.required:
        needed_for = "the speed of the appliance"
    return Diagnosis(
        check.name, "ok" if check.ok else "warning", check.seen, needed_for, check.remedy
    )


def _kept() -> Diagnosis:
    """What is kept of appliances, so that the next one starts sooner."""
    place = cache.place()
    taken = text.size(cache.size(place))
    return Diagnosis("appliance cache", "ok", f"{taken} in {place}", "the speed of the appliance")


def _space(purpose: str, path: Path) -> Diagnosis:
    name = f"space for {purpose}"
    place = next(item for item in (path, *path.absolute().parents) if item.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Diagnosis(
            name, "error", f"{place} may not be written", purpose, f"make {path} writable for you"
        )
    free = shutil.disk_usage(place).free
    seen = f"{text.size(free)} free in {place}"
    if free >= LOW_SPACE:
        return Diagnosis(name, "ok", seen, purpose)
    status: Status = "error" if free < NO_SPACE else "warning"
    remedy = f"free some space in {place}, or choose another directory (TMPDIR, --job-dir)"
    return Diagnosis(name, status, seen, purpose, remedy)


def problems(checks: tuple[Diagnosis, ...]) -> Iterator[Diagnosis]:
    """Those that are not well, errors first."""
    yield from sorted(
        (check for check in checks if check.status != "ok"),
        key=lambda check: check.status != "error",
    )

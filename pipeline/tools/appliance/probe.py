"""What guest inspection needs on this machine, looked at before anything is started.

libguestfs says "supermin exited with error status 1" for five different reasons; each is found here
by itself, with what was seen and what to do.
https://libguestfs.org/guestfs-faq.1.html
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.guest.versions import version_key
from pipeline.text import clean, size
from pipeline.tools import command
from pipeline.tools.appliance import kvm
from pipeline.tools.appliance.kvm import Accelerator
from pipeline.tools.command import Limits

MIB = 1 << 20
APPLIANCE_SPACE = 1024 * MIB  # supermin's copy of the kernel, its modules and a root file system
SMALL_SPACE = 64 * MIB  # what one run leaves in TMPDIR
_PASSED = re.compile(r"(?:LIBGUESTFS|SUPERMIN)_[A-Z_]+")
_PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
_NO_DOCTOR = "leave the guest out with --guest=off, and its requirements stay unknown"


@dataclass(frozen=True)
class Precondition:
    """One thing that guest inspection needs."""

    name: str  # "guestfs module", "KVM", …
    ok: bool
    seen: str  # what is there, or what is wrong
    remedy: str = ""  # what to do; empty when all is well
    code: str = ""  # of the error that it becomes
    required: bool = True  # False: it works without, only slower


@dataclass(frozen=True)
class Machine:
    """Where things are on this machine."""

    boot: Path = Path("/boot")
    modules: Path = Path("/lib/modules")
    temporary: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    guestfs: tuple[Path, ...] = (
        Path("/usr/lib/x86_64-linux-gnu/guestfs/supermin.d"),
        Path("/usr/lib/aarch64-linux-gnu/guestfs/supermin.d"),
        Path("/usr/lib64/guestfs/supermin.d"),
    )

    @property
    def cache(self) -> Path:
        """Where supermin keeps the appliance."""
        return Path(self.env.get("LIBGUESTFS_CACHEDIR") or "/var/tmp")  # noqa: S108

    @property
    def fixed_appliance(self) -> Path | None:
        """An appliance made in advance, which needs no kernel and no supermin."""
        for directory in self.env.get("LIBGUESTFS_PATH", "").split(":"):
            if directory and (Path(directory) / "README.fixed").is_file():
                return Path(directory)
        return None


def environment(machine: Machine | None = None) -> dict[str, str]:
    """What of our environment the worker gets: how to find the appliance, and nothing else.

    The cache directory is always named: otherwise libguestfs takes TMPDIR for it, which here is a
    private directory, and builds the appliance anew each time.
    """
    here = machine or Machine()
    found = {name: value for name, value in here.env.items() if _PASSED.fullmatch(name)}
    return {**found, "LIBGUESTFS_CACHEDIR": str(here.cache)}


def checks(machine: Machine | None = None) -> tuple[Precondition, ...]:
    """Everything at once; starts nothing but small probes (0.1 s)."""
    here = machine or Machine()
    return (*needed(here), _kvm_check(here))


def require_ready(machine: Machine | None = None) -> str:
    """The Python that runs the worker.

    Raises ``ToolError`` with the code of the first thing that is missing.
    """
    for check in needed(machine or Machine()):
        if not check.ok:
            raise ToolError(check.code, f"{check.name}: {check.seen}", hint=check.remedy)
    return worker_python() or sys.executable


def needed(machine: Machine) -> Iterator[Precondition]:
    """What it does not work without, in the order in which it would fail."""
    yield _module()
    yield _program("qemu", kvm.qemu())
    fixed = machine.fixed_appliance
    if fixed is not None:
        yield Precondition("appliance", True, f"a fixed one in {fixed}")
    else:
        yield _program("supermin", "supermin")
        yield _kernel(machine)
        yield _cache(machine)
    yield _temporary(machine)


@functools.cache
def worker_python() -> str | None:
    """A Python that can import guestfs: our own, or else the system's."""
    names = ("guestfs", "libguestfsmod")
    if sys.executable and all(importlib.util.find_spec(name) for name in names):
        return sys.executable
    system = "/usr/bin/python3"
    if os.access(system, os.X_OK):
        tried = command.run(
            [system, "-I", "-c", "import guestfs"], limits=Limits(wall_s=20), check=False
        )
        if tried.returncode == 0:
            return system
    return None


def _module() -> Precondition:
    python = worker_python()
    if python:
        return Precondition("guestfs module", True, f"importable by {python}")
    return Precondition(
        "guestfs module",
        False,
        f"neither {sys.executable} nor /usr/bin/python3 can import guestfs",
        "apt-get install python3-guestfs (it is not on PyPI)",
        "guest-module-missing",
    )


def _program(name: str, program: str) -> Precondition:
    try:
        return Precondition(name, True, command.find(program))
    except ToolError:
        package = "supermin" if name == "supermin" else _PACKAGES.get(platform.machine(), program)
        return Precondition(
            name,
            False,
            f"{program} is not installed",
            f"apt-get install {package}",
            f"guest-{name}-missing",
        )


# ------------------------------------------------------------------------------------------ kernel


def _kernel(machine: Machine) -> Precondition:
    path = chosen_kernel(machine)
    if path is None:
        return Precondition(
            "kernel",
            False,
            f"{machine.boot} and {machine.modules} hold no kernel with its modules",
            f"apt-get install {_kernel_package()}, or without root: {_own_kernel('VERSION')}",
            "guest-kernel-missing",
        )
    return _readable(path)


def chosen_by_user(machine: Machine) -> bool:
    """Whether the environment names a kernel, an appliance, or where it is kept."""
    return any(_PASSED.fullmatch(name) for name in machine.env)


def chosen_kernel(machine: Machine) -> Path | None:
    """The kernel that supermin will take: the one that it is told, or the newest."""
    own = machine.env.get("SUPERMIN_KERNEL")
    if own:
        return Path(own)
    found = sorted(_kernels(machine), key=lambda item: version_key(item[0]))
    return found[-1][1] if found else None


def _kernels(machine: Machine) -> Iterator[tuple[str, Path]]:
    """Version and file of each kernel whose modules are there, as supermin looks for them."""
    places = [(path.name.partition("-")[2], path) for path in machine.boot.glob("vmlinu[xz]-*")]
    places += [(path.parent.name, path) for path in machine.modules.glob("*/vmlinuz")]
    for version, path in places:
        if (machine.modules / version / "modules.dep").is_file():
            yield version, path


def _readable(path: Path) -> Precondition:
    if os.access(path, os.R_OK, effective_ids=True):
        return Precondition("kernel", True, f"{path}")
    if not path.exists():
        return Precondition(
            "kernel",
            False,
            f"{path} does not exist",
            "correct SUPERMIN_KERNEL",
            "guest-kernel-missing",
        )
    return Precondition(
        "kernel",
        False,
        f"{path} may not be read by this user (Ubuntu installs kernels so)",
        f"sudo chmod 0644 {path} (dpkg-statoverride --add keeps that over updates), "
        f"or without root: {_own_kernel(path.name.partition('-')[2] or path.parent.name)}",
        "guest-kernel-unreadable",
    )


def _kernel_package() -> str:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"linux-image-cloud-{arch} (Debian) or linux-image-virtual (Ubuntu)"


def _own_kernel(version: str) -> str:
    """How to have a kernel of one's own, without root (30 MB, 3 s)."""
    return (
        f"apt-get download linux-image-{version} && dpkg-deb -x linux-image-*.deb k && "
        f"depmod -b k {version}; then set SUPERMIN_KERNEL=$PWD/k/boot/vmlinuz-{version} "
        f"SUPERMIN_KERNEL_VERSION={version} SUPERMIN_MODULES=$PWD/k/lib/modules/{version} "
        "(Ubuntu keeps the modules in linux-modules-… beside it)"
    )


# ------------------------------------------------------------------------------------------- space


def _cache(machine: Machine) -> Precondition:
    directory = machine.cache
    built = directory / f".guestfs-{os.getuid()}" / "appliance.d" / "root"
    remedy = "make room there, or name another directory in LIBGUESTFS_CACHEDIR"
    wanted = SMALL_SPACE if built.is_file() else APPLIANCE_SPACE
    return _space("cache directory", directory, wanted, remedy, "guest-cache-full")


def _temporary(machine: Machine) -> Precondition:
    remedy = "make room there, or name another directory in TMPDIR"
    return _space(
        "temporary directory", machine.temporary, SMALL_SPACE, remedy, "guest-temporary-full"
    )


def _space(name: str, directory: Path, wanted: int, remedy: str, code: str) -> Precondition:
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return Precondition(name, False, f"{directory} cannot be written to", remedy, code)
    free = shutil.disk_usage(directory).free
    if free < wanted:
        seen = f"{directory} has {size(free)} free of the {size(wanted)} that are needed"
        return Precondition(name, False, seen, remedy, code)
    return Precondition(name, True, f"{directory} has {size(free)} free")


# --------------------------------------------------------------------------------------------- KVM


def accelerator(machine: Machine | None = None) -> Accelerator:
    """How the appliance will be run on this machine; see ``pipeline.tools.appliance.kvm``."""
    from platformdirs import user_cache_path

    here = machine or Machine()
    fixed = here.fixed_appliance
    started = fixed / "kernel" if fixed else chosen_kernel(here)
    readable = started is not None and os.access(started, os.R_OK)
    return kvm.accelerator(started if readable else None, user_cache_path("imgprep") / "kvm.json")


def _kvm_check(machine: Machine) -> Precondition:
    found = accelerator(machine)
    if found.name == "kvm":
        return Precondition("KVM", True, found.reason, required=False)
    remedy = "nothing has to be done: software emulation is used, which takes about 10 s an image"
    if "group kvm" in found.reason:
        remedy += "; to use KVM, add the user to the group kvm"
    return Precondition("KVM", False, found.reason, remedy, "guest-no-kvm", required=False)


# ------------------------------------------------------------------------------------------ launch

_REASONS = (
    (r"cannot open '(/boot/[^']*)' for reading", "guest-kernel-unreadable"),
    (r"failed to find a suitable kernel", "guest-kernel-missing"),
    (r"No space left on device", "guest-cache-full"),
    (r"supermin.*exited with error status (?:126|127)", "guest-supermin-missing"),
    (r"Failed to get .*lock", "guest-image-in-use"),
    (r"failed to set MSR|Could not access KVM|KVM internal error", "guest-no-kvm"),
)
_TELLING = re.compile(
    r"supermin: (?!version|internal|renaming|picked|finished|build)|cannot |failed|Failed|error:|"
    r"No space|Permission denied|panic|Assertion",
)


def telling_lines(stderr: str, most: int = 3) -> str:
    """The lines of a talkative worker's stderr that say why it failed."""
    lines = [line.strip() for line in stderr.splitlines() if _TELLING.search(line)]
    return clean(" / ".join(lines[-most:]), 600)


def launch_failure(said: str) -> ToolError:
    """The error for an appliance that did not start, its code told from what was said."""
    code = next((name for words, name in _REASONS if re.search(words, said)), "guest-launch-failed")
    return ToolError(
        code,
        f"the appliance did not start: {said}",
        hint=f"run 'imgprep doctor', which tries each part by itself; or {_NO_DOCTOR}",
    )


def launched(how: Accelerator, seconds: float) -> Precondition:
    """The appliance was started."""
    words = "KVM" if how.name == "kvm" else "software emulation"
    return Precondition("appliance", True, f"started in {seconds:.1f} s with {words}")


def launch_check(error: ToolError) -> Precondition:
    """The appliance could not be started."""
    return Precondition("appliance", False, error.message, error.hint, error.code)


def not_tried() -> Precondition:
    """The appliance was not started, as something that it needs is missing."""
    return Precondition(
        "appliance", False, "not tried", "mend what is missing first", "guest-launch-failed"
    )

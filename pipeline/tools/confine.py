"""How a child is confined: bubblewrap's argument list, and whether it works on this machine.

    what the child sees            where it comes from
    /usr /bin /lib* /sbin          the host's, read-only
    /etc/ld.so.cache …             the host's, read-only: what starting a program needs
    /proc                          of its own process namespace
    /dev                           null, zero, full, random, urandom, tty
    the Sandbox's directories      bound at their own paths
    nothing else                   no /home, /root, /etc, /tmp, /var, /run; no network

The image is not bound at all: the child inherits its descriptor, and ``/proc/self/fd/N`` opens that
very inode; a system-call filter keeps it from opening anything for writing (``seccomp.py``).
Bubblewrap's own manual: https://manpages.debian.org/bookworm/bubblewrap/bwrap.1.en.html
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.tools import seccomp
from pipeline.tools.child import Child, Launch, Prefix, failure
from pipeline.tools.limits import Limits, Sandbox, find

SYSTEM = ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
TRIAL = Limits(wall_s=5, output=4096)


@dataclass(frozen=True)
class Confinement:
    """Whether children can be confined here.  ``reason`` says why not, or how."""

    available: bool
    reason: str
    options: tuple[str, ...] = ()  # the namespace options that were tried and work


# The ways to separate a child, the tightest first.  Root needs no user namespace, which some
# kernels refuse; an ordinary user cannot do without.  Containers whose /proc is masked refuse a new
# /proc; there the old one is shown, and the user namespace keeps the child from looking into other
# processes (ptrace access is asked in the namespace of the process that is looked at).
_COMMON = ("--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
_OWN_PROC = ("--unshare-pid", "--proc", "/proc")
WAYS = {
    "root, own process namespace": (*_COMMON, *_OWN_PROC),
    "user namespace, own process namespace": ("--unshare-user", *_COMMON, *_OWN_PROC),
    "user namespace, the machine's /proc": (
        "--unshare-user",
        *_COMMON,
        "--ro-bind",
        "/proc",
        "/proc",
    ),
}
_detecting = threading.Lock()


def detect() -> Confinement:
    """Whether bubblewrap works here, found out once a process by trying it (about 10 ms)."""
    with _detecting:
        return _detected()


def begin_detecting() -> None:
    """Find it out beside other work; ``detect`` then waits only for what is left of it."""
    threading.Thread(target=detect, name="confinement").start()


@functools.cache
def _detected() -> Confinement:
    return examine()


def examine() -> Confinement:
    """Try the ways that ``WAYS`` lists, anew."""
    try:
        bwrap, true = find("bwrap"), find("true")
    except ToolError as error:
        return Confinement(False, error.message)
    said = ""
    for name, options in WAYS.items():
        if name.startswith("root") and os.geteuid() != 0:
            continue
        argv = [bwrap, *_frame(options), "--remount-ro", "/", "--", true]
        try:
            _try(argv)
        except ToolError as error:
            said = said or error.message
            continue
        return Confinement(True, name, options)
    return Confinement(False, f"bubblewrap does not work here: {said}")


def _try(argv: list[str]) -> None:
    """Run it unconfined; ``ToolError`` when it does not end well."""
    with Child(Launch(tuple(argv), TRIAL)) as child:
        child.pump(time.monotonic() + TRIAL.wall_s, None)
    completed = child.completed(0.0)
    if completed.returncode != 0:
        raise failure(completed, TRIAL)


def warning() -> str | None:
    """The sentence for the person when children cannot be confined, else None."""
    found = detect()
    if found.available:
        return None
    return (
        f"image parsers run unconfined, with limits only: {found.reason} "
        "('imgprep doctor' says what to do)"
    )


@contextlib.contextmanager
def prefix(sandbox: Sandbox | None, program: str) -> Iterator[Prefix]:
    """How to confine one start of ``program``; empty without a sandbox or where it cannot be.

    The descriptors are closed when the block ends: by then the child has its own.  Raises
    ``ToolError`` when a directory of the sandbox does not exist.
    """
    if sandbox is None or not detect().available:
        yield Prefix()
        return
    options = [*_frame(detect().options), *_binds(sandbox, program), *_capabilities(sandbox)]
    # Bubblewrap reads the filter from the descriptor's position, so every child needs a new one.
    rules = None if sandbox.writable else seccomp.program()
    filter_fd = None if rules is None else _memory_file(rules)
    try:
        fds = () if filter_fd is None else (filter_fd,)
        options += [word for fd in fds for word in ("--seccomp", str(fd))]
        yield Prefix((find("bwrap"), *options, "--remount-ro", "/", "--"), fds)
    finally:
        if filter_fd is not None:
            os.close(filter_fd)


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("seccomp")
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _binds(sandbox: Sandbox, program: str) -> list[str]:
    binds: list[str] = []
    for option, paths in (
        ("--ro-bind", sandbox.readable),
        ("--bind", (*sandbox.writable, *sandbox.sockets)),
    ):
        for path in paths:
            binds += [option, *_twice(_existing(path))]
    if not _in_system(program):
        binds += ["--ro-bind", *_twice(program)]
    return binds


@functools.cache
def _frame(options: tuple[str, ...]) -> tuple[str, ...]:
    """The part that is the same for every child."""
    parts = ["--die-with-parent", "--ro-bind", "/usr", "/usr"]
    for path in SYSTEM:
        if os.path.islink(path):  # merged /usr
            parts += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            parts += ["--ro-bind", *_twice(path)]
    for path in SYSTEM_FILES:
        parts += ["--ro-bind-try", *_twice(path)]
    return (*parts, "--dev", "/dev", "--remount-ro", "/dev", "--chdir", "/", *options)


def _capabilities(sandbox: Sandbox) -> tuple[str, ...]:
    """Root's child has no capability left, so it could not open another user's image.

    CAP_DAC_OVERRIDE gives that back, for what it sees.  CAP_DAC_READ_SEARCH would do too, but it
    also allows open_by_handle_at(2), which leads out of any mount namespace.
    """
    if os.geteuid() != 0:
        return ()
    owners = [os.fstat(fd) for fd in sandbox.fds]
    owners += [os.stat(path) for path in (*sandbox.writable, *sandbox.readable, *sandbox.sockets)]
    return ("--cap-add", "CAP_DAC_OVERRIDE") if _foreign(owners) else ()


def _foreign(found: Iterable[os.stat_result]) -> bool:
    return any(item.st_uid != 0 and not stat.S_ISCHR(item.st_mode) for item in found)


def _existing(path: Path) -> str:
    if not path.is_absolute() or not path.exists():
        raise ToolError(
            "tool-failed",
            f"a confined program was to see {str(path)!r}, which does not exist",
            hint="the job's scratch directory was removed while it ran; run the command again",
        )
    return str(path)


def _in_system(program: str) -> bool:
    return any(program.startswith(top + "/") for top in ("/usr", *SYSTEM))


def _twice(path: str) -> tuple[str, str]:
    return path, path

"""What a child may use and see, and how the kernel is told.

Limits are options of prlimit(1), which sets them and then becomes the program: that needs no Python
between fork and exec (``preexec_fn`` can deadlock when other threads exist, and here they do).
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ToolError

MIB = 1 << 20
OPEN_FILES = 1024  # RLIMIT_NOFILE of every child
CHILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Limits:
    """What a child may use.  None: not limited."""

    wall_s: float = 60.0
    cpu_s: int | None = None
    memory: int | None = None  # bytes of address space; sets MALLOC_ARENA_MAX=2 as well
    file_size: int | None = None  # bytes that any one file it writes may grow to
    output: int = 8 * MIB  # bytes of stdout that are kept; more is an error, on stderr too
    errors: int = 64 * 1024  # bytes of stderr that are kept (its end)


@dataclass(frozen=True)
class Sandbox:
    """What a confined child may see: no network, a read-only system, nothing of the user's files.

    ``fds`` of the calling process are inherited under the same number, so ``/proc/self/fd/N`` names
    exactly the inode that was checked.  ``writable`` directories are the only ones it can write to;
    without any, it can open no file for writing at all, the image through its descriptor included.
    """

    fds: tuple[int, ...] = ()
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    sockets: tuple[Path, ...] = ()  # directories in which it makes sockets, but writes no file


def find(name: str) -> str:
    """The absolute path of a program, also in the sbin directories that users' PATHs leave out.

    Raises ``ToolError`` ``tool-missing``.
    """
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=":".join(part for part in path.split(":") if part[:1] == "/"))
    if found is None:
        raise ToolError(
            "tool-missing",
            f"the program {name!r} is not installed",
            hint="run 'imgprep doctor' to see which package has it",
        )
    return found


def environment(limits: Limits, more: Mapping[str, str] | None) -> dict[str, str]:
    """A child's environment: nothing of ours but these, and what the caller names."""
    made = {"PATH": CHILD_PATH, "LC_ALL": "C"}
    if limits.memory is not None:
        # Each thread's malloc arena reserves 64 MiB of address space: without this, RLIMIT_AS stops
        # healthy conversions at random.
        made["MALLOC_ARENA_MAX"] = "2"
    return {**made, **(more or {})}


def launcher(limits: Limits) -> list[str]:
    """What to put before the program: it dies when we die, and its limits are set.

    Soft limits lie below hard ones, so that the signal tells which one was met.
    """
    wanted = [
        ("core", resource.RLIMIT_CORE, 0, 0),
        ("nofile", resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
    ]
    if limits.cpu_s is not None:
        wanted.append(("cpu", resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1))
    if limits.memory is not None:
        wanted.append(("as", resource.RLIMIT_AS, limits.memory, limits.memory))
    if limits.file_size is not None:
        wanted.append(("fsize", resource.RLIMIT_FSIZE, limits.file_size, limits.file_size))
    options = [
        f"--{name}={_clamp(kind, soft)}:{_clamp(kind, hard)}" for name, kind, soft, hard in wanted
    ]
    return [find("setpriv"), "--pdeathsig", "KILL", "--", find("prlimit"), *options, "--"]


def _clamp(kind: int, value: int) -> int:
    """Nobody but root may raise a hard limit, so an already lower one stays."""
    ceiling = resource.getrlimit(kind)[1]
    return value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)

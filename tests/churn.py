"""The life of a file system, as data: drawn by hypothesis, lived through the tools that people use.

    operations (numbers) ──plan──▶ steps that make sense one after the other ──▶ mounted, mtools, debugfs, sh
                                     the last ones delete every file that holds the marker

A file is *kept* or *doomed* from its first byte on.  Doomed ones hold the marker and have clusters of
their own: the smallest files of NTFS lie among its metadata, where they stay after they were deleted.
"""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import file_systems as made
from hypothesis import strategies as st

SIZES = (0, 1, 700, 4096, 9000, 80_000, 400_000)
SMALLEST = 8192  # bytes of a doomed file
DIRECTORIES = ("", "d0/", "d1/", "d1/d2/")
EVERYTHING = frozenset(
    (
        "mkdir",
        "write",
        "append",
        "truncate",
        "rename",
        "rm",
        "symlink",
        "link",
        "chmod",
        "attribute",
    )
)
BY_DEBUGFS = frozenset(("mkdir", "write", "rm", "symlink"))
BY_MTOOLS = frozenset(("mkdir", "write", "rename", "rm"))

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ("write", "write", "write", "append", "truncate", "rename", "rm", "rm", "symlink", "link",
             "chmod", "attribute")
        ),
        st.integers(0, 23), st.integers(0, 23), st.sampled_from(SIZES),
    ),
    min_size=10, max_size=60,
)  # fmt: skip

Operation = tuple[str, int, int, int]
CLUSTER = 1024  # bytes, or half of it, in every FAT that mtools fills


def keeps_ends(kind: str) -> bool:
    """Whether old bytes may stay in a cluster that is in use, behind the end of its file."""
    return "bigalloc" in kind


@dataclass(frozen=True)
class Step:
    """One thing to do; whatever it needs is there."""

    what: str
    name: str
    other: str = ""  # the new name, or where a link leads
    size: int = 0
    doomed: bool = False

    def content(self) -> bytes:
        """The bytes that it writes."""
        if self.doomed:
            return (made.MARKER * (self.size // len(made.MARKER) + 1))[: self.size]
        return random.Random(f"{self.name} {self.size}").randbytes(self.size)


def plan(operations: Iterable[Operation], can: frozenset[str] = EVERYTHING) -> list[Step]:
    """The steps that a driver which ``can`` do these things does."""
    steps = [Step("mkdir", name.rstrip("/")) for name in DIRECTORIES if name]
    there: dict[str, int] = {}  # the files, and how many bytes they have
    taken: set[str] = set()  # all names
    for what, one, other, size in operations:
        if what not in can:
            continue
        step = _step(what, one, other, size, there, taken)
        if step is None:
            continue
        steps.append(step)
        _remember(step, there, taken)
    steps.append(Step("write", "kept-last", size=5000))
    steps.append(Step("write", "doomed-last", size=200_000, doomed=True))
    doomed = [name for name in taken if "doomed" in name]
    return [*steps, *(Step("rm", name) for name in (*sorted(doomed), "doomed-last"))]


def _name(number: int) -> tuple[str, bool]:
    doomed = number % 2 == 0
    return f"{DIRECTORIES[number % 4]}{'doomed' if doomed else 'kept'}{number}", doomed


def _step(
    what: str, one: int, other: int, size: int, there: dict[str, int], taken: set[str]
) -> Step | None:
    name, doomed = _name(one)
    second, _ = _name(other - other % 2 + one % 2)  # of the same kind
    if what == "symlink":
        link = f"{DIRECTORIES[other % 4]}link{other}"
        return None if link in taken else Step(what, link, "x" * (size % 200 + 1))
    if what == "write":
        size = max(size, SMALLEST) if doomed else size
        return None if name in taken else Step(what, name, size=size, doomed=doomed)
    if name not in there:
        return None
    if what in ("rename", "link"):
        return None if second in taken else Step(what, name, second, doomed=doomed)
    if what == "truncate":
        size = min(there[name], max(size, SMALLEST) if doomed else size)
    return Step(what, name, size=size, doomed=doomed)


def _remember(step: Step, there: dict[str, int], taken: set[str]) -> None:
    taken.add(step.name)
    if step.what in ("write", "truncate"):
        there[step.name] = step.size
    elif step.what == "append":
        there[step.name] += step.size
    elif step.what in ("rename", "link"):
        there[step.other] = there[step.name]
        taken.add(step.other)
    if step.what in ("rename", "rm"):
        taken.discard(step.name)
        there.pop(step.name, None)


def live_mounted(root: Path, steps: Sequence[Step]) -> None:
    """Do them in a mounted file system."""
    for step in steps:
        path = root / step.name
        match step.what:
            case "mkdir":
                path.mkdir()
            case "write" | "append":
                with open(path, "ab") as file:
                    file.write(step.content())
            case "truncate":
                os.truncate(path, step.size)
            case "rename":
                path.rename(root / step.other)
            case "rm":
                path.unlink()
            case "symlink":
                path.symlink_to(step.other)
            case "link":
                (root / step.other).hardlink_to(path)
            case "chmod":
                path.chmod(0o600 + step.size % 64)
            case "attribute":
                os.setxattr(path, "user.size", str(step.size).encode())


def by_debugfs(path: Path, steps: Sequence[Step]) -> None:
    """Do them with debugfs in an ext file system."""
    commands = []
    for number, step in enumerate(steps):
        directory, _, name = step.name.rpartition("/")
        commands.append(f"cd /{directory}")
        if step.what == "write":
            source = path.with_name(f"{path.name}.{number}")
            source.write_bytes(step.content())
            commands.append(f"write {source} {name}")
        else:
            commands.append(f"{step.what} {name} {step.other}")
    made.debugfs(path, commands)


def by_mtools(path: Path, steps: Sequence[Step]) -> None:
    """Do them with mtools in a FAT; every other file is made read-only."""
    for step in steps:
        match step.what:
            case "mkdir":
                made.run("mmd", "-i", path, f"::{step.name}")
            case "write":
                source = path.with_name(f"{path.name}.source")
                content = step.content()  # whole clusters: mtools lets the end of the last one be
                source.write_bytes(content.ljust(-(-len(content) // CLUSTER) * CLUSTER, b"."))
                made.run("mcopy", "-i", path, source, f"::{step.name}")
            case "rename":
                made.run("mmove", "-i", path, f"::{step.name}", f"::{step.other}")
            case "rm":
                made.run("mdel", "-i", path, f"::{step.name}")
    made.run("mattrib", "-i", path, "+r", "+h", "::kept-last")


def as_script(steps: Sequence[Step], root: str) -> str:
    """The same for a shell; what is kept holds other random bytes each time."""
    lines = ["set -e", f"cd {root}"]
    before = ""
    for step in steps:
        if step.what == "rm" != before:
            lines.append("sync")  # what is deleted in memory never reaches the disk
        before = step.what
        name, other = shlex.quote(step.name), shlex.quote(step.other)
        source = f"yes '{made.MARKER.decode()}' |" if step.doomed else ""
        write = f"{source} head -c {step.size} {'' if step.doomed else '/dev/urandom'}"
        lines.append(
            {
                "mkdir": f"mkdir {name}",
                "write": f"{write} > {name}",
                "append": f"{write} >> {name}",
                "truncate": f"truncate -s {step.size} {name}",
                "rename": f"mv {name} {other}",
                "rm": f"rm {name}",
                "symlink": f"ln -s {other} {name}",
                "link": f"ln {name} {other}",
                "chmod": f"chmod {0o600 + step.size % 64:o} {name}",
                "attribute": f"touch -d @{step.size} {name}",
            }[step.what]
        )
    return "\n".join([*lines, "sync"])

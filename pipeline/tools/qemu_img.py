"""qemu-img, one function a sub-command: the format always told, limits always set, JSON checked.

    ImageSpec ──▶ json:{"driver": "qcow2", "backing": null, "file": {…, "/proc/self/fd/N"}}
                    │
                    ├── info  check  map_  measure  compare     confined, may write nothing
                    └── convert                                 confined, may write one directory

The name handed over is never the user's: a file named ``nbd:host:port`` or ``json:…`` would be taken
for a protocol.  It is the inherited descriptor's, so the inode is the one that was checked.

Driver options that matter, and why:

- ``backing: null`` keeps the drivers from following a name in the header;
- ``vpc`` gets ``force_size_calc=current_size``: left alone it takes the geometry's size for most
  creators and cuts off the end of the disk;
- a fixed VHD is its first ``virtual_size`` bytes, raw: that also reads those with 511-byte footers.

Options: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html (BlockdevOptions).  Limits: the
address space of 1 GiB never stopped a healthy call in 60 runs, and is met by hostile ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import ToolError
from pipeline.model import JsonObject
from pipeline.source import Source
from pipeline.tools import command
from pipeline.tools.command import MIB, Completed, Limits, Sandbox, Stop

PARSING = Limits(wall_s=120, cpu_s=20, memory=1024 * MIB, file_size=0)
"""For calls that read an untrusted image's tables."""

MAPPING = replace(PARSING, output=64 * MIB)
"""``map`` prints about 120 bytes for every run of clusters."""

COPYING = Limits(wall_s=24 * 3600, memory=2048 * MIB)
"""For calls that read all data: only a stuck one takes a day."""

DRIVERS = {
    "raw": "raw",
    "qcow2": "qcow2",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vmdk": "vmdk",
    "vdi": "vdi",
}
"""The contract's format names, and qemu's."""

CHECKED = frozenset({"qcow2", "vhdx", "vmdk", "vdi"})
"""Formats for which ``qemu-img check`` exists."""


_NOISE = re.compile(r"^Failed to open /dev/null for OFD lock probing.*\n?", re.MULTILINE)
"""A confined qemu cannot probe for one kind of lock and takes the other; nothing is wrong."""

_WRITER_LOCK = 101


@dataclass(frozen=True)
class ImageSpec:
    """An image as a tool is told it."""

    path: str  # /proc/self/fd/N, or an absolute path of our own
    format: str  # one of DRIVERS
    fds: tuple[int, ...] = ()  # what the child inherits to open ``path``
    window: int | None = None  # of raw: only the first so many bytes are the disk
    force_size_calc: bool = True  # of vhd: the footer's current size, not its geometry
    served: bool = False  # ``path`` is an NBD server's unix socket

    @classmethod
    def of(cls, source: Source, container: JsonObject) -> ImageSpec:
        """Of a source, from its ``container`` facts.  Raises ``ToolError`` for other formats."""
        name = str(container.get("format"))
        if name not in DRIVERS:
            raise ToolError(
                "format-not-openable",
                f"qemu-img is not asked to open the format {name!r}",
                hint="imgprep opens " + ", ".join(sorted(DRIVERS)),
            )
        if name == "vhd" and lies_in_file(container):
            size = container.get("virtual_size")
            return cls(source.fd_path, "raw", (source.fd,), window=size)
        return cls(source.fd_path, name, (source.fd,))

    @property
    def driver(self) -> str:
        """What qemu calls the format."""
        return DRIVERS[self.format]

    def node(self) -> dict[str, Any]:
        """The block node, as ``-blockdev`` and ``json:`` take it."""
        file: dict[str, Any] = {"driver": "file", "filename": self.path}
        if self.served:
            file = {"driver": "nbd", "server": {"type": "unix", "path": self.path}}
        node: dict[str, Any] = {"driver": self.driver, "file": file}
        if self.format == "raw":
            return node if self.window is None else {**node, "offset": 0, "size": self.window}
        if self.format == "vhd":
            return {**node, "force_size_calc": "current_size"} if self.force_size_calc else node
        return {**node, "backing": None}

    @property
    def argument(self) -> str:
        """The node as qemu-img's file name."""
        return "json:" + json.dumps(self.node())


@dataclass(frozen=True)
class Info:
    """What ``qemu-img info`` says.  Sizes in bytes."""

    format: str  # qemu's name
    virtual_size: int
    actual_size: int | None
    cluster_size: int | None
    encrypted: bool
    dirty: bool
    corrupt: bool
    backing_file: str | None
    data_file: str | None
    snapshots: int
    extents: tuple[str, ...]  # of VMDK: the files that hold its data
    details: JsonObject  # format-specific.data


@dataclass(frozen=True)
class CheckResult:
    """What ``qemu-img check`` says.  Counts of clusters are None where the format has none."""

    corruptions: int
    leaks: int
    errors: int  # what could not be checked
    said: str  # the beginning of what it printed about them
    image_end: int | None = None  # bytes: where the last used cluster ends
    total_clusters: int | None = None
    allocated_clusters: int | None = None
    compressed_clusters: int | None = None


@dataclass(frozen=True)
class Run:
    """One run of ``qemu-img map``: guest-visible bytes of one kind."""

    start: int
    length: int
    data: bool
    zero: bool
    offset: int | None  # in the file, where it is stored as it is


@dataclass(frozen=True)
class Measure:
    """Bytes that an image in the target format would need."""

    required: int
    fully_allocated: int


@dataclass(frozen=True)
class Comparison:
    """Whether two disks read the same, and the first difference in qemu-img's words."""

    identical: bool
    said: str


def lies_in_file(container: JsonObject) -> bool:
    """Whether the disk's bytes are the file's first ones: raw images and fixed VHDs.

    A fixed VDI has a header in front, so the variant alone does not tell.
    """
    kind, variant = container.get("format"), container.get("variant")
    return kind == "raw" or (kind == "vhd" and variant == "fixed")


def in_use(fd: int) -> bool:
    """Whether a qemu has the file open for writing.

    A writing qemu holds a lock on byte 101 (block/file-posix.c, RAW_LOCK_PERM_BASE plus the number of
    BLK_PERM_WRITE).  Asked here for all formats, because raw ones meet no tool, and because a confined
    tool cannot tell which kind of lock the kernel has and then does without.
    """
    wanted = struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _WRITER_LOCK, 1, 0)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted)
    except OSError:  # a file system without locks
        return False
    return bool(struct.unpack_from("@h", answer)[0] != fcntl.F_UNLCK)


@cache
def version() -> str:
    """The version number, e.g. ``7.2.22``."""
    said = command.run(["qemu-img", "--version"], limits=Limits(wall_s=10)).stdout.decode()
    found = re.search(r"version (\d+(?:\.\d+)+)", said)
    return found.group(1) if found else said.splitlines()[0].strip() if said else "unknown"


def info(image: ImageSpec, *, limits: Limits = PARSING, stop: Stop | None = None) -> Info:
    """Sizes, flags and references, without following any."""
    said = _json("info", ["info", "--output=json", image.argument], image, limits, stop)
    specific = said.get("format-specific") or {}
    data: Mapping[str, Any] = specific.get("data") or {}
    return Info(
        format=_need(said, "format", str, "info"),
        virtual_size=_need(said, "virtual-size", int, "info"),
        actual_size=said.get("actual-size"),
        cluster_size=said.get("cluster-size"),
        encrypted=bool(said.get("encrypted", False)) or "encrypt" in data,
        dirty=bool(said.get("dirty-flag", False)),
        corrupt=bool(data.get("corrupt", False)),
        backing_file=said.get("backing-filename"),
        data_file=data.get("data-file"),
        snapshots=len(said.get("snapshots") or ()),
        extents=tuple(str(item.get("filename")) for item in data.get("extents") or ()),
        details=data,
    )


def check(image: ImageSpec, *, limits: Limits = PARSING, stop: Stop | None = None) -> CheckResult:
    """Walk the image's own tables.  Only for ``CHECKED`` formats.

    Exit status 2 (corruptions) and 3 (leaks) are answers, not failures.
    """
    argv = ["qemu-img", "check", "--output=json", image.argument]
    done = _run(argv, (image,), limits, stop, accept=(0, 2, 3))
    said = _parsed(done, "check")
    return CheckResult(
        corruptions=said.get("corruptions", 0),
        leaks=said.get("leaks", 0),
        errors=_need(said, "check-errors", int, "check"),
        said=done.stderr.strip()[:400],
        image_end=said.get("image-end-offset"),
        total_clusters=said.get("total-clusters"),
        allocated_clusters=said.get("allocated-clusters"),
        compressed_clusters=said.get("compressed-clusters"),
    )


def map_(
    image: ImageSpec, *, limits: Limits = MAPPING, stop: Stop | None = None
) -> tuple[Run, ...]:
    """Which runs of the disk hold data, ascending and without gaps."""
    argv = ["qemu-img", "map", "--output=json", image.argument]
    done = _run(argv, (image,), limits, stop)
    said = _decoded(done, "map")
    if not isinstance(said, list):
        raise _unexpected("map", "is no list")
    return tuple(
        Run(
            start=_need(item, "start", int, "map"),
            length=_need(item, "length", int, "map"),
            data=_need(item, "data", bool, "map"),
            zero=_need(item, "zero", bool, "map"),
            offset=item.get("offset"),
        )
        for item in said
    )


def measure(
    image: ImageSpec, target: str, *, limits: Limits = PARSING, stop: Stop | None = None
) -> Measure:
    """How large the image would be in ``target`` (qemu-img can tell for raw, qcow2 and LUKS)."""
    argv = ["measure", "--output=json", "-O", DRIVERS[target], image.argument]
    said = _json("measure", argv, image, limits, stop)
    return Measure(
        required=_need(said, "required", int, "measure"),
        fully_allocated=_need(said, "fully-allocated", int, "measure"),
    )


def compare(
    one: ImageSpec, other: ImageSpec, *, limits: Limits = COPYING, stop: Stop | None = None
) -> Comparison:
    """Whether two disks read the same; beyond the shorter one's end, zeros are equal."""
    argv = ["qemu-img", "compare", one.argument, other.argument]
    done = _run(argv, (one, other), limits, stop, accept=(0, 1))
    said = done.stdout.decode("utf-8", "replace").strip()
    return Comparison(identical=done.returncode == 0, said=said)


def convert(
    image: ImageSpec,
    output: Path,
    target: str,
    *,
    options: Sequence[str] = (),
    compress: bool = False,
    on_progress: Callable[[float], None] | None = None,
    limits: Limits = COPYING,
    stop: Stop | None = None,
) -> None:
    """Write the disk in another format to ``output``, a new file in a directory of ours.

    ``options`` are the target driver's, e.g. ``subformat=streamOptimized``; ``on_progress`` gets the
    finished part, 0 to 1.  A file that was begun is left behind on any error: the caller made the
    directory and removes it.
    """
    argv = ["qemu-img", "convert", "-p", "-O", DRIVERS[target]]
    argv += ["-c"] if compress else []
    for option in options:
        argv += ["-o", option]
    argv += [image.argument, str(output)]
    reading = _sandbox((image,))
    sandbox = replace(reading, writable=(output.parent,))
    meter = _Meter(on_progress or (lambda _part: None))
    command.run(argv, limits=limits, sandbox=sandbox, on_stdout=meter, cancellation=stop)


class _Meter:
    """Reads ``(12.34/100%)`` from ``qemu-img -p``, which ends each with a carriage return."""

    def __init__(self, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._rest = b""

    def __call__(self, chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\r")
        self._rest = self._rest[-100:]
        for line in whole[-1:]:
            found = re.search(rb"\((\d+\.\d+)/100%\)", line)
            if found:
                self._on_progress(float(found.group(1)) / 100)


def _sandbox(images: Sequence[ImageSpec]) -> Sandbox:
    """Descriptors are inherited; a path of ours must be shown to the child."""
    return Sandbox(
        fds=tuple(fd for image in images for fd in image.fds),
        readable=tuple(Path(image.path) for image in images if not image.fds and not image.served),
        sockets=tuple(Path(image.path).parent for image in images if image.served),
    )


def _run(
    argv: Sequence[str],
    images: Sequence[ImageSpec],
    limits: Limits,
    stop: Stop | None,
    *,
    accept: tuple[int, ...] = (0,),
) -> Completed:
    done = command.run(
        argv, limits=limits, sandbox=_sandbox(images), cancellation=stop, check=False
    )
    done = replace(done, stderr=_NOISE.sub("", done.stderr))
    if done.returncode in accept:
        return done
    raise command.failure(done, limits)


def _json(
    name: str, argv: Sequence[str], image: ImageSpec, limits: Limits, stop: Stop | None
) -> Mapping[str, Any]:
    return _parsed(_run(["qemu-img", *argv], (image,), limits, stop), name)


def _parsed(done: Completed, name: str) -> Mapping[str, Any]:
    said = _decoded(done, name)
    if not isinstance(said, dict):
        raise _unexpected(name, "is no object")
    return said


def _decoded(done: Completed, name: str) -> Any:
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise _unexpected(name, f"is no JSON: {error}") from error


def _need(said: Mapping[str, Any], key: str, kind: type[Any], name: str) -> Any:
    value = said.get(key) if isinstance(said, dict) else None
    if not isinstance(value, kind):
        raise _unexpected(name, f"has no {key!r}")
    return value


def _unexpected(name: str, what: str) -> ToolError:
    return ToolError(
        "tool-output-unexpected",
        f"what qemu-img {name} printed {what}",
        hint="the installed qemu-img is of an unknown kind; 'imgprep doctor' shows its version",
    )

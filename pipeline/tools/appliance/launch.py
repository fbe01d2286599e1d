"""The libguestfs appliance: a small virtual machine that mounts a guest's file systems for us.

    here ──socket pair, a line of JSON each way──▶ worker.py ──libguestfs──▶ qemu ─┐
      │                                            system's Python, own group,           │ NBD
      └── nbd.serve: qemu-nbd, confined, read-only, format told ◀──unix socket───────────┘

The image's format is told to qemu-nbd, and what it serves is called raw, so nothing probes what an
untrusted disk begins with.  The worker is ended with its whole group when its work is done or its time
is over; its private directory, which is where libguestfs keeps its overlays, is removed afterwards.  It is
asked before it is killed, because for root libguestfs puts its sockets into /tmp, and only it knows where.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ToolError
from pipeline.guest.tree import Entry, TreeError
from pipeline.tools import command
from pipeline.tools.appliance import cache
from pipeline.tools.appliance import probe as guest_probe
from pipeline.tools.appliance import quick as quicker
from pipeline.tools.appliance.channel import STOPPED, Channel
from pipeline.tools.appliance.init import NO_LVM
from pipeline.tools.appliance.kvm import Accelerator
from pipeline.tools.appliance.quick import Quick
from pipeline.tools.command import Limits, Stop

WORKER = Path(__file__).with_name("worker.py")
LAUNCH_KVM_S = 60.0
LAUNCH_TCG_S = (
    240.0  # 7 to 11 s on a quiet machine; a busy one, building the appliance, takes longer
)
FACTS_S = 120.0
CLOSE_S = 3.0  # 0.1 s on a quiet machine; what has not ended by then is killed
MEMORY_MIB = 512  # of the appliance; 256 mounts ext4 as quickly
LARGEST_FILE = 8 << 30  # bytes; supermin makes a sparse file of 4 GiB for the appliance
_CHUNK = 1 << 20  # bytes of a file in one answer
_DIRECTORY_MAX = 74  # characters: libguestfs appends 33 to it, and a socket's path has 107

_QUICK_WORDS = ("mitigations=off", "nokaslr", "audit=0", "init_on_alloc=0")
"""For the kernel under emulation, where there is no processor to protect and one disk to look at."""

_OPTIONS = {
    "ext2": "ro",  # it has no journal, and the kernel refuses noload for it
    "ext3": "ro,noload",
    "ext4": "ro,noload",
    "xfs": "ro,norecovery,nouuid",
    "btrfs": "ro,rescue=nologreplay",
    "f2fs": "ro,norecovery",
    "reiserfs": "ro,nolog",
    "vfat": "ro,utf8=1",  # not every kernel shows names outside ASCII by itself
}
"""Nothing is replayed: the disk is looked at as it lies."""


class Appliance:
    """One running appliance with one image."""

    def __init__(self, channel: Channel, version: str, seconds: float, accelerator: str) -> None:
        self._channel = channel
        self.version = version  # of libguestfs
        self.launch_seconds = seconds
        self.accelerator = accelerator  # "kvm" or "tcg"

    def mount(self, device: str, kind: str) -> MountedTree:
        """Mount a volume read-only, without replaying its journal.  Raises ``TreeError``."""
        options = f"{_OPTIONS.get(kind, 'ro')},nodev"
        at = self._channel.ask("mount", device=device, kind=kind, options=options)
        return MountedTree(self._channel, str(at))

    def kind(self, device: str) -> str | None:
        """The type of what is on a device, as the appliance's blkid tells it."""
        return str(self._channel.ask("kind", device=device)) or None

    def inspect(self) -> Sequence[Mapping[str, Any]]:
        """What libguestfs' inspection finds.  Takes seconds."""
        found: Sequence[Mapping[str, Any]] = self._channel.ask("inspect")
        return found


class MountedTree:
    """A mounted volume; ``pipeline.guest.tree.Tree``, and registry hives."""

    def __init__(self, channel: Channel, at: str) -> None:
        self._channel = channel
        self._at = at

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        """What each name is."""
        if not names:
            return []
        found = self._channel.ask("stat", directory=self._inside(directory), names=list(names))
        return [Entry(*item) if item is not None else None for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        found: list[str] = self._channel.ask("names", directory=self._inside(directory))
        return found

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        return str(self._channel.ask("readlink", path=self._inside(path)))

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file, a mebibyte a question."""
        parts: list[bytes] = []
        while length > 0:
            part = base64.b64decode(
                self._channel.ask(
                    "read", path=self._inside(path), offset=offset, length=min(length, _CHUNK)
                )
            )
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def free(self) -> Mapping[str, int]:
        """Free bytes."""
        found: Mapping[str, int] = self._channel.ask("free", at=self._at)
        return found

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Values of a registry hive, read in the appliance."""
        found: Sequence[Mapping[str, Any]] = self._channel.ask(
            "hive",
            path=self._inside(path),
            wanted=[[list(part) for part in item] for item in wanted],
        )
        return found

    def _inside(self, path: str) -> str:
        return self._at if path == "/" else f"{self._at}{path}"


@contextlib.contextmanager
def open_appliance(
    server: Path,
    *,
    scratch: Path,
    cancellation: Stop | None = None,
    whole: bool = False,
    lvm: bool = True,
) -> Iterator[Appliance]:
    """An appliance on the disk that ``server`` (an NBD server's unix socket) offers.

    ``whole``: the disk may hold MD arrays or be a Windows dynamic one.  ``lvm``: it may hold LVM.

    KVM is used when a virtual processor can really be made, and given up for TCG when the appliance
    does not start with it.  Raises ``ToolError`` with a code of its own for each thing that is
    missing on this machine, before anything is started.
    """
    python = guest_probe.require_ready()
    tries = _tries(whole=whole)
    failed: list[Quick] = []
    new = [quick for _, quick in tries if quick is not None and not quick.built]
    with contextlib.ExitStack() as stack:
        for number, (accelerator, quick) in enumerate(tries, start=1):
            try:
                appliance = stack.enter_context(
                    _started(python, accelerator, quick, server, scratch, cancellation, lvm)
                )
                break
            except ToolError:
                if number == len(tries):
                    raise
                if quick is not None:
                    failed.append(quick)
        for quick in failed:  # the stock one started, so it was neither the machine nor the disk
            quick.give_up()
        for quick in new:
            if quick not in failed:
                quick.remove_older()
        yield appliance


def _tries(*, whole: bool) -> list[tuple[Accelerator, Quick | None]]:
    """How the appliance may be started, the best way first, the stock one last.

    Only under emulation does it matter how long a start takes.
    """
    first = guest_probe.accelerator()
    if first.name == "kvm":
        return [(first, None), (Accelerator("tcg", "KVM did not start"), None)]
    quick = quicker.quick(whole=whole)
    return [*([(first, quick)] if quick is not None else []), (first, None)]


@contextlib.contextmanager
def _started(
    python: str,
    accelerator: Accelerator,
    quick: Quick | None,
    server: Path,
    scratch: Path,
    cancellation: Stop | None,
    lvm: bool,
) -> Iterator[Appliance]:
    settings = ["force_tcg"] if accelerator.name == "tcg" else []
    words = [] if quick is None else [*_QUICK_WORDS, *([] if lvm else [NO_LVM])]
    arguments = {
        "socket_path": str(server),
        "settings": settings,
        "memory": MEMORY_MIB,
        "append": " ".join(words),
    }
    with _worker(python, scratch, cancellation, quick) as channel:
        channel.allow(LAUNCH_KVM_S if accelerator.name == "kvm" else LAUNCH_TCG_S)
        started = time.monotonic()
        try:
            answer = channel.ask("launch", verbose=False, **arguments)
        except (TreeError, ToolError) as error:
            if isinstance(error, ToolError) and error.code != STOPPED:
                raise
            if accelerator.name == "kvm" or quick is not None:
                # Another way is tried next, and talks if it fails as well.
                raise guest_probe.launch_failure(str(error)) from error
            raise _not_launched(python, scratch, cancellation, settings, str(error)) from error
        channel.allow(FACTS_S)
        yield Appliance(channel, answer["version"], time.monotonic() - started, accelerator.name)


@contextlib.contextmanager
def _worker(
    python: str, scratch: Path, cancellation: Stop | None, quick: Quick | None = None
) -> Iterator[Channel]:
    ours, theirs = socket.socketpair()
    kept = cache.in_use(quick.directories if quick is not None else ())
    with ours, theirs, _private_directory(scratch) as private, kept:
        argv = [python, "-I", str(WORKER), str(theirs.fileno())]
        env = {
            **guest_probe.environment(),
            **(quick.environment if quick is not None else {}),
            "TMPDIR": str(private),
            "XDG_RUNTIME_DIR": str(private),
            "HOME": str(private),
        }
        limits = Limits(file_size=LARGEST_FILE)
        with command.background(argv, limits=limits, env=env, pass_fds=(theirs.fileno(),)) as child:
            theirs.close()
            try:
                yield Channel(ours, child, cancellation)
            finally:
                ours.close()
                child.end(CLOSE_S)


@contextlib.contextmanager
def _private_directory(scratch: Path) -> Iterator[Path]:
    """In the job's scratch, which the next run clears if this one is killed, if its path is short."""
    directory = Path(tempfile.mkdtemp(prefix="g", dir=scratch))
    if len(str(directory)) > _DIRECTORY_MAX:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="imgprep-guest-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _not_launched(
    python: str, scratch: Path, cancellation: Stop | None, settings: list[str], said: str
) -> ToolError:
    """Start once more, without the image but talkative: libguestfs keeps its reasons to itself."""
    with _worker(python, scratch, cancellation) as channel:
        channel.allow(LAUNCH_TCG_S)
        # Talkative libguestfs 1.48 itself crashes on some broken appliances.
        with contextlib.suppress(TreeError, ToolError):
            channel.ask("empty_launch", settings=settings, verbose=True)
            return guest_probe.launch_failure(said)
        reason = guest_probe.telling_lines(channel.stderr())
    return guest_probe.launch_failure(reason or said)


def try_launch(scratch: Path, cancellation: Stop | None = None) -> tuple[Accelerator, float]:
    """Start an appliance without an image, for ``imgprep doctor``: which way, and how many seconds.

    Raises ``ToolError`` as ``open_appliance`` does.
    """
    python = guest_probe.require_ready()
    accelerator = guest_probe.accelerator()
    settings = ["force_tcg"] if accelerator.name == "tcg" else []
    with _worker(python, scratch, cancellation) as channel:
        channel.allow(LAUNCH_TCG_S)
        try:
            answer = channel.ask("empty_launch", settings=settings, verbose=True)
        except TreeError as error:
            said = guest_probe.telling_lines(channel.stderr()) or str(error)
            raise guest_probe.launch_failure(said) from error
    return accelerator, float(answer["seconds"])


def diagnose(
    *, launch: bool = False, cancellation: Stop | None = None
) -> tuple[guest_probe.Precondition, ...]:
    """What guest inspection needs on this machine; with ``launch`` (10 to 20 s) it is tried."""
    found = guest_probe.checks()
    if not launch:
        return found
    if any(check.required and not check.ok for check in found):
        return (*found, guest_probe.not_tried())
    with tempfile.TemporaryDirectory(prefix="imgprep-doctor-") as scratch:
        try:
            accelerator, seconds = try_launch(Path(scratch), cancellation)
        except ToolError as error:
            return (*found, guest_probe.launch_check(error))
    return (*found, guest_probe.launched(accelerator, seconds))

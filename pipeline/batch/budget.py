"""What all running jobs share: appliances, scratch space, connections, bandwidth.

    DIR/shared/appliance-0 …   a slot is a file; who holds its lock may run an appliance
               scratch/<n>     bytes that somebody may write; its lock says that he is still there
               out-<boot id>   when the line to stores is free again (CLOCK_MONOTONIC, seconds, a double)
              in-<boot id>    and that from servers which hold images

Files and their locks (flock(2)) instead of messages: the kernel gives them back when a process dies, in
whatever way, and nobody has to be asked.  One machine only; each worker of a cluster has its own.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pipeline.batch.machine import cores, free_memory
from pipeline.stage import Cancellation

T = TypeVar("T")

MEMORY_OF_AN_APPLIANCE = 1 << 30
"""Bytes: 512 MiB of its own, qemu, and the page cache that it wants."""

CONNECTIONS = 8
"""To stores, of all jobs together, at most; where there are few cores, two of each."""

SHARE_OF_FREE_SPACE = 0.9
_POLL_S = 0.1
_BURST_S = 0.25
_TIME = struct.Struct("<d")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Line(StrEnum):
    """The two directions of the network."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True)
class Capacity:
    """What all jobs together may use."""

    appliances: int
    scratch: int  # bytes
    connections: int | None  # of one job; None: as many as it likes, because it is alone
    rate: int | None = None  # bytes a second in each direction, of all jobs together

    @classmethod
    def of_machine(cls, directory: Path, jobs: int, rate: int | None = None) -> Capacity:
        """By this machine's cores, memory and free space."""
        space = os.statvfs(directory)
        return cls(
            appliances=max(1, min(cores(), free_memory() // MEMORY_OF_AN_APPLIANCE)),
            scratch=int(space.f_bavail * space.f_frsize * SHARE_OF_FREE_SPACE),
            connections=max(1, min(CONNECTIONS, 2 * cores()) // jobs) if jobs > 1 else None,
            rate=rate,
        )


class Budget:
    """One process's access to what is shared."""

    def __init__(self, directory: Path, capacity: Capacity) -> None:
        self.capacity = capacity
        self._directory = directory
        self._lock = threading.Lock()
        self._boot_id = _BOOT_ID.read_text().strip()  # the clock begins anew with it
        (directory / "scratch").mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def appliance(self, stop: Cancellation) -> Iterator[None]:
        """Wait until one more appliance may run."""
        slots = [self._directory / f"appliance-{n}" for n in range(self.capacity.appliances)]
        handle = _waited(lambda: _first_free(slots), stop)
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def scratch(self, size: int, stop: Cancellation) -> Iterator[None]:
        """Wait until ``size`` more bytes may be written.

        Whoever wants more than there is goes when nobody else is there, and sees himself.
        """
        handle, path = _waited(lambda: self._reserved(size), stop)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(handle)

    def pace(self, line: Line, length: int, stop: Cancellation) -> None:
        """Wait as long as ``length`` bytes need at the rate that all share."""
        if self.capacity.rate is None:
            return
        with self._lock, _locked(self._directory / f"{line}-{self._boot_id}") as handle:
            now = time.monotonic()
            (free,) = _TIME.unpack(os.pread(handle, _TIME.size, 0) or _TIME.pack(0.0))
            begin = max(min(free, now + 3600), now - _BURST_S)
            free = begin + length / self.capacity.rate
            os.pwrite(handle, _TIME.pack(free), 0)
        if free > now and stop.wait(free - now):
            stop.check()

    def _reserved(self, size: int) -> tuple[int, Path] | None:
        with _locked(self._directory / "scratch-lock"):
            others = sum(_still_reserved(path) for path in (self._directory / "scratch").iterdir())
            if others and others + size > self.capacity.scratch:
                return None
            handle, name = tempfile.mkstemp(dir=self._directory / "scratch")
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.write(handle, str(size).encode())
            return handle, Path(name)


def _waited(attempt: Callable[[], T | None], stop: Cancellation) -> T:
    while (found := attempt()) is None:
        if stop.wait(_POLL_S):
            stop.check()
    return found


def _first_free(slots: list[Path]) -> int | None:
    for slot in slots:
        handle = os.open(slot, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return handle
    return None


def _still_reserved(path: Path) -> int:
    """Bytes that a process that lives has reserved; what a dead one left is removed."""
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(handle, 32, 0) or b"0")
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)
    return 0


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)

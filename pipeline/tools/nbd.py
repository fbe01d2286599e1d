"""The guest-visible disk of any container, served by a confined qemu-nbd.

    Source.fd ──inherited──▶ qemu-nbd ──unix socket in a private directory──▶ nbd_client.py
                             read-only, no network,                          a connection for each thread,
                             format and backing=null told                    several requests in flight

Raw images and fixed VHDs need no server: ``pipeline.fileview`` reads them where they lie.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ConversionFailed, ToolError
from pipeline.model import JsonObject
from pipeline.source import Source
from pipeline.tools import command, qemu_img
from pipeline.tools.command import MIB, Limits, Sandbox
from pipeline.tools.mapped import Runs

CONNECTIONS = 16  # that a view of the disk opens at the most, one a reading thread
SHARED = CONNECTIONS + 8  # and room for an appliance
STARTING_S = 20.0  # until qemu-nbd listens
LIMITS = Limits(memory=2048 * MIB, file_size=0)
_SOCKET_PATH_MAX = 100  # sockaddr_un holds 108 with its NUL


@contextlib.contextmanager
def serve(source: Source, container: JsonObject, *, scratch: Path) -> Iterator[Path]:
    """Serve the disk, read-only, to ``SHARED`` clients at a time; yields the socket's path.

    ``container``: the source's ``container`` facts, which say how to open it.  The server is killed
    when the block ends.  Raises ``ToolError`` when it does not start.
    """
    image = qemu_img.ImageSpec.of(source, container)
    with private_directory(scratch) as directory:
        path = directory / "nbd"
        argv = ["qemu-nbd", "--read-only", "--persistent", f"--shared={SHARED}"]
        argv += [f"--socket={path}", image.argument]
        sandbox = Sandbox(fds=image.fds, sockets=(directory,))
        with command.background(argv, limits=LIMITS, sandbox=sandbox) as server:
            _await_listening(path, server)
            yield path


def map_runs(source: Source, container: JsonObject) -> Runs | None:
    """Where the disk's data lies in the file; None when the map is too long to be worth it.

    Raises ``ToolError`` when qemu-img fails, ``ConversionFailed`` when the map is of a disk of
    another size than the facts say.
    """
    try:
        found = qemu_img.map_(qemu_img.ImageSpec.of(source, container))
    except ToolError as error:
        if error.code != "tool-output-limit":
            raise
        return None
    runs = Runs(found, source.size)
    require_size(source.name, runs.size, container.get("virtual_size"))
    return runs


def require_size(name: str, size: int, expected: int | None) -> None:
    """Raise ``ConversionFailed`` unless the disk has the size that our own parser read."""
    if expected is None or -(-expected // 512) * 512 == size:
        return
    raise ConversionFailed(
        "disk-size-disagrees",
        f"{name}: the headers say {expected} bytes, qemu opens {size}",
        hint="the image is damaged or made to deceive; export it again",
    )


@contextlib.contextmanager
def private_directory(scratch: Path) -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket in it; removed in the end."""
    directory = Path(tempfile.mkdtemp(prefix="nbd-", dir=scratch))
    if len(os.fsencode(directory / "nbd")) > _SOCKET_PATH_MAX:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="imgprep-nbd-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _await_listening(path: Path, server: command.Background) -> None:
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        if not server.alive():
            server.wait(1.0)
            raise server.failure()
        if _listens(path):
            return
        time.sleep(0.002)
    raise ToolError(
        "tool-timeout",
        f"qemu-nbd did not listen after {STARTING_S:.0f} s: {server.stderr.strip()[-200:]}",
        hint="the machine is overloaded, or the storage that holds the image hangs",
    )


def _listens(path: Path) -> bool:
    """Whether the server greets: its socket is there before it has opened the image."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            return probe.recv(8) == b"NBDMAGIC"
        except (FileNotFoundError, ConnectionError, TimeoutError):
            return False

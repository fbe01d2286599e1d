"""The child that reads for us: its start, a question and its answer, and the ranges that it needs meanwhile.

    question ─▶ child ─┬─▶ answer
                       ├─▶ needs a range ─▶ volume (never beyond its ends) ─▶ bytes ─▶ child
                       └─▶ crash, hang, nonsense ─▶ ``EndedError``

What it says is checked for its shape, because it may have been taken over by what it reads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pipeline
from pipeline.content.joined import Joined
from pipeline.errors import ConversionFailed, ToolError
from pipeline.guest.survey import Volume
from pipeline.guest.tree import TreeError
from pipeline.source import Reader
from pipeline.text import clean
from pipeline.tools import command, seccomp
from pipeline.tools.command import MIB, Limits, Stop
from pipeline.tools.reader import wire

WORKER = "pipeline.tools.reader.worker"
_START = "import sys; sys.path[:0] = sys.argv[4:]; __import__(sys.argv[1], fromlist=['']).main()"
LIBRARIES = ("pyfsext", "pyfsxfs", "pyfsntfs", "pyregf", "google_crc32c")
# Its files are those into which Python puts compiled modules; locked in, it writes none.
LIMITS = Limits(memory=512 * MIB, cpu_s=30, file_size=MIB)
STARTING_S = 20.0  # 60 ms on a quiet machine
QUESTION_S = 30.0  # one answer; a directory of 10,000 names takes a second
_LAST_WORDS_S = 1.0
_POLL_S = 0.1


class UnableError(Exception):
    """The direct reader cannot tell; the appliance perhaps can."""


class EndedError(Exception):
    """The child crashed, was killed, went silent, or talked nonsense."""


class Child:
    """One running child: questions, answers, and the ranges that it needs for them."""

    def __init__(
        self,
        end: socket.socket,
        process: command.Background,
        view: Reader,
        cancellation: Stop | None,
    ) -> None:
        self._end = end
        self._process = process
        self._view = view
        self._cancellation = cancellation
        self._numbers: dict[str, int] = {}
        self._volumes: list[Joined] = []
        self._deadline = time.monotonic() + STARTING_S
        self._end.settimeout(_POLL_S)
        self._greeted = False
        self.locked = False
        self.version = ""

    def greet(self) -> None:
        """Wait until it is ready, once: it says whether it is locked in."""
        if self._greeted:
            return
        hello = self._answer()
        told = hello if isinstance(hello, dict) else {}
        self._greeted = True
        self.locked = told.get("locked") is True
        self.version = clean(str(told.get("version", "")), 40)

    def last_words(self) -> str:
        """In brackets, the last line that a child wrote before it ended."""
        self._process.wait(_LAST_WORDS_S)
        said = self._process.stderr.strip().splitlines()
        return f" ({said[-1]})" if said else ""

    def opened(self, volume: Volume) -> int:
        """The number under which the child knows a volume, which is opened at its first use."""
        if volume.device not in self._numbers:
            assert volume.pieces is not None
            number = self._numbers[volume.device] = len(self._volumes)
            self._volumes.append(Joined(self._view, volume.pieces))
            size = self._volumes[number].size
            try:
                self.ask("open", volume=number, kind=volume.type, size=size)
            except UnableError:
                del self._numbers[volume.device]
                raise
        return self._numbers[volume.device]

    def ask(self, call: str, **arguments: Any) -> Any:
        """One question."""
        self._deadline = time.monotonic() + QUESTION_S
        self._send(wire.QUESTION, json.dumps({"call": call, **arguments}).encode())
        return self._answer()

    def _answer(self) -> Any:
        while True:
            kind, payload = self._receive()
            if kind == wire.NEED and len(payload) == wire.RANGE.size:
                self._send(wire.DATA, self._range(*wire.RANGE.unpack(payload)))
            elif kind == wire.BYTES:
                return payload
            elif kind == wire.ANSWER:
                return _value(payload)
            else:
                raise EndedError("it talked nonsense")

    def _range(self, number: int, offset: int, length: int) -> bytes:
        if number >= len(self._volumes) or length > wire.LARGEST_RANGE:
            raise EndedError("it asked for what it must not have")
        try:
            return self._volumes[number].read(offset, length)
        except (ConversionFailed, ToolError):
            return b""  # the child takes it for a bad sector

    def _send(self, kind: bytes, payload: bytes) -> None:
        for part in wire.parts(kind, payload):
            self._send_whole(memoryview(part))

    def _send_whole(self, data: memoryview) -> None:
        while data:
            self._check()
            try:
                data = data[self._end.send(data) :]
            except TimeoutError:
                continue
            except OSError as error:
                raise EndedError("it closed its socket") from error

    def _receive(self) -> tuple[bytes, bytes]:
        kind, length = wire.HEADER.unpack(self._exactly(wire.HEADER.size))
        if length > wire.LARGEST:
            raise EndedError("it said too much")
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = bytearray(length)
        left = memoryview(data)
        while left:
            self._check()
            try:
                count = self._end.recv_into(left)
            except TimeoutError:
                continue
            except OSError as error:
                raise EndedError("it crashed") from error
            if count == 0:
                raise EndedError("it crashed, or met a limit")
            left = left[count:]
        return bytes(data)

    def _check(self) -> None:
        if self._cancellation is not None:
            self._cancellation.check()
        if time.monotonic() > self._deadline:
            raise EndedError("it did not answer in time")


def _value(payload: bytes) -> Any:
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise EndedError("it talked nonsense") from error
    if isinstance(answer, dict) and "error" in answer:
        raise TreeError(clean(str(answer["error"]), 500))
    if isinstance(answer, dict) and "unable" in answer:
        raise UnableError(clean(str(answer["unable"]), 500))
    if not isinstance(answer, dict) or "value" not in answer:
        raise EndedError("it talked nonsense")
    return answer["value"]


@contextlib.contextmanager
def started(view: Reader, cancellation: Stop | None, kinds: Iterable[str]) -> Iterator[Child]:
    """A child for the volumes of ``view``, which ends with the block; ``greet`` waits until it is ready.

    ``kinds``: the types of volumes that it will be asked about.  Raises ``ToolError`` when it does not start.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        rules = seccomp.descriptor_only(theirs.fileno()) or b""
        ours.sendall(b"".join(wire.parts(wire.DATA, rules)))  # waits in the socket until it reads
        argv = [sys.executable, "-I", "-S", "-c", _START, WORKER, str(theirs.fileno())]
        argv += [",".join(sorted(kinds)), *_places()]
        with command.background(argv, limits=LIMITS, pass_fds=(theirs.fileno(),)) as child:
            theirs.close()
            yield Child(ours, child, view, cancellation)


def _places() -> list[str]:
    """The directories in which the child finds its modules: it has no site-packages of its own."""
    found = [os.path.dirname(os.path.dirname(os.path.abspath(pipeline.__file__)))]
    for name in LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ToolError(
                "guest-reader-missing",
                f"the Python module {name} is not installed",
                hint="install imgprep again: its dependencies bring it",
            )
        found.append(os.path.dirname(spec.origin))
    return list(dict.fromkeys(found))

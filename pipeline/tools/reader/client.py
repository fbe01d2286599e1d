"""The direct reader, from outside: volumes are opened in a confined child, which asks us for their bytes.

    question ─▶ child ─┬─▶ answer            checked for its shape: the child may have been taken over
                       ├─▶ needs a range ─▶ volume (never beyond its ends) ─▶ bytes ─▶ child
                       └─▶ crash, hang, nonsense ─▶ this volume is lost for this reader, and nothing else

A child that ended is replaced when another volume is asked for.  ``UnableError`` says that this reader
cannot tell; a ``TreeError`` is an answer: so it is on the disk.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pipeline
from pipeline.content.joined import Joined
from pipeline.errors import ConversionFailed, ToolError
from pipeline.guest.survey import Volume
from pipeline.guest.tree import Entry, TreeError
from pipeline.source import Reader
from pipeline.text import clean
from pipeline.tools import command, seccomp
from pipeline.tools.command import MIB, Limits, Stop
from pipeline.tools.reader import gates, wire

WORKER = Path(__file__).with_name("worker.py")
LIBRARIES = ("pyfsext", "pyfsxfs", "pyfsntfs", "pyfsfat", "pyregf", "google_crc32c")
LIMITS = Limits(memory=512 * MIB, cpu_s=30, file_size=0)
STARTING_S = 20.0  # 60 ms on a quiet machine
QUESTION_S = 30.0  # one answer; a directory of 10,000 names takes a second
CHUNK = 1 << 20  # bytes of a file asked for at once
MAX_STARTS = 4  # children that one guest may use up
_POLL_S = 0.1
_KINDS = ("file", "directory", "link", "other")


class UnableError(Exception):
    """The direct reader cannot tell; the appliance perhaps can."""


class _EndedError(Exception):
    """The child crashed, was killed, went silent, or talked nonsense."""


class DirectReader:
    """The volumes of one disk, read by a child that is started when the first is asked for."""

    def __init__(self, view: Reader, cancellation: Stop | None, *, unlocked: bool) -> None:
        """``unlocked``: use it even where the child cannot lock itself in."""
        self._view = view
        self._cancellation = cancellation
        self._unlocked = unlocked
        self._child: _Child | None = None
        self._stack = contextlib.ExitStack()
        self._lost: dict[str, str] = {}  # device: why
        self._starts = 0
        self.version = ""  # of libfsext, once a child was started

    def mount(self, volume: Volume) -> DirectTree:
        """The files of a volume.  Raises ``UnableError``."""
        if volume.pieces is None or volume.type not in gates.KINDS:
            raise UnableError(f"{volume.type or 'what lies in it'} is not read directly")
        refusal = gates.refusal(volume.type, Joined(self._view, volume.pieces))
        if refusal is not None:
            raise UnableError(refusal)
        tree = DirectTree(self, volume)
        tree.stat("/", [])
        return tree

    def ask(self, volume: Volume, call: str, **arguments: Any) -> Any:
        """One question about a volume.  Raises ``UnableError``, ``TreeError``, ``Interrupted``."""
        if volume.device in self._lost:
            raise UnableError(self._lost[volume.device])
        try:
            child = self._running()
            return child.ask(call, volume=child.opened(volume), **arguments)
        except _EndedError as error:
            self.close()
            self._lost[volume.device] = f"the direct reader ended: {error}"
            raise UnableError(self._lost[volume.device]) from error
        except UnableError:
            raise
        except ToolError as error:
            raise UnableError(f"the direct reader did not start: {error.message}") from error

    def _running(self) -> _Child:
        if self._child is None:
            if self._starts == MAX_STARTS:
                raise UnableError(f"the direct reader ended {MAX_STARTS} times")
            self._starts += 1
            self._child = self._stack.enter_context(_started(self._view, self._cancellation))
            self.version = self._child.version
            if not self._child.locked and not self._unlocked:
                raise UnableError("the direct reader cannot be confined on this machine")
        return self._child

    def close(self) -> None:
        """End the child."""
        self._child = None
        self._stack.close()
        self._stack = contextlib.ExitStack()


@contextlib.contextmanager
def open_reader(
    view: Reader, *, cancellation: Stop | None = None, unlocked: bool = False
) -> Iterator[DirectReader]:
    """A direct reader of the disk that ``view`` shows; its child ends with the block."""
    reader = DirectReader(view, cancellation, unlocked=unlocked)
    try:
        yield reader
    finally:
        reader.close()


def try_out() -> bool:
    """Start a child, for ``imgprep doctor``: whether it could lock itself in.

    Raises ``ToolError`` when it does not start.
    """
    try:
        with _started(_Nothing(), None) as child:
            return child.locked
    except _EndedError as error:
        raise ToolError(
            "guest-reader-failed",
            f"the direct reader did not start: {error}",
            hint="install imgprep again, so that libfsext-python and its kin fit this Python",
        ) from error


class _Nothing:
    """A disk of no bytes."""

    size = 0

    def read(self, offset: int, length: int) -> bytes:  # noqa: ARG002 - there is nothing
        return b""


class DirectTree:
    """A volume's files; ``pipeline.guest.volumes.HiveTree``."""

    def __init__(self, reader: DirectReader, volume: Volume) -> None:
        self._reader = reader
        self._volume = volume

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        """What each name is."""
        found = self._ask("stat", directory=directory, names=list(names))
        if not isinstance(found, list) or len(found) != len(names):
            raise UnableError("the direct reader answered nonsense (stat)")
        return [None if item is None else _entry(item) for item in found]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        return sorted(_texts(self._ask("names", directory=directory)))

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        return _texts([self._ask("readlink", path=path)])[0]

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file."""
        parts: list[bytes] = []
        while length > 0:
            wanted = min(length, CHUNK)
            part = self._ask("read", path=path, offset=offset, length=wanted)
            if not isinstance(part, bytes) or len(part) > wanted:
                raise UnableError("the direct reader answered nonsense (read)")
            parts.append(part)
            offset += len(part)
            length -= len(part)
            if len(part) < wanted:
                break
        return b"".join(parts)

    def free(self) -> Mapping[str, int]:
        """Free bytes and inodes."""
        found = self._ask("free")
        told = found if isinstance(found, dict) else {}
        if "free" not in told or not all(isinstance(item, int) for item in told.values()):
            raise UnableError("the direct reader answered nonsense (free)")
        return told

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Values of a registry hive."""
        asked = [[list(part) for part in item] for item in wanted]
        found = self._ask("hive", path=path, wanted=asked)
        if not isinstance(found, list) or len(found) != len(asked):
            raise UnableError("the direct reader answered nonsense (hive)")
        if not all(isinstance(item, dict) for item in found):
            raise UnableError("the direct reader answered nonsense (hive)")
        return found

    def _ask(self, call: str, **arguments: Any) -> Any:
        return self._reader.ask(self._volume, call, **arguments)


def _entry(item: Any) -> Entry:
    if isinstance(item, list) and len(item) == 4 and item[0] in _KINDS:
        kind, size, mode, modified = item
        if all(isinstance(number, int) for number in (size, mode, modified or 0)):
            return Entry(kind, size, mode, modified)
    raise UnableError("the direct reader answered nonsense (entry)")


def _texts(found: Any) -> list[str]:
    if isinstance(found, list) and all(isinstance(item, str) for item in found):
        return found
    raise UnableError("the direct reader answered nonsense (names)")


class _Child:
    """One running child: questions, answers, and the ranges that it needs for them."""

    def __init__(
        self, end: socket.socket, rules: bytes, view: Reader, cancellation: Stop | None
    ) -> None:
        """``rules``: the system-call filter that the child shall lock itself in with."""
        self._end = end
        self._view = view
        self._cancellation = cancellation
        self._numbers: dict[str, int] = {}
        self._volumes: list[Joined] = []
        self._deadline = time.monotonic() + STARTING_S
        self._end.settimeout(_POLL_S)
        self._send(wire.DATA, rules)
        hello = self._answer()
        told = hello if isinstance(hello, dict) else {}
        self.locked = told.get("locked") is True
        self.version = clean(str(told.get("version", "")), 40)

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
                raise _EndedError("it talked nonsense")

    def _range(self, number: int, offset: int, length: int) -> bytes:
        if number >= len(self._volumes) or length > wire.LARGEST_RANGE:
            raise _EndedError("it asked for what it must not have")
        try:
            return self._volumes[number].read(offset, length)
        except (ConversionFailed, ToolError):
            return b""  # the child takes it for a bad sector

    def _send(self, kind: bytes, payload: bytes) -> None:
        data = memoryview(wire.frame(kind, payload))
        while data:
            self._check()
            with contextlib.suppress(TimeoutError):
                try:
                    data = data[self._end.send(data) :]
                except TimeoutError:
                    raise
                except OSError as error:
                    raise _EndedError("it closed its socket") from error

    def _receive(self) -> tuple[bytes, bytes]:
        kind, length = wire.HEADER.unpack(self._exactly(wire.HEADER.size))
        if length > wire.LARGEST:
            raise _EndedError("it said too much")
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
                raise _EndedError("it crashed") from error
            if count == 0:
                raise _EndedError("it crashed, or met a limit")
            left = left[count:]
        return bytes(data)

    def _check(self) -> None:
        if self._cancellation is not None:
            self._cancellation.check()
        if time.monotonic() > self._deadline:
            raise _EndedError("it did not answer in time")


def _value(payload: bytes) -> Any:
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _EndedError("it talked nonsense") from error
    if isinstance(answer, dict) and "error" in answer:
        raise TreeError(clean(str(answer["error"]), 500))
    if isinstance(answer, dict) and "unable" in answer:
        raise UnableError(clean(str(answer["unable"]), 500))
    if not isinstance(answer, dict) or "value" not in answer:
        raise _EndedError("it talked nonsense")
    return answer["value"]


@contextlib.contextmanager
def _started(view: Reader, cancellation: Stop | None) -> Iterator[_Child]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        rules = seccomp.descriptor_only(theirs.fileno()) or b""
        argv = [sys.executable, "-I", "-S", str(WORKER), str(theirs.fileno()), *_places()]
        with command.background(argv, limits=LIMITS, pass_fds=(theirs.fileno(),)) as child:
            theirs.close()
            try:
                yield _Child(ours, rules, view, cancellation)
            except _EndedError as error:
                child.wait(1.0)
                said = child.stderr.strip().splitlines()
                raise _EndedError(f"{error}{f' ({said[-1]})' if said else ''}") from error


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

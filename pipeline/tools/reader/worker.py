"""The reader's child: imports its libraries, locks itself in, then answers questions.

    sys.argv  2  the descriptor of its end of a socket pair
              3  the types of the volumes that it may be asked about, with commas

It gets its system-call filter, locks itself in, and says whether it is; from then on it reads nothing but
the socket (``wire.py``).  Questions are ``open`` (a volume's number, type and size) and those of
``answers.py``.  Its imports are few, because its start is much of what a guest's facts cost.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import pyfsext

from pipeline.tools.reader import lock, wire
from pipeline.tools.reader.answers import NotThereError, UnableError
from pipeline.tools.reader.volume import Pages

Opener: TypeAlias = "Callable[[Pages], Any]"


def _ext() -> Opener:
    from pipeline.tools.reader.ext import Ext

    return Ext


def _fat() -> Opener:
    from pipeline.tools.reader.fat import Fat

    return Fat


def _ntfs() -> Opener:
    from pipeline.tools.reader.ntfs import Ntfs

    return Ntfs


def _xfs() -> Opener:
    from pipeline.tools.reader.xfs import Xfs

    return Xfs


_KINDS = {"ext2": _ext, "ext3": _ext, "ext4": _ext, "xfs": _xfs, "vfat": _fat, "ntfs": _ntfs}
_PIECE = 256 << 10  # bytes read at once: what the socket holds
_CALLS = frozenset({"stat", "names", "readlink", "read", "free", "hive"})


class Worker:
    """Answers from the volumes that were opened."""

    def __init__(self, descriptor: int, kinds: list[str]) -> None:
        self._descriptor = descriptor
        self._openers = {kind: _KINDS[kind]() for kind in kinds}
        self._volumes: dict[int, Any] = {}

    def serve(self) -> None:
        """Answer until the other end is closed."""
        while (request := self.receive()) is not None:
            question = json.loads(request)
            answer: Any
            try:
                answer = {"value": self._answer(**question)}
            except NotThereError as error:
                answer = {"error": str(error)}
            except (UnableError, OSError, ValueError, TypeError, MemoryError, LookupError) as error:
                # The libraries raise OSError for all that they do not like, and a damaged structure
                # makes our own reading of it fail in one of the other ways.
                answer = {"unable": _reason(error)}
            value = answer.get("value")
            if isinstance(value, bytes):
                self.send(wire.BYTES, value)
            else:
                self.send(wire.ANSWER, json.dumps(answer).encode())

    def _answer(self, call: str, volume: int, **arguments: Any) -> Any:
        if call == "open":
            size = arguments["size"]
            pages = Pages(size, lambda at, length: self._need(volume, at, length))
            self._volumes[volume] = self._openers[arguments["kind"]](pages)
            return True
        if call not in _CALLS:
            raise ValueError(f"no such question: {call}")
        ask = getattr(self._volumes[volume], call, None)
        if ask is None:
            raise UnableError(f"this kind of volume is not asked for that ({call})")
        return ask(**arguments)

    def _need(self, volume: int, offset: int, length: int) -> bytes:
        self.send(wire.NEED, wire.RANGE.pack(volume, offset, length))
        data = self.receive()
        if data is None:
            os._exit(0)
        if len(data) != length:
            raise OSError(f"the disk gave {len(data)} of {length} bytes at {offset}")
        return data

    def lock(self, rules: bytes) -> bool:
        """Lock this process in; whether that worked."""
        return lock.engage(self._descriptor, rules)

    def send(self, kind: bytes, payload: bytes) -> None:
        """Write one frame."""
        for part in wire.parts(kind, payload):
            view = memoryview(part)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def receive(self) -> bytes | None:
        """The payload of the next frame; None when the other end is closed."""
        header = self._exactly(wire.HEADER.size)
        return None if header is None else self._exactly(wire.HEADER.unpack(header)[1])

    def _exactly(self, length: int) -> bytes | None:
        parts = []
        while length:
            part = os.read(self._descriptor, min(length, _PIECE))
            if not part:
                return None
            parts.append(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _reason(error: Exception) -> str:
    """Why it cannot be told; of a library's chain of sentences, the one nearest to the cause."""
    first, _, rest = f"{error}".partition(". ")
    return (rest.partition(". ")[0] or first)[:300] or type(error).__name__


def main() -> None:
    """Lock in, say so, serve."""
    worker = Worker(int(sys.argv[2]), sys.argv[3].split(","))
    rules = worker.receive()
    if rules is not None:
        hello = {"locked": worker.lock(rules), "version": pyfsext.get_version()}
        worker.send(wire.ANSWER, json.dumps({"value": hello}).encode())
        worker.serve()
    os._exit(0)

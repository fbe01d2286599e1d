"""The direct reader, from outside: volumes are opened in a confined child, which asks us for their bytes.

    question ─▶ gate ─▶ child ─┬─▶ answer
                               └─▶ crash, hang, nonsense ─▶ this volume is lost, and nothing else

A child that ended is replaced when another volume is asked for.  ``UnableError`` says that this reader
cannot tell; a ``TreeError`` is an answer: so it is on the disk.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.content.joined import Joined
from pipeline.errors import ToolError
from pipeline.guest.survey import Volume
from pipeline.guest.tree import Entry
from pipeline.source import Reader
from pipeline.tools.command import Stop
from pipeline.tools.reader import gates
from pipeline.tools.reader.child import Child, EndedError, UnableError, started

CHUNK = 1 << 20  # bytes of a file asked for at once
MAX_STARTS = 4  # children that one guest may use up
_KINDS = ("file", "directory", "link", "other")


class DirectReader:
    """The volumes of one disk, read by a child that is started when the first is asked for."""

    def __init__(self, view: Reader, cancellation: Stop | None, *, unlocked: bool) -> None:
        """``unlocked``: use it even where the child cannot lock itself in."""
        self._view = view
        self._cancellation = cancellation
        self._unlocked = unlocked
        self._child: Child | None = None
        self._stack = contextlib.ExitStack()
        self._turn = threading.Lock()  # of who asks
        self._lost: dict[str, str] = {}  # device: why
        self._starts = 0
        self._kinds = gates.KINDS  # of the volumes that there are
        self.version = ""  # of libfsext, once a child has answered

    def start(self, volumes: Sequence[Volume]) -> None:
        """Start the child if one of the volumes is for it, and do not wait: it imports while we do.

        A child that does not start is told of by the first question.
        """
        kinds = frozenset(it.type for it in volumes if it.type in gates.KINDS and it.pieces)
        if kinds:
            self._kinds = kinds
            with contextlib.suppress(ToolError):
                self._begun()

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
        with self._turn:
            return self._asked(volume, call, arguments)

    def _asked(self, volume: Volume, call: str, arguments: Mapping[str, Any]) -> Any:
        if volume.device in self._lost:
            raise UnableError(self._lost[volume.device])
        try:
            child = self._running()
            return child.ask(call, volume=child.opened(volume), **arguments)
        except EndedError as error:
            said = self._child.last_words() if self._child is not None else ""
            self.close()
            self._lost[volume.device] = f"the direct reader ended: {error}{said}"
            raise UnableError(self._lost[volume.device]) from error
        except UnableError:
            raise
        except ToolError as error:
            raise UnableError(f"the direct reader did not start: {error.message}") from error

    def _running(self) -> Child:
        if self._child is None and self._starts == MAX_STARTS:
            raise UnableError(f"the direct reader ended {MAX_STARTS} times")
        child = self._begun()
        child.greet()
        self.version = child.version
        if not child.locked and not self._unlocked:
            raise UnableError("the direct reader cannot be confined on this machine")
        return child

    def _begun(self) -> Child:
        if self._child is None:
            self._starts += 1
            self._child = self._stack.enter_context(
                started(self._view, self._cancellation, self._kinds)
            )
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
    with started(_Nothing(), None, gates.KINDS) as child:
        try:
            child.greet()
        except EndedError as error:
            raise ToolError(
                "guest-reader-failed",
                f"the direct reader did not start: {error}{child.last_words()}",
                hint="install imgprep again, so that its libraries fit this Python (see pip check)",
            ) from error
        return child.locked


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

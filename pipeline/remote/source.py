"""A ``Source`` that a server holds.

    read(offset, n)   small ones out of pages of 256 KiB, of which the last 64 are kept
                      large ones with one request each

Every answer is compared with what the server said when the source was opened (ETag, size,
Last-Modified), and it is asked again around every stage: what changes on the server is noticed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote

from pipeline.errors import SourceError
from pipeline.source import RemoteIdentity, Source

PAGE = 256 << 10
_PAGES = 64


class Origin(Protocol):
    """A server's object.  May be used from several threads; repeats what may pass by itself.

    Every method raises ``SourceError`` code ``source-missing`` or ``source-changed``, and
    ``StoreError`` where the server or the line fails.
    """

    @property
    def by_ranges(self) -> bool:
        """Whether the server gives parts of it; known after ``look``."""
        ...

    def look(self) -> RemoteIdentity:
        """What the server says of it now."""
        ...

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """Exactly these bytes of what was seen before; the range lies inside."""
        ...

    def whole(self, known: RemoteIdentity, take: Callable[[Iterator[bytes]], None]) -> None:
        """Call ``take`` with all of it in pieces; again, from the first one, when the line breaks."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class RemoteSource(Source):
    """An image at an address."""

    is_file = False

    def __init__(self, address: str, origin: Origin) -> None:
        """Asks the server once; raises what ``Origin`` does."""
        self.fd = -1
        self.path = Path(PurePosixPath(unquote(address)).name)
        self.origin = origin
        self._address = address
        self._known = self._seen()
        self.size = self._known.size or 0  # 0: a server that gives no ranges may not tell it
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    @property
    def address(self) -> str:
        """Where it lies, for people."""
        return self._address

    @property
    def fd_path(self) -> str:
        """No tool can open it: it is copied first, or served."""
        raise AssertionError("a remote source has no descriptor")

    @property
    def allocated_size(self) -> None:
        """A server does not tell."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end, none behind it.

        Raises ``SourceError`` where the server gives no ranges, and what ``Origin.read`` does.
        """
        self.require_ranges()
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if end - offset >= PAGE:
            return self.origin.read(self._known, offset, end - offset)
        first, last = offset // PAGE, (end - 1) // PAGE
        data = b"".join(self._page(number) for number in range(first, last + 1))
        return data[offset - first * PAGE : end - first * PAGE]

    def _page(self, number: int) -> bytes:
        with self._lock:
            if number in self._pages:
                self._pages.move_to_end(number)
                return self._pages[number]
        start = number * PAGE
        page = self.origin.read(self._known, start, min(PAGE, self.size - start))
        with self._lock:
            self._pages[number] = page
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return page

    def require_ranges(self) -> None:
        """Raise ``SourceError`` where the server gives only all of it, and may not tell its size."""
        if not self.origin.by_ranges:
            raise SourceError(
                "source-without-ranges",
                f"the server of {self._address} gives no ranges, so its bytes are not known before it "
                "is copied",
                hint="leave out --identity content; or download the image, then give its path",
            )

    def identity(self) -> RemoteIdentity:
        """What the server said when the source was opened."""
        return self._known

    def require_unchanged(self) -> None:
        """Raise ``SourceError`` when the server says something else of it than at first."""
        now = self._seen()
        if now != self._known:
            raise changed(self._address, self._known, now)

    def require_other(self, output: str | Path) -> None:
        """A local file is never this one."""

    def close(self) -> None:
        """Close the connections."""
        self.origin.close()

    def _seen(self) -> RemoteIdentity:
        found = self.origin.look()
        if not found.etag and not found.modified:
            raise SourceError(
                "source-unwatchable",
                f"the server tells neither ETag nor Last-Modified of {self._address}: "
                "a change in the middle would not be noticed",
                hint="download the image, then give the path of that file",
            )
        return found


def changed(address: str, then: RemoteIdentity, now: RemoteIdentity | None = None) -> SourceError:
    """The error for an object that is another one now."""
    seen = [] if now is None else [
        f"{name} {before} became {after}"
        for name, before, after in (
            ("ETag", then.etag, now.etag),
            ("size", then.size, now.size),
            ("Last-Modified", then.modified, now.modified),
        )
        if before != after
    ]  # fmt: skip
    words = f" ({', '.join(seen)})" if seen else ""
    return SourceError(
        "source-changed",
        f"{address} changed on its server while it was being read{words}",
        hint="wait until it is written completely, then run again",
    )

"""Swap areas: behind the page with the header there is nothing that a next start needs.

header, in the first page
  400 4 version, 1     404 4 last page     408 4 bad pages
  the page's last ten bytes: "SWAPSPACE2"; a hibernated system puts its own mark there

https://git.kernel.org/pub/scm/utils/util-linux/util-linux.git (include/swapheader.h); marks of
hibernation: kernel/power/swap.c, and libblkid's superblocks/swap.c
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline.content.filesystems import SWAP_PAGES
from pipeline.content.free_space.base import Effort, Span, clipped, exactly, require
from pipeline.source import Reader

_MARK = b"SWAPSPACE2"
_ASLEEP = (
    b"S1SUSPEND",
    b"S2SUSPEND",
    b"ULSUSPEND",
    b"LINHIB0001",
    b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c",
)


class SwapMap:
    """``FreeMap`` of a swap area."""

    runs = 1

    def __init__(self, page: int, end: int) -> None:
        self._page = page
        self.end = end
        self.free = end - page

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(((self._page, self.end),), low, high)


def look(volume: Reader, _effort: Effort) -> SwapMap:
    """The free space of a swap area, in a few reads whatever its size.  Raises ``KeptError``."""
    found = [page for page in SWAP_PAGES if volume.read(page - 10, 10) == _MARK]
    require(len(found) == 1, "its header is of an old kind, or comes twice")
    page = found[0]
    version, last = struct.unpack_from("<II", exactly(volume, 1024, 8, "header"))
    require(version == 1, f"its header has the unknown version {version}")
    end = (last + 1) * page
    words = f"it says that it has {end} bytes, in a place of {volume.size}"
    require(page < end <= volume.size, words)
    return SwapMap(page, end)


def asleep(volume: Reader) -> bool:
    """Whether a swap area holds a hibernated system."""
    return any(volume.read(page - 10, 10).startswith(_ASLEEP) for page in SWAP_PAGES)

"""A volume's bytes as the libraries want them: a file, whose pages come from the other end of the socket.

Whole pages are kept, the last ones read; somebody who reads on gets more and more of them at once.  What
is large is a file's content, which nobody wants twice: it is handed over as it comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

PAGE = 32 << 10
KEPT = 512  # pages: 16 MiB
AHEAD = 32  # pages asked for at once: 1 MiB
LARGE = 8 * PAGE

Need = Callable[[int, int], bytes]
"""Offset and length to bytes."""


class Pages:
    """Random access to a volume; also the file object of its library."""

    def __init__(self, size: int, need: Need) -> None:
        self.size = size
        self._need = need
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        self._next = -1  # the page that somebody who reads on would want
        self._ahead = 1

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end."""
        end = min(self.size, offset + length)
        if offset < 0 or offset >= end:
            return b""
        if end - offset >= LARGE:
            return self._passed_on(offset, end)
        first, last = offset // PAGE, (end - 1) // PAGE
        if first == last:
            return self._page(first)[offset - first * PAGE : end - first * PAGE]
        data = b"".join(self._page(number) for number in range(first, last + 1))
        return data[offset - first * PAGE : end - first * PAGE]

    def _passed_on(self, start: int, end: int) -> bytes:
        """A large piece, without keeping it."""
        most = AHEAD * PAGE
        parts = [self._need(at, min(most, end - at)) for at in range(start, end, most)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is not None:
            self._pages.move_to_end(number)
            return page
        self._ahead = min(AHEAD, 2 * self._ahead) if number == self._next else 1
        at = number * PAGE
        data = self._need(at, min(self._ahead * PAGE, self.size - at))
        for index in range(0, len(data), PAGE):
            self._pages[number + index // PAGE] = data[index : index + PAGE]
        self._next = number + self._ahead
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)
        return self._pages[number]

    # ------------------------------------------------------------------ what libyal asks of a file

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self.bytes_at(self._at, self.size if size < 0 else size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to an offset, as ``os.lseek``."""
        self._at = offset + (0, self._at, self.size)[whence]

    def get_offset(self) -> int:
        """Where the next read begins."""
        return self._at

    def get_size(self) -> int:
        """Bytes of the whole."""
        return self.size

"""Several pieces of a disk as one: a logical volume in segments.

disk    ├──────┤ a ├───────────┤ b ├────┤          pieces ((offset of a, length), (offset of b, length))
volume         └ a ┴ b ┘
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from pipeline.source import Reader


class Joined:
    """``pipeline.source.Reader`` over pieces of another."""

    def __init__(self, reader: Reader, pieces: Sequence[tuple[int, int]]) -> None:
        """``pieces``: offset and length of each, in the order of the volume."""
        self._reader = reader
        self._pieces = pieces
        self._starts = [0, *itertools.accumulate(length for _, length in pieces)]

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return self._starts[-1]

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end, or where the disk ends."""
        end = min(self.size, offset + length)
        parts = []
        while 0 <= offset < end:
            index = bisect.bisect_right(self._starts, offset) - 1
            wanted = min(end, self._starts[index + 1]) - offset
            at = self._pieces[index][0] + offset - self._starts[index]
            part = self._reader.read(at, wanted)
            parts.append(part)
            if len(part) < wanted:
                break
            offset += wanted
        return b"".join(parts)

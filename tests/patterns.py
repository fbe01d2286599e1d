"""Artifacts whose every byte is known: pseudo-random blocks and holes, made when they are read."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from functools import lru_cache

from pipeline.source import Extent

MIB = 1 << 20


@lru_cache(maxsize=64)
def _block(seed: str, number: int) -> bytes:
    return random.Random(f"{seed}/{number}").randbytes(MIB)


class Pattern:
    """An artifact of ``size`` bytes; every third MiB is a hole unless ``holes`` is False.

    ``reads`` counts the bytes that were asked for, ``hole_reads`` those that lie in holes.
    """

    def __init__(self, size: int, seed: str = "", *, holes: bool = True) -> None:
        self.size = size
        self.seed = seed
        self.holes = holes
        self.reads = 0
        self.hole_reads = 0
        self._lock = threading.Lock()

    def is_hole(self, block: int) -> bool:
        return self.holes and block % 3 == 1

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            block, start = divmod(offset, MIB)
            part = self._content(block)[start : min(start + end - offset, MIB)]
            parts.append(part)
            offset += len(part)
            with self._lock:
                self.reads += len(part)
                self.hole_reads += len(part) if self.is_hole(block) else 0
        return b"".join(parts)

    def _content(self, block: int) -> bytes:
        return bytes(MIB) if self.is_hole(block) else _block(self.seed, block)

    def extents(self) -> Iterator[Extent]:
        for offset in range(0, self.size, MIB):
            hole = self.is_hole(offset // MIB)
            yield Extent(offset, min(MIB, self.size - offset), "zero" if hole else "data")

    def all(self) -> bytes:
        """The whole content, without counting."""
        count = -(-self.size // MIB)
        return b"".join(self._content(block) for block in range(count))[: self.size]

    def md5(self, offset: int, length: int) -> str:
        return hashlib.md5(self.all()[offset : offset + length]).hexdigest()

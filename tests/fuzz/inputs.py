"""How a few fuzzed bytes become a whole file: a seed image, cuts and patches.

    byte 0      which seed; 255: the rest is the file itself
    byte 1      above 192: the file is cut, at (next two bytes) of its length
    patches     op (1), place (2), value:  op bits 0-1 width 1, 2, 4, 8
                                          op bits 2-4 0: the next bytes; else a number that is
                                                     often wrong: 0, 1, -1, half, the file's size …
                                          op bit 5   big-endian
                                          op bit 6   place among the last hot bytes

A place is an index into the seed's *hot* bytes, those that are headers and tables, so that no
execution is spent on data.  Images of MiB are never copied: patches lie over the seed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

MAX_READS, MAX_BYTES = 20_000, 16 << 20
_MAX_PATCHES = 64


@dataclass(frozen=True)
class Seed:
    """An image, and the ranges (offset, length) of it that are worth changing."""

    name: str
    data: bytes
    hot: tuple[tuple[int, int], ...]

    def place(self, index: int) -> int:
        """The offset in the file of a hot byte."""
        index %= max(1, sum(length for _, length in self.hot))
        for offset, length in self.hot:
            if index < length:
                return offset + index
            index -= length
        return 0


class Patched:
    """A reader of a seed with patches over it.  Fails when a parser reads madly."""

    def __init__(self, data: bytes, size: int, patches: dict[int, bytes]) -> None:
        self._data = data
        self.size = size
        self._patches = sorted((at, new) for at, new in patches.items() if at < size)
        self._starts = [at for at, _ in self._patches]
        self.reads = self.bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        assert type(offset) is int, "an offset is not a whole number"
        assert type(length) is int, "a length is not a whole number"
        if offset < 0 or length <= 0:
            return b""
        self.reads += 1
        end = min(self.size, offset + length)
        self.bytes += max(0, end - offset)
        assert self.reads <= MAX_READS, "a parser reads without end"
        assert self.bytes <= MAX_BYTES, "a parser reads more than any budget"
        first = bisect_right(self._starts, offset - 8)
        last = bisect_right(self._starts, end - 1)
        if first >= last:
            return self._data[offset:end]
        found = bytearray(self._data[offset:end])
        for at, new in self._patches[first:last]:
            begin, stop = max(at, offset), min(at + len(new), end)
            if begin < stop:
                found[begin - offset : stop - offset] = new[begin - at : stop - at]
        return bytes(found)


def _value(kind: int, width: int, size: int) -> int:
    top = 1 << 8 * width
    return (0, 1, top - 1, top >> 1, size, size - 1, size // 512, size + (1 << 20))[kind & 7] % top


def decode(data: bytes, seeds: tuple[Seed, ...]) -> Patched:
    """The file that the fuzzed bytes describe."""
    if len(data) < 2:
        return Patched(data, len(data), {})
    if data[0] == 255:
        return Patched(data[1:], len(data) - 1, {})
    seed = seeds[data[0] % len(seeds)]
    size, at = len(seed.data), 2
    if data[1] > 192:
        size = size * int.from_bytes(data[2:4], "big") // 65535
        at = 4
    patches: dict[int, bytes] = {}
    while at + 3 <= len(data) and len(patches) < _MAX_PATCHES:
        op, index = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        at += 3
        width = 1 << (op & 3)
        kind = op >> 2 & 7
        place = seed.place(-1 - index if op & 64 else index)
        if kind:
            value = _value(kind, width, size)
            new = value.to_bytes(width, "big" if op & 32 else "little")
        else:
            new, at = data[at : at + width], at + width
        patches[place] = new
    return Patched(seed.data, size, patches)

"""A tar with one member, whose holes are left out: the old GNU format, which ``tar --sparse`` writes.

    header │ entries that did not fit, 21 a record │ data of the runs, one behind the other │ 0s to a record
           └──────────── only of a disk with holes ┘                                          and 2 empty ones

Header, 512 bytes (https://www.gnu.org/software/tar/manual/html_node/Standard.html): name at 0 (100),
mode 100 (8), uid 108, gid 116, size of what is stored 124 (12, above 8 GiB in base 256), mtime 136,
checksum 148, type 156 ("S": sparse), magic "ustar  " at 257; entries 386 (4 of 24), more of them 482,
size of the file 483 (12).  A record of further entries: 21 of 24, more of them at 504.  An entry is
offset (12) and length (12); the last one of a file that ends in a hole is (size, 0).

What Google's import takes is made by ``tar --sparse --format=oldgnu``
(https://github.com/coreos/coreos-assembler, src/cosalib/qemuvariants.py).
"""

from __future__ import annotations

import itertools
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from pipeline.formats.vhd_bytes import BLOCK_SIZE
from pipeline.source import Reader

MEMBER = "disk.raw"  # what Google's import wants the only member of the tar to be called
_RECORD = 512
_SPARSE = b"S"
_IN_HEADER, _IN_RECORD = 4, 21  # entries

Run = tuple[int, int]
"""Offset and length of data in the member."""


def runs(blocks: Iterable[int], size: int) -> Iterator[Run]:
    """The runs of ascending blocks of ``BLOCK_SIZE`` bytes; the last one ends at ``size``."""
    start = end = 0
    for number in blocks:
        first = number * BLOCK_SIZE
        if first != end and end:
            yield start, end - start
        if first != end or not end:
            start = first
        end = min(first + BLOCK_SIZE, size)
    if end:
        yield start, end - start


class SparseTar:
    """The tar as bytes that can be read at any offset; ``data``: what is not zeros, ascending."""

    def __init__(self, member: Reader, data: Iterable[Run] | None = None) -> None:
        """None: all of it."""
        self._member = member
        self._runs = [(0, member.size)] if data is None else list(data)
        self.header = _header(member.size, self._runs)
        lengths = (length for _, length in self._runs)
        self._starts = list(itertools.accumulate(lengths, initial=len(self.header)))
        self._end = self._starts.pop()
        filled = self._end + -self._end % _RECORD + 2 * _RECORD
        self.size = -(-filled // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end."""
        end = min(offset + length, self.size)
        parts = [self.header[offset:end]]
        at = max(offset, len(self.header))
        for index in range(max(bisect_right(self._starts, at) - 1, 0), len(self._runs)):
            start, (place, count) = self._starts[index], self._runs[index]
            stop = min(end, start + count)
            if start >= end:
                break
            if at < stop:
                parts.append(self._member.read(place + at - start, stop - at))
                at = stop
        found = b"".join(parts)
        return found + bytes(max(0, end - offset - len(found)))


def _header(size: int, data: list[Run]) -> bytes:
    info = tarfile.TarInfo(MEMBER)
    info.size, info.mode = sum(length for _, length in data), 0o644
    if data == [(0, size)]:
        return info.tobuf(tarfile.GNU_FORMAT)
    info.type = _SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    ends_in_a_hole = not data or sum(data[-1]) < size
    entries = [_number(at) + _number(length) for at, length in data]
    entries += [_number(size) + _number(0)] if ends_in_a_hole else []
    first, rest = entries[:_IN_HEADER], entries[_IN_HEADER:]
    head[386 : 386 + 24 * len(first)] = b"".join(first)
    head[482] = bool(rest)
    head[483:495] = _number(size)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + b"".join(_records(rest))


def _records(entries: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(entries), _IN_RECORD):
        held = b"".join(entries[start : start + _IN_RECORD]).ljust(504, b"\0")
        yield (held + bytes([start + _IN_RECORD < len(entries)])).ljust(_RECORD, b"\0")


def _number(value: int) -> bytes:
    """Octal, or where that has no room base 256 with the highest bit set."""
    return b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")

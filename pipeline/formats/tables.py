"""What all table-driven formats check alike: places inside the file, not on top of each other.

A pointer beyond the end of the file has two possible causes with two different remedies: the file was
cut (copy it again), or the pointer is wild (the image is damaged).  A place that a file of this virtual
size could have had is taken for the first.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.formats.base import Problem
from pipeline.text import size as size_words

_SLACK = 64 << 20  # bytes of metadata that even a small image may have


@dataclass(frozen=True)
class Region:
    """A named place in the file, in bytes."""

    name: str
    offset: int
    length: int
    told_at: tuple[int, int] | None = None  # offset and length of the field that says where it is

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


def integers(data: bytes, code: Literal["I", "Q"], order: Literal["big", "little"]) -> array[int]:
    """``data`` as 32-bit (I) or 64-bit (Q) integers; an incomplete last one is dropped."""
    found = array(code)
    found.frombytes(data[: len(data) // found.itemsize * found.itemsize])
    if sys.byteorder != order:
        found.byteswap()
    return found


def used_length(data: bytes) -> int:
    """``data``'s length without the zeros at its end.

    Tables are mostly empty, and ``rstrip`` goes byte by byte: a number is made several times as fast.
    """
    return (int.from_bytes(data, "little").bit_length() + 7) // 8


def plausible(end: int, virtual_size: int) -> bool:
    """Whether an image of this virtual size could reach to ``end`` before it was cut."""
    return end <= 2 * virtual_size + _SLACK


def cut_short(file_size: int, needed: int) -> str:
    """What is to be said about a file that is shorter than what its tables speak of."""
    missing = size_words(needed - file_size)
    return f"the file has {size_words(file_size)}; its tables need {size_words(needed)} ({missing} missing)"


def outside(
    region: Region, file_size: int, virtual_size: int, *, wild: str = "corrupt-header"
) -> Iterator[Problem]:
    """The problem, if any, that ``region`` reaches beyond the end of the file."""
    if region.end <= file_size:
        return
    detail = f"{region.name} is at {region.offset} to {region.end}, the file has {file_size} bytes"
    if plausible(region.end, virtual_size):
        detail = cut_short(file_size, region.end)
        yield Problem("truncated", detail, file_size, region.end - file_size)
    else:
        yield Problem(wild, detail, *(region.told_at or (region.offset, region.length)))


def overlaps(regions: Iterable[Region], *, rule: str = "corrupt-header") -> Iterator[Problem]:
    """One problem for every region that begins inside an earlier one."""
    last: Region | None = None
    for region in sorted(regions, key=lambda item: (item.offset, item.end)):
        if not region.length:
            continue
        if last is not None and region.offset < last.end:
            detail = f"{region.name} at {region.offset} lies inside {last.name}"
            yield Problem(rule, detail, region.offset, min(region.end, last.end) - region.offset)
        if last is None or region.end > last.end:
            last = region


def repeated(values: Sequence[int]) -> int | None:
    """A value that occurs twice, if there is one."""
    if len(set(values)) == len(values):
        return None
    seen: set[int] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def sample(count: int, wanted: int) -> tuple[int, ...]:
    """At most ``wanted`` indexes below ``count``: the first half and the last half of them.

    The last ones matter most: they are what a cut file lacks.
    """
    if count <= wanted:
        return tuple(range(count))
    half = wanted // 2
    return (*range(half), *range(count - (wanted - half), count))


def covered(starts: Iterable[int], size: int, offset: int, length: int) -> bool:
    """Whether pieces of ``size`` bytes that begin at ``starts`` hold all ``length`` bytes at ``offset``."""
    for start in sorted(starts):
        if start <= offset < start + size:
            length -= start + size - offset
            offset = start + size
    return length <= 0

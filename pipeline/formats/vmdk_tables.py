"""VMDK's grain directory and grain tables.

VMware, "Virtual Disk Format 5.0" (https://www.vmware.com/app/vmdk/?src=vmdk), little-endian, 32 bits,
sectors of 512 bytes:

    grain directory  one entry a grain table: its sector, 0 when no grain of it exists
    grain table      one entry a grain: its sector, 0 absent, 1 zeros
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.formats.base import Problem
from pipeline.formats.bounded import padded
from pipeline.formats.tables import (
    Region,
    cut_short,
    integers,
    outside,
    plausible,
    repeated,
    sample,
)
from pipeline.source import Reader

_MAX_DIRECTORY = 8 << 20  # bytes
_DIRECTORY_READ = 128 << 10
_TABLES = 64  # grain tables that are looked at


def grains(reader: Reader, *, directory: int, count: int, length: int) -> set[int]:
    """The sectors at which grains begin, by the first tables of ``length`` bytes each."""
    data = padded(reader, directory * 512, min(4 * count, _DIRECTORY_READ))
    tables = [entry for entry in integers(data, "I", "little") if entry][:_TABLES]
    return {
        entry
        for table in tables
        for entry in integers(padded(reader, table * 512, length), "I", "little")
        if entry > 1
    }


def check(
    reader: Reader,
    *,
    directory: int,
    capacity: int,
    grain: int,
    entries: int,
    compressed: bool,
    data_from: int,
) -> Iterator[Problem]:
    """What is wrong with the tables; ``directory``, ``capacity`` and ``grain`` in sectors.

    ``data_from``: the first sector in which there may be a grain.
    """
    size = capacity * 512
    count = -(-capacity // (grain * entries))
    if count * 4 > _MAX_DIRECTORY:
        yield Problem("header-limits", f"a grain directory of {count} entries", 12, 52)
        return
    place = Region("the grain directory", directory * 512, count * 4, (56, 8))
    if not directory or directory >= 1 << 54:
        yield Problem("corrupt-header", f"the grain directory's sector is {directory}", 56, 8)
        return
    problems = [*outside(place, reader.size, size)]
    yield from problems
    if problems:
        return
    data = padded(reader, place.offset, min(place.length, _DIRECTORY_READ))
    tables = [entry for entry in integers(data, "I", "little") if entry]
    problems = [*_directory(tables, place, entries * 4, reader.size, size)]
    yield from problems
    if not problems:
        last_grain = (capacity % grain or grain) * 512
        yield from _grains(
            reader, tables, entries * 4, size, last_grain, compressed=compressed, first=data_from
        )


def _directory(
    tables: list[int], place: Region, length: int, file_size: int, size: int
) -> Iterator[Problem]:
    if not tables:
        return
    twice = repeated(tables)
    if twice is not None:
        detail = f"the grain directory points twice to the table at {twice * 512}"
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
    told_at = (place.offset, place.length)
    last = Region("a grain table", max(tables) * 512, length, told_at)
    yield from outside(last, file_size, size, wild="corrupt-metadata")


def _grains(
    reader: Reader,
    tables: list[int],
    length: int,
    size: int,
    last_grain: int,
    *,
    compressed: bool,
    first: int,
) -> Iterator[Problem]:
    """``last_grain``: bytes that the last grain of the disk has at least."""
    grains: list[int] = []
    for index in sample(len(tables), _TABLES):
        data = padded(reader, tables[index] * 512, length)
        grains.extend(entry for entry in integers(data, "I", "little") if entry > 1)
    if not grains:
        return
    at, span = tables[0] * 512, length
    twice = repeated(grains)
    if twice is not None:
        detail = f"two grains are at the same place {twice * 512}"
        yield Problem("corrupt-metadata", detail, at, span)
    if min(grains) < first:
        detail = f"a grain is at {min(grains) * 512}, where the header or the descriptor is"
        yield Problem("corrupt-metadata", detail, at, span)
    on = set(grains) & set(tables)
    if on:
        detail = f"a grain is at {min(on) * 512}, where a grain table is"
        yield Problem("corrupt-metadata", detail, at, span)
    last = max(grains) * 512
    length = last_grain
    if compressed:  # a grain's own header tells its length: first sector (8), bytes (4)
        length = 12 + int.from_bytes(padded(reader, last + 8, 4), "little")
    end = last + length
    if end > reader.size:
        detail = f"a grain is at {last} to {end}, the file has {reader.size} bytes"
        if plausible(last, size):
            detail = cut_short(reader.size, end)
            yield Problem("truncated", detail, reader.size, end - reader.size)
        else:
            yield Problem("corrupt-metadata", detail, at, span)

"""qcow2's tables: how a guest address becomes a place in the file, checked without following data.

https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt

    L1 entry        bits 9-55 offset of an L2 table, bit 63 copied, others reserved
    L2 entry        bit 62 compressed; else bits 9-55 offset, bit 0 zero, bit 63 copied
                    (extended L2: each followed by 8 bytes of sub-cluster bits, bit 0 reserved)
    compressed      bits 0 to x-1 offset, bits x to 61 further sectors, x = 62 - (cluster_bits - 8)
    refcount table  bits 9-63 offset of a refcount block
    snapshot        L1 offset (8), L1 entries (4), id length (2), name length (2), dates (16),
                    VM state (4), extra length (4), extra, id, name, padding to 8

Small images are checked wholly, large ones by sample; ``qemu-img check`` reads the rest later.  The
highest used cluster is found from the end of the refcount table, so a cut file is seen at any size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_

from pipeline.formats.base import Problem
from pipeline.formats.bounded import padded
from pipeline.formats.tables import (
    Region,
    integers,
    outside,
    overlaps,
    plausible,
    repeated,
    sample,
    used_length,
)
from pipeline.source import Reader
from pipeline.text import clean

DIRTY, EXTENDED_L2 = 1 << 0, 1 << 4

_OFFSET = 0x00FF_FFFF_FFFF_FE00
_L1_RESERVED = 0x7F00_0000_0000_01FF
_L2_RESERVED = 0x3F00_0000_0000_01FE
_COMPRESSED = 1 << 62

_L1_BYTES = 64 << 10  # of the L1 table that are looked at
_L2_BYTES = 128 << 10  # of all L2 tables together
_L2_EACH = 32 << 10
_REACH_BYTES = 1 << 20  # of L2 tables that are read when a file seems to be cut
_REFCOUNT_BYTES = 64 << 10  # of the refcount table's head, and of its tail
_BLOCK_BYTES = 128 << 10  # of the last refcount block
_SHARED = 1000  # clusters that share one compressed cluster before it is called a bomb
_UNPACKED, _UNPACKED_READ = 4, 64 << 10  # compressed clusters that are tried, and bytes of each
_ZLIB, _ZSTD_MAGIC = 0, b"\x28\xb5\x2f\xfd"
_SNAPSHOT_BYTES = 64 << 10
_MAX_SNAPSHOT_EXTRA = 1024
_NAMES = 8


@dataclass(frozen=True)
class Layout:
    """What the header says about the tables; sizes in bytes."""

    size: int
    cluster_bits: int
    extended: bool
    dirty: bool
    compression: int
    refcount_order: int
    l1: Region
    refcounts: Region
    snapshots: int
    snapshots_offset: int
    bitmaps: Region | None

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits


def snapshots(layout: Layout, reader: Reader) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """The snapshot table's problems, and the first names in it."""
    names: list[str] = []
    if not layout.snapshots:
        return (), ()
    at = start = layout.snapshots_offset
    if start % layout.cluster or start == 0:
        detail = f"the snapshot table's offset {start} is not that of a cluster"
        return (Problem("corrupt-header", detail, 64, 8),), ()
    for index in range(layout.snapshots):
        place = Region(f"snapshot {index + 1} of {layout.snapshots}", at, 40)
        problems = tuple(outside(place, reader.size, layout.size, wild="corrupt-metadata"))
        if problems or at - start > _SNAPSHOT_BYTES:
            return problems, tuple(names)
        entry = struct.unpack(">QIHH16xII", padded(reader, at, 40))
        l1_offset, l1_size, id_length, name_length, _, extra = entry
        if extra > _MAX_SNAPSHOT_EXTRA or l1_offset % layout.cluster or l1_size > 4 << 20:
            return (Problem("corrupt-metadata", f"{place.name} is damaged", at, 40),), tuple(names)
        if len(names) < _NAMES:
            raw = reader.read(at + 40 + extra + id_length, min(name_length, 256))
            names.append(clean(raw, 80))
        at += (40 + extra + id_length + name_length + 7) // 8 * 8
    return (), tuple(names)


def check(layout: Layout, reader: Reader) -> Iterator[Problem]:
    """Everything that is wrong with the places of tables and clusters."""
    regions = [Region("the header", 0, layout.cluster), layout.l1, layout.refcounts]
    if layout.bitmaps is not None:
        regions.append(layout.bitmaps)
    misplaced = [*overlaps(regions)]
    for region in regions[1:]:
        misplaced.extend(outside(region, reader.size, layout.size))
    yield from misplaced
    if misplaced:
        return
    used, blocks, problems = _refcounts(layout, reader)
    cut = [problem for problem in problems if problem.rule == "truncated"]
    yield from (problem for problem in problems if problem not in cut)
    fixed = {
        place for region in regions for place in range(region.offset, region.end, layout.cluster)
    }
    tables, problems = _l1(layout, reader, fixed, used)
    yield from problems
    if cut and _reach_beyond(layout, reader, tables):
        yield from cut
    if any(problem.rule == "corrupt-metadata" for problem in problems):
        return
    yield from _l2(layout, reader, tables, fixed.union(tables, blocks), used)


def _refcounts(layout: Layout, reader: Reader) -> tuple[int, list[int], list[Problem]]:
    """The end of the used clusters in bytes (0: unknown), refcount blocks, problems."""
    table = layout.refcounts
    head = integers(padded(reader, table.offset, min(table.length, _REFCOUNT_BYTES)), "Q", "big")
    blocks = [entry for entry in head if entry]
    problems = [*_pointers(layout, blocks, "refcount block", table)]
    if problems or layout.dirty:
        return 0, blocks, problems
    index, offset = _last_block(table, reader)
    if offset % layout.cluster or offset + layout.cluster > reader.size:
        place = Region("a refcount block", offset, layout.cluster)
        return 0, blocks, [*outside(place, reader.size, layout.size, wild="corrupt-metadata")]
    last = _last_refcount(layout, reader, offset)
    if last is None:
        return 0, blocks, []
    per_block = layout.cluster * 8 >> layout.refcount_order
    used = index * per_block + last
    start = used << layout.cluster_bits
    if start < reader.size:
        return start + layout.cluster, blocks, []
    detail = f"the last used cluster is at {start}, the file has {reader.size} bytes"
    if plausible(start, layout.size) or layout.snapshots:
        missing = start + layout.cluster - reader.size
        return start + layout.cluster, blocks, [Problem("truncated", detail, reader.size, missing)]
    return 0, blocks, [Problem("corrupt-metadata", detail, offset, layout.cluster)]


def _last_block(table: Region, reader: Reader) -> tuple[int, int]:
    """Index and offset of the last refcount block; offset 0 when the table's tail names none."""
    end = table.length
    for _ in range(4):
        start = max(0, end - _REFCOUNT_BYTES)
        data = padded(reader, table.offset + start, end - start)
        used = used_length(data)
        if used:
            index = (used - 1) // 8
            return start // 8 + index, int.from_bytes(data[index * 8 : index * 8 + 8], "big")
        end = start
        if not end:
            break
    return 0, 0


def _last_refcount(layout: Layout, reader: Reader, block: int) -> int | None:
    """The index of the last refcount above zero in a block, if it is within reach."""
    if not block:
        return None
    length = min(layout.cluster, _BLOCK_BYTES)
    for start in sorted({layout.cluster - length, 0}, reverse=True):
        used = used_length(padded(reader, block + start, length))
        if used:
            bits = 1 << layout.refcount_order
            return (start + used - 1) * 8 // bits
    return None


def _pointers(layout: Layout, offsets: list[int], name: str, table: Region) -> Iterator[Problem]:
    """Pointers to tables that are misaligned, on the header, or used twice."""
    if not offsets:
        return
    if reduce(or_, offsets) & (layout.cluster - 1):
        wrong = next(offset for offset in offsets if offset % layout.cluster)
        detail = f"{table.name} points to a {name} at {wrong}, which is not a cluster's start"
        yield Problem("corrupt-metadata", detail, table.offset, table.length)
        return
    twice = repeated(offsets)
    if twice is not None:
        detail = f"{table.name} points twice to the {name} at {twice}"
        yield Problem("corrupt-metadata", detail, table.offset, table.length)


def _l1(
    layout: Layout, reader: Reader, fixed: set[int], used: int
) -> tuple[list[int], list[Problem]]:
    table = layout.l1
    data = padded(reader, table.offset, min(table.length, _L1_BYTES))
    entries = [entry for entry in integers(data, "Q", "big") if entry]
    offsets = [entry & _OFFSET for entry in entries]
    if not offsets:
        return [], []
    if reduce(or_, entries) & _L1_RESERVED:
        detail = "an L1 entry has reserved bits set"
        return offsets, [Problem("corrupt-metadata", detail, table.offset, table.length)]
    problems = [*_pointers(layout, offsets, "L2 table", table)]
    on = fixed.intersection(offsets)
    if on:
        detail = f"an L1 entry points to {min(on)}, where the header or another table is"
        problems.append(Problem("corrupt-metadata", detail, table.offset, table.length))
    problems.extend(_beyond(reader, max(offsets), "an L1 entry", table, used))
    return offsets, problems


def _beyond(reader: Reader, highest: int, name: str, table: Region, used: int) -> Iterator[Problem]:
    """The problem that the highest pointer of a table lies beyond the end of the file.

    When the refcounts know that place the file was cut, which ``_refcounts`` has said already.
    """
    if highest < reader.size or highest < used:
        return
    detail = f"{name} points to {highest}, the file has {reader.size} bytes"
    yield Problem("corrupt-metadata", detail, table.offset, table.length)


def _reach_beyond(layout: Layout, reader: Reader, tables: list[int]) -> bool:
    """Whether a cluster beyond the end of the file is in use, or nobody can tell.

    After a crash refcounts may count clusters that were never written: leaks, and no data is lost.
    """
    read_all = layout.l1.length <= _L1_BYTES and len(tables) << layout.cluster_bits <= _REACH_BYTES
    if layout.snapshots or layout.bitmaps is not None or not read_all:
        return True
    if any(table + layout.cluster > reader.size for table in tables):
        return True
    mask = (1 << 62 - (layout.cluster_bits - 8)) - 1
    for table in tables:
        entries = integers(padded(reader, table, layout.cluster), "Q", "big")
        for entry in entries[0::2] if layout.extended else entries:
            offset = entry & (mask if entry & _COMPRESSED else _OFFSET)
            if offset >= reader.size:
                return True
    return False


def _l2(
    layout: Layout, reader: Reader, tables: list[int], metadata: set[int], used: int
) -> Iterator[Problem]:
    """The entries of a sample of L2 tables."""
    each = min(layout.cluster, _L2_EACH)
    inside = [table for table in tables if table + each <= reader.size]
    standard: list[int] = []
    compressed: list[int] = []
    for index in sample(len(inside), max(2, min(64, _L2_BYTES // each))):
        place = Region(f"the L2 table at {inside[index]}", inside[index], each)
        data = padded(reader, place.offset, each)
        if not used_length(data):
            continue
        entries = integers(data, "Q", "big")
        if layout.extended:
            entries = entries[0::2]
        plain = [entry for entry in entries if entry and not entry & _COMPRESSED]
        packed = [entry for entry in entries if entry & _COMPRESSED]
        problems = [*_standard(layout, reader, plain, place, metadata, used)]
        problems.extend(_packed(layout, reader, packed, place, metadata, used))
        yield from problems
        if problems:
            return
        standard.extend(entry & _OFFSET for entry in plain if entry & _OFFSET)
        compressed.extend(packed)
    yield from _shared(layout, standard, compressed)
    yield from _garbage(layout, reader, compressed)


def _standard(
    layout: Layout,
    reader: Reader,
    entries: list[int],
    place: Region,
    metadata: set[int],
    used: int,
) -> Iterator[Problem]:
    if not entries:
        return
    reserved = _L2_RESERVED | (1 if layout.extended else 0) | ((layout.cluster - 1) & ~0x1FF)
    if reduce(or_, entries) & reserved:
        wrong = next(entry for entry in entries if entry & reserved)
        detail = (
            f"{place.name} maps to {wrong & _OFFSET}, not a cluster's start, or with reserved bits"
        )
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
        return
    offsets = {entry & _OFFSET for entry in entries} - {0}
    on = offsets & metadata
    if on:
        detail = f"{place.name} maps guest data to {min(on)}, where a table or the header is"
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
    elif offsets:
        yield from _beyond(reader, max(offsets), place.name, place, used)


def _packed(
    layout: Layout,
    reader: Reader,
    entries: list[int],
    place: Region,
    metadata: set[int],
    used: int,
) -> Iterator[Problem]:
    if not entries:
        return
    bits = 62 - (layout.cluster_bits - 8)
    mask = (1 << bits) - 1
    offsets = {entry & mask for entry in entries}
    on = {offset & -layout.cluster for offset in offsets} & metadata
    if on:
        detail = f"{place.name} maps compressed data to {min(on)}, where a table or the header is"
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
        return
    last = max(entries, key=mask.__and__)
    sectors = (last & ~_COMPRESSED & ~(1 << 63)) >> bits
    end = ((last & mask) // 512 + sectors) * 512  # the last sector's start: data may end in it
    if end >= reader.size and last & mask < reader.size and end < used:
        detail = f"compressed data is at {last & mask} to {end + 512}"
        detail += f", the file has {reader.size} bytes"
        yield Problem("truncated", detail, reader.size, end + 512 - reader.size)
    else:
        yield from _beyond(reader, last & mask, place.name, place, used)


def _shared(layout: Layout, standard: list[int], compressed: list[int]) -> Iterator[Problem]:
    """Host clusters that more than one guest cluster maps to."""
    twice = repeated(standard)
    if twice is not None:
        detail = f"two guest clusters map to the same place {twice}"
        yield Problem("corrupt-metadata", detail, twice, layout.cluster)
    distinct = len(set(compressed))
    if len(compressed) > distinct + _SHARED:
        detail = (
            f"{len(compressed)} guest clusters of {layout.cluster} bytes that were looked at "
            f"share {distinct} compressed clusters, of a disk of {layout.size} bytes"
        )
        yield Problem("expansion-limit", detail, layout.l1.offset, layout.l1.length)


def _garbage(layout: Layout, reader: Reader, compressed: list[int]) -> Iterator[Problem]:
    """Compressed clusters that cannot be unpacked, among a few: no tool's check looks at them."""
    bits = 62 - (layout.cluster_bits - 8)
    for index in sample(len(compressed), _UNPACKED):
        entry = compressed[index]
        start = entry & ((1 << bits) - 1)
        sectors = (entry & ~_COMPRESSED & ~(1 << 63)) >> bits
        length = min((start // 512 + sectors + 1) * 512 - start, _UNPACKED_READ)
        if not _unpacks(reader.read(start, length), layout.compression):
            detail = f"the compressed cluster at {start} cannot be unpacked"
            yield Problem("corrupt-metadata", detail, start, length)
            return


def _unpacks(data: bytes, compression: int) -> bool:
    if compression != _ZLIB:
        return data[:4] == _ZSTD_MAGIC
    try:
        return bool(zlib.decompressobj(-15).decompress(data, _UNPACKED_READ))
    except zlib.error:
        return False

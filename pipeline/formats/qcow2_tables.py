"""qcow2's tables, checked without following data; their entries are in ``qcow2_layout``.

https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt

    refcount table  bits 9-63 offset of a refcount block
    snapshot        L1 offset (8), L1 entries (4), id length (2), name length (2), dates (16),
                    VM state (4), extra length (4), extra, id, name, padding to 8

Small images are checked wholly, large ones by sample; ``qemu-img check`` reads the rest later.  The
highest used cluster is found from the end of the refcount table, so a cut file is seen at any size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import reduce
from operator import or_

from pipeline.formats.base import Problem
from pipeline.formats.bounded import padded
from pipeline.formats.qcow2_end import cut
from pipeline.formats.qcow2_layout import (
    COMPRESSED,
    L1_BYTES,
    OFFSET,
    Qcow2Layout,
    entries,
    unpacks,
)
from pipeline.formats.tables import (
    Region,
    covered,
    cut_short,
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

_L1_RESERVED = 0x7F00_0000_0000_01FF
_L2_RESERVED = 0x3F00_0000_0000_01FE

_ZERO = 1  # of an L2 entry: reads as zeros, whatever is stored
_NOT_STORED = COMPRESSED | _ZERO
_UNKNOWN = 0  # where the used clusters end
_STORED_BYTES = 1 << 20  # of L2 tables that are asked what is stored at a place
_L2_BYTES = 128 << 10  # of all L2 tables together
_L2_EACH = 32 << 10
_REFCOUNT_BYTES = 64 << 10  # of the refcount table's head, and of its tail
_BLOCK_BYTES = 128 << 10  # of the last refcount block
_SHARED = 1000  # clusters that share one compressed cluster before it is called a bomb
_UNPACKED, _UNPACKED_READ = 4, 64 << 10  # compressed clusters that are tried, and bytes of each
_SNAPSHOT_BYTES = 64 << 10
_MAX_SNAPSHOT_EXTRA = 1024
_NAMES = 8


def snapshots(layout: Qcow2Layout, reader: Reader) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """The snapshot table's problems, and the first names in it."""
    names: list[str] = []
    if not layout.snapshots:
        return (), ()
    at = start = layout.snapshots_offset
    if start % layout.cluster or not start:
        detail = f"the snapshot table's offset {start} is not that of a cluster"
        return (Problem("corrupt-header", detail, 64, 8),), ()
    for index in range(layout.snapshots):
        place = Region(f"snapshot {index + 1} of {layout.snapshots}", at, 40, (60, 12))
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


def stores(layout: Qcow2Layout, reader: Reader, offset: int, length: int) -> bool:
    """Whether clusters of the guest's data, not compressed, hold these bytes of the file.

    Of large images only the first tables are read: what was written first lies in front.
    """
    l1 = padded(reader, layout.l1.offset, min(layout.l1.length, L1_BYTES))
    tables = [entry & OFFSET for entry in integers(l1, "Q", "big") if entry & OFFSET]
    clusters: set[int] = set()
    for table in tables[: max(1, _STORED_BYTES // layout.cluster)]:
        for entry in entries(layout, reader, table, layout.cluster):
            if entry & OFFSET and not entry & _NOT_STORED:
                clusters.add(entry & OFFSET)
    return covered(clusters, layout.cluster, offset, length)


def check(layout: Qcow2Layout, reader: Reader) -> Iterator[Problem]:
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
    yield from problems
    fixed = {
        place for region in regions for place in range(region.offset, region.end, layout.cluster)
    }
    tables, problems = _l1(layout, reader, fixed, used)
    yield from problems
    lost = [*cut(layout, reader, tables, used)]
    yield from lost
    if problems:
        return
    for problem in _l2(layout, reader, tables, fixed.union(tables, blocks), used):
        if not lost or problem.rule != "truncated":
            yield problem


def _refcounts(layout: Qcow2Layout, reader: Reader) -> tuple[int, list[int], list[Problem]]:
    """The end of the used clusters in bytes, refcount blocks, problems."""
    table = layout.refcounts
    head = integers(padded(reader, table.offset, min(table.length, _REFCOUNT_BYTES)), "Q", "big")
    blocks = [entry for entry in head if entry]
    problems = [*_pointers(layout, blocks, "refcount block", table)]
    if problems or layout.dirty:
        return _UNKNOWN, blocks, problems
    found = _last_block(table, reader)
    if found is None:
        return _UNKNOWN, blocks, []
    index, offset = found
    if offset % layout.cluster or offset + layout.cluster > reader.size:
        told_at = (table.offset, table.length)
        place = Region("a refcount block", offset, layout.cluster, told_at)
        return (
            _UNKNOWN,
            blocks,
            [*outside(place, reader.size, layout.size, wild="corrupt-metadata")],
        )
    last = _last_refcount(layout, reader, offset)
    if last is None:
        return _UNKNOWN, blocks, []
    per_block = layout.cluster * 8 >> layout.refcount_order
    used = index * per_block + last
    start = used << layout.cluster_bits
    if start < reader.size or plausible(start, layout.size) or layout.snapshots:
        return start + layout.cluster, blocks, []
    detail = f"the last used cluster is at {start}, the file has {reader.size} bytes"
    return _UNKNOWN, blocks, [Problem("corrupt-metadata", detail, offset, layout.cluster)]


def _last_block(table: Region, reader: Reader) -> tuple[int, int] | None:
    """Index and offset of the last refcount block; None when no part that is read names one.

    The table's tail is read, and its head: tables of large clusters are nearly empty.
    """
    ends = range(table.length, 0, -_REFCOUNT_BYTES)[:4]
    for end in (*ends, min(table.length, _REFCOUNT_BYTES)):
        start = max(0, end - _REFCOUNT_BYTES)
        data = padded(reader, table.offset + start, end - start)
        used = used_length(data)
        if used:
            index = (used - 1) // 8
            return start // 8 + index, int.from_bytes(data[index * 8 : index * 8 + 8], "big")
    return None


def _last_refcount(layout: Qcow2Layout, reader: Reader, block: int) -> int | None:
    """The index of the last refcount above zero in a block, if it is within reach."""
    length = min(layout.cluster, _BLOCK_BYTES)
    for start in sorted({layout.cluster - length, 0}, reverse=True):
        used = used_length(padded(reader, block + start, length))
        if used:
            bits = 1 << layout.refcount_order
            return (start + used - 1) * 8 // bits
    return None


def _pointers(
    layout: Qcow2Layout, offsets: list[int], name: str, table: Region
) -> Iterator[Problem]:
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
    layout: Qcow2Layout, reader: Reader, fixed: set[int], used: int
) -> tuple[list[int], list[Problem]]:
    table = layout.l1
    data = padded(reader, table.offset, min(table.length, L1_BYTES))
    entries = [entry for entry in integers(data, "Q", "big") if entry]
    offsets = [entry & OFFSET for entry in entries]
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


def _l2(
    layout: Qcow2Layout, reader: Reader, tables: list[int], metadata: set[int], used: int
) -> Iterator[Problem]:
    """The entries of a sample of L2 tables."""
    each = min(layout.cluster, _L2_EACH)
    inside = [table for table in tables if table + each <= reader.size]
    standard: list[int] = []
    compressed: list[int] = []
    for index in sample(len(inside), min(64, _L2_BYTES // each)):
        place = Region(f"the L2 table at {inside[index]}", inside[index], each)
        found = [entry for entry in entries(layout, reader, place.offset, each) if entry]
        plain = [entry for entry in found if not entry & COMPRESSED]
        packed = [entry for entry in found if entry & COMPRESSED]
        problems = [*_standard(layout, reader, plain, place, metadata, used)]
        problems.extend(_packed(layout, reader, packed, place, metadata, used))
        yield from problems
        if problems:
            return
        standard.extend(entry & OFFSET for entry in plain if entry & OFFSET)
        compressed.extend(packed)
    yield from _shared(layout, standard, compressed)
    yield from _garbage(layout, reader, compressed)


def _standard(
    layout: Qcow2Layout,
    reader: Reader,
    found: list[int],
    place: Region,
    metadata: set[int],
    used: int,
) -> Iterator[Problem]:
    if not found:
        return
    not_a_cluster = layout.cluster - 512  # the bits of an offset that is not a cluster's start
    reserved = _L2_RESERVED | int(layout.extended) | not_a_cluster
    if reduce(or_, found) & reserved:
        wrong = next(entry for entry in found if entry & reserved)
        detail = (
            f"{place.name} maps to {wrong & OFFSET}, not a cluster's start, or with reserved bits"
        )
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
        return
    offsets = {entry & OFFSET for entry in found} - {0}
    on = offsets & metadata
    if on:
        detail = f"{place.name} maps guest data to {min(on)}, where a table or the header is"
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
    elif offsets:
        yield from _beyond(reader, max(offsets), place.name, place, used)


def _packed(
    layout: Qcow2Layout,
    reader: Reader,
    found: list[int],
    place: Region,
    metadata: set[int],
    used: int,
) -> Iterator[Problem]:
    if not found:
        return
    mask = layout.packed_mask
    on = {entry & mask & -layout.cluster for entry in found} & metadata
    if on:
        detail = f"{place.name} maps compressed data to {min(on)}, where a table or the header is"
        yield Problem("corrupt-metadata", detail, place.offset, place.length)
        return
    start, length = layout.packed_place(max(found, key=mask.__and__))
    end = start + length  # somewhere in the last 512 bytes
    if start < reader.size <= end - 512 < used:
        detail = cut_short(reader.size, end)
        yield Problem("truncated", detail, reader.size, end - reader.size)
    else:
        yield from _beyond(reader, start, place.name, place, used)


def _shared(layout: Qcow2Layout, standard: list[int], compressed: list[int]) -> Iterator[Problem]:
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


def _garbage(layout: Qcow2Layout, reader: Reader, compressed: list[int]) -> Iterator[Problem]:
    """Compressed clusters that cannot be unpacked, among a few: no tool's check looks at them."""
    for index in sample(len(compressed), _UNPACKED):
        start, length = layout.packed_place(compressed[index])
        length = min(length, _UNPACKED_READ)
        if not unpacks(reader.read(start, length), layout):
            detail = f"the compressed cluster at {start} cannot be unpacked"
            yield Problem("corrupt-metadata", detail, start, length)
            return

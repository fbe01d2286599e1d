"""Whether a qcow2 file was cut: what its last used cluster is, and how much of it the file holds.

    … | cluster | last used cluster  |      A file may end inside its last used cluster if that is
      |         | ■■■■■■■■■■         |          an L1 table         written as far as it is used
      |         |          ▲         |          compressed data     as long as its stream
                           end of file          the disk's end      when that needs no full cluster
                                            and was cut if it is an L2 table or other data.

The refcounts name the last used cluster (``qcow2_tables``), whatever the size of the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from pipeline.formats.base import Problem
from pipeline.formats.qcow2_layout import (
    COMPRESSED,
    COPIED,
    L1_BYTES,
    OFFSET,
    Qcow2Layout,
    entries,
    unpacks_wholly,
)
from pipeline.formats.tables import cut_short
from pipeline.source import Reader

_L2_BYTES = 1 << 20  # of L2 tables that are read when a file seems to be cut


def cut(layout: Qcow2Layout, reader: Reader, tables: list[int], used: int) -> Iterator[Problem]:
    """The problem, if any, that data is missing at the end of the file.

    ``tables`` are the offsets of the L2 tables; ``used`` is the end of the last used cluster, 0 if
    nobody knows it.
    """
    if used <= reader.size:
        return
    start = used - layout.cluster
    detail = cut_short(reader.size, used)
    lost = _used_beyond if start >= reader.size else _data_ends_inside
    if lost(layout, reader, tables, start):
        yield Problem("truncated", detail, reader.size, used - reader.size)


def _used_beyond(layout: Qcow2Layout, reader: Reader, tables: list[int], _start: int) -> bool:
    """Whether a cluster beyond the end of the file is in use, or nobody can tell.

    After a crash refcounts may count clusters that were never written: leaks, and no data is lost.
    """
    too_many = layout.l1.length > L1_BYTES or len(tables) << layout.cluster_bits > _L2_BYTES
    if layout.snapshots or layout.bitmaps is not None or too_many:
        return True
    if any(table + layout.cluster > reader.size for table in tables):
        return True
    for table in tables:
        for entry in entries(layout, reader, table, layout.cluster):
            offset = entry & (layout.packed_mask if entry & COMPRESSED else OFFSET)
            if offset >= reader.size:
                return True
    return False


def _data_ends_inside(layout: Qcow2Layout, reader: Reader, tables: list[int], start: int) -> bool:
    """Whether the cluster at ``start``, in which the file ends, lacks data.

    Only the L2 tables that lie last are read: the file's last cluster is one that was written late.
    """
    if start in tables:
        return True
    if layout.extended:
        return False  # of an extended cluster a part may be all that was ever written
    each = min(layout.cluster, _L2_BYTES)
    last = sorted(tables)[-(_L2_BYTES // each) :]
    late = [(at, entries(layout, reader, at, each)) for at in last]
    if late and _packed_data_cut(layout, reader, late[-1][1]):
        return True
    end_of_disk = -(-(layout.size % layout.cluster) // 512) * 512
    enough = end_of_disk and reader.size >= start + end_of_disk
    at_end = layout.size // layout.cluster % (layout.cluster // 8)  # its place in a table
    for at, table in late:
        entry = next((entry for entry in (start | COPIED, start) if entry in table), None)
        if entry is not None:
            ends_disk = at == tables[-1] and table.index(entry) == at_end
            return not (enough and ends_disk)
    return False


def _packed_data_cut(layout: Qcow2Layout, reader: Reader, table: array[int]) -> bool:
    packed = [entry for entry in table if entry & COMPRESSED]
    if not packed:
        return False
    start, length = layout.packed_place(max(packed, key=layout.packed_mask.__and__))
    beyond = start < reader.size < start + length
    return beyond and not unpacks_wholly(reader.read(start, length), layout)

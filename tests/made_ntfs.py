"""An NTFS whose clusters are larger than its records, and whose MFT lies in three places.

clusters   0 boot sector   5-8, 20-23 MFT   10-11 its mirror   40 bitmap   50-53 log
           60-62, 70 a file   298-299 another
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import made_volumes as made
from vhd_files import MemoryDisk

from pipeline.content.free_space import ntfs
from pipeline.content.free_space.base import Effort, KeptError
from pipeline.content.free_space.ntfs import Geometry, NtfsMap

CLUSTER, CLUSTERS, RECORD = 2048, 300, 1024
MFT, MIRROR, BITMAP, LOG = 5, 10, 40, 50  # clusters
INFO = Geometry(CLUSTER, CLUSTERS, RECORD, MFT, MIRROR)
Run = tuple[int | None, int]
PIECES: list[Run] = [(MFT, 4), (20, 2), (22, 2)]  # of the MFT: 16 records
STATE = made.resident(0x70, bytes(8) + b"\3\1\0\0")
Parts = dict[int, bytes]


def data(*runs: Run, size: int | None = None, lowest: int = 0) -> bytes:
    """$DATA in these runs."""
    count = sum(length for _, length in runs)
    return made.in_runs(0x80, runs, count * CLUSTER if size is None else size, lowest=lowest)


def records() -> list[bytes]:
    """Those of the MFT, by number; its second half is told by the last one."""
    found = [
        made.record(0, made.name("$MFT"), data(*PIECES[:2], size=16 * RECORD)),
        made.record(1, made.name("$MFTMirr"), data((MIRROR, 2))),
        made.record(2, made.name("$LogFile"), data((LOG, 4))),
        made.record(3, made.name("$Volume"), STATE),
        made.record(4, made.name("file"), data((60, 3), (None, 2), (70, 1))),
        made.record(5, made.name("."), made.resident(0x80, b"here")),
        made.record(6, made.name("$Bitmap"), data((BITMAP, 1), size=38)),
        *[bytes(RECORD)] * 4,
        made.record(11, data(PIECES[2], size=0, lowest=6), base=1 << 48),
        made.record(12, made.name("deleted"), data((200, 9)), flags=0),
        *[bytes(RECORD)] * 2,
        made.record(15, made.name("last"), data((298, 2))),
    ]
    assert all(len(raw) == RECORD for raw in found)
    return found


USED = {0, *range(5, 9), *range(20, 24), 10, 11, BITMAP, *range(50, 54), 60, 61, 62, 70, 298, 299}


def volume(
    changes: dict[int, bytes] | None = None,
    *,
    used: set[int] | None = None,
    mirror: Sequence[bytes] | None = None,
    also: Parts | None = None,
) -> MemoryDisk:
    """A volume; ``changes``: other records by their numbers, in the mirror as well."""
    table = [(changes or {}).get(number, raw) for number, raw in enumerate(records())]
    body = b"".join(table)
    parts = {0: boot(record=-10), LOG * CLUSTER: b"\xff" * 4 * CLUSTER}
    at = 0
    for first, count in PIECES:
        assert first is not None
        parts[first * CLUSTER] = body[at : at + count * CLUSTER]
        at += count * CLUSTER
    parts[MIRROR * CLUSTER] = b"".join(table[:4] if mirror is None else mirror)
    parts[BITMAP * CLUSTER] = made.bits([*(USED if used is None else used), *range(300, 304)], 38)
    return MemoryDisk(CLUSTERS * CLUSTER + 3 * 512, parts | (also or {}))


def boot(
    *,
    sector: int = 512,
    factor: int = 4,
    sectors: int = 1203,
    mft: int = 5,
    mirror: int = 10,
    record: int = -10,
    name: bytes = b"NTFS    ",
) -> bytes:
    """The sector; what is around its fields is not zero."""
    raw = b"\xeb\x52\x90" + name + struct.pack("<HB", sector, factor)
    raw = raw.ljust(40, b"\x35") + struct.pack("<QQQb", sectors, mft, mirror, record)
    return raw.ljust(512, b"\x35")


def look(disk: MemoryDisk, effort: Effort | None = None) -> NtfsMap | str:
    """Its free space, or why nothing is free."""
    try:
        return ntfs.look(disk, effort or Effort())
    except KeptError as error:
        return str(error)


def why(found: NtfsMap | str) -> str | None:
    """Why nothing is free."""
    return found if isinstance(found, str) else None

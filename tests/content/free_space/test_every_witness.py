"""What is called free, or why nothing is, with every field of a file system at its edges, word for word.

The file systems are written by hand (``made_volumes``), with right checksums whatever is changed, so that
each other witness is heard.  Real ones, and what their own tools say, are in the tests beside this one.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import made_volumes as made
import pytest
from handmade import Memory
from made_volumes import KIB

from pipeline.content import filesystems, free_space
from pipeline.content.free_space import FreeSpace
from pipeline.content.free_space.base import Effort, KeptError, Span, clipped
from tests import every_field
from tests.content.test_every_superblock import _RING
from tests.every_field import Field, Structure, run

HERE = Path(__file__).parent


def tell(reader: Memory) -> Mapping[str, Any]:
    """What is free by all witnesses, where, and what of it is told for advice."""
    found = free_space.survey(reader)
    spans = list(found.between(0, reader.size))
    _same_in_parts(found, spans, reader.size)
    told: dict[str, Any] = {"free": found.free, "runs": found.runs}
    for area in found.areas:
        facts = area.facts()
        told |= {f"{facts.pop('place')}": [value for value in facts.values() if value]}
    told["spans"] = " ".join(f"{low}-{high}" for low, high in spans)
    advice = free_space.survey(reader, thorough=False)
    if (advice.free, advice.runs) != (found.free, found.runs):
        told["advice"] = [advice.free, advice.runs]
    return told


def _same_in_parts(found: FreeSpace, spans: list[Span], size: int) -> None:
    """Any part of the disk has the same free runs as the whole, cut to it."""
    edges = sorted(
        {0, size, *(edge + by for span in spans[:6] for edge in span for by in (-1, 0, 1))}
    )
    parts = [(low, high) for low, high in itertools.pairwise(edges) if low >= 0]
    parts += [(edges[0], edges[len(edges) // 2]), (edges[len(edges) // 3], size)]
    for low, high in parts:
        assert list(found.between(low, high)) == list(clipped(spans, low, high)), (low, high)


def _descriptor(at: int, *, wide: bool = False) -> tuple[Field, ...]:
    more = run(at + 0x20, 4, 4, 4, 2, 2, 2, 2) if wide else ()
    return (
        *run(at, 4, 4, 4, 2),
        *run(at + 0x12, 2),
        *run(at + 0x18, 2),
        *run(at + 0x1C, 2, 2),
        *more,
    )


_EXT = (
    *run(1024, 4, 4),
    *run(1036, 4),
    *run(1044, 4, 4, 4, 4, 4, 4),
    *run(1024 + 0x3A, 2),
    *run(1024 + 0x4C, 4),
    *run(1024 + 0x58, 2),
    *run(1024 + 0x5C, 4, 4, 4),
    *run(1024 + 0x68, 1),
    *run(1024 + 0xCE, 2),
    *run(1024 + 0xFE, 2),
    *run(1024 + 0x104, 4),
    *run(1024 + 0x150, 4, 4, 4),
    *run(1024 + 0x175, 1),
    *run(1024 + 0x24C, 4, 4),
    *run(1024 + 0x270, 4),
    *run(1024 + 0x3FC, 4),
)
_TABLE = 5 * KIB  # of inodes, in group 0


def _inode(number: int, *fields: Field) -> tuple[Field, ...]:
    group, index = divmod(number - 1, 16)
    start = (_TABLE, 69 * KIB, 131 * KIB)[group] + 128 * index
    return tuple((start + at, length) for at, length in fields)


_INODES = (
    *_inode(2, (0, 2), (0x20, 4), (0x28, 4)),
    *_inode(
        12,
        (0, 2),
        (0x20, 4),
        (0x28, 4),
        (0x2C, 4),
        (0x54, 4),
        (0x58, 4),
        (0x5C, 4),
        (0x60, 4),
        (0x68, 4),
        (0x76, 2),
    ),
    *_inode(13, (0, 2), (4, 4)),
    *_inode(14, (0x20, 4)),
    *_inode(17, (0x20, 4), *run(0x28, 2, 2, 2, 2), *run(0x34, 4, 2, 2, 4), *run(0x40, 4, 2, 2, 4)),
    *_inode(18, *run(0x28, 2, 2, 2, 2), *run(0x34, 4, 4, 2)),
    *_inode(19, (0, 2)),
    *_inode(20, (4, 4), (0x28, 4)),
)
_POINTERS = (
    *run(20 * KIB, 4, 4, 4, 4),
    *run(24 * KIB, 4, 4),
    *run(25 * KIB, 4, 4, 4),
    *run(30 * KIB, 4),
    *run(31 * KIB, 4),
    *run(32 * KIB, 4),
    *run(80 * KIB, 2, 2, 2, 2, 4, 4, 2, 2, 4),
)
_BITMAPS = (
    *run(3 * KIB, 1, 1, 1),
    *run(67 * KIB, 1, 1),
    *run(129 * KIB, 1),
    *run(129 * KIB + 4, 1, 1),
    *run(4 * KIB, 1, 1, 1),
    *run(68 * KIB, 1, 1),
)
_BOOT = (*run(3, 1), *run(11, 2, 1, 2, 1, 2, 2, 1, 2), *run(32, 4))
_ATTRIBUTE = 4096  # the first record of the MFT


def _record(number: int, *fields: Field) -> tuple[Field, ...]:
    start = made.NTFS_MFT * 512 + 1024 * number
    return tuple((start + at, length) for at, length in fields)


_HEAD = run(0, 4, 2, 2), run(20, 2, 2, 4), run(32, 8)
_IN_RUNS = (*run(0, 4, 4, 1, 1), *run(16, 8, 8, 2), *run(48, 8), *run(64, 1, 1, 2, 1))


def _attribute(number: int, at: int, fields: Iterable[Field]) -> tuple[Field, ...]:
    return _record(number, *((at + place, length) for place, length in fields))


def _data_at(number: int) -> int:
    """Where in a record of ours the data's attribute is."""
    raw = made.ntfs()[made.NTFS_MFT * 512 + 1024 * number :][:1024]
    at = 56
    while raw[at] != 0x80:
        at += struct.unpack_from("<I", raw, at + 4)[0]
    return at


_NTFS = made.ntfs()


def _mirrored(changed: Memory) -> Memory:
    """The mirror holds what the first four records do."""
    return changed.also(made.NTFS_MIRROR * 512, changed.read(made.NTFS_MFT * 512, 4096))


def _closed(clients: int, flags: int, size: int = 512) -> bytes:
    """Two restart pages; the second one is as the first."""
    page = struct.pack("<4sHHQIIH", b"RSTR", 30, 9, 0, size, size, 48).ljust(48, b"\0")
    page = (page + struct.pack("<QHHHH", 0, 1, 0xFFFF, clients, flags)).ljust(size, b"\0")
    return page * 2


def _logged(clients: int, flags: int, size: int = 512) -> bytes:
    at = made.NTFS_LOG * 512
    log = _closed(clients, flags, size)
    return _NTFS[:at] + log + _NTFS[at + len(log) :]


_LOG = made.NTFS_LOG * 512
_SUPER = (
    *run(0, 4, 4, 8),
    *run(32, 8),
    *run(48, 8),
    *run(84, 4, 4),
    *run(96, 4, 2, 2),
    *run(120, 1),
    *run(124, 1),
    *run(126, 1),
    *run(144, 8),
    *run(200, 4),
    *run(208, 4, 4, 4),
    *run(248, 8),
)
_SECOND = made.XFS_GROUP * 4096


def _xfs_fields(version: int) -> tuple[Field, ...]:
    head = 56 if version == 5 else 16
    listed = 36 if version == 5 else 0
    fields: tuple[Field, ...] = _SUPER
    for base in (0, _SECOND):
        fields += (
            *run(base + 512, 4),
            *run(base + 520, 4, 4, 4, 4, 4, 4, 4),
            *run(base + 552, 4, 4, 4, 4, 4, 4),
        )
        fields += (*run(base + 576, 8), *run(base + 592, 4), *run(base + 600, 4))
        fields += (*run(base + 1536, 4, 4), *run(base + 1536 + listed + 20, 4, 4, 4))
    for block in (1, 2, 4, 6):
        at = block * 4096
        fields += (*run(at, 4, 2, 2), *run(at + head, 4, 4, 4, 4, 4, 4))
    most = (4096 - head) // 12
    fields += run(4096 + head + 8 * most, 4, 4)
    fields += run(4096 + 16, 8, 8, 8, 8, 4) if version == 5 else ()
    fields += (*run(_SECOND + 4096, 4, 2, 2), *run(_SECOND + 4096 + head, 4, 4, 4, 4))
    log = _SECOND + 20 * 4096
    return (*fields, *run(log, 4, 4), *run(log + 521, 1))


VOLUMES = {
    "ext2": Structure(
        made.ext(),
        (
            *_EXT,
            *_descriptor(2048),
            *_descriptor(2080),
            *_descriptor(2112),
            *_INODES,
            *_POINTERS,
            *_BITMAPS,
        ),
        "little",
        cuts=(1023, 2047, 169 * KIB - 1, 170 * KIB),
    ),
    "uninit": Structure(
        made.ext(made.UNINIT),
        (*_EXT, *_descriptor(2048), *_descriptor(2080), *_descriptor(2112)),
        "little",
        mend=made.ext_mend(made.UNINIT),
    ),
    "uninit-unsummed": Structure(
        made.ext(made.UNINIT), (*_descriptor(2080), *run(1024 + 0x68, 2)), "little"
    ),
    "summed": Structure(
        made.ext(made.SUMMED),
        (
            *_EXT,
            *_descriptor(2048, wide=True),
            *_descriptor(2112, wide=True),
            *_descriptor(2176, wide=True),
            *_BITMAPS[:8],
        ),
        "little",
        mend=made.ext_mend(made.SUMMED),
    ),
    "summed-unsummed": Structure(
        made.ext(made.SUMMED), (*_EXT[:2], *_descriptor(2112, wide=True), *_BITMAPS[:8]), "little"
    ),
    "fat12": Structure(
        made.fat(12),
        (
            *_BOOT,
            *run(37, 1),
            *run(54, 8),
            *run(512, 1, 2, 3, 3, 3, 3),
            *run(1024, 1),
            *run(1536, 11, 1),
            *run(1536 + 26, 2),
            *run(1568, 1, 10, 1),
            *run(1600, 1, 10, 1),
            *run(1626, 2),
            *run(1690, 2),
            *run(2560, 11, 1),
            *run(2560 + 26, 2),
            *run(2560 + 64, 1, 10, 1),
            *run(2560 + 90, 2),
            *run(3584, 2),
            *run(3610, 2),
        ),
        "little",
        cuts=(511, 2048, 64 * 512 - 1),
    ),
    "fat16": Structure(
        made.fat(16), (*_BOOT, *run(37, 1), *run(54, 8), *run(512, 2, 2, 2)), "little"
    ),
    "fat32": Structure(
        made.fat(32),
        (
            *_BOOT,
            *run(36, 4, 2, 2, 4, 2, 2),
            *run(65, 1),
            *run(512, 4),
            *run(512 + 484, 4, 4),
            *run(8 * 512, 4, 4, 4, 4, 4),
            *run(6 * 512 + 11, 2),
            *run(6 * 512 + 36, 4),
        ),
        "little",
    ),
    "fat32-copied": Structure(
        made.fat(32),
        (*_BOOT, *run(36, 4, 2, 2, 4, 2, 2)),
        "little",
        mend=lambda changed: changed.also(6 * 512, changed.read(0, 512)),
    ),
    "ntfs": Structure(
        _NTFS,
        (
            *run(3, 8),
            *run(11, 2, 1),
            *run(40, 8, 8, 8),
            *run(64, 1),
            *run(made.NTFS_BITMAP * 512, 1, 1, 1, 1, 1),
            *_record(0, *_HEAD[0], *_HEAD[1], *_HEAD[2]),
            *_record(3, (60, 4)),
            *_record(4, *_HEAD[0], *_HEAD[1], *_HEAD[2], (48, 2), (50, 2), (510, 2)),
            *_record(8, *_HEAD[1], *_HEAD[2], (0, 4)),
            *run(_LOG, 1),
        ),
        "little",
        mend=_mirrored,
        cuts=(511, 4096, 200 * 512 - 1),
    ),
    "ntfs-unmirrored": Structure(
        _NTFS,
        (*_record(0, (60, 1)), *_record(3, (1000, 1)), *run(made.NTFS_MIRROR * 512 + 1024, 4)),
        "little",
    ),
    "ntfs-runs": Structure(
        _NTFS,
        (
            *_attribute(0, _data_at(0), _IN_RUNS),
            *_attribute(2, _data_at(2), _IN_RUNS),
            *_attribute(4, _data_at(4), _IN_RUNS),
            *_attribute(6, _data_at(6), _IN_RUNS),
            *_attribute(7, _data_at(7), _IN_RUNS),
            *_attribute(8, _data_at(8), _IN_RUNS),
        ),
        "little",
        mend=_mirrored,
    ),
    "ntfs-names": Structure(
        _NTFS,
        (
            *_record(7, *run(56, 4, 4, 1), *run(72, 4, 2), *run(80, 8), (144, 1), *run(146, 2, 2)),
            *run(100 * 512, 4),
            *_record(3, *run(_data_at(0), 4, 4)),
        ),
        "little",
        mend=_mirrored,
    ),
    "ntfs-logged": Structure(
        _logged(0xFFFF, 0),
        (
            *run(_LOG, 4),
            *run(_LOG + 16, 4),
            *run(_LOG + 24, 2),
            *run(_LOG + 60, 2, 2),
            *run(_LOG + 512, 4),
            *run(_LOG + 536, 2),
            *run(_LOG + 572, 2, 2),
        ),
        "little",
    ),
    "ntfs-closed": Structure(_logged(0, 2), run(_LOG + 60, 2, 2), "little"),
    "xfs-4": Structure(made.xfs(4, _RING), _xfs_fields(4), "big", cuts=(511, 456 * 4096 - 1)),
    "xfs-5": Structure(made.xfs(5, _RING), _xfs_fields(5), "big", mend=made.xfs_mend(5)),
    "xfs-5-unsummed": Structure(
        made.xfs(5, _RING),
        (*run(224, 4), *run(512 + 216, 4), *run(1536 + 32, 4), *run(4096 + 52, 4)),
        "big",
    ),
    "swap": Structure(
        made.swap(),
        (*run(1024, 4, 4), *run(4086, 10)),
        "little",
        cuts=(16 * KIB - 1, 16 * KIB, 4095),
    ),
}
WHOLE = ("ext2", "uninit", "summed", "fat12", "fat16", "fat32", "ntfs", "xfs-5", "swap")
STEPS = (
    1,
    2,
    7,
    8,
    9,
    16,
    20,
    21,
    40,
    41,
    64,
    80,
    100,
    120,
    121,
    160,
    200,
    272,
    300,
    301,
    400,
    1000,
)


def efforts() -> Iterator[str]:
    """What of each file system is told for efforts of every size; the same result comes once."""
    for name in WHOLE:
        volume = Memory(VOLUMES[name].data)
        look = free_space._LOOK[filesystems.signature(volume, 0, volume.size) or ""]
        last = ""
        for most in STEPS:
            try:
                found = look(volume, Effort(most))
                told = f"{found.free} in {found.runs}, up to {found.end}"
            except KeptError as error:
                told = str(error)
            if told != last:
                yield f"{name}, {most}: {told}"
            last = told


STRUCTURES = (*VOLUMES, "efforts")


def compare(name: str) -> None:
    """One file system with the table that is stored."""
    lines = efforts() if name == "efforts" else every_field.table(VOLUMES[name], tell)
    every_field.check(HERE / "said", name, lines)


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_free_with_every_field_at_its_edges(name: str) -> None:
    compare(name)

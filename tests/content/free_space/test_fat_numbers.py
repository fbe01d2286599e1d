"""FAT: where each number of the boot sector stands, and which are possible.

Bytes that no field is read from are noise here, and no two fields hold the same.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import fat
from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.fat import Geometry

FIELDS = {
    "sector": (11, "<H"), "factor": (13, "<B"), "reserved": (14, "<H"), "copies": (16, "<B"),
    "root": (17, "<H"), "total": (19, "<H"), "medium": (21, "<B"), "table": (22, "<H"),
    "hidden": (28, "<I"), "total32": (32, "<I"), "name": (54, "8s"), "state": (37, "<B"),
    "table32": (36, "<I"), "flags": (40, "<H"), "version": (42, "<H"), "info": (48, "<H"),
    "backup": (50, "<H"), "state32": (65, "<B"),
}  # fmt: skip
FAT12: Mapping[str, Any] = {
    "sector": 512, "factor": 2, "reserved": 3, "copies": 2, "root": 17, "total": 1027,
    "medium": 0xF9, "table": 4, "state": 0xFC, "name": b"FAT12   ",
}  # fmt: skip
FAT16: Mapping[str, Any] = {
    "sector": 1024, "factor": 4, "reserved": 5, "copies": 2, "root": 50, "total": 0,
    "total32": 70_000, "medium": 0xF0, "table": 260, "state": 0, "name": b"FAT16   ",
}  # fmt: skip
FAT32: Mapping[str, Any] = {
    "sector": 2048, "factor": 8, "reserved": 33, "copies": 2, "root": 0, "total": 0, "table": 0,
    "total32": 9_000_000, "medium": 0xF8, "table32": 2300, "flags": 0xFF7F, "version": 0,
    "info": 7, "backup": 20, "state32": 0x80,
}  # fmt: skip


def sector(fields: Mapping[str, Any]) -> bytes:
    """A boot sector with these fields."""
    raw = bytearray((n * 37 + 11) % 251 | 1 for n in range(512))
    for name, value in fields.items():
        at, form = FIELDS[name]
        struct.pack_into(form, raw, at, value)
    return bytes(raw)


def disk(fields: Mapping[str, Any], copy: bytes | None = None, size: int = 0) -> MemoryDisk:
    """A volume as large as it says, with the copy of its boot sector in a wide one."""
    told = (fields["total"] or fields["total32"]) * fields["sector"]
    data = {0: sector(fields)}
    if "backup" in fields:
        data[fields["backup"] * fields["sector"]] = copy or sector(fields)
    return MemoryDisk(size or told, data)


def reason(fields: Mapping[str, Any], copy: bytes | None = None, size: int = 0) -> str | None:
    """Why it is refused; None: it is not."""
    try:
        fat._geometry(disk(fields, copy, size))
    except KeptError as error:
        return str(error)
    return None


def test_every_number_of_a_boot_sector() -> None:
    assert fat._geometry(disk(FAT12)) == Geometry(
        bits=12, table=1536, table_size=2048, data=1536 + 4096 + 1024, cluster=1024,
        clusters=507, medium=0xF9, info=0, in_use=False,
    )  # fmt: skip
    assert fat._geometry(disk(FAT16)) == Geometry(
        bits=16, table=5120, table_size=266_240, data=5120 + 532_480 + 2048, cluster=4096,
        clusters=17_368, medium=0xF0, info=0, in_use=False,
    )  # fmt: skip
    assert fat._geometry(disk(FAT32)) == Geometry(
        bits=32, table=67_584, table_size=4_710_400, data=67_584 + 9_420_800, cluster=16_384,
        clusters=1_124_420, medium=0xF8, info=14_336, in_use=False,
    )  # fmt: skip


@pytest.mark.parametrize("bits", [12, 32])
def test_two_bits_tell_that_it_is_in_use(bits: int) -> None:
    fields, name = (FAT12, "state") if bits == 12 else (FAT32, "state32")

    used = [fat._geometry(disk({**fields, name: 1 << bit})).in_use for bit in range(8)]

    assert used == [True, True, *[False] * 6]


def narrow(clusters: int, bits: int, table: int = 33) -> Mapping[str, Any]:
    """So many clusters of a sector, in tables of so many sectors."""
    return {**FAT12, "factor": 1, "root": 16, "table": table, "total": 0,
            "total32": 3 + 2 * table + 1 + clusters, "name": b"FAT%d   " % bits}  # fmt: skip


def wide(clusters: int, table: int) -> Mapping[str, Any]:
    """The same of FAT32."""
    total = 33 + 2 * table + clusters
    return {**FAT32, "sector": 512, "factor": 1, "table32": table, "total32": total}


_SECTOR, _CLUSTER = "its sector size is not possible", "its cluster size is not possible"
_ITSELF, _SHORT = "its boot sector contradicts itself", "its tables are too short"
_COUNT, _OUTSIDE = "its number of clusters is not possible", "its tables lie outside"
_INFO, _BACKUP = "its FSInfo lies outside", "it has no copy of its boot sector"
LIMITS: dict[str, tuple[Mapping[str, Any], str | None]] = {
    **{f"sectors of {n}": ({**FAT12, "sector": n}, None) for n in (512, 1024, 2048, 4096)},
    **{f"sectors of {n}": ({**FAT12, "sector": n}, _SECTOR)
       for n in (256, 511, 513, 1023, 1025, 2047, 2049, 4095, 4097, 8192)},
    **{f"clusters of {n}": ({**FAT12, "factor": n}, None) for n in (1, 2, 4, 64, 128)},
    **{f"clusters of {n}": ({**FAT12, "factor": n}, _CLUSTER) for n in (0, 3, 5, 6, 127, 129, 255)},
    **{f"{n} tables": ({**FAT12, "copies": n},
                       f"it has {n} copies of its table, nothing to compare with")
       for n in (0, 1, 3, 255)},
    "nothing before the table": ({**FAT12, "reserved": 0}, _ITSELF),
    "a sector before the table": ({**FAT12, "reserved": 1}, None),
    "no root directory": ({**FAT12, "root": 0}, _ITSELF),
    "a root directory in FAT32": ({**FAT32, "root": 1}, _ITSELF),
    "FAT12 under another name": ({**FAT12, "name": b"FAT16   "}, _ITSELF),
    "FAT12 in other letters": ({**FAT12, "name": b"FAT12  \0"}, _ITSELF),
    "FAT16 under another name": ({**FAT16, "name": b"FAT12   "}, _ITSELF),
    "4084 clusters": (narrow(4084, 12), None),
    "4084 clusters of FAT16": (narrow(4084, 16), _ITSELF),
    "4085 clusters": (narrow(4085, 16), None),
    "4085 clusters of FAT12": (narrow(4085, 12), _ITSELF),
    "tables that just suffice": (narrow(340, 12, 1), None),  # 342 entries are 513 bytes, less
    "tables of FAT12 that do not": (narrow(341, 12, 1), _SHORT),
    "tables of 256 entries a sector": (narrow(20 * 256 - 2, 16, 20), None),
    "tables of 256 entries, one more": (narrow(20 * 256 - 1, 16, 20), _SHORT),
    "tables of 128 entries a sector": (wide(300 * 128 - 2, 300), None),
    "tables of 128 entries, one more": (wide(300 * 128 - 1, 300), _SHORT),
    "no cluster": ({**FAT12, "total": 14}, _COUNT),
    "one cluster": ({**FAT12, "total": 15}, None),
    "nothing behind the tables": ({**FAT12, "total": 13}, _OUTSIDE),
    "the tables at the end": ({**FAT12, "total": 12}, _OUTSIDE),
    "the most clusters": (wide(0x0FFFFFF4, 1 << 21), None),
    "one more": (wide(0x0FFFFFF5, 1 << 21), _COUNT),
    "two more": (wide(0x0FFFFFF6, 1 << 21), _COUNT),
    "one table in use": ({**FAT32, "flags": 0x80}, "only one of its tables is in use"),
    "one of 16 tables in use": ({**FAT32, "flags": 0xFFFF}, "only one of its tables is in use"),
    "version 0.1": ({**FAT32, "version": 1}, "its version is unknown"),
    "version 1.0": ({**FAT32, "version": 256}, "its version is unknown"),
    "FSInfo in the last sector before": ({**FAT32, "info": 32}, None),
    "FSInfo in the table": ({**FAT32, "info": 33}, _INFO),
    "FSInfo nowhere": ({**FAT32, "info": 0xFFFF}, None),
    "FSInfo nearly nowhere": ({**FAT32, "info": 0xFFFE}, _INFO),
    "no FSInfo": ({**FAT32, "info": 0}, None),
    "the copy in the first sector": ({**FAT32, "backup": 1}, None),
    "the copy in the last sector": ({**FAT32, "backup": 32}, None),
    "the copy in the table": ({**FAT32, "backup": 33}, _BACKUP),
    "the copy far in the table": ({**FAT32, "backup": 400}, _BACKUP),
    "no copy": ({**FAT32, "backup": 0}, _BACKUP),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_which_numbers_are_possible(name: str) -> None:
    fields, wanted = LIMITS[name]
    if name.startswith("tables that just"):
        fields = narrow(339, 12, 1)

    assert reason(fields) == wanted


def test_where_nothing_tells_free_clusters() -> None:
    places = {n: fat._geometry(disk({**FAT32, "info": n})).info for n in (0, 1, 32, 0xFFFF)}

    assert places == {0: 0, 1: 2048, 32: 65_536, 0xFFFF: 0}


def test_a_volume_that_is_a_byte_too_small() -> None:
    assert reason(FAT12, size=1027 * 512) is None
    assert reason(FAT12, size=1027 * 512 - 1) == (
        "it says that it has 525824 bytes, in a place of 525823"
    )
    assert reason({**FAT12, "total32": 9}, size=1027 * 512) is None  # the first one counts


def test_a_volume_of_a_sector_at_least() -> None:
    words = "its boot sector would lie at byte 0, outside of it"

    assert reason(FAT12, size=511) == words
    assert reason({**FAT12, "sector": 7}, size=512) == _SECTOR


def test_of_the_copy_all_that_counts_is_compared() -> None:
    # given a copy with one other byte: the name of who made it, where it lies, and its number differ
    own, differs = sector(FAT32), set()
    for at in range(512):
        copy = own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :]
        told = reason(FAT32, copy)
        assert told in (None, "its boot sector and the copy differ")
        differs |= {at} if told else set()

    assert differs == {*range(11, 28), *range(32, 52)}

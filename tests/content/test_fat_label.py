"""The label of a FAT is an entry of its root directory: which one, and how far it is looked for."""

from __future__ import annotations

import struct

import pytest
from made_volumes import fat_entry
from vhd_files import MemoryDisk

from pipeline.content.fat_label import root_label

FILE, LABEL, LONG = 0x20, 0x08, 0x0F
NAME = b"MY LABEL   "


def narrow(entries: list[bytes], *, count: int | None = None) -> tuple[bytes, MemoryDisk]:
    """FAT12 or FAT16: 3 tables of 5 sectors of 1 KiB behind 7; the directory, and noise around it."""
    head = struct.pack("<HBHBH", 1024, 4, 7, 3, len(entries) if count is None else count)
    boot = (bytes([0x11]) * 11 + head + b"\x22\x33\x44" + struct.pack("<H", 5)).ljust(512, b"\x66")
    at = (7 + 3 * 5) * 1024
    return boot, MemoryDisk(
        1 << 22, {at - 32: fat_entry(b"BEFORE", LABEL, 0), at: b"".join(entries)}
    )


def wide(
    chain: list[int], clusters: dict[int, bytes], *, table: int = 9, factor: int = 2
) -> tuple[bytes, MemoryDisk]:
    """FAT32: 2 tables of 9 sectors behind 6, the root in a chain of clusters of 2 sectors."""
    head = struct.pack("<HBHBH", 512, factor, 6, 2, 0)
    boot = (b"\x11" * 11 + head + b"\x22\x33\x44" + b"\0\0").ljust(36, b"\x66")
    boot += struct.pack("<I", table) + b"\x77\x77\x77\x77" + struct.pack("<I", chain[0])
    size, data = 512 * factor, (6 + 2 * table) * 512
    parts = {data + (number - 2) * size: part for number, part in clusters.items()}
    for number, after in zip(chain, [*chain[1:], 0x0FFFFFFF], strict=True):
        parts[6 * 512 + 4 * number] = struct.pack("<I", after | 0xA0000000)
    return boot.ljust(512, b"\x66"), MemoryDisk(1 << 40, parts)


def label(made: tuple[bytes, MemoryDisk]) -> bytes | None:
    """What is found."""
    boot, disk = made
    return root_label(boot, disk.read)


ENTRIES: dict[str, tuple[list[bytes], bytes | None]] = {
    "first": ([fat_entry(NAME, LABEL, 0)], NAME),
    "last": ([fat_entry(b"F", FILE, 9)] * 40 + [fat_entry(NAME, LABEL, 0)], NAME),
    "of two the first": ([fat_entry(NAME, LABEL, 0), fat_entry(b"OTHER", LABEL, 0)], NAME),
    "none": ([fat_entry(b"F", FILE, 0)] * 3, None),
    "behind the end": ([bytes(32), fat_entry(NAME, LABEL, 0)], None),
    "before the end": ([fat_entry(NAME, LABEL, 0), bytes(32)], NAME),
    "behind a zero in a name": ([fat_entry(b"A\0", FILE, 1), fat_entry(NAME, LABEL, 0)], NAME),
    "behind a name that begins with zero": (
        [fat_entry(b"\0A", FILE, 1), fat_entry(NAME, LABEL, 0)],
        None,
    ),
    "deleted": ([fat_entry(b"\xe5LD", LABEL, 0), fat_entry(NAME, LABEL, 0)], NAME),
    "begins with E5": ([fat_entry(b"\x05LD ONE", LABEL, 0)], b"\xe5LD ONE    "),
    "begins with 1": ([fat_entry(b"\x01LD ONE", LABEL, 0)], b"\x01LD ONE    "),
    "begins with E4": ([fat_entry(b"\xe4LD", LABEL, 0)], b"\xe4LD        "),
    "begins with E6": ([fat_entry(b"\xe6LD", LABEL, 0)], b"\xe6LD        "),
    "a directory": ([fat_entry(NAME, 0x18, 0)], None),
    "a long name's piece": ([fat_entry(NAME, LONG, 0)], None),
    "a long name's piece of Windows": ([fat_entry(NAME, 0x4F, 0)], None),
    "a long name's piece, bit 7": ([fat_entry(NAME, 0xCF, 0)], None),
    "archived, read only, hidden": ([fat_entry(NAME, 0x2B, 0)], NAME),
    "of the system, archived": ([fat_entry(NAME, 0x2F, 0)], NAME),
    "with the upper bits": ([fat_entry(NAME, 0xC8, 0)], NAME),
    "no label, but all else": ([fat_entry(NAME, 0xE7, 0)], None),
    "a first cluster": ([fat_entry(NAME, LABEL, 0x0001)], None),
    "a first cluster, far": ([fat_entry(NAME, LABEL, 0x0100)], None),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_which_entry_is_the_label(name: str) -> None:
    entries, wanted = ENTRIES[name]

    assert label(narrow(entries)) == wanted


def test_which_bytes_of_an_entry_are_its_cluster() -> None:
    entry = fat_entry(NAME, LABEL, 0)
    for at in range(12, 32):
        found = label(narrow([entry[:at] + b"\x80" + entry[at + 1 :]]))
        assert found == (None if at in (20, 21, 26, 27) else NAME), at


def test_as_many_entries_as_the_boot_sector_counts() -> None:
    entries = [*[fat_entry(b"F", FILE, 1)] * 299, fat_entry(NAME, LABEL, 0)]

    assert label(narrow(entries, count=300)) == NAME
    assert label(narrow(entries, count=299)) is None


def test_a_directory_that_the_file_cuts_short() -> None:
    entries = [*[fat_entry(b"F", FILE, 1)] * 3, fat_entry(NAME, LABEL, 0)]
    boot, disk = narrow(entries)

    disk.size = 22 * 1024 + 128
    assert root_label(boot, disk.read) == NAME
    disk.size -= 1
    assert root_label(boot, disk.read) is None


# ------------------------------------------------------------------------------------------- FAT32

FULL = fat_entry(b"F", FILE, 3) * 32  # a cluster
HERE = fat_entry(b"F", FILE, 3) * 31 + fat_entry(NAME, LABEL, 0)
MOST = 9 * 512 // 4  # entries of the table


def test_the_chain_of_the_root_directory() -> None:
    assert label(wide([2], {2: HERE})) == NAME
    assert label(wide([300, 5, 777], {300: FULL, 5: FULL, 777: HERE})) == NAME
    assert label(wide([300, 5, 777], {300: FULL, 5: FULL, 777: FULL, 6: HERE})) is None
    assert label(wide([300, 5], {300: HERE, 5: HERE.replace(NAME, b"MY OTHER   ")})) == NAME


def test_a_chain_far_behind() -> None:
    first, second = 0x01000203, 0x01000405

    found = label(wide([first, second], {first: FULL, second: HERE}, table=140_000))

    assert found == NAME


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0, None), (1, None), (2, NAME), (MOST - 1, NAME), (MOST, None), (MOST + 1, None)],
)
def test_a_cluster_that_the_table_does_not_have(number: int, wanted: bytes | None) -> None:
    assert label(wide([300, number], {300: FULL, number: HERE})) == wanted


def test_a_hundred_clusters_are_looked_at() -> None:
    chain = [*range(900, 1001)]
    found = [label(wide(chain, {**dict.fromkeys(chain, FULL), chain[n]: HERE})) for n in (99, 100)]

    assert found == [NAME, None]


def test_a_mib_is_looked_at() -> None:
    # given clusters of 40 KiB: 25 of them, and 24 KiB of another one
    size, chain = 40 << 10, [*range(2, 30)]
    entries = [fat_entry(b"F", FILE, 3)] * (size // 32)

    def at(cluster: int, entry: int) -> bytes | None:
        with_label = entries.copy()
        with_label[entry] = fat_entry(NAME, LABEL, 0)
        parts = {**dict.fromkeys(chain, b"".join(entries)), chain[cluster]: b"".join(with_label)}
        return label(wide(chain, parts, factor=80))

    assert at(25, 24 * 32 - 1) == NAME
    assert at(25, 24 * 32) is None
    assert at(26, 0) is None

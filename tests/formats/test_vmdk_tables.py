"""VMDK's grain directory and tables at places and of sizes of which no two are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import vhd_files
from handmade import Memory, le32
from vmdk_files import CAPACITY, ENTRIES, FILE, GRAIN, PIECES, SIZE

from pipeline.formats import vmdk_tables
from pipeline.formats.base import Problem
from pipeline.source import Reader

FARTHEST = (2 * SIZE + (64 << 20)) // 512  # a sector that a file of this disk could have had


def image(pieces: Mapping[int, bytes] | None = None, size: int = FILE) -> Reader:
    whole = Memory(bytes(size))
    for at, data in (PIECES | dict(pieces or {})).items():
        whole = whole.also(at, data)
    return whole


def check(reader: Reader, **changes: Any) -> list[Problem]:
    fields = {
        "directory": 11,
        "capacity": CAPACITY,
        "grain": GRAIN,
        "entries": ENTRIES,
        "compressed": False,
        "data_from": 9,
    }
    return [*vmdk_tables.check(reader, **fields | changes)]


def test_sound_ones() -> None:
    assert check(image()) == []


# --- the directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", [0, 1 << 54, (1 << 54) + 1, (1 << 64) - 2])
def test_a_directory_at_no_sector(directory: int) -> None:
    detail = f"the grain directory's sector is {directory}"

    assert check(image(), directory=directory) == [Problem("corrupt-header", detail, 56, 8)]


@pytest.mark.parametrize("directory", [FARTHEST, (1 << 54) - 1])
def test_a_directory_far_behind_the_end(directory: int) -> None:
    start = directory * 512
    detail = f"the grain directory is at {start} to {start + 8}, the file has {FILE} bytes"

    assert check(image(), directory=directory) == [Problem("corrupt-header", detail, 56, 8)]


def test_a_directory_behind_the_end_of_a_file_that_was_cut() -> None:
    for size, missing in ((11 * 512 + 7, 1), (11 * 512, 8), (600, 11 * 512 + 8 - 600)):
        (problem,) = check(image(size=size))
        assert (problem.rule, problem.offset, problem.length) == ("truncated", size, missing)
    (problem,) = check(image(), directory=FARTHEST - 1)
    assert (problem.rule, problem.offset) == ("truncated", FILE)
    assert problem.length == (FARTHEST - 1) * 512 + 8 - FILE


@pytest.mark.parametrize(("count", "allowed"), [(2 << 20, True), ((2 << 20) + 1, False)])
def test_a_directory_of_eight_mib_is_the_largest(count: int, allowed: bool) -> None:
    reader = vhd_files.MemoryDisk(9 << 20, {11 * 512: le32(13)})

    found = check(reader, capacity=count * 40 - 39)

    detail = f"a grain directory of {count} entries"
    assert found == ([] if allowed else [Problem("header-limits", detail, 12, 52)])


@pytest.mark.parametrize(
    ("capacity", "entries"), [(40, 1), (41, 2), (80, 2), (81, 3), (1, 1), (39, 1)]
)
def test_a_directory_has_an_entry_for_each_table_that_the_disk_needs(
    capacity: int, entries: int
) -> None:
    # given that the file ends where the directory does
    size = 11 * 512 + 4 * entries

    assert check(vhd_files.MemoryDisk(size, {}), capacity=capacity) == []
    (problem,) = check(vhd_files.MemoryDisk(size - 1, {}), capacity=capacity)
    assert (problem.offset, problem.length) == (size - 1, 1)


@pytest.mark.parametrize(("number", "seen"), [(32767, True), (32768, False)])
def test_so_much_of_a_directory_is_looked_at(number: int, seen: bool) -> None:
    reader = vhd_files.MemoryDisk(1 << 20, {11 * 512 + 4 * number: le32(1 << 31)})

    assert bool(check(reader, capacity=40 * 40000)) is seen


def test_no_table_no_problem() -> None:
    assert check(image({11 * 512: bytes(8)})) == []


def test_one_table_twice() -> None:
    detail = f"the grain directory points twice to the table at {13 * 512}"

    assert check(image({11 * 512: le32(13) * 2})) == [
        Problem("corrupt-metadata", detail, 11 * 512, 8)
    ]


# --- tables --------------------------------------------------------------------------------------------


def test_the_last_table_ends_in_the_file() -> None:
    for at, missing in ((39, 0), (40, 20), (41, 532)):
        found = check(image({11 * 512: le32(at) + le32(13)}))
        told = [(item.rule, item.offset, item.length) for item in found]
        assert told == ([("truncated", FILE, missing)] if missing else [])
    found = check(image(size=15 * 512 + 19))
    assert [(item.rule, item.offset, item.length) for item in found] == [
        ("truncated", 15 * 512 + 19, 1)
    ]


def test_a_table_far_behind_the_end() -> None:
    near, far = FARTHEST - 1, FARTHEST
    start = far * 512

    assert [item.rule for item in check(image({11 * 512: le32(near)}))] == ["truncated"]
    assert check(image({11 * 512: le32(far)})) == [
        Problem(
            "corrupt-metadata",
            f"a grain table is at {start} to {start + 20}, the file has {FILE} bytes",
            11 * 512,
            8,
        )
    ]


# --- grains --------------------------------------------------------------------------------------------

FIRST_TABLE = (13 * 512, 20)


def test_two_grains_at_one_place() -> None:
    detail = f"two grains are at the same place {27 * 512}"

    assert check(image({13 * 512: le32(27)})) == [Problem("corrupt-metadata", detail, *FIRST_TABLE)]
    assert check(image({13 * 512: le32(1) * 5, 15 * 512: le32(0) * 2})) == []


@pytest.mark.parametrize("first", [10, 19, 20])
def test_a_grain_before_the_data(first: int) -> None:
    detail = f"a grain is at {19 * 512}, where the header or the descriptor is"

    assert check(image(), data_from=first) == (
        [Problem("corrupt-metadata", detail, *FIRST_TABLE)] if first > 19 else []
    )


def test_a_grain_at_a_table() -> None:
    detail = f"a grain is at {15 * 512}, where a grain table is"

    assert check(image({13 * 512: le32(15)})) == [Problem("corrupt-metadata", detail, *FIRST_TABLE)]
    assert [item.rule for item in check(image({13 * 512: le32(15) + le32(13)}))] == [
        "corrupt-metadata"
    ]


@pytest.mark.parametrize("lost", [0, 1, 5 * 512, 6 * 512])
def test_the_last_grain_is_as_long_as_the_disk_has_it(lost: int) -> None:
    found = check(image(size=FILE - lost))

    told = [(item.rule, item.offset, item.length) for item in found]
    assert told == ([("truncated", FILE - lost, lost)] if lost else [])


@pytest.mark.parametrize(("capacity", "sectors"), [(73, 1), (79, 7), (80, 8), (72, 8)])
def test_how_much_of_the_last_grain_the_disk_has(capacity: int, sectors: int) -> None:
    end = (35 + sectors) * 512

    assert check(image(size=end), capacity=capacity) == []
    (problem,) = check(image(size=end - 1), capacity=capacity)
    assert (problem.rule, problem.offset, problem.length) == ("truncated", end - 1, 1)


def test_a_grain_far_behind_the_end() -> None:
    near, far = FARTHEST, FARTHEST + 1

    (problem,) = check(image({13 * 512: le32(near)}))
    assert (problem.rule, problem.offset) == ("truncated", FILE)
    assert problem.length == (near + 5) * 512 - FILE
    detail = f"a grain is at {far * 512} to {(far + 5) * 512}, the file has {FILE} bytes"
    assert check(image({13 * 512: le32(far)})) == [
        Problem("corrupt-metadata", detail, *FIRST_TABLE)
    ]


def test_a_compressed_grain_tells_its_own_length() -> None:
    length = 0x0304
    told = {35 * 512 + 8: le32(length)}
    end = 35 * 512 + 12 + length

    assert check(image(told, end), compressed=True) == []
    (problem,) = check(image(told, end - 1), compressed=True)
    assert (problem.rule, problem.offset, problem.length) == ("truncated", end - 1, 1)
    assert check(image({35 * 512 + 8: bytes(4)}, 35 * 512 + 12), compressed=True) == []


# --- where grains are ------------------------------------------------------------------------------------


def test_the_grains_of_all_tables() -> None:
    assert vmdk_tables.grains(image(), directory=11, count=2, length=20) == {19, 27, 35}
    assert vmdk_tables.grains(image(), directory=11, count=1, length=20) == {19}
    assert vmdk_tables.grains(image(), directory=11, count=2, length=4) == {19, 27}
    assert vmdk_tables.grains(image({13 * 512: le32(2)}), directory=11, count=1, length=20) == {2}


def test_what_stands_behind_a_directory_is_no_table() -> None:
    more = image({11 * 512 + 8: le32(0) * 2 + le32(17), 17 * 512: le32(99)})

    assert vmdk_tables.grains(more, directory=11, count=4, length=20) == {19, 27, 35}
    assert vmdk_tables.grains(more, directory=11, count=5, length=20) == {19, 27, 35, 99}


@pytest.mark.parametrize("count", [64, 65])
def test_the_grains_of_so_many_tables_are_asked_for(count: int) -> None:
    # given a directory with a gap, tables of one entry, and as many grains
    places = b"".join(le32(100 + n) for n in range(count))
    tables = {(100 + n) * 512: le32(1000 + n) for n in range(count)}
    reader = vhd_files.MemoryDisk(1 << 20, {11 * 512: bytes(4) + places, **tables})

    found = vmdk_tables.grains(reader, directory=11, count=count + 1, length=4)

    assert found == set(range(1000, 1064))


@pytest.mark.parametrize(("number", "seen"), [(32767, True), (32768, False)])
def test_the_grains_by_the_first_entries_of_a_directory(number: int, seen: bool) -> None:
    reader = vhd_files.MemoryDisk(
        1 << 20, {11 * 512 + 4 * number: le32(2000), 2000 * 512: le32(77)}
    )

    found = vmdk_tables.grains(reader, directory=11, count=40000, length=4)

    assert found == ({77} if seen else set())

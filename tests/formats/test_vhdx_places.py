"""VHDX: bounds to the byte, and places that are not round."""

from __future__ import annotations

import struct
import uuid

import edges_vhdx
import pytest
import vhd_files
from edges_vhdx import KIB, image, region
from handmade import MIB, Memory, le32, le64

from pipeline import formats
from pipeline.formats import vhdx
from pipeline.formats.base import Container
from pipeline.formats.vhdx_tables import VirtualDisk
from pipeline.source import Reader

ITEMS = 2 * MIB + 64 * KIB
BLOCK_SIZE, FLAGS, SIZE, SECTOR = ITEMS, ITEMS + 4, ITEMS + 8, ITEMS + 16
ROWS = 2 * MIB + 32
TABLE = 3 * MIB


def look(reader: Reader) -> Container:
    return formats.identify(reader).container


def told(reader: Reader) -> list[tuple[str, int | None, int | None]]:
    return [(item.rule, item.offset, item.length) for item in look(reader).problems]


# ------------------------------------------------------------------------------ the parent's locator


def locator(data: bytes, *, at: int = 128 * KIB) -> Memory:
    """A differencing disk whose parent locator these bytes are."""
    row = struct.pack("<16sIIII", edges_vhdx._PARENT, at, len(data), 4, 0)
    found = Memory(image()).also(2 * MIB + 10, struct.pack("<H", 6)).also(ROWS + 5 * 32, row)
    return found.also(2 * MIB + at, data).also(FLAGS, le32(2))


PATH = "_path".encode("utf-16-le")


def test_a_locator_that_ends_with_its_only_entry_is_read() -> None:
    # given a locator whose name and value stand in the id of its kind, which nobody reads
    whole = PATH.ljust(18, b"\0") + struct.pack("<H", 1) + struct.pack("<IIHH", 0, 0, 10, 10)

    assert look(locator(whole)).external_references == ("_path",)
    assert look(locator(whole[:-1])).external_references == ()
    assert look(locator(whole[:19])).external_references == ()
    odd = whole[:17] + b"\xff" + whole[18:]  # the id's last byte
    assert look(locator(odd)).external_references == ("_path",)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 256, 300])
def test_of_a_locator_32_entries_are_read(count: int) -> None:
    head = PATH.ljust(18, b"\0") + struct.pack("<H", count)
    names = b"".join(f"{n:04}".encode("utf-16-le") for n in range(count))
    start = 20 + 12 * count
    table = b"".join(struct.pack("<IIHH", 0, start + 8 * n, 10, 8) for n in range(count))

    read = look(locator(head + table + names)).external_references

    assert read == tuple(f"{n:04}" for n in range(min(count, 32)))


def test_of_a_locator_as_many_entries_are_read_as_it_says() -> None:
    # given a second entry that is not counted
    entry = struct.pack("<IIHH", 44, 44, 10, 10)
    whole = bytes(17) + b"\xff" + struct.pack("<H", 1) + entry * 2 + PATH

    assert look(locator(whole)).external_references == ("_path",)


def test_of_a_locator_16_kib_are_read() -> None:
    entries = struct.pack("<IIHHIIHH", 0, 16 * KIB - 8, 10, 8, 0, 16 * KIB - 6, 10, 8)
    whole = (PATH.ljust(18, b"\0") + struct.pack("<H", 2) + entries).ljust(16 * KIB - 8, b"\0")

    found = look(locator(whole + "abcdefgh".encode("utf-16-le")))

    assert found.external_references == ("abcd", "bcd")


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("relative_path", True),
        ("volume_path", True),
        ("absolute_win32_path", True),
        ("a_path2", False),
        ("parent_linkage", False),
    ],
)
def test_what_a_locator_calls_a_path_is_one(key: str, named: bool) -> None:
    name, value = key.encode("utf-16-le"), "p.vhdx".encode("utf-16-le")
    # the value stands before the name, and neither at a round place
    entry = struct.pack("<IIHH", 45 + len(value), 33, len(name), len(value))
    whole = bytes(18) + struct.pack("<H", 1) + entry + b"\x01" + value + bytes(12) + name

    assert look(locator(whole)).external_references == (("p.vhdx",) if named else ())


# ------------------------------------------------------------------------------- headers and tables


@pytest.mark.parametrize("magic", [b"daeh", b"zead", b"hea\0", b"head"])
def test_a_header_begins_with_its_magic_whatever_its_sum(magic: bytes) -> None:
    found = told(edges_vhdx.head(0, magic))

    lost = [("corrupt-header", 64 * KIB, 4 * KIB)]
    assert found == ([] if magic == b"head" else lost)


@pytest.mark.parametrize("magic", [b"iger", b"zegi", b"reg\0", b"regi"])
def test_a_region_table_begins_with_its_magic_whatever_its_sum(magic: bytes) -> None:
    found = told(region(0, magic))

    lost = [("corrupt-header", 192 * KIB, 64 * KIB)]
    assert found == ([] if magic == b"regi" else lost)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("at", "value", "rule"), [(66, 300, "VHDX version 300"), (64, 300, "VHDX log version 300")]
)
def test_a_version_is_told_at_its_field(number: int, at: int, value: int, rule: str) -> None:
    # given that one header only is whole
    place = (64 * KIB, 128 * KIB)[number]
    other = (128 * KIB, 64 * KIB)[number]
    reader = edges_vhdx.head(at, struct.pack("<H", value), (place,)).also(other, b"x")

    (problem,) = look(reader).problems

    assert (problem.detail, problem.offset, problem.length) == (rule, place + at, 2)


def test_the_disk_s_own_id_lies_among_the_metadata() -> None:
    item = vhdx.page83(Memory(image()))

    assert item is not None
    assert (item.offset, item.length) == (ITEMS + 24, 16)
    assert Memory(image()).read(item.offset, 16) == uuid.UUID(int=9).bytes_le
    for length in (0, 15, 17, 272):
        assert vhdx.page83(Memory(image()).also(ROWS + 4 * 32 + 20, le32(length))) is None
    assert vhdx.page83(Memory(image()).also(2 * MIB + 10, b"\4\0")) is None
    assert vhdx.page83(Memory(image()).also(2 * MIB, b"x")) is None
    assert vhdx.page83(region(48, b"\1" * 16)) is None


# -------------------------------------------------------------------------------------- the places


def test_a_block_at_the_first_mib_is_legal_where_no_log_is() -> None:
    # given that the log is elsewhere
    moved = edges_vhdx.head(72, le64(4 * MIB)).also(TABLE, le64(MIB | 6))
    assert told(moved) == []

    there = Memory(image()).also(TABLE, le64(MIB | 6))
    assert told(there) == [("corrupt-metadata", TABLE, 32)]


def test_a_log_that_is_not_used_may_be_anywhere_but_at_a_block_s_place() -> None:
    # given a log without an id, half a MiB before a block
    moved = edges_vhdx.head(72, le64(3 * MIB + MIB // 2))
    assert told(moved) == []

    there = edges_vhdx.head(72, le64(4 * MIB))
    assert told(there) == [("corrupt-metadata", TABLE, 32)]


@pytest.mark.parametrize("state", range(8))
def test_only_blocks_that_are_present_have_a_place(state: int) -> None:
    found = look(Memory(image()).also(TABLE, le64(1 << 50 | state) + le64(2 << 50 | state)))

    words = [item.detail for item in found.problems]
    assert ("a block has an unknown state" in words) is (state in (4, 5))
    assert ("a block is only partly present, and there is no parent" in words) is (state == 7)
    assert any("a block is at" in word for word in words) is (state in (6, 7))


@pytest.mark.parametrize("place", [0, MIB, 2 * MIB, 3 * MIB])
def test_no_block_may_be_where_log_metadata_or_table_are(place: int) -> None:
    # the second block is the one at fault
    reader = Memory(image()).also(TABLE, le64(4 * MIB | 6) + le64(place | 6))

    (problem,) = look(reader).problems
    assert problem.detail == f"a block is at {place}, where headers or tables are"
    assert (problem.rule, problem.offset, problem.length) == ("corrupt-metadata", TABLE, 32)


@pytest.mark.parametrize(
    ("size", "block", "sector", "blocks", "ratio"),
    [
        (1, MIB, 512, 1, 4096),
        (MIB, MIB, 512, 1, 4096),
        (MIB + 1, MIB, 512, 2, 4096),
        (5 * MIB - 1, 2 * MIB, 512, 3, 2048),
        (100 * MIB, 32 * MIB, 4096, 4, 1024),
        (0, MIB, 4096, 0, 32768),
    ],
)
def test_how_many_blocks_a_disk_has(
    size: int, block: int, sector: int, blocks: int, ratio: int
) -> None:
    disk = VirtualDisk(size, block, sector, fixed=False, has_parent=False)

    assert (disk.blocks, disk.chunk_ratio) == (blocks, ratio)


def test_the_second_table_of_regions_is_told_by_its_own_places() -> None:
    # given that only the copy is whole, and that it names a region nobody knows
    other = struct.pack("<16sQII", b"\1" * 16, 4 * MIB, MIB, 1)
    copy = region(8, le32(3) + bytes(4) + image()[192 * KIB + 16 : 192 * KIB + 80] + other)

    assert told(copy.also(192 * KIB, b"x")) == [
        ("corrupt-header", 192 * KIB, 64 * KIB),
        ("unsupported-feature", 256 * KIB + 16 + 2 * 32, 32),
    ]
    assert told(copy) == [("unsupported-feature", 192 * KIB + 16 + 2 * 32, 32)]


@pytest.mark.parametrize("by", [1 << n for n in range(17)] + [0x1FFFF, 65536 + 42])
def test_metadata_at_an_odd_place_is_read_there_all_the_same(by: int) -> None:
    # given the metadata moved, an item that nobody knows, one outside, and a parent
    whole = Memory(image()).also(2 * MIB + 10, b"\x08\0").also(FLAGS, le32(2))
    rows = [
        struct.pack("<16sIIII", b"\1" * 16, 70 * KIB, 8, 4, 0),
        struct.pack("<16sIIII", edges_vhdx._PARENT, 70 * KIB, 32, 4, 0),
        struct.pack("<16sIIII", edges_vhdx._PARENT, MIB, 1, 4, 0),
    ]
    locator = PATH.ljust(18, b"\0") + struct.pack("<H", 1) + struct.pack("<IIHH", 0, 0, 10, 10)
    metadata = whole.also(ROWS + 5 * 32, b"".join(rows)).also(2 * MIB + 70 * KIB, locator)
    place = 2 * MIB + by
    moved = region(64, le64(place) + le32(256 * KIB)).also(2 * MIB, bytes(256 * KIB))
    moved = moved.also(place, metadata.read(2 * MIB, 128 * KIB))

    found = look(moved)

    too_many = moved.also(place + 10, struct.pack("<H", 2048))
    assert ("header-limits", place + 10, 2) in told(too_many)
    assert (found.virtual_size, found.uuid) == (4 * MIB, str(uuid.UUID(int=9)))
    assert found.external_references == ("_path",)
    assert [(item.rule, item.offset) for item in found.problems] == [
        ("corrupt-header", 192 * KIB),  # no multiple of a MiB
        ("unsupported-feature", place + 32 + 5 * 32),
        ("corrupt-header", place + 32 + 7 * 32),
        ("parent-image", place + 64 * KIB),
    ]


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4, 7, 8, 12, 1 << 31])
def test_metadata_that_nobody_knows_matters_if_it_is_required(flags: int) -> None:
    # given that what is reserved in the table's head is not zero
    row = struct.pack("<16sIIII", b"\1" * 16, 70 * KIB, 8, flags, 0)
    reader = Memory(image()).also(2 * MIB + 10, b"\6\0\xff").also(ROWS + 5 * 32, row)

    required = flags in (4, 7, 12)
    assert told(reader) == ([("unsupported-feature", ROWS + 5 * 32, 32)] if required else [])


@pytest.mark.parametrize(
    ("size", "allowed"),
    [
        *[(1 << bits, 20 <= bits <= 28) for bits in range(32)],
        (3 * MIB, False),
        (MIB + 1, False),
        (257 * MIB, False),
        (0, False),
    ],
)
def test_blocks_have_a_power_of_two_of_bytes(size: int, allowed: bool) -> None:
    found = told(Memory(image()).also(BLOCK_SIZE, le32(size)))

    assert (("corrupt-header", BLOCK_SIZE, 4) not in found) is allowed


def test_a_large_disk_s_table_is_read_to_128_kib() -> None:
    size = 40 << 30  # of 40960 blocks, and 9 entries between them

    def with_entry(number: int) -> Reader:
        head = image()[: 3 * MIB]
        pieces = {0: head, SIZE: le64(size), TABLE + 8 * number: le64(4 * MIB | 5)}
        return vhd_files.MemoryDisk(5 * MIB, pieces)

    assert told(with_entry(16383)) == [("corrupt-metadata", TABLE, 128 * KIB)]
    assert told(with_entry(16384)) == []

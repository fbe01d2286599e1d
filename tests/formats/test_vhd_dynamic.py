"""What a dynamic VHD's header and table say, with a header at an odd place: where each problem is told."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import vhd_files
from edges_vhd import BLOCK, FIRST, STRIDE, small
from handmade import Memory, be32

from pipeline.formats import vhd_dynamic
from pipeline.formats.base import Problem
from pipeline.formats.vhd_bytes import Footer
from pipeline.formats.vhd_dynamic import Dynamic

ROOM = 4096  # bytes behind the three blocks
END = FIRST + 3 * STRIDE + ROOM  # where the footer stands
AT = FIRST + 3 * STRIDE + 1535  # of the header: an odd number whose eleven lowest bits are set
assert AT % 2048 == 2047
LOCATED = END - 400
TABLE = 1536


def made(*, footer: Any = None, **header: Any) -> Memory:
    whole = small(
        tail=3 * STRIDE + ROOM, footer={"data_offset": AT, **(footer or {})}, header=header
    )
    return Memory(whole).also(AT, whole[512:1536]).also(512, bytes(1024))


def look(image: Memory, *, cut: bool = False, limit: int = END) -> Dynamic:
    return vhd_dynamic.inspect(image, Footer.unpack(image.read(0, 512)), limit, cut=cut)


def locators(*each: tuple[bytes, int, int]) -> bytes:
    packed = b"".join(struct.pack(">4sIIIQ", code, 1, n, 0, at) for code, at, n in each)
    return packed.ljust(192, b"\0")


NAME = "base.vhd".encode("utf-16-be").ljust(512, b"\0")


def test_a_sound_one() -> None:
    found = look(made())

    assert (found.problems, found.references) == ([], ())
    assert found.details == {
        "block_size": BLOCK,
        "bat_entries": 6,
        "bat_offset": TABLE,
        "bat_spare": 0,
        "table_checked": True,
        "allocated_blocks": 3,
        "batmap": {"offset": 2560, "sectors": 1, "full_blocks": 3},
    }


@pytest.mark.parametrize(
    ("changes", "rule", "detail", "at", "length"),
    [
        ({"cookie": b"cxspars\x1b"}, "vhd-header", "its cookie is 'cxspars\\x1b'", 0, 8),
        ({"version": 0x00030107}, "vhd-header", "its version is 3.263", 24, 4),
        ({"block_size": 2048}, "vhd-header", "its block size is 2048", 32, 4),
        ({"block_size": 6144}, "vhd-header", "its block size is 6144", 32, 4),
        ({"block_size": 128 << 20}, "vhd-header", "its block size is 134217728", 32, 4),
        ({"data_offset": 0x177}, "vhd-reserved-fields", "the header's data offset is 0x177", 8, 8),
        ({"reserved1": b"\0\0\0\1"}, "vhd-reserved-fields",
         "reserved bytes of the header are not zero", 768, 256),
        ({"reserved2": bytes(255) + b"\1"}, "vhd-reserved-fields",
         "reserved bytes of the header are not zero", 768, 256),
        ({"parent_timestamp": 5}, "vhd-reserved-fields",
         "a dynamic disk has a parent's time stamp", 56, 4),
        ({"parent_name": NAME}, "vhd-parent", "it is dynamic but names a parent, base.vhd", 40, 728),
        ({"parent_name": NAME, "parent_timestamp": 5}, "vhd-parent",
         "it is dynamic but names a parent, base.vhd", 40, 728),
        ({"entries": 1 << 30}, "vhd-bat", "it has 1073741824 entries", 28, 4),
        ({"entries": (1 << 20) + 1}, "vhd-bat", "it has 1048577 entries", 28, 4),
        ({"entries": 1 << 20}, "vhd-bat",
         f"1048576 entries at 1536 need 4194304 bytes, the data ends at {END}", 16, 8),
        ({"table_offset": END - 23}, "vhd-bat",
         f"6 entries at {END - 23} need 24 bytes, the data ends at {END}", 16, 8),
        ({"table_offset": 1537}, "vhd-bat", "it begins at 1537, which is no multiple of 512", 16, 8),
        ({"table_offset": 2047}, "vhd-bat", "it begins at 2047, which is no multiple of 512", 16, 8),
        ({"table_offset": 0}, "vhd-bat", "at 0 it covers the footer's copy or the header", 16, 8),
        ({"table_offset": AT + 1}, "vhd-bat",
         f"at {AT + 1} it covers the footer's copy or the header", 16, 8),
        ({"entries": 5}, "vhd-bat", "it has 5 entries for 6 blocks", 28, 4),
    ],
)  # fmt: skip
def test_where_a_field_of_the_header_is_told(
    changes: dict[str, Any], rule: str, detail: str, at: int, length: int
) -> None:
    assert look(made(**changes)).problems[:1] == [Problem(rule, detail, AT + at, length)]


def test_a_checksum_is_told_with_the_right_one() -> None:
    right = int.from_bytes(made().read(AT + 36, 4), "big")

    found = look(made().also(AT + 36, be32(right ^ 0x10)))

    assert found.problems == [
        Problem(
            "vhd-header",
            f"its checksum is 0x{right ^ 0x10:08x}, the bytes give 0x{right:08x}",
            AT,
            1024,
        )
    ]
    assert found.details == {}


@pytest.mark.parametrize("size", [4096, 8192, 1 << 20, 64 << 20])
def test_blocks_are_powers_of_two(size: int) -> None:
    assert look(made(block_size=size)).details["block_size"] == size


@pytest.mark.parametrize(
    ("limit", "fits"), [(AT + 1024, True), (AT + 1023, False), (AT, False), (0, False)]
)
def test_a_header_ends_before_the_footer(limit: int, fits: bool) -> None:
    found = look(made(), limit=limit)

    broken = Problem("vhd-header", f"the header should be at {AT}, the file ends at {limit}", 16, 8)
    assert found.problems == ([] if fits else [broken])


@pytest.mark.parametrize(
    ("offset", "count", "fits"),
    [
        (512, 1, True),
        (AT - 1535, 383, True),  # up to the header's first byte but three
        (AT - 1535, 384, False),
        (AT - 511, 127, True),
        (AT - 511, 128, False),
        (AT + 1025, 8, True),
        (AT + 513, 8, False),
    ],
)
def test_a_table_lies_beside_the_header(offset: int, count: int, fits: bool) -> None:
    image = made(table_offset=offset, entries=count, footer={"current_size": count * BLOCK})

    places = [item.offset for item in look(image).problems if item.rule == "vhd-bat"]

    assert places == ([] if fits else [AT + 16])


# --- the parent ------------------------------------------------------------------------------------


def test_all_names_of_a_parent_are_told_once_each() -> None:
    windows = "c:\\base.vhd".encode("utf-16-le")
    image = made(
        footer={"disk_type": 4},
        parent_name=NAME,
        parent_uuid=bytes(15) + b"\x07",
        locators=locators(
            (b"W2ku", LOCATED, len(windows)),
            (b"W2ru", LOCATED, len(windows)),
            (b"MacX", LOCATED + 100, 7),
        ),
    )
    image = image.also(LOCATED, windows).also(LOCATED + 100, b"/a.vhd\0")

    found = look(image)

    assert found.references == (
        "base.vhd",
        "c:\\base.vhd",
        "/a.vhd",
        "uuid 00000000-0000-0000-0000-000000000007",
    )
    (problem,) = found.problems
    assert problem == Problem(
        "vhd-parent",
        f"it is differencing, its parent is {', '.join(found.references)}",
        AT + 40,
        728,
    )


@pytest.mark.parametrize("kind", [3, 4])
def test_a_locator_without_a_name_is_a_parent_all_the_same(kind: int) -> None:
    image = made(footer={"disk_type": kind}, locators=locators((b"W\x1bru", LOCATED, 0)))

    assert look(image).references == ("a locator W\\x1bru",)


def test_a_differencing_disk_without_any_name() -> None:
    assert look(made(footer={"disk_type": 4})).references == ("an unnamed parent",)


@pytest.mark.parametrize(("code", "text"), [(b"W2ru", "ab"), (b"W2ku", "ab"), (b"W2xu", "a")])
def test_windows_names_are_utf_16(code: bytes, text: str) -> None:
    image = made(locators=locators((code, LOCATED, 4))).also(LOCATED, b"a\0b\0c\0")

    assert look(image).references == (text,)


# --- blocks ----------------------------------------------------------------------------------------


def test_the_first_eight_blocks_of_a_kind_are_told() -> None:
    count = 12
    image = made(entries=count, footer={"current_size": count * BLOCK})
    table = b"".join(be32(1 << 24 | n * 9) for n in range(count))

    found = look(image.also(TABLE, table)).problems

    bounds = [item for item in found if item.rule == "vhd-block-bounds"]
    assert len(bounds) == 8
    first = (1 << 24) * 512 + STRIDE
    assert bounds[0] == Problem(
        "vhd-block-bounds",
        f"block 0 ends at {first}, behind the end of the data at {END}",
        TABLE,
        4,
    )
    assert [item.offset for item in bounds] == [TABLE + 4 * n for n in range(8)]


@pytest.mark.parametrize("by", [0, 1])
@pytest.mark.parametrize("limit", [END, END + 300, END + 511])
def test_a_block_ends_before_the_footer(limit: int, by: int) -> None:
    sector = (END - STRIDE) // 512 + by
    image = Memory(made(footer={"data_offset": 512}).read(0, END))
    image = image.also(512, small()[512:1536]).also(TABLE + 4, be32(sector))

    found = look(image, limit=limit)

    ends = f"block 1 ends at {sector * 512 + STRIDE}, behind the end of the data at {limit}"
    wanted = [Problem("vhd-block-bounds", ends, TABLE + 4, 4)] if by else []
    assert [item for item in found.problems if item.rule == "vhd-block-bounds"] == wanted


def test_of_a_cut_file_what_lies_behind_the_end_is_lost() -> None:
    image = made().also(TABLE + 4, be32(END // 512))

    (problem,) = look(image, cut=True).problems

    assert problem == Problem(
        "vhd-truncated",
        f"block 1 ends at {END // 512 * 512 + STRIDE}, behind the end of the data at {END}",
        TABLE + 4,
        4,
    )


@pytest.mark.parametrize("at", [AT, AT + 512])
@pytest.mark.parametrize(
    ("by", "told"), [(-9, False), (-8, True), (0, True), (2, True), (3, False)]
)
def test_a_block_over_a_header_at_an_odd_place(at: int, by: int, told: bool) -> None:
    sector = at // 512 + by
    image = Memory(small(tail=6 * STRIDE + ROOM, footer={"data_offset": at}))
    image = image.also(at, image.read(512, 1024)).also(TABLE + 4 * 4, be32(sector))

    found = look(image, limit=END + 3 * STRIDE).problems

    detail = f"block 4 at {sector * 512} covers metadata at {at}"
    assert [item for item in found if item.rule == "vhd-block-bounds"] == (
        [Problem("vhd-block-bounds", detail, TABLE + 16, 4)] if told else []
    )


@pytest.mark.parametrize(("by", "told"), [(-9, False), (-8, True), (2, True), (3, False)])
def test_a_block_over_the_table(by: int, told: bool) -> None:
    # given a table of 1536 bytes at an odd sector
    at, count = FIRST + 3 * STRIDE, 384
    disk = {"current_size": count * BLOCK}
    image = Memory(
        small(tail=6 * STRIDE, footer=disk, header={"table_offset": at, "entries": count})
    ).also(at, be32(at // 512 + by) + b"\xff" * (4 * count - 4))

    found = look(image, limit=FIRST + 6 * STRIDE).problems

    detail = f"block 0 at {at + 512 * by} covers metadata at {at}"
    assert found == ([Problem("vhd-block-bounds", detail, at, 4)] if told else [])


def test_blocks_over_one_another() -> None:
    image = made().also(
        TABLE, be32(FIRST // 512) + be32(FIRST // 512 + 9) + be32(FIRST // 512 + 17)
    )
    image = image.also(TABLE + 16, be32(FIRST // 512 + 17))

    found = [item for item in look(image).problems if item.rule == "vhd-block-overlap"]

    at = FIRST + 17 * 512
    assert found == [
        Problem("vhd-block-overlap", f"blocks 1 and 2 both cover offset {at}", TABLE + 8, 4),
        Problem("vhd-block-overlap", f"blocks 2 and 4 both cover offset {at}", TABLE + 16, 4),
    ]


# --- what is stored --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "held"),
    [
        (FIRST + 511, 2, False),
        (FIRST + 512, BLOCK, True),
        (FIRST + 512, BLOCK + 1, False),
        (FIRST + STRIDE + 512, 1, True),
        (FIRST + 3 * STRIDE - 1, 1, True),
        (FIRST + 3 * STRIDE - 1, 2, False),
    ],
)
def test_the_bytes_of_blocks_are_the_guest_s(offset: int, length: int, held: bool) -> None:
    image = made()

    assert vhd_dynamic.stores(image, Footer.unpack(image.read(0, 512)), offset, length) is held


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"cookie": b"cxsparsf"}, False),
        ({"version": 0x20000}, False),
        ({"data_offset": 5}, True),  # a reserved field says nothing about the table
        ({"reserved1": b"\1\0\0\0"}, True),
        ({"table_offset": 1537}, False),
        ({"table_offset": END - 23}, False),
    ],
)
def test_a_header_or_a_table_that_is_broken_stores_nothing(
    changes: dict[str, Any], held: bool
) -> None:
    image = made(**changes)
    footer = Footer.unpack(image.read(0, 512))

    assert vhd_dynamic.stores(image, footer, FIRST + 512, BLOCK) is held


@pytest.mark.parametrize(("size", "held"), [(AT, False), (AT + 1023, False), (AT + 1024, True)])
def test_a_header_that_is_not_whole_stores_nothing(size: int, held: bool) -> None:
    image = Memory(made().read(0, size))
    footer = Footer.unpack(image.read(0, 512))

    assert vhd_dynamic.stores(image, footer, FIRST + 512, BLOCK) is held


@pytest.mark.parametrize(("entries", "held"), [(131072, True), (131073, False)])
def test_a_table_that_is_too_long_to_be_asked_for_stores_nothing(entries: int, held: bool) -> None:
    whole = small(footer={"current_size": entries * BLOCK}, header={"entries": entries})
    size = 4 * entries + 4096 + STRIDE
    block = size - STRIDE - (size - STRIDE) % 512
    pieces = {0: whole[:TABLE], TABLE: be32(block // 512) + b"\xff" * (4 * entries - 4)}
    disk = vhd_files.MemoryDisk(size, pieces)

    found = vhd_dynamic.stores(disk, Footer.unpack(whole[:512]), block + 512, BLOCK)

    assert found is held

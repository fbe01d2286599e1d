"""XenServer's map of full blocks: which bit is which block, and where the map may stand."""

from __future__ import annotations

import pytest
from handmade import Memory, be32

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.base import Problem
from pipeline.formats.vhd_bytes import BatmapHeader, Header
from pipeline.formats.vhd_table import Batmap, Table, read_table

# The table begins inside a sector's worth of odd offsets, so that no two places share their bits by chance.
TABLE = 1536 + 511
BITS = bytes(at * 37 % 256 for at in range(512))
FULL = [number for number in range(4096) if BITS[number // 8] >> (7 - number % 8) & 1]


def made(
    bits: bytes = BITS,
    *,
    entries: int = 4096,
    at: int | None = None,
    limit: int | None = None,
    size: int = 4096 << 21,
    stored: bool = True,
    **changes: object,
) -> Batmap:
    """The map behind a table of that many entries; ``at``: where its bits are, by its header."""
    header = Header(
        vhd.HEADER_COOKIE, vhd.NO_OFFSET, TABLE, vhd.VERSION_1_0, entries, 2 << 20, 0, bytes(16),
        0, bytes(4), bytes(512), bytes(192), bytes(256),
    )  # fmt: skip
    place = TABLE + header.table_size
    there = place + 512 + (-(place + 512)) % 512
    mapped = {
        "cookie": b"tdbatmap",
        "offset": there if at is None else at,
        "sectors": len(bits) // 512,
        "version": 0x00010002,
        "checksum": vhd.checksum(bits),
        "marker": 0,
        "reserved": bytes(483),
    }
    table = (be32(8) if stored else b"\xff" * 4) * entries
    file = bytes(TABLE) + table.ljust(header.table_size, b"\xff")
    file += BatmapHeader(**mapped | changes).pack()  # type: ignore[arg-type]
    reader = Memory(file.ljust(there, b"\0") + bits + bytes(512))
    read = read_table(reader, header)
    return Batmap(reader, header, read, size, reader.size - 512 if limit is None else limit)


PLACE = TABLE + 4 * 4096  # of the map's header
MAP = 18944  # of its bits: the next whole sector behind


def test_each_block_has_its_bit() -> None:
    batmap = made()

    assert batmap.problems == []
    assert [number for number in range(4096) if batmap.full(number)] == FULL
    assert not any(batmap.full(number) for number in (4096, 4103, 8191, 1 << 31))
    assert batmap.details == {"offset": MAP, "sectors": 1, "full_blocks": len(FULL)}
    assert batmap.regions == ((PLACE, PLACE + 512), (MAP, MAP + 512))


def test_without_a_map_no_block_is_marked() -> None:
    batmap = made(cookie=b"tdbatmaq")

    assert (batmap.problems, batmap.details, batmap.regions) == ([], None, ())
    assert not batmap.full(0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 0x00010003}, ("its version is 0x00010003", 20, 4)),
        ({"version": 0x00010000}, ("its version is 0x00010000", 20, 4)),
        ({"sectors": 0}, ("0 sectors for 4096 blocks", 16, 4)),
        ({"entries": 4097}, ("1 sectors for 4097 blocks", 16, 4)),
        ({"sectors": 1025}, ("1025 sectors for 4096 blocks", 16, 4)),
        ({"at": PLACE + 511}, (f"the map is at {PLACE + 511}", 8, 8)),
        ({"at": MAP - 512}, (f"the map is at {MAP - 512}", 8, 8)),
        ({"at": MAP + 1}, (f"the map is at {MAP + 1}", 8, 8)),
        ({"at": MAP + 511}, (f"the map is at {MAP + 511}", 8, 8)),
        ({"at": MAP + 512}, (f"the map at {MAP + 512} reaches behind the data's end", 8, 8)),
        ({"limit": MAP + 511}, (f"the map at {MAP} reaches behind the data's end", 8, 8)),
        ({"checksum": 0x7}, ("its checksum is 0x00000007, the bytes give 0xffff00ff", 24, 4)),
    ],
)
def test_what_is_wrong_with_a_map(
    changes: dict[str, object], problem: tuple[str, int, int]
) -> None:
    detail, at, length = problem
    entries = changes.get("entries", 4096)
    assert isinstance(entries, int)
    start = TABLE + 512 * -(-4 * entries // 512)

    assert made(**changes).problems == [  # type: ignore[arg-type]
        Problem("vhd-batmap", detail, start + at, length)
    ]


def test_a_map_of_no_sectors_is_none_even_where_there_is_no_block() -> None:
    (problem,) = made(b"", entries=0).problems

    assert problem.detail == "0 sectors for 0 blocks"


def test_the_largest_map_covers_the_largest_table() -> None:
    bits = bytes(1024 * 512)

    assert made(bits, entries=8).problems == []


@pytest.mark.parametrize(
    ("number", "byte", "of"), [(0, 0, 0x80), (7, 0, 1), (8, 1, 0x80), (1234, 154, 0x20)]
)
def test_a_block_that_is_shown_as_full_and_not_stored(number: int, byte: int, of: int) -> None:
    bits = bytes(byte) + bytes([of]) + bytes(511 - byte)

    (problem,) = made(bits, stored=False).problems

    assert problem.detail == f"it shows unallocated block {number} as full"
    assert (problem.offset, problem.length) == (MAP + byte, 1)


@pytest.mark.parametrize(
    ("size", "prefix"),
    [
        (0, 512),
        (1 << 24, 512),
        ((513 << 24) - 1, 512),
        (513 << 24, 1024),
        ((1025 << 24) - 1, 1024),
        (1025 << 24, 1536),
    ],
)
def test_a_checksum_holds_over_the_part_that_libvhd_sums_and_over_the_whole(
    size: int, prefix: int
) -> None:
    # given a map whose last sector has bits of blocks that are stored
    bits = bytes(1024) + b"\x80" + bytes(511)
    right = vhd.checksum(bits)

    found = made(bits, entries=3 * 4096, size=size).problems

    part = vhd.checksum(bits[:prefix])
    assert [item.detail for item in found] == (
        [f"its checksum is 0x{right:08x}, the bytes give 0x{part:08x}"] if prefix < 1536 else []
    )


@pytest.mark.parametrize(
    ("byte", "counts"), [(0, 0), (1, 1), (0x7E, 126), (0x7F, 127), (0x80, -128), (0xFF, -1)]
)
def test_the_old_version_adds_signed_bytes(byte: int, counts: int) -> None:
    bits = b"\x03" + bytes([byte]) + bytes(510)

    said = ~(3 + counts) & 0xFFFFFFFF

    assert made(bits, version=0x00010001, checksum=said).problems == []
    (problem,) = made(bits, version=0x00010001, checksum=said ^ 1).problems
    assert problem.detail == f"its checksum is 0x{said ^ 1:08x}, the bytes give 0x{said:08x}"


@pytest.mark.parametrize(
    ("block", "bitmap"),
    [(512, 512), (4096, 512), (2 << 20, 512), ((2 << 20) + 512, 1024), (64 << 20, 16384)],
)
def test_the_room_that_a_block_takes(block: int, bitmap: int) -> None:
    table = Table.parse(be32(700) + b"\xff" * 4 + be32(300), 1537, 512, block)

    assert (table.bitmap_size, table.block_size, table.stride) == (bitmap, block, bitmap + block)
    assert (table.offset, table.size, table.stored) == (1537, 512, b"\1\0\1")
    assert table.allocated() == [300, 700]
    assert (table.number(300), table.number(700)) == (2, 0)
    assert table.problem("r", "d", 2) == Problem("r", "d", 1537 + 8, 4)

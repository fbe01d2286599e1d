"""The VHD that we write at the edges of its sizes: where each part begins, and what a plan may hold."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
import vhd_files as files
from vhd_files import BLOCK

from pipeline.formats import vhd_bytes
from pipeline.formats.vhd_bytes import BatmapHeader, Footer, Header
from pipeline.formats.vhd_layout import MAX_SIZE, VhdLayout, footer

STRIDE = 4104 * 512
UUID = files.UUID_1

# entries, bytes of the table, bytes of the map
SIZES = [
    (1, 512, 512),
    (127, 512, 512),
    (128, 512, 512),
    (129, 1024, 512),
    (257, 1536, 512),
    (385, 2048, 512),
    (513, 2560, 512),
    (641, 3072, 512),
    (769, 3584, 512),
    (897, 4096, 512),
    (4096, 16384, 512),
    (4104, 16896, 1024),
    (8192, 32768, 1024),
    (8200, 33280, 1536),
    (MAX_SIZE // BLOCK, 4177920, 130560),
]


@pytest.mark.parametrize(("entries", "table", "bits"), SIZES)
def test_where_the_parts_in_front_of_the_blocks_are(entries: int, table: int, bits: int) -> None:
    last = entries - 1
    layout = VhdLayout(entries * BLOCK, [last], UUID, 0)
    batmap, first = 1536 + table, layout.grid[0] - 512
    end = batmap + 512 + bits

    headers = layout.headers
    assert len(headers) == end
    assert end <= first < end + 4096
    assert layout.grid == (first + 512, STRIDE)
    assert (first + 512) % 4096 == 0
    assert layout.block_at(last) == first + 512
    assert layout.size == first + 512 + BLOCK + 512

    header = Header.unpack(headers[512:1536])
    assert (header.table_offset, header.entries, header.block_size) == (1536, entries, BLOCK)
    assert (header.cookie, header.version, header.data_offset) == (b"cxsparse", 65536, 2**64 - 1)
    numbers = struct.unpack(f">{entries}I", headers[1536 : 1536 + 4 * entries])
    assert numbers == (0xFFFFFFFF,) * last + (first // 512,)
    assert not any(headers[1536 + 4 * entries : batmap])

    mapped = BatmapHeader.unpack(headers[batmap : batmap + 512])
    assert (mapped.cookie, mapped.offset, mapped.sectors) == (
        b"tdbatmap",
        batmap + 512,
        bits // 512,
    )
    assert (mapped.version, mapped.marker, mapped.reserved) == (0x00010002, 0, bytes(483))
    assert mapped.checksum == vhd_bytes.checksum(headers[batmap + 512 :])
    assert headers[batmap + 512 :] == (
        bytes(last // 8) + bytes([0x80 >> last % 8]) + bytes(bits - last // 8 - 1)
    )


def test_a_disk_without_data_ends_behind_the_headers() -> None:
    layout = VhdLayout(129 * BLOCK, [], UUID, 0)

    assert layout.size == 1536 + 1024 + 512 + 512 + 512
    assert layout.block_at(0) is None


def test_where_many_blocks_are() -> None:
    stored = [*range(3, 603, 2)]
    layout = VhdLayout(700 * BLOCK, stored, UUID, 0)
    first = layout.grid[0]

    assert [layout.block_at(number) for number in stored] == [
        first + n * STRIDE for n in range(len(stored))
    ]
    assert all(layout.block_at(number) is None for number in (0, 2, 4, 300, 602, 603, 699, 10**6))
    assert layout.size == first + 299 * STRIDE + BLOCK + 512
    for n in (0, 1, 2, 150, 298, 299):
        place = first + n * STRIDE
        pieces = layout.pieces(place - 300, 300 + BLOCK + 100)
        assert [
            (piece.offset, piece.length, piece.kind, piece.source_offset) for piece in pieces
        ] == [
            (place - 300, 300, "literal", 0),
            (place, BLOCK, "source", stored[n] * BLOCK),
            (place + BLOCK, 100, "literal" if n == 299 else "zero", 0),
        ]
    numbers = struct.unpack(">700I", layout.headers[1536 : 1536 + 2800])
    assert [n for n in range(700) if numbers[n] != 0xFFFFFFFF] == stored
    assert numbers[601] == (first + 299 * STRIDE - 512) // 512


@pytest.mark.parametrize("fixed", [False, True])
def test_every_field_of_a_footer(fixed: bool) -> None:
    found = Footer.unpack(footer(402 << 20, UUID, 0x12345678, fixed=fixed))

    assert found == Footer(
        cookie=b"conectix",
        features=2,
        version=0x00010000,
        data_offset=2**64 - 1 if fixed else 512,
        timestamp=0x12345678,
        creator=b"tap\0",
        creator_version=0x00010003,
        creator_os=0,
        original_size=402 << 20,
        current_size=402 << 20,
        cylinders=816,
        heads=16,
        sectors=63,
        disk_type=2 if fixed else 3,
        checksum=found.checksum,
        uuid=UUID.bytes,
        saved_state=0,
        hidden=0,
        reserved=bytes(426),
    )
    assert VhdLayout(402 << 20, [], UUID, 7).footer == footer(402 << 20, UUID, 7, fixed=False)


def plan(size: int, bits: bytes) -> dict[str, object]:
    packed = base64.b64encode(zlib.compress(bits)).decode("ascii")
    return {"virtual_size": size, "blocks": packed, "uuid": str(UUID), "timestamp": 0}


def test_the_blocks_of_a_plan_are_its_bits() -> None:
    found = VhdLayout.from_plan(plan(32 * BLOCK, b"\x81\x00\x40\x01"))

    assert [*found.blocks] == [0, 7, 17, 31]
    assert [*VhdLayout.from_plan(plan(BLOCK, b"")).blocks] == []


def test_a_plan_s_bits_are_read_no_further_than_the_largest_disk_has_them() -> None:
    most = MAX_SIZE // BLOCK // 8

    assert [*VhdLayout.from_plan(plan(MAX_SIZE, bytes(most - 1) + b"\1")).blocks] == [8 * most - 1]
    assert [*VhdLayout.from_plan(plan(BLOCK, bytes(most) + b"\x80")).blocks] == []
    with pytest.raises(ValueError, match=f"block {8 * most - 1} lies behind the disk's 1 blocks"):
        VhdLayout.from_plan(plan(BLOCK, bytes(most - 1) + b"\1"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("blocks", None),
        ("blocks", "!!!!"),
        ("blocks", "AAAA"),
        ("blocks", "A"),
        ("uuid", "nothing"),
        ("uuid", 7),
        ("timestamp", "x"),
        ("virtual_size", "x"),
    ],
)
def test_what_is_no_plan(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        VhdLayout.from_plan({**plan(BLOCK, b""), key: value})


@pytest.mark.parametrize("key", ["blocks", "uuid", "timestamp", "virtual_size"])
def test_a_plan_that_lacks_something(key: str) -> None:
    rest = {name: value for name, value in plan(BLOCK, b"").items() if name != key}

    with pytest.raises(ValueError, match=f"not the plan of a VHD: '{key}'"):
        VhdLayout.from_plan(rest)

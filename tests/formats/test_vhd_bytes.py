"""A VHD's records and numbers, byte for byte as the specification's tables have them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from handmade import be32, be64

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.vhd_bytes import BatmapHeader, Footer, Header, Locator

BY_FIELD = bytes(range(1, 251))

FOOTER = {
    "cookie": (b"conectix", b"conectix"),
    "features": (0x01020304, be32(0x01020304)),
    "version": (0x00010000, be32(0x00010000)),
    "data_offset": (0x0102030405060708, be64(0x0102030405060708)),
    "timestamp": (0x11121314, be32(0x11121314)),
    "creator": (b"tap\0", b"tap\0"),
    "creator_version": (0x00010003, be32(0x00010003)),
    "creator_os": (0x5769326B, b"Wi2k"),
    "original_size": (0x2122232425262728, be64(0x2122232425262728)),
    "current_size": (0x3132333435363738, be64(0x3132333435363738)),
    "cylinders": (0x4142, b"\x41\x42"),
    "heads": (0x43, b"\x43"),
    "sectors": (0x44, b"\x44"),
    "disk_type": (3, be32(3)),
    "checksum": (0, bytes(4)),
    "uuid": (BY_FIELD[:16], BY_FIELD[:16]),
    "saved_state": (0x51, b"\x51"),
    "hidden": (0x52, b"\x52"),
    "reserved": (b"\x53" * 426, b"\x53" * 426),
}
HEADER = {
    "cookie": (b"cxsparse", b"cxsparse"),
    "data_offset": (0x0102030405060708, be64(0x0102030405060708)),
    "table_offset": (0x1112131415161718, be64(0x1112131415161718)),
    "version": (0x00010000, be32(0x00010000)),
    "entries": (0x21222324, be32(0x21222324)),
    "block_size": (0x31323334, be32(0x31323334)),
    "checksum": (0, bytes(4)),
    "parent_uuid": (BY_FIELD[:16], BY_FIELD[:16]),
    "parent_timestamp": (0x41424344, be32(0x41424344)),
    "reserved1": (b"\5\6\7\x08", b"\5\6\7\x08"),
    "parent_name": (b"\0a\0b" * 128, b"\0a\0b" * 128),
    "locators": (BY_FIELD[:192], BY_FIELD[:192]),
    "reserved2": (b"\x61" * 256, b"\x61" * 256),
}
BATMAP = {
    "cookie": (b"tdbatmap", b"tdbatmap"),
    "offset": (0x0102030405060708, be64(0x0102030405060708)),
    "sectors": (0x11121314, be32(0x11121314)),
    "version": (0x00010002, be32(0x00010002)),
    "checksum": (0x21222324, be32(0x21222324)),
    "marker": (0x31, b"\x31"),
    "reserved": (b"\x41" * 483, b"\x41" * 483),
}


@pytest.mark.parametrize(
    ("kind", "fields", "size", "sum_at"),
    [(Footer, FOOTER, 512, 64), (Header, HEADER, 1024, 36), (BatmapHeader, BATMAP, 512, None)],
)
def test_a_record_is_its_fields_in_the_order_of_the_table(
    kind: Any, fields: dict[str, tuple[Any, bytes]], size: int, sum_at: int | None
) -> None:
    values = {name: value for name, (value, _) in fields.items()}
    data = b"".join(raw for _, raw in fields.values())
    assert len(data) == size

    found = kind.unpack(data)

    assert dataclasses.asdict(found) == values
    if sum_at is not None:  # the sum of all bytes, of which its own four are zeros here
        data = data[:sum_at] + be32(~sum(data) & 0xFFFFFFFF) + data[sum_at + 4 :]
    assert found.pack() == data
    assert kind.unpack(data).pack() == data


def test_a_footer_of_511_bytes_lacks_a_zero() -> None:
    data = b"".join(raw for _, raw in FOOTER.values())

    assert Footer.unpack(data[:511]).reserved == b"\x53" * 425 + b"\0"


def test_a_checksum_takes_its_own_four_bytes_as_zeros() -> None:
    data = bytes(range(1, 101))

    assert vhd.checksum(b"") == 0xFFFFFFFF
    assert vhd.checksum(b"\1\2") == 0xFFFFFFFC
    assert vhd.checksum(data) == ~5050 & 0xFFFFFFFF
    assert vhd.checksum(data, 0) == ~(5050 - 10) & 0xFFFFFFFF
    assert vhd.checksum(data, 36) == ~(5050 - 37 - 38 - 39 - 40) & 0xFFFFFFFF


def test_sizes_are_rounded_up_to_whole_units() -> None:
    assert [vhd.round_up(n, 512) for n in (0, 1, 511, 512, 513, 1025)] == [
        0,
        512,
        512,
        512,
        1024,
        1536,
    ]


@pytest.mark.parametrize(
    ("block", "bitmap"),
    [
        (512, 512),
        (4096, 512),
        (2 << 20, 512),
        ((2 << 20) + 512, 1024),
        (4 << 20, 1024),
        ((4 << 20) + 1, 1536),
        (64 << 20, 16384),
    ],
)
def test_a_bitmap_has_a_bit_for_each_sector_and_fills_sectors(block: int, bitmap: int) -> None:
    assert vhd.bitmap_size(block) == bitmap


def test_what_a_footer_says_of_its_geometry() -> None:
    footer = Footer.unpack(b"".join(raw for _, raw in FOOTER.values()))

    assert footer.geometry == (0x4142, 0x43, 0x44)
    assert footer.size_by_chs == 0x4142 * 0x43 * 0x44 * 512


# The appendix of the specification in numbers: 17 sectors a track and as many heads as 1024 cylinders
# need, from 4 to 16; where not even they do, 31 sectors, then 63, then 255, each with 16 heads.
@pytest.mark.parametrize(
    ("tracks", "per_track", "expected"),
    [
        (0, 17, (0, 4, 17)),
        (3, 17, (0, 4, 17)),
        (4, 17, (1, 4, 17)),
        (4095, 17, (1023, 4, 17)),
        (4097, 17, (819, 5, 17)),
        (5119, 17, (1023, 5, 17)),
        (5121, 17, (853, 6, 17)),
        (9217, 17, (921, 10, 17)),
        (15361, 17, (960, 16, 17)),
        (16383, 17, (1023, 16, 17)),
        (9000, 31, (562, 16, 31)),
        (16383, 31, (1023, 16, 31)),
        (16384, 31, (503, 16, 63)),
        (16384, 63, (1024, 16, 63)),
        (1048559, 63, (65534, 16, 63)),
        (259055, 255, (65534, 16, 63)),
        (259056, 255, (16191, 16, 255)),
        (1048559, 255, (65534, 16, 255)),
        (1048560, 255, (65535, 16, 255)),
        (1048561, 255, (65535, 16, 255)),
        (3000000, 255, (65535, 16, 255)),
    ],
)
def test_the_geometry_of_so_many_tracks(
    tracks: int, per_track: int, expected: tuple[int, int, int]
) -> None:
    size = tracks * per_track * 512

    assert vhd.geometry(size) == expected
    if size:
        assert vhd.geometry(size - 511) == expected  # a part of a sector is one


@pytest.mark.parametrize("heads", range(4, 17))
def test_exactly_1024_cylinders_are_too_many(heads: int) -> None:
    size = heads * 1024 * 17 * 512

    assert vhd.geometry(size)[1:] == (16, 31)
    assert vhd.geometry(size - 17 * 512) == (1023, heads, 17)


@pytest.mark.parametrize(
    ("entries", "size"), [(0, 512), (1, 512), (128, 512), (129, 1024), (1025, 4608)]
)
def test_a_table_fills_sectors(entries: int, size: int) -> None:
    values = {name: value for name, (value, _) in HEADER.items()} | {"entries": entries}

    assert Header(**values).table_size == size


def test_locators_without_a_code_are_not_in_use() -> None:
    one = b"W2ru" + be32(0x01020304) + be32(0x11121314) + be32(0x21222324) + be64(1 << 40)
    values = {name: value for name, (value, _) in HEADER.items()}

    header = Header(**values | {"locators": bytes(24) + one + bytes(120) + b"MacX" + bytes(20)})

    assert header.locator_list == (
        Locator(b"W2ru", 0x01020304, 0x11121314, 0x21222324, 1 << 40),
        Locator(b"MacX", 0, 0, 0, 0),
    )

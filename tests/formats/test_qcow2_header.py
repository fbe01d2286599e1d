"""qcow2's header field by field: what each says, and where a finding about it points."""

from __future__ import annotations

import struct

import edges_qcow2
import handmade
import pytest
from edges_qcow2 import CLUSTER, field
from handmade import MIB, Memory, be32, be64

from pipeline import formats
from pipeline.formats.base import Container
from pipeline.formats.qcow2 import Header
from pipeline.source import Reader


def look(reader: Reader) -> Container:
    return formats.identify(reader).container


def told(reader: Reader) -> list[tuple[str, int | None, int | None]]:
    return [(item.rule, item.offset, item.length) for item in look(reader).problems]


def header(**fields: int) -> Header:
    """Twelve fields of a version 2 header, zero by default, and others."""
    names = list(Header.__dataclass_fields__)[:12]
    return Header(**dict.fromkeys(names, 0) | fields)


@pytest.mark.parametrize(
    ("bits", "extended", "a_table"),
    [
        (9, False, 32 << 10),
        (12, False, 2 << 20),
        (16, False, 512 << 20),
        (21, False, 512 << 30),
        (14, True, 16 << 20),
        (16, True, 256 << 20),
        (21, True, 256 << 30),
    ],
)
def test_how_many_l1_entries_a_disk_needs(bits: int, extended: bool, a_table: int) -> None:
    for size, needed in (
        (0, 0),
        (1, 1),
        (a_table, 1),
        (a_table + 1, 2),
        (7 * a_table - 1, 7),
        (300 * a_table, 300),
    ):
        for others in (0, 15, 32):
            made = header(cluster_bits=bits, size=size, incompatible=others | 16 * extended)
            assert made.l1_needed == needed


@pytest.mark.parametrize(
    ("size", "disk"), [(0, 0), (511, 0), (512, 512), (1023, 512), (1 << 63, 1 << 63)]
)
def test_a_disk_has_whole_sectors(size: int, disk: int) -> None:
    assert header(size=size).disk_size == disk


@pytest.mark.parametrize("bit", range(64))
def test_every_feature_bit_that_nobody_knows_is_told(bit: int) -> None:
    found = look(field(72, 1 << bit, 8)).problems

    words = [item.detail for item in found if item.rule == "unsupported-feature"]
    assert words == ([f"incompatible feature bit {bit}"] if bit > 4 else [])
    rules = {0: "unclean-shutdown", 1: "marked-corrupt", 2: "external-data-file"}
    assert rules.get(bit, "corrupt-header") in {item.rule for item in found} or bit > 4


@pytest.mark.parametrize("bits", [12, 13, 14, 15, 16])
def test_extended_entries_need_clusters_of_16_kib(bits: int) -> None:
    found = told(Memory(handmade.qcow2(bits=bits, incompatible=16, l2=(5 << bits, 0))))

    assert found == ([("corrupt-header", 20, 4)] if bits < 14 else [])


@pytest.mark.parametrize("bit", range(64))
def test_no_other_bit_is_a_finding(bit: int) -> None:
    assert told(field(80, 1 << bit, 8)) == told(field(88, 1 << bit, 8)) == []
    assert look(field(80, 1 << bit, 8)).details["lazy_refcounts"] is (bit == 0)
    assert look(field(88, 1 << bit, 8)).details["lazy_refcounts"] is False


@pytest.mark.parametrize("order", [0, 1, 4, 6, 7, 64])
def test_how_wide_a_refcount_is(order: int) -> None:
    assert look(field(96, order)).details["refcount_bits"] == (
        {0: 1, 1: 2, 4: 16, 6: 64}.get(order)
    )


@pytest.mark.parametrize("bits", [0, 8, 9, 21, 22, 32, 33, 2**32 - 1])
def test_how_large_a_cluster_is_said_to_be(bits: int) -> None:
    assert look(field(20, bits)).details["cluster_size"] == (1 << bits if bits <= 32 else None)


FAR = 1 << 50


@pytest.mark.parametrize(
    ("reader", "problem"),
    [
        (field(40, FAR, 8), ("corrupt-header", 40, 8)),
        (field(48, FAR, 8), ("corrupt-header", 48, 8)),
        (field(40, 3 * CLUSTER + 1, 8), ("corrupt-header", 40, 8)),
        (field(48, CLUSTER + 1, 8), ("corrupt-header", 48, 8)),
        (field(64, CLUSTER + 1, 8), ("corrupt-header", 64, 8)),
        (field(36, 0), ("corrupt-header", 36, 4)),
        (field(36, (4 << 20) + 1), ("header-limits", 36, 4)),
        (field(56, 0), ("corrupt-header", 56, 4)),
        (field(56, 2049), ("header-limits", 56, 4)),
        (field(60, 4097), ("header-limits", 60, 4)),
        (field(24, 1 << 60, 8), ("header-limits", 24, 8)),
        (field(24, 0, 8), ("empty-image", 24, 8)),
        (field(20, 8), ("corrupt-header", 20, 4)),
        (field(4, 5), ("unsupported-feature", 4, 4)),
        (field(32, 1), ("encrypted-container", 32, 4)),
        (field(96, 7), ("corrupt-header", 96, 4)),
        (field(100, 103), ("corrupt-header", 100, 4)),
        (field(72, 1, 8), ("unclean-shutdown", 72, 8)),
        (field(72, 2, 8), ("marked-corrupt", 72, 8)),
        (field(72, 8, 8), ("corrupt-header", 104, 1)),
        (field(72, 16, 8), ("corrupt-header", 20, 4)),
        (field(72, 4, 8), ("external-data-file", 72, 8)),
    ],
)
def test_a_finding_points_at_its_field(reader: Reader, problem: tuple[str, int, int]) -> None:
    assert problem in told(reader)


def bitmaps(count: int, length: int, offset: int, *, valid: int = 1, more: int = 0) -> Memory:
    """A header extension for bitmaps behind one of 13 bytes; their bit in the header."""
    extension = (struct.pack(">IIQQ", count, 0, length, offset) + bytes(8))[: 24 + more]
    image = handmade.qcow2(extensions=((1, b"x" * 13), (0x23852875, extension)))
    return Memory(image + bytes(CLUSTER)).also(88, be64(valid))


@pytest.mark.parametrize(
    ("reader", "problems"),
    [
        (bitmaps(1, 32, 8 * CLUSTER), []),
        (bitmaps(1, 32, FAR), [("corrupt-header", 136, 24)]),
        (bitmaps(1, 32, FAR, valid=0), []),  # by who does not know them
        (bitmaps(1, 32, FAR, valid=2), []),
        (bitmaps(1, 32, FAR, valid=3), [("corrupt-header", 136, 24)]),
        (bitmaps(65535, 64 << 20, 8 * CLUSTER, valid=0), []),
        (bitmaps(65536, 32, 8 * CLUSTER), [("header-limits", 136, 24)]),
        (bitmaps(1, (64 << 20) + 1, 8 * CLUSTER), [("header-limits", 136, 24)]),
        (bitmaps(65535, (64 << 20) + 1, 8 * CLUSTER), [("header-limits", 136, 24)]),
        (bitmaps(1, 32, FAR, more=8), [("corrupt-header", 136, 24)]),
        (bitmaps(1, 32, FAR, more=-1), []),
        (bitmaps(1, 32, 3 * CLUSTER), [("corrupt-header", 3 * CLUSTER, 8)]),
    ],
)
def test_the_bitmaps_directory(
    reader: Reader, problems: list[tuple[str, int | None, int | None]]
) -> None:
    assert told(reader) == problems
    assert look(reader).details["bitmaps"]


@pytest.mark.parametrize(
    ("count", "length", "detail"),
    [
        (65535, 64 << 20, None),
        (65536, 64 << 20, "65536 bitmaps where 65535 are allowed"),
        (65536, 1 << 40, "65536 bitmaps where 65535 are allowed"),
        (65535, (64 << 20) + 1, "a bitmap directory of 67108865 bytes"),
    ],
)
def test_how_many_bitmaps_there_may_be(count: int, length: int, detail: str | None) -> None:
    found = look(bitmaps(count, length, 8 * CLUSTER, valid=0)).problems

    assert [item.detail for item in found] == ([detail] if detail else [])


@pytest.mark.parametrize("bits", [8, 9, 12, 20, 21, 22])
def test_extensions_are_read_of_headers_of_a_legal_cluster(bits: int) -> None:
    image = handmade.qcow2(extensions=((0x44415441, b"disk.raw"),))

    found = look(Memory(image).also(20, be32(bits)))

    assert found.external_references == (("disk.raw",) if 9 <= bits <= 21 else ())


@pytest.mark.parametrize(
    ("name", "length", "fits"),
    [
        (0, 3984, True),
        (0, 3985, False),
        (8 * CLUSTER, 3985, False),  # a name that lies elsewhere is no end of the extensions
        (2000, 1888, True),
        (2000, 1889, False),
    ],
)
def test_an_extension_ends_with_the_header_or_before_the_backing_name(
    name: int, length: int, fits: bool
) -> None:
    reader = Memory(handmade.qcow2()).also(104, be32(1) + be32(length)).also(8, be64(name))

    assert (("corrupt-header", 104, 8) not in told(reader)) is fits


@pytest.mark.parametrize("name", range(104, 112))
def test_less_than_eight_bytes_before_the_backing_name_are_no_extension(name: int) -> None:
    reader = Memory(handmade.qcow2()).also(8, be64(name) + be32(30))
    reader = reader.also(104, be32(0x44415441) + be32(64))

    assert {item.rule for item in look(reader).problems} == {"backing-file"}


def test_version_2_knows_no_bitmaps() -> None:
    extension = struct.pack(">IIQQ", 1, 0, 32, FAR)

    assert told(Memory(handmade.qcow2(version=2, extensions=((0x23852875, extension),)))) == []


def test_names_of_other_files_are_told_where_they_stand() -> None:
    name = edges_qcow2.extension(0x44415441, 7) + b"disk.raw"
    image = Memory(handmade.qcow2(extensions=((1, b"x" * 9),))).also(128, name).also(72, be64(4))

    found = look(image)

    assert found.external_references == ("disk.ra",)
    assert told(image) == [("external-data-file", 136, 7)]

    backed = Memory(handmade.qcow2()).also(8, be64(3000) + be32(9)).also(3000, b"base.qcow2")
    assert look(backed).external_references == ("base.qcow",)
    assert told(backed) == [("backing-file", 3000, 9)]


@pytest.mark.parametrize(
    ("version", "length", "size"),
    [(2, 71, None), (3, 71, None), (2, 72, MIB), (3, 103, MIB), (3, 72, MIB), (4, 103, MIB)],
)
def test_a_header_that_the_file_cuts(version: int, length: int, size: int | None) -> None:
    reader = Memory(handmade.qcow2(version=version)[:length])

    needed = 72 if length < 72 else 104
    assert look(reader).virtual_size == size
    if version >= 3 or length < 72:
        assert told(reader) == [("truncated", length, needed - length)]
    else:
        assert "truncated" in {item.rule for item in look(reader).problems}

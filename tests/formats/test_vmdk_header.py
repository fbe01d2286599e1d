"""The header of a sparse VMDK: what each field decides, and where what is wrong with it is told."""

from __future__ import annotations

import struct
from typing import Any

import handmade
import pytest
import vhd_files
from handmade import MIB, Memory, le32
from vmdk_files import AT_END, FILE, PIECES, SIZE, TEXT, head, made

from pipeline.formats.base import Container, Problem
from pipeline.formats.vmdk import Vmdk


def look(reader: Memory) -> Container:
    assert Vmdk().matches(reader)
    return Vmdk().inspect(reader)


def told(**changes: Any) -> list[Problem]:
    return [*look(made(**changes)).problems]


def test_a_sound_one() -> None:
    found = look(made())

    assert (found.problems, found.external_references, found.encrypted) == ((), (), False)
    assert (found.format, found.virtual_size, found.variant) == ("vmdk", SIZE, "monolithicSparse")
    assert (found.creator, found.uuid) == (None, None)
    assert found.details == {
        "version": 1,
        "grain_size": 4096,
        "compressed": False,
        "create_type": "monolithicSparse",
        "tools_version": None,
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"unclean": 1}, ("unclean-shutdown", "the unclean shutdown mark of the VMDK is set", 72, 1)),
        ({"capacity": (64 << 31) + 1},
         ("header-limits", "a disk of 137438953473 sectors, 137438953472 are allowed", 12, 8)),
        ({"grain": 0},
         ("corrupt-header", "the grain size is 0 sectors, allowed are powers of 2 to 2097152", 20, 8)),
        ({"grain": 12},
         ("corrupt-header", "the grain size is 12 sectors, allowed are powers of 2 to 2097152", 20, 8)),
        ({"grain": 1 << 22},
         ("corrupt-header", "the grain size is 4194304 sectors, allowed are powers of 2 to 2097152", 20, 8)),
        ({"entries": 0}, ("corrupt-header", "0 entries a grain table, allowed are 1 to 512", 44, 4)),
        ({"entries": 513}, ("corrupt-header", "513 entries a grain table, allowed are 1 to 512", 44, 4)),
        ({"descriptor_size": 129}, ("header-limits", "a descriptor of 129 sectors", 36, 8)),
    ],
)  # fmt: skip
def test_where_a_field_is_told(changes: dict[str, Any], problem: tuple[str, str, int, int]) -> None:
    assert told(**changes)[:1] == [Problem(*problem)]


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity": 64 << 31, "grain": 1 << 16, "entries": 512},
        {"grain": 1 << 21},
        {"grain": 1, "entries": 512},
        {"entries": 512},
        {"descriptor_size": 128},
    ],
)
def test_the_largest_that_is_allowed(changes: dict[str, Any]) -> None:
    rules = {item.rule for item in told(size=90 * 512, **changes)}

    assert not rules & {"header-limits", "corrupt-header"}


@pytest.mark.parametrize("size", [8, 100, 511])
def test_a_header_that_is_cut(size: int) -> None:
    found = look(Memory(head()[:size]))

    detail = f"a VMDK header has 512 bytes, the file has {size}"
    assert found.problems == (Problem("truncated", detail, size, 512 - size),)
    assert found.virtual_size is None


# --- the descriptor ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"descriptor_offset": 0}, {"descriptor_size": 0}, {"text": b"x"}]
)
def test_an_extent_without_a_descriptor(changes: dict[str, Any]) -> None:
    found = look(made(**changes))

    assert found.problems == (
        Problem(
            "vmdk-extents",
            "this is one of several extents of a disk, without a descriptor",
            28,
            16,
        ),
    )
    assert (found.variant, found.details["create_type"]) == ("monolithicSparse", None)


def test_a_descriptor_is_read_as_long_as_the_header_says() -> None:
    # given an extent in its second sector
    text = TEXT[:200].ljust(600, b"\n") + b'RW 77 FLAT "b.vmdk" 0\n'

    assert look(made(text=text, descriptor_size=1)).external_references == ()
    (problem,) = told(text=text)
    assert (problem.rule, problem.offset, problem.length) == ("vmdk-extents", 3 * 512, 5 * 512)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"text": TEXT.replace(b"SPARSE", b"FLAT")},
         "a descriptor (monolithicSparse) with the FLAT extent 'disk.vmdk'"),
        ({"text": TEXT.replace(b'"monolithicSparse"', b'"monolithicFlat"')},
         "a descriptor (monolithicFlat) with the SPARSE extent 'disk.vmdk'"),
        ({"text": TEXT.replace(b"disk.vmdk", b"a/disk.vmdk")},
         "a descriptor (monolithicSparse) with the SPARSE extent 'a/disk.vmdk'"),
        ({"text": TEXT + b'RW 5 FLAT "b.vmdk"\nRW 5 FLAT "c.vmdk"\n'},
         "a descriptor (monolithicSparse) with the SPARSE extent 'disk.vmdk' and 2 more"),
        ({"text": TEXT + b'RW 5 FLAT "b.vmdk"\n'},
         "a descriptor (monolithicSparse) with the SPARSE extent 'disk.vmdk' and 1 more"),
        ({"capacity": 0}, ("a descriptor (monolithicSparse) with the SPARSE extent 'disk.vmdk', "
                          "and a header that holds no data")),
        ({"text": b"RW 5 SPARSE \"a:b\"\n"}, "a descriptor (no createType) with the SPARSE extent 'a:b'"),
        ({"capacity": 0, "text": b"createType=x\n"},
         "a descriptor (x) that names no extent, and a header that holds no data"),
    ],
)  # fmt: skip
def test_other_files_that_a_descriptor_inside_names(changes: dict[str, Any], seen: str) -> None:
    assert Problem("vmdk-extents", seen, 3 * 512, 5 * 512) in told(**changes)


@pytest.mark.parametrize(
    ("text", "streamed", "variant"),
    [
        (TEXT.replace(b"monolithicSparse", b"streamOptimized"), 0, "streamOptimized"),
        (TEXT.replace(b"monolithicSparse", b"STREAMOPTIMIZED"), 0, "STREAMOPTIMIZED"),
        (TEXT.replace(b"createType", b"x"), 0, "monolithicSparse"),
        (TEXT.replace(b"createType", b"x"), 1 << 17, "streamOptimized"),
    ],
)
def test_kinds_that_are_one_file(text: bytes, streamed: int, variant: str) -> None:
    found = look(made(text=text, flags=1 | streamed))

    assert (found.external_references, found.variant) == ((), variant)


def test_a_descriptor_inside_that_names_no_extent_is_the_file_s_own() -> None:
    assert told(text=b'createType="monolithicSparse"\n') == []


def test_a_parent_and_a_key_are_told_where_the_descriptor_is() -> None:
    parent = TEXT.replace(b"ffffffff", b"1234abcd") + b'parentFileNameHint="b.vmdk"\n'
    key = TEXT + b"encryption.keySafe = x\n"

    assert told(text=parent) == [
        Problem("parent-image", "the VMDK's parent is 'b.vmdk'", 3 * 512, 512)
    ]
    assert look(made(text=parent)).external_references == ("b.vmdk", "disk.vmdk")
    assert told(text=key) == [
        Problem("encrypted-container", "the VMDK's descriptor names a key", 3 * 512, 512)
    ]
    assert look(made(text=key)).encrypted


def test_what_else_the_descriptor_tells() -> None:
    text = TEXT + b'ddb.toolsVersion = "2147483647"\nddb.uuid = "' + b"0a" * 16 + b'"\n'

    found = look(made(text=text))

    assert found.details["tools_version"] == "2147483647"
    assert found.uuid == "0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a"


# --- places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "end", "field", "name"),
    [
        ({"descriptor_offset": 71, "descriptor_size": 3}, 74 * 512, (28, 16), "the descriptor"),
        ({"overhead": 71}, 71 * 512, (64, 8), "the overhead"),
        ({"flags": 3, "redundant": 71}, 72 * 512, (48, 8), "the redundant directory"),
    ],
)
def test_what_lies_behind_the_end(
    changes: dict[str, Any], end: int, field: tuple[int, int], name: str
) -> None:
    def cut(found: list[Problem]) -> list[tuple[int | None, int | None]]:
        return [(item.offset, item.length) for item in found if item.rule == "truncated"]

    assert cut(told(size=end, **changes)) == []
    assert cut(told(size=end - 1, **changes)) == [(end - 1, 1)]
    far = {key: value + (1 << 40) if value == 71 else value for key, value in changes.items()}
    wild = [item for item in told(**far) if item.rule == "corrupt-header"]
    assert [(item.offset, item.length) for item in wild] == [field]
    assert wild[0].detail.startswith(f"{name} is at ")


def test_a_place_that_a_file_of_this_disk_could_have_had() -> None:
    near = (2 * SIZE + (64 << 20)) // 512

    assert [item.rule for item in told(overhead=near)] == ["truncated"]
    assert [item.rule for item in told(overhead=near + 1)] == ["corrupt-header"]


@pytest.mark.parametrize("redundant", [0, AT_END])
def test_a_redundant_directory_that_is_nowhere(redundant: int) -> None:
    assert told(flags=3, redundant=redundant) == []


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, 8),
        ({"descriptor_offset": 3, "descriptor_size": 3}, 6),
        ({"descriptor_offset": 0, "descriptor_size": 0}, 1),
        ({"descriptor_offset": 0, "descriptor_size": 7}, 7),
    ],
)
def test_data_begins_behind_the_header_and_the_descriptor(
    changes: dict[str, Any], first: int
) -> None:
    rules = {
        at: [item.rule for item in told(pieces={13 * 512: le32(at)}, **changes)]
        for at in (first - 1, first)
        if at > 1
    }

    assert all(("corrupt-metadata" in rules[at]) is (at < first) for at in rules)


# --- what is stored, and other kinds -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "held"),
    [
        (19 * 512 - 1, 2, False),
        (19 * 512, 4096, True),
        (19 * 512, 4097, True),  # the next grain follows
        (35 * 512, 4096, True),
        (35 * 512, 4097, False),
        (43 * 512 - 1, 1, True),
        (43 * 512, 1, False),
    ],
)
def test_the_bytes_of_grains_are_the_guest_s(offset: int, length: int, held: bool) -> None:
    assert Vmdk().stores(made(size=FILE + 4096), offset, length) is held


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"flags": 1 << 16 | 1}, False),
        ({"directory": AT_END}, False),
        ({"entries": 0}, False),
        ({"grain": 3}, False),
        ({"version": 9}, False),
        ({"capacity": 40}, False),  # its grain is that of the second table
        ({"capacity": 41}, True),
        ({"entries": 2}, True),
        ({"entries": 1}, False),
    ],
)
def test_what_a_header_must_say_for_that(changes: dict[str, Any], held: bool) -> None:
    assert Vmdk().stores(made(size=FILE + 4096, **changes), 35 * 512, 512) is held


def test_what_stands_behind_a_grain_table_is_no_grain() -> None:
    image = made(size=FILE + 8192, pieces={13 * 512 + 16: le32(43) + le32(51)})

    assert Vmdk().stores(image, 43 * 512, 512)
    assert not Vmdk().stores(image, 51 * 512, 512)


@pytest.mark.parametrize("size", [4, 78, 79, 511, 512])
def test_a_header_that_is_cut_stores_nothing(size: int) -> None:
    assert not Vmdk().stores(Memory(head()[:size]), 0, 1)


@pytest.mark.parametrize("magic", [b"COWD", b"KDMW", b"# Di"])
def test_what_begins_otherwise_stores_nothing(magic: bytes) -> None:
    assert not Vmdk().stores(made().also(0, magic), 19 * 512, 512)


@pytest.mark.parametrize(
    ("magic", "variant", "detail"),
    [
        (b"COWD", "vmfsSparse", "a COWD extent of VMware ESX, part of a snapshot or disk"),
        (struct.pack("<Q", 0xCAFEBABE), "seSparse", "an SESparse extent of VMware ESX, part of a snapshot"),
    ],
)  # fmt: skip
def test_kinds_that_are_part_of_a_disk(magic: bytes, variant: str, detail: str) -> None:
    found = look(Memory(magic.ljust(600, b"\1")))

    assert (found.variant, found.virtual_size) == (variant, None)
    assert found.problems == (Problem("unsupported-format", detail, 0, 8),)


@pytest.mark.parametrize(
    ("size", "shown"), [(300, 300), (1 << 16, 1 << 16), ((1 << 16) + 1, 1 << 16)]
)
def test_a_text_alone(size: int, shown: int) -> None:
    text = handmade.vmdk_descriptor(kind="vmfs", extent="FLAT").ljust(size, b"\n")

    found = look(Memory(text))

    detail = "a descriptor (vmfs) with the FLAT extent 'disk.vmdk'"
    assert found.problems == (Problem("vmdk-extents", detail, 0, shown),)
    assert (found.variant, found.virtual_size) == ("vmfs", MIB)
    assert (found.external_references, found.details) == (("disk.vmdk",), {"extents": 1})


@pytest.mark.parametrize(("at", "seen"), [((64 << 10) - 24, 2), ((64 << 10) - 4, 1)])
def test_so_much_of_a_text_is_read(at: int, seen: int) -> None:
    text = handmade.vmdk_descriptor().ljust(at, b"\n") + b'RW 2048 FLAT "b.vmdk" 0\n'

    assert look(Memory(text)).details == {"extents": seen}


def test_a_reader_is_asked_for_no_more_than_it_needs() -> None:
    disk = vhd_files.MemoryDisk(1 << 40, {0: head(), 3 * 512: TEXT, **PIECES})

    assert Vmdk().inspect(disk).problems == ()

"""What ext's inodes claim: every kind of map, its limits, and where inodes lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import made_volumes as made
import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import ext_inodes
from pipeline.content.free_space.base import Effort, KeptError
from pipeline.content.free_space.ext import Descriptor, ExtMap
from pipeline.content.free_space.ext_superblock import Superblock
from tests.content.free_space.kept import reason

KIB = 1 << 10
INFO = Superblock(
    block_size=KIB, ratio=1, blocks=1 << 47, free_blocks=0, first_data_block=1,
    blocks_per_group=8192, inodes_per_group=2000, inode_size=256, descriptor_size=32,
    reserved_gdt=0, first_meta_group=0, backups=(0, 0), compatible=0, incompatible=0x2C2,
    read_only=0x3, uuid=made.UUID, seed=0,
)  # fmt: skip

FILE, FOLDER, LINK, DEVICE = 0o100644, 0o040755, 0o120777, 0o020644
EXTENTS, INLINE = 0x80000, 0x10000000
Run = tuple[int, int]


def inode(mode: int, body: bytes = b"", flags: int = 0, **more: int) -> bytes:
    """256 bytes; what no field stands in is noise."""
    raw = bytearray(b"\xe7" * 256)
    struct.pack_into("<H2xI", raw, 0, mode, more.get("size", 99_999))
    struct.pack_into("<I", raw, 0x20, flags)
    raw[0x28:0x64] = body.ljust(60, b"\0")
    struct.pack_into("<I", raw, 0x68, more.get("attributes", 0))
    struct.pack_into("<H", raw, 0x76, more.get("attributes_high", 0))
    return bytes(raw)


def claims(raw: bytes, blocks: Mapping[int, bytes] | None = None, info: Superblock = INFO) -> Any:
    """The runs that an inode claims; or why it is not believed."""
    disk = MemoryDisk(1 << 60, {n * info.block_size: data for n, data in (blocks or {}).items()})
    found: list[Run] = []
    try:
        found.extend(ext_inodes._claims(ExtMap(disk, info), raw))
    except KeptError as error:
        return str(error)
    return found


def header(entries: int, depth: int, most: int = 4, magic: int = 0xF30A) -> bytes:
    return struct.pack("<4HI", magic, entries, most, depth, 0xD7D7D7D7)


def leaf(*runs: Run, most: int = 4) -> bytes:
    """A tree without levels; the length as it stands there."""
    body = b"".join(
        struct.pack("<IHHI", 0xD7D7D7D7, count, first >> 32, first & 0xFFFFFFFF)
        for first, count in runs
    )
    return header(len(runs), 0, most) + body


def node(depth: int, *children: int, most: int = 4) -> bytes:
    body = b"".join(
        struct.pack("<IIHH", 0xD7D7D7D7, child & 0xFFFFFFFF, child >> 32, 0xD7D7)
        for child in children
    )
    return header(len(children), depth, most) + body


FAR = 0x3_0000_0007  # a block with a high half
POINTED = [*range(401, 413), 0, 0, 0]
KINDS: dict[str, tuple[bytes, Any]] = {
    "a file": (inode(FILE, struct.pack("<15I", *POINTED)), [(n, 1) for n in range(401, 413)]),
    "a directory": (inode(FOLDER, struct.pack("<I", 77)), [(77, 1)]),
    "a list of bad blocks": (inode(0, struct.pack("<3I", 0, 300, 0)), [(300, 1)]),
    "a device": (inode(DEVICE, struct.pack("<2I", 0x801, 7)), []),
    "a pipe": (inode(0o010644, struct.pack("<I", 7)), []),
    "a socket": (inode(0o140644, struct.pack("<I", 7)), []),
    "a device with attributes": (inode(DEVICE, b"\7", attributes=900), [(900, 1)]),
    "content in the inode": (inode(FILE, b"text", INLINE), []),
    "content and attributes": (inode(FILE, b"text", INLINE, attributes=5), [(5, 1)]),
    "other flags": (inode(FILE, struct.pack("<I", 8), ~(EXTENTS | INLINE) & 0xFFFFFFFF), [(8, 1)]),
    "a short link": (inode(LINK, b"/target", size=59), []),
    "a short link with other flags": (inode(LINK, b"/target", 0x80, size=9), []),
    "a long link": (inode(LINK, struct.pack("<I", 500), size=60), [(500, 1)]),
    "a longer link": (inode(LINK, struct.pack("<I", 500), size=300), [(500, 1)]),
    "a long link's extents": (inode(LINK, leaf((500, 1)), EXTENTS, size=60), [(500, 1)]),
    "a short link's extents": (inode(LINK, leaf((500, 1)), EXTENTS, size=9), [(500, 1)]),
    "a file of 9 bytes": (inode(FILE, struct.pack("<I", 500), size=9), [(500, 1)]),
    "extents": (
        inode(FILE, leaf((300, 5), (FAR, 0x7FFF), (9, 0x8000), (400, 0x8001)), EXTENTS),
        [(300, 5), (FAR, 0x7FFF), (9, 0x8000), (400, 1)],
    ),
    "the longest that is not written yet": (inode(FILE, leaf((7, 0xFFFF)), EXTENTS), [(7, 0x7FFF)]),
    "no extent": (inode(FILE, leaf(), EXTENTS), []),
    "attributes far away": (inode(FILE, attributes=5, attributes_high=6), [(5, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_what_an_inode_claims(name: str) -> None:
    raw, wanted = KINDS[name]

    assert claims(raw) == wanted


def test_the_high_half_of_attributes_counts_where_descriptors_are_wide() -> None:
    raw = inode(FILE, attributes=0x11223344, attributes_high=0x5566)
    expected = {32: 0x11223344, 64: 0x556611223344, 128: 0x556611223344}
    wide = {size: claims(raw, info=replace(INFO, descriptor_size=size)) for size in (32, 64, 128)}

    assert wide == {n: [(first, 1)] for n, first in expected.items()}
    assert claims(inode(FILE, attributes_high=2), info=replace(INFO, descriptor_size=64)) == [
        (2 << 32, 1)
    ]


# --------------------------------------------------------------------------------- trees of extents

_HEADER, _MANY = "an extent tree has no header", "an extent tree has too many entries"
_DEEP, _LEVELS = "an extent tree is too deep", "an extent tree's levels contradict"


def test_a_tree_of_extents() -> None:
    blocks = {
        500: node(1, 600, FAR, most=84),
        600: leaf((1000, 3), (2000, 0x8004), most=84),
        FAR: leaf(*[(3000 + 2 * n, 1) for n in range(84)], most=84),
        501: node(1, 602, most=84),
        602: leaf((5000, 1), most=84),
    }

    found = claims(inode(FILE, node(2, 500, 501), EXTENTS), blocks)

    assert found == [
        (500, 1), (600, 1), (1000, 3), (2000, 4), (FAR, 1), *[(3000 + 2 * n, 1) for n in range(84)],
        (501, 1), (602, 1), (5000, 1),
    ]  # fmt: skip


TREES: dict[str, tuple[bytes, Mapping[int, bytes], str | None]] = {
    "another mark": (header(0, 0, magic=0xF30B), {}, _HEADER),
    "another mark in its upper half": (header(0, 0, magic=0xF40A), {}, _HEADER),
    "as many as there may be": (leaf((9, 1), most=1), {}, None),
    "more than there may be": (leaf((9, 1), (10, 1), most=1), {}, _HEADER),
    "more than there is room": (leaf(*[(9, 1)] * 4) [:2] + b"\5\0\5\0" + bytes(54), {}, _MANY),
    "more than a block has room for": (node(1, 600), {600: header(85, 0, 85)}, _MANY),
    "five levels": (node(5), {}, None),
    "six levels": (node(6), {}, _DEEP),
    "a level too many": (node(1, 600), {600: node(1)}, _LEVELS),
    "a level too few": (node(2, 600), {600: leaf()}, _LEVELS),
    "another mark below": (node(1, 600), {600: bytes(KIB)}, _HEADER),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees_that_are_possible(name: str) -> None:
    body, blocks, wanted = TREES[name]

    found = claims(inode(FILE, body, EXTENTS), blocks)

    assert (found if isinstance(found, str) else None) == wanted


def test_a_child_on_both_sides_of_the_end() -> None:
    info = replace(INFO, blocks=700)

    assert claims(inode(FILE, node(1, 699), EXTENTS), {699: leaf()}, info) == [(699, 1)]
    indirect = struct.pack("<15I", *[0] * 12, 699, 0, 0)
    assert claims(inode(FILE, indirect), {699: b"\1\0\0\0".ljust(KIB, b"\0")}, info) == [
        (699, 1),
        (1, 1),
    ]
    for child in (0, 700):
        told = claims(inode(FILE, node(1, child), EXTENTS), {child: leaf()}, info)
        assert told == "an extent tree leads outside"
        pointer = struct.pack("<15I", *[0] * 12, child or 700, 0, 0)
        told = claims(inode(FILE, pointer), {child: b"\1"}, info)
        assert told == "a block of pointers lies outside"


# ------------------------------------------------------------------------------- blocks of pointers


def pointers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers).ljust(KIB, b"\0")


def test_blocks_that_are_once_twice_and_three_times_indirect() -> None:
    blocks = {
        300: pointers(*range(1000, 1256)),
        301: pointers(0, 310, 0, 311),
        310: pointers(5, 6, 0, 7, 0, 0, 9, 10, 300, 299, 298),
        311: pointers(*[0] * 254, 70, 71),
        302: pointers(320),
        320: pointers(321, *[0] * 254, 322),
        321: pointers(400),
        322: pointers(*[0] * 255, 401),
    }

    found = claims(inode(FILE, pointers(*range(201, 213), 300, 301, 302)[:60]), blocks)

    assert found == [
        *[(n, 1) for n in range(201, 213)],
        (300, 1), (1000, 256),
        (301, 1), (310, 1), (5, 2), (7, 1), (9, 2), (300, 1), (299, 1), (298, 1), (311, 1), (70, 2),
        (302, 1), (320, 1), (321, 1), (400, 1), (322, 1), (401, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ((), []),
        ((0,), []),
        ((0, 1), [(1, 1)]),
        ((1, 2, 3), [(1, 3)]),
        ((3, 2, 1), [(3, 1), (2, 1), (1, 1)]),
        ((5, 0, 6), [(5, 1), (6, 1)]),
        ((5, 5), [(5, 1), (5, 1)]),
        ((0, 0, 300, 301, 0, 302, 400, 401, 402, 0), [(300, 2), (302, 1), (400, 3)]),
        ((1000, 1001, 1003), [(1000, 2), (1003, 1)]),
    ],
)
def test_runs_of_pointers(numbers: tuple[int, ...], runs: list[Run]) -> None:
    assert list(ext_inodes._runs(numbers)) == runs


# ------------------------------------------------------------------------------- where inodes lie


def placed(
    groups: Mapping[int, set[int]], info: Superblock, used: int = 2000
) -> tuple[ExtMap, dict[int, bytes]]:
    """Inodes that are in use, each with its number in it; the table of group n at block 500 n + 9."""
    data, wanted = {}, {}
    for group, numbers in groups.items():
        data[(50 + group) * info.block_size] = made.bits(numbers, info.block_size)
        for index in numbers:
            raw = struct.pack("<II", group, index).ljust(info.inode_size, b"\x9d")
            per_block = info.block_size // info.inode_size
            at = (500 * group + 9 + index // per_block) * info.block_size
            data[at + index % per_block * info.inode_size] = raw
            if index < used:
                wanted[group * info.inodes_per_group + index + 1] = raw
    found = ExtMap(MemoryDisk(1 << 40, data), info)
    found.descriptor = lambda group: Descriptor(  # type: ignore[assignment]
        0,
        50 + group if group in groups else 1 << 50,
        500 * group + 9,
        0,
        False,
        used if group in groups else 0,
        0,
        16,
    )
    return found, wanted


@pytest.mark.parametrize("size", [128, 256, 1024])
@pytest.mark.parametrize("used", [1, 8, 9, 301, 304, 305, 2000])
def test_every_inode_that_is_in_use(size: int, used: int) -> None:
    info = replace(INFO, inode_size=size, blocks=1 + 300 * 8192)
    numbers = {0, 1, 3, 4, 7, 8, 9, 12, 255, 256, 300, 303, 304, 305, 999, 1000, 1999}

    found, wanted = placed({0: numbers, 2: {7, 8, 1001}, 299: {0}}, info, used)

    assert dict(ext_inodes._inodes(found, Effort())) == wanted


def test_the_bits_of_any_bitmap() -> None:
    bitmap = random.Random(3).randbytes(20) + bytes(20) + b"\x80\0\1"

    for count in range(8 * len(bitmap) + 1):
        wanted = [n for n in range(count) if bitmap[n // 8] >> n % 8 & 1]
        assert list(ext_inodes._set_bits(bitmap, count)) == wanted


# ------------------------------------------------------------------------------------ what is proved


def proving(
    raws: Mapping[int, bytes], free: set[int], effort: Effort, blocks: int = 900
) -> str | None:
    """What is said of inodes of one group of 2000, where these blocks are free; None: nothing."""
    info = replace(INFO, blocks=blocks)
    data = {50 * KIB: made.bits(raws, KIB)}
    data |= {9 * KIB + index * 256: raw for index, raw in raws.items()}
    found = ExtMap(MemoryDisk(1 << 40, data), info)
    found.descriptor = lambda _: Descriptor(  # type: ignore[assignment]
        0, 50, 9, 0, False, 2000, 0, 16
    )
    used = set(range(8192)) - {n - 1 for n in free}
    found.bitmap = lambda _: made.bits(used, KIB)  # type: ignore[assignment]
    return reason(lambda: ext_inodes.prove(found, effort))


def points(*numbers: int) -> bytes:
    return inode(FILE, struct.pack(f"<{len(numbers)}I", *numbers))


def test_a_block_that_the_bitmap_calls_free() -> None:
    inodes = {0: points(300), 400: points(301, 899)}

    assert proving(inodes, {302}, Effort()) is None
    assert proving(inodes, {301}, Effort()) == (
        "inode 401 claims block 301, which the bitmap calls free"
    )
    assert proving({5: points(900)}, set(), Effort()) == "inode 6 claims block 900, outside of it"
    raw = inode(FILE, leaf((890, 10)), EXTENTS)
    assert proving({5: raw}, set(), Effort()) is None
    assert proving({5: raw}, {899}, Effort()) == (
        "inode 6 claims block 890, which the bitmap calls free"
    )
    assert proving({5: inode(FILE, leaf((890, 11)), EXTENTS)}, set(), Effort()) == (
        "inode 6 claims block 890, outside of it"
    )


def test_as_many_claims_as_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ext_inodes.MAX_CLAIMS == 16_777_216  # a minute's
    monkeypatch.setattr(ext_inodes, "MAX_CLAIMS", 5)
    words = "its inodes claim more than is looked up"

    assert proving({1: points(3, 4, 5), 2: points(6, 7)}, set(), Effort()) is None
    assert proving({1: points(3, 4, 5), 2: points(6, 7, 8)}, set(), Effort()) == words


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_a_claim_costs(bad: int) -> None:
    # given a group, and claims of which one is wrong: 8 of an effort for each that is heard before
    inodes = {0: points(300, 301, 302)}
    dear = 8 * (bad + 2)

    assert proving(inodes, {300 + bad}, Effort(dear)) is None
    assert proving(inodes, {300 + bad}, Effort(dear + 1)) is not None

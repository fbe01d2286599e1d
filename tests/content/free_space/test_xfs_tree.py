"""The trees of free extents in an XFS group: which blocks are read, what is told, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Literal

import google_crc32c
import pytest
from handmade import Memory

from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.xfs_tree import Extent, Geometry, Tree

Order = Literal["block", "size"]
UUID = bytes(range(0x30, 0x40))
GROUP, PER_GROUP, BLOCKS = 3, 300, 280  # the group's number, blocks a group, and of this one
VERSIONS = [(4, 512), (4, 1024), (5, 512), (5, 1024)]
BASE = GROUP * PER_GROUP


def geometry(version: int, size: int) -> Geometry:
    return Geometry(version, size, 512, 1000, PER_GROUP, 512, 4, 9, 9, 0, UUID)


def head(version: int) -> int:
    """Bytes of a block's head."""
    return 56 if version == 5 else 16


def block(
    version: int,
    size: int,
    at: int,
    records: Sequence[Extent],
    *,
    order: Order = "block",
    level: int = 0,
    children: Sequence[int] = (),
    count: int | None = None,
    magic: bytes | None = None,
    place: int | None = None,
    uuid: bytes = UUID,
    owner: int = GROUP,
    base: int = BASE,
) -> bytes:
    """One block, with a right checksum; what is behind its records is not zero."""
    name = {"block": b"B", "size": b"C"}[order]
    magic = magic or (b"AB3" if version == 5 else b"ABT") + name
    raw = struct.pack(">4sHHII", magic, level, len(records) if count is None else count, 7, 8)
    if version == 5:
        number = (base + at) * (size // 512) if place is None else place
        raw += struct.pack(">QQ16sI4x", number, 0x9999, uuid, owner)
    body = b"".join(struct.pack(">II", *item) for item in records)
    if children:
        body = body.ljust((size - len(raw)) // 12 * 8, b"\x01")
        body += b"".join(struct.pack(">I", child) for child in children)
    return summed((raw + body).ljust(size, b"\x01"), version)


def summed(raw: bytes, version: int) -> bytes:
    """With the checksum of version 5."""
    if version == 4:
        return raw
    total = google_crc32c.value(raw[:52] + bytes(4) + raw[56:])
    return raw[:52] + struct.pack("<I", total) + raw[56:]


def tree(version: int, size: int, blocks: Mapping[int, bytes], order: Order = "block") -> Tree:
    """A tree whose blocks lie at these places of the group."""
    volume = bytearray((BASE + BLOCKS) * size)
    for at, raw in blocks.items():
        volume[(BASE + at) * size : (BASE + at) * size + len(raw)] = raw
    return Tree(Memory(bytes(volume)), geometry(version, size), GROUP, order, BLOCKS)


def told(found: Tree, root: int = 5, levels: int = 1, low: int = 0, high: int = BLOCKS) -> object:
    """The extents, or why there are none."""
    try:
        return list(found.extents(root, levels, low, high))
    except KeptError as error:
        return str(error)


SOME = [(2, 3), (10, 5), (15, 1), (40, 200)]
FAULT = f"a tree of group {GROUP}"


@pytest.mark.parametrize(("version", "size"), VERSIONS)
@pytest.mark.parametrize("at", [1, 5, 7, 279])
def test_a_leaf_tells_its_extents(version: int, size: int, at: int) -> None:
    found = tree(version, size, {at: block(version, size, at, SOME)})
    assert told(found, at) == SOME
    assert list(found.visited) == [at]


@pytest.mark.parametrize("at", [0, 280, 281, 1000])
def test_a_tree_lies_within_its_group(at: int) -> None:
    found = tree(4, 512, {5: block(4, 512, 5, SOME)})
    assert told(found, at) == f"{FAULT} leads outside"


def test_a_tree_lies_within_the_volume() -> None:
    short = Memory(bytes((BASE + 5) * 512 + 511))
    found = Tree(short, geometry(4, 512), GROUP, "block", BLOCKS)
    place = (BASE + 5) * 512
    assert told(found) == f"its tree of free space would lie at byte {place}, outside of it"


@pytest.mark.parametrize(
    ("low", "high", "seen"),
    [
        (0, 280, SOME),
        (0, 2, []),
        (0, 3, SOME[:1]),
        (4, 5, SOME[:1]),
        (5, 10, []),
        (5, 11, SOME[1:2]),
        (14, 15, SOME[1:2]),
        (14, 16, SOME[1:3]),
        (15, 40, SOME[2:3]),
        (16, 41, SOME[3:]),
        (239, 280, SOME[3:]),
        (240, 280, []),
    ],
)
def test_only_extents_that_touch_the_range_are_told(
    low: int, high: int, seen: list[Extent]
) -> None:
    found = tree(4, 512, {5: block(4, 512, 5, SOME)})
    assert told(found, low=low, high=high) == seen


@pytest.mark.parametrize("version", [4, 5])
def test_a_tree_by_size_tells_all_of_them(version: int) -> None:
    extents = [(0, 1), (270, 1), (2, 3), (10, 5), (40, 200)]
    found = tree(version, 512, {5: block(version, 512, 5, extents, order="size")}, "size")
    assert told(found, low=100, high=101) == extents


@pytest.mark.parametrize(
    ("order", "extents", "words"),
    [
        ("block", [(0, 1)], None),
        ("size", [(0, 1)], None),
        ("block", [(0, 280)], None),
        ("block", [(0, 281)], "leads outside"),
        ("block", [(3, 277)], None),
        ("block", [(3, 278)], "leads outside"),
        ("block", [(255, 255)], "leads outside"),
        ("size", [(3, 278)], "leads outside"),
        ("block", [(3, 0)], "leads outside"),
        ("size", [(3, 0)], "leads outside"),
        ("block", [(3, 4), (7, 1)], None),
        ("block", [(3, 4), (6, 1)], "is not in order"),
        ("block", [(3, 3), (3, 1)], "is not in order"),
        ("block", [(9, 1), (3, 1)], "is not in order"),
        ("size", [(9, 1), (3, 2)], None),
        ("size", [(3, 2), (9, 1)], "is not in order"),
        ("size", [(3, 2), (9, 2)], None),
        ("size", [(9, 2), (3, 2)], "is not in order"),
        ("size", [(9, 2), (9, 2)], "is not in order"),
    ],
)
def test_extents_lie_in_the_group_and_in_order(
    order: Order, extents: list[Extent], words: str | None
) -> None:
    found = tree(4, 512, {5: block(4, 512, 5, extents, order=order)}, order)
    fault = f"the tree by {order} of group {GROUP} {words}"
    assert told(found) == (extents if words is None else fault)


def test_each_walk_begins_anew() -> None:
    for order in ("block", "size"):
        extents = sorted(SOME, key=lambda item: item[order == "size"])
        found = tree(4, 512, {5: block(4, 512, 5, extents, order=order)}, order)  # type: ignore[arg-type]
        assert told(found) == told(found) == extents


@pytest.mark.parametrize(("version", "size"), VERSIONS)
def test_a_leaf_holds_as_many_as_fit(version: int, size: int) -> None:
    most = (size - head(version)) // 8
    extents = [(2 * number, 1) for number in range(most)]
    whole = block(version, size, 5, extents)
    assert told(tree(version, size, {5: whole})) == extents
    for count in (most + 1, most + 2, most + 8):
        over = block(version, size, 5, extents, count=count)
        assert told(tree(version, size, {5: over})) == f"{FAULT} has too many records"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("order", ["block", "size"])
def test_a_block_has_its_tree_s_name(version: int, order: Order) -> None:
    for magic in (b"ABTB", b"ABTC", b"AB3B", b"AB3C"):
        found = tree(version, 512, {5: block(version, 512, 5, [(3, 4)], magic=magic)}, order)
        right = magic == {4: b"ABT", 5: b"AB3"}[version] + {"block": b"B", "size": b"C"}[order]
        assert told(found) == ([(3, 4)] if right else f"{FAULT} has a wrong magic number")


@pytest.mark.parametrize(("level", "levels"), [(1, 1), (0, 2), (2, 2), (0x100, 1), (1, 3)])
def test_a_block_tells_its_level(level: int, levels: int) -> None:
    found = tree(4, 512, {5: block(4, 512, 5, [(3, 4)], level=level, children=[6])})
    assert told(found, levels=levels) == f"the levels of {FAULT} contradict"


@pytest.mark.parametrize("size", [512, 1024])
def test_a_block_of_version_5_is_the_one_that_belongs_there(size: int) -> None:
    right = (BASE + 5) * (size // 512)
    other = f"{FAULT} holds a block of another place"
    for told_there in (
        {"place": right - 1},
        {"place": right + 1},
        {"place": right | 1 << 32},
        {"uuid": UUID[:15] + b"\0"},
        {"uuid": b"\xff" + UUID[1:]},
        {"owner": GROUP - 1},
        {"owner": GROUP + 1},
    ):
        found = tree(5, size, {5: block(5, size, 5, SOME, **told_there)})  # type: ignore[arg-type]
        assert told(found) == other


@pytest.mark.parametrize("at", [0x34, 0x37])
@pytest.mark.parametrize("by", [1, -1])
def test_a_block_of_version_5_has_its_checksum(at: int, by: int) -> None:
    raw = bytearray(block(5, 512, 5, SOME))
    raw[at] = (raw[at] + by) % 256
    assert told(tree(5, 512, {5: bytes(raw)})) == f"{FAULT} has a wrong checksum"
    raw = bytearray(block(4, 512, 5, SOME))
    raw[52] ^= 1
    assert told(tree(4, 512, {5: bytes(raw)})) != f"{FAULT} has a wrong checksum"


@pytest.mark.parametrize("at", [4, 51, 56, 511])
def test_the_checksum_is_of_the_whole_block(at: int) -> None:
    raw = bytearray(block(5, 512, 5, [(3, 4)]))
    raw[at] ^= 0x80 if at > 8 else 0
    raw[at - 1] ^= 0x80 if at > 56 else 0
    assert (told(tree(5, 512, {5: bytes(raw)})) == [(3, 4)]) is (at == 4)


LEAVES = {6: [(2, 3), (10, 5)], 7: [(20, 3), (30, 5)], 8: [(40, 3), (50, 200)]}


def two_levels(version: int, order: Order = "block", **root: object) -> Tree:
    blocks = {at: block(version, 512, at, extents, order=order) for at, extents in LEAVES.items()}
    keys = [extents[0] for extents in LEAVES.values()]
    options: dict[str, object] = {"order": order, "level": 1, "children": [*LEAVES]} | root
    blocks[5] = block(version, 512, 5, keys, **options)  # type: ignore[arg-type]
    return tree(version, 512, blocks, order)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("low", "high", "read"),
    [
        (0, 280, [6, 7, 8]),
        (0, 2, []),
        (0, 3, [6]),
        (0, 20, [6]),
        (0, 21, [6, 7]),
        (19, 20, [6]),
        (20, 21, [7]),
        (21, 40, [7]),
        (39, 41, [7, 8]),
        (40, 41, [8]),
        (250, 280, [8]),
    ],
)
def test_only_children_that_may_touch_the_range_are_read(
    version: int, low: int, high: int, read: list[int]
) -> None:
    found = two_levels(version)
    extents = [item for at in read for item in LEAVES[at]]
    seen = [item for item in extents if low < sum(item) and item[0] < high]
    assert told(found, levels=2, low=low, high=high) == seen
    assert list(found.visited) == [5, *read]


@pytest.mark.parametrize("version", [4, 5])
def test_a_tree_by_size_is_read_whole(version: int) -> None:
    found = two_levels(version, "size")
    keys = LEAVES[6] + LEAVES[7] + LEAVES[8]
    assert (
        told(found, levels=2, low=100, high=101)
        == f"the tree by size of group {GROUP} is not in order"
    )
    assert keys[2][1] < keys[1][1]


def test_levels_fall_to_the_leaves() -> None:
    blocks = {
        3: block(5, 512, 3, [(2, 3)], level=3, children=[5]),
        5: block(5, 512, 5, [(2, 3), (40, 3)], level=2, children=[9, 10]),
        9: block(5, 512, 9, [(2, 3), (20, 3)], level=1, children=[6, 7]),
        10: block(5, 512, 10, [(40, 3)], level=1, children=[8]),
    }
    blocks |= {at: block(5, 512, at, extents) for at, extents in LEAVES.items()}
    found = tree(5, 512, blocks)

    assert told(found, 3, levels=4) == LEAVES[6] + LEAVES[7] + LEAVES[8]
    assert list(found.visited) == [3, 5, 9, 6, 7, 10, 8]
    assert told(found, levels=3, low=30, high=45) == [(30, 5), (40, 3)]


@pytest.mark.parametrize(
    ("order", "key", "same"),
    [
        ("block", (270, 1), True),
        ("block", (270, 2), True),
        ("block", (269, 1), False),
        ("block", (271, 1), False),
        ("block", (268, 1), False),
        ("size", (270, 1), True),
        ("size", (270, 2), False),
        ("size", (271, 1), False),
        ("size", (269, 1), False),
    ],
)
def test_a_node_tells_where_its_child_begins(order: Order, key: Extent, same: bool) -> None:
    found = tree(
        4,
        512,
        {
            5: block(4, 512, 5, [key], order=order, level=1, children=[6]),
            6: block(4, 512, 6, [(270, 1)], order=order),
        },
        order,
    )
    words = f"a node of group {GROUP} tells another begin of its child"
    assert told(found, levels=2) == ([(270, 1)] if same else words)


def test_a_key_by_size_has_its_whole_count() -> None:
    leaf = [(3, 270)]
    for count, words in (
        (270, leaf),
        (269, f"a node of group {GROUP} tells another begin of its child"),
    ):
        root = block(4, 512, 5, [(3, count)], order="size", level=1, children=[6])
        found = tree(4, 512, {5: root, 6: block(4, 512, 6, leaf, order="size")}, "size")
        assert told(found, levels=2) == words


@pytest.mark.parametrize("version", [4, 5])
def test_a_node_has_children_and_no_more_than_fit(version: int) -> None:
    most = (512 - head(version)) // 12
    leaf = block(version, 512, 6, [(9, 1)])
    none = f"{FAULT} has a node without children"
    for count in (0, most + 1, most + 2):
        root = block(version, 512, 5, [(9, 1)] * most, level=1, children=[6], count=count)
        assert told(tree(version, 512, {5: root, 6: leaf}), levels=2) == none


@pytest.mark.parametrize("version", [4, 5])
def test_a_node_may_be_full_of_children(version: int) -> None:
    """They are more than a byte counts."""
    size, group, blocks = 4096, 1, 400
    most = (size - head(version)) // 12
    keys = [(1 + n, 1) for n in range(most)]
    options = {"base": blocks, "owner": group}
    root = block(version, size, 5, keys, level=1, children=[*range(6, 6 + most)], **options)
    volume = bytearray(2 * blocks * size)
    volume[(blocks + 5) * size : (blocks + 6) * size] = root
    for n, key in enumerate(keys):
        at = blocks + 6 + n
        volume[at * size : (at + 1) * size] = block(version, size, 6 + n, [key], **options)
    info = Geometry(version, size, 512, 2 * blocks, blocks, 512, 2, 9, 9, 0, UUID)

    found = Tree(Memory(bytes(volume)), info, group, "block", blocks)

    assert told(found, levels=2, high=blocks) == keys
    assert list(found.visited) == [*range(5, 6 + most)]

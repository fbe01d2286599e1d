"""An XFS whose numbers all differ: sectors, blocks, groups and the distance between their numbers.

    group 0: one leaf a tree      group 1: trees of two levels, the log      group 2: short, free in one run

block of a group   0 1: superblock, AGF, AGI, free list, 1 KiB each     3 4: roots of the trees
                   5 6: leaves by block     7 8: leaves by size         10 11 12: the free list's
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import google_crc32c
from handmade import Memory

Extent = tuple[int, int]

UUID, METADATA = b"uuid of the disk", b"uuid of metadata"
BLOCK, SECTOR, PER_GROUP, BITS, LAST = 2048, 1024, 600, 10, 120
GROUPS, BLOCKS = 3, 2 * PER_GROUP + LAST
SIZE = BLOCKS * BLOCK
LOG, LOG_BLOCKS = 40, 10  # in group 1
LOG_AT = (PER_GROUP + LOG) * BLOCK
EXTENTS: tuple[tuple[Extent, ...], ...] = (
    ((20, 300), (331, 1), (340, 260)),
    ((14, 2), (20, 5), (60, 300), (400, 7), (410, 100)),
    ((30, 90),),
)
SPARE = (10, 11, 12)  # blocks of each free list
FIRST = 117  # where it begins, so that it goes around its end (119 words in version 5)
TREES = (2, 5, 4)  # what the groups say of the blocks of their trees


@dataclass(frozen=True)
class Head:
    """The superblock's fields."""

    version: int = 5
    block: int = BLOCK
    block_bits: int | None = None
    sector: int = SECTOR
    blocks: int = BLOCKS
    per_group: int = PER_GROUP
    group_bits: int = BITS
    groups: int = GROUPS
    log: int = 1 << BITS | LOG
    log_blocks: int = LOG_BLOCKS
    bits: int = 0xB4A0
    features: int = 0x18A
    making: int = 0
    free: int = 0x0123456789
    compatible: int = 0
    read_only: int = 0
    incompatible: int = 0x5

    @property
    def raw(self) -> bytes:
        """Its sector, with a checksum; what is around the fields is not zero."""
        head = struct.pack(">4sIQ", b"XFSB", self.block, self.blocks).ljust(32, b"\x21") + UUID
        head += struct.pack(">Q", self.log).ljust(36, b"\x21")
        head += struct.pack(">IIII", self.per_group, self.groups, 0x21212121, self.log_blocks)
        head += struct.pack(">HH", self.bits | self.version, self.sector).ljust(20, b"\x21")
        told = self.block.bit_length() - 1 if self.block_bits is None else self.block_bits
        head += bytes([told, 0x21, 0x21, 0x21, self.group_bits, 0x21, self.making])
        head = head.ljust(144, b"\x21") + struct.pack(">Q", self.free).ljust(56, b"\x21")
        head += struct.pack(">I4x", self.features)
        head += struct.pack(">4I", self.compatible, self.read_only, self.incompatible, 0x21212121)
        head = head.ljust(248, b"\x21") + METADATA
        return summed(head.ljust(max(self.sector, 512), b"\x21"), 224)


def summed(raw: bytes, at: int) -> bytes:
    """With a checksum of all of it at ``at``."""
    total = google_crc32c.value(raw[:at] + bytes(4) + raw[at + 4 :])
    return raw[:at] + struct.pack("<I", total) + raw[at + 4 :]


def tree_block(
    version: int,
    kind: str,
    group: int,
    at: int,
    records: Sequence[Extent],
    children: Sequence[int] = (),
) -> bytes:
    """A leaf, or a node above leaves."""
    magic = {4: b"ABT", 5: b"AB3"}[version] + {"block": b"B", "size": b"C"}[kind]
    raw = struct.pack(">4sHH8x", magic, bool(children), len(records))
    if version == 5:
        place = (group * PER_GROUP + at) * (BLOCK // 512)
        raw += struct.pack(">Q8x16sI4x", place, METADATA, group)
    body = b"".join(struct.pack(">II", *item) for item in records)
    if children:
        body = body.ljust((BLOCK - len(raw)) // 12 * 8, b"\x21")
        body += b"".join(struct.pack(">I", child) for child in children)
    raw = (raw + body).ljust(BLOCK, b"\x21")
    return summed(raw, 52) if version == 5 else raw


def header(version: int, number: int, **changed: int) -> bytes:
    """A group's AGF; ``changed``: some of its fields."""
    extents = EXTENTS[number]
    told = {
        "own": number,
        "length": LAST if number == GROUPS - 1 else PER_GROUP,
        "root": 3,
        "by_size": 4,
        "reverse": 17,
        "levels": 2 if number == 1 else 1,
        "size_levels": 2 if number == 1 else 1,
        "first": FIRST,
        "last": (FIRST + len(SPARE) - 1) % spares(version),
        "listed": len(SPARE),
        "free": sum(count for _, count in extents),
        "longest": max(count for _, count in extents),
        "trees": TREES[number],
        "references": 18,
    } | changed
    names = ("own", "length", "root", "by_size", "reverse", "levels", "size_levels")
    raw = b"XAGF\0\0\0\1" + struct.pack(">7I", *(told[name] for name in names)) + b"\x21" * 4
    names = ("first", "last", "listed", "free", "longest", "trees")
    raw += struct.pack(">6I", *(told[name] for name in names)) + METADATA
    raw = raw.ljust(88, b"\x21") + struct.pack(">I", told["references"])
    return summed(raw.ljust(SECTOR, b"\x21"), 216) if version == 5 else raw.ljust(SECTOR, b"\x21")


def spares(version: int) -> int:
    """How many blocks fit into a free list."""
    return (SECTOR - (36 if version == 5 else 0)) // 4


def free_list(
    version: int, number: int, first: int = FIRST, blocks: Sequence[int] = SPARE
) -> bytes:
    """A group's free list from word ``first`` on; the words that it does not use name blocks, too."""
    words = [20] * spares(version)
    for index, block in enumerate(blocks):
        words[(first + index) % len(words)] = block
    head = struct.pack(">4sI16s12x", b"XAFL", number, METADATA) if version == 5 else b""
    raw = head + struct.pack(f">{len(words)}I", *words)
    return summed(raw, 32) if version == 5 else raw


def parts(version: int) -> dict[int, bytes]:
    """All metadata by its place on the volume; without a log."""
    free = sum(sum(count for _, count in extents) for extents in EXTENTS)
    free += sum(TREES) + GROUPS * len(SPARE)
    head = Head(version, incompatible=0x5 if version == 5 else 0x21, free=free)
    if version == 4:
        head = replace(head, read_only=0x21212121, compatible=0x21212121)
    found = {0: head.raw}
    for number, extents in enumerate(EXTENTS):
        base = number * PER_GROUP * BLOCK
        found[base + SECTOR] = header(version, number)
        found[base + 3 * SECTOR] = free_list(version, number)
        found |= trees(version, number, extents)
    return found


def trees(version: int, number: int, extents: Sequence[Extent]) -> dict[int, bytes]:
    """The blocks of a group's two trees, of two levels in group 1."""
    base, found = number * PER_GROUP * BLOCK, {}
    by_size = sorted(extents, key=lambda item: (item[1], item[0]))
    for root, kind, listed in ((3, "block", extents), (4, "size", by_size)):
        leaves = {2 * root - 1: listed[:3], 2 * root: listed[3:]} if number == 1 else {}
        keys = [part[0] for part in leaves.values()] or listed
        found[base + root * BLOCK] = tree_block(version, kind, number, root, keys, [*leaves])
        for leaf, part in leaves.items():
            found[base + leaf * BLOCK] = tree_block(version, kind, number, leaf, part)
    return found


def volume(there: dict[int, bytes], size: int = SIZE) -> Memory:
    """A volume with these parts at their places."""
    image = bytearray(size)
    for at, data in there.items():
        image[at : at + len(data)] = data
    return Memory(bytes(image[:size]))

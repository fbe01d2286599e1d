"""Ext's descriptors and bitmaps: every number, every range, and what contradicts.

What is true is found by looking at each block; no two numbers of a descriptor are the same.
"""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import made_volumes as made
import pytest
from handmade import Memory
from made_volumes import KIB, Layout
from vhd_files import MemoryDisk

from pipeline.content.free_space import ext
from pipeline.content.free_space.base import Effort, Span, clipped
from pipeline.content.free_space.ext import ExtMap
from tests.content.free_space.kept import reason
from tests.content.free_space.test_ext_descriptors import SMALL, TOLD

LAYOUTS = {
    "blocks of 1 KiB": Layout(groups=5, last=37),
    "blocks of 2 KiB": Layout(groups=4, block=2 * KIB, per_group=40, last=31),
    "clusters of 4": Layout(groups=5, ratio=4, last=38),
    "clusters of 2, blocks of 4 KiB": Layout(groups=3, ratio=2, block=4 * KIB, last=35),
    "wide": Layout(groups=5, descriptor=64, last=40),
    "blocks of 300 bits a group": Layout(groups=3, per_group=304, last=290),
}


def start_of(layout: Layout, group: int) -> int:
    return layout.first + group * layout.per_group


def size_of(layout: Layout, group: int) -> int:
    return layout.last if group == layout.groups - 1 else layout.per_group


def scattered(layout: Layout) -> tuple[Memory, set[int]]:
    """Free clusters at random, and the free blocks."""
    image, chance = bytearray(made.ext_empty(layout)), random.Random(5)
    table, free, total = (KIB // layout.block + 1) * layout.block, set[int](), 0
    for group in range(layout.groups):
        at, start, count = table + group * layout.descriptor, start_of(layout, group), 0
        place = struct.unpack_from("<I", image, at)[0] * layout.block
        for bit in range(-(-size_of(layout, group) // layout.ratio)):
            if image[place + bit // 8] >> bit % 8 & 1:
                continue
            if chance.random() < 0.4:
                image[place + bit // 8] |= 1 << bit % 8
                continue
            first = bit * layout.ratio
            last = min(first + layout.ratio, size_of(layout, group))
            free |= {start + number for number in range(first, last)}
            count += 1
        struct.pack_into("<H", image, at + 12, count)
        total += count
    struct.pack_into("<I", image, 1024 + 12, total * layout.ratio)
    return Memory(bytes(image)), free


def spans_of(blocks: set[int], size: int) -> list[Span]:
    """Runs of blocks, in bytes."""
    found: list[Span] = []
    for block in sorted(blocks):
        first = found.pop()[0] if found and found[-1][1] == block * size else block * size
        found.append((first, (block + 1) * size))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_free_blocks_of_any_range(name: str) -> None:
    layout = LAYOUTS[name]
    volume, free = scattered(layout)
    size, truth = layout.block, spans_of(free, layout.block)

    found = ext.look(volume, Effort())

    assert found.end == layout.blocks * size
    borders = [start_of(layout, group) for group in range(layout.groups)]
    blocks = {0, 1, 2, layout.blocks, *(b + by for b in borders for by in (-1, 0, 9, 30))}
    edges = sorted(b * size + by for b in blocks for by in (-1, 0, 600) if b > 0)
    ranges = [(low, edges[n + by]) for by in (1, 2, 17) for n, low in enumerate(edges[:-by])]
    for low, high in [*ranges, (0, found.end), *((edge, found.end + 700) for edge in edges[::5])]:
        assert list(found.between(low, high)) == list(clipped(truth, low, high)), (low, high)
    runs = 0
    for group in range(layout.groups):
        own = range(start_of(layout, group), start_of(layout, group) + size_of(layout, group))
        runs += len(spans_of(free & set(own), size))
    assert found.runs == runs
    over = -layout.last % layout.ratio if layout.blocks - 1 in free else 0
    assert found.free == (len(free) + over) * size


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_range_is_looked_up_in_its_own_groups_only(name: str) -> None:
    layout = LAYOUTS[name]
    found = ext.look(scattered(layout)[0], Effort())
    asked, load = list[int](), found.bitmap

    def bitmap(group: int) -> bytes:
        asked.append(group)
        return load(group)

    found.bitmap = bitmap  # type: ignore[assignment]
    for group in range(layout.groups):
        low = start_of(layout, group) * layout.block
        high = low + size_of(layout, group) * layout.block
        for first, last in ((low, high), (low, low + 1), (high - 1, high), (low + 3000, high - 1)):
            asked.clear()
            list(found.between(first, last))
            assert asked == [group], (first, last)
    asked.clear()
    assert list(found.between(found.end, 2 * found.end)) == []
    assert set(asked) <= {layout.groups - 1}


@pytest.mark.parametrize("name", LAYOUTS)
def test_whether_all_of_some_blocks_are_used(name: str) -> None:
    layout = LAYOUTS[name]
    volume, free = scattered(layout)
    found, ratio = ext.look(volume, Effort()), layout.ratio

    def touched(first: int, count: int) -> set[int]:
        """The blocks of all clusters that have one of these."""
        every = set()
        for block in range(first, first + count):
            group, at = divmod(block - layout.first, layout.per_group)
            begin = start_of(layout, group) + at // ratio * ratio
            every |= set(range(begin, begin + ratio))
        return every

    for first in range(layout.first, layout.blocks):
        for count in (1, 2, 3, 5):
            if first + count <= layout.blocks:
                told = found.used(first, count)
                assert told == (not touched(first, count) & free), (first, count)
    assert not found.used(layout.first, layout.blocks - layout.first)
    assert found.used(layout.first, 0)


def test_used_blocks_on_both_sides_of_a_groups_end() -> None:
    layout = Layout(groups=4, last=64)
    volume, _ = scattered(layout)
    found = ext.look(volume, Effort())
    for group in range(4):
        found.bitmap(group)
    full = ExtMap(Memory(volume.data), found.superblock)
    bitmaps = [bytearray(b"\xff" * KIB) for _ in range(4)]
    full.bitmap = lambda group: bytes(bitmaps[group])  # type: ignore[assignment]

    assert full.used(1, 256)
    for group, bit in ((0, 0), (0, 63), (1, 0), (2, 5), (3, 63)):
        bitmaps[group][bit // 8] ^= 1 << bit % 8
        block = 1 + 64 * group + bit
        assert not full.used(1, 256)
        assert not full.used(block, 1)
        assert full.used(1, block - 1)
        assert block == 256 or full.used(block + 1, 256 - block)
        bitmaps[group][bit // 8] ^= 1 << bit % 8


def test_what_lies_inside() -> None:
    found = ext.look(Memory(made.ext()), Effort())

    assert [found.inside(first, 1) for first in (0, 1, 168, 169)] == [False, True, True, False]
    assert [found.inside(160, count) for count in (8, 9, 10)] == [True, True, False]
    assert found.block(80, "block") == made.ext()[80 * KIB : 81 * KIB]


# ---------------------------------------------------------------------------------- contradictions


@pytest.mark.parametrize("flexible", [False, True])
def test_metadata_lies_in_its_own_group(flexible: bool) -> None:
    # given group 1, blocks 513 to 1024, and tables of 16 blocks
    info = replace(SMALL, incompatible=0x8042 | (0x200 if flexible else 0))
    found = ExtMap(MemoryDisk(4096 * 1024, {}), info)
    words = "metadata of block group 1 lies in another group"
    for first, count, own in (
        (513, 16, True), (512, 16, False), (1009, 16, True), (1010, 16, False), (1, 1, False),
        (1024, 1, True), (1025, 1, False), (3000, 1, False),
    ):  # fmt: skip
        told = reason(lambda f=first, c=count: found._require_place(1, f, c))
        assert told == (None if own or flexible else words), (first, count)
    for first, count in ((0, 1), (4095, 2), (4096, 1)):
        told = reason(lambda f=first, c=count: found._require_place(1, f, c))
        assert told == f"metadata of block group 1 lies at block {first}, outside"
    assert reason(lambda: found._require_place(7, 4094, 2)) is None


def test_counts_that_contradict() -> None:
    volume, _ = scattered(LAYOUTS["clusters of 4"])
    table = 2 * KIB
    (free,) = struct.unpack("<I", volume.read(1024 + 12, 4))
    (own,) = struct.unpack("<H", volume.read(table + 32 * 2 + 12, 2))

    for other in (free - 1, free + 1):
        wrong = volume.also(1024 + 12, struct.pack("<I", other))
        words = f"its bitmaps have {free * KIB} free bytes, its superblock says {other * KIB}"
        assert reason(ext.look, wrong, Effort()) == words
    for other in (own - 1, own + 1):
        wrong = volume.also(table + 32 * 2 + 12, struct.pack("<H", other))
        words = f"block group 2 has {own} free clusters, its descriptor says {other}"
        assert reason(lambda w=wrong: ext.look(w, Effort())) == words


@pytest.mark.parametrize("name", ["blocks of 1 KiB", "clusters of 4"])
def test_a_groups_own_base_is_used(name: str) -> None:
    # given one cluster of a base free, and another one used instead
    layout = LAYOUTS[name]
    volume, _ = scattered(layout)
    found = ext.look(volume, Effort())
    info = found.superblock
    for group in range(layout.groups):
        base = -(-info.base(group) // layout.ratio)
        for bit in range(base + 1):
            bitmap = bytearray(found.bitmap(group))
            bitmap[bit // 8] &= ~(1 << bit % 8)
            count = sum(
                not bitmap[n // 8] >> n % 8 & 1 for n in range(info.clusters(group))
            )  # one more than before
            damaged = ExtMap(volume, info)
            damaged.bitmap = lambda _, b=bytes(bitmap): b  # type: ignore[assignment]
            told = replace(TOLD, free=count)
            words = f"the bitmap of block group {group} calls its base free"
            seen = reason(lambda d=damaged, g=group, t=told: d._prove_group(g, t))
            assert seen == (words if bit < base else None), (group, bit)


@pytest.mark.parametrize("group", [0, 1, 4])
def test_metadata_that_a_bitmap_calls_free(group: int) -> None:
    # given the group's bitmap, that of its inodes, or its table, called free
    layout = LAYOUTS["blocks of 1 KiB"]
    whole, _ = scattered(layout)
    at = 2 * KIB + 32 * group
    bitmap, inodes, first, free = struct.unpack("<IIIH", whole.read(at, 14))
    (total,) = struct.unpack("<I", whole.read(1024 + 12, 4))
    counted = whole.also(at + 12, struct.pack("<H", free + 1))
    counted = counted.also(1024 + 12, struct.pack("<I", total + 1))
    for block in (bitmap, inodes, first):
        bit = block - start_of(layout, group)
        place = bitmap * KIB + bit // 8
        volume = counted.also(place, bytes([whole.read(place, 1)[0] & ~(1 << bit % 8)]))
        words = f"its bitmap calls metadata at block {bitmap} free"
        assert reason(ext.look, volume, Effort()) == words


# ------------------------------------------------------------------------------------- its effort


def test_what_a_group_costs() -> None:
    # given five groups, each 40 of an effort, of which maps may take four times as much
    volume, free = scattered(LAYOUTS["blocks of 1 KiB"])

    counted, told = ext.look(volume, Effort(51)), ext.look(volume, Effort(50))

    assert (counted.free, told.free) == (len(free) * KIB, len(free) * KIB)
    assert counted.runs is not None
    assert told.runs is None

"""The groups of an XFS: headers, free lists and trees against one another, and what is read for a range."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import made_xfs as made
import pytest
from handmade import Memory
from made_xfs import BLOCK, EXTENTS, LOG, LOG_AT, LOG_BLOCKS, PER_GROUP, SECTOR, SIZE, Extent

from pipeline.content import xfs_log
from pipeline.content.free_space import xfs
from pipeline.content.free_space.base import Effort, KeptError, Span
from pipeline.content.free_space.xfs import Group, XfsMap, _Sum
from tests.content.test_xfs_log_ring import record, ring

STRIDE = PER_GROUP * BLOCK  # bytes from one group to the next
COUNT = LOG_BLOCKS * BLOCK // 512
CLEAN = ring(COUNT, 5, 9, record(5, 7, uuid=made.METADATA))
SPANS = [
    (number * STRIDE + at * BLOCK, number * STRIDE + (at + count) * BLOCK)
    for number, extents in enumerate(EXTENTS)
    for at, count in extents
]
FREE = sum(high - low for low, high in SPANS)


@functools.cache
def sound(version: int) -> Memory:
    return made.volume(made.parts(version) | {LOG_AT: CLEAN})


def whole(version: int = 5, *changes: tuple[int, bytes]) -> Memory:
    """The volume; ``changes``: other parts at their places."""
    volume = sound(version)
    for at, data in changes:
        volume = volume.also(at, data)
    return volume


def look(volume: Memory, effort: Effort | None = None) -> XfsMap | str:
    """Its free space, or why nothing is free."""
    try:
        return xfs.look(volume, effort or Effort())
    except KeptError as error:
        return str(error)


@pytest.mark.parametrize("version", [4, 5])
def test_all_groups_are_counted(version: int) -> None:
    found = look(whole(version))
    assert isinstance(found, XfsMap)
    assert (found.free, found.runs, found.end) == (FREE, 9, SIZE)
    assert list(found.between(0, SIZE)) == SPANS
    assert list(found.between(-9, SIZE + 4096)) == SPANS


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (bytes(len(CLEAN)), "its log was never written"),
        (ring(COUNT, 5, 9), "its log may hold changes that were not written back"),
        (ring(COUNT, 5, 9, record(5, 7, uuid=b"?" * 16)), "its log is another file system's"),
    ],
    ids=("zeros", "dirty", "foreign"),
)
def test_a_log_that_is_not_clean_makes_all_of_it_doubtful(log: bytes, words: str) -> None:
    assert look(whole(5, (LOG_AT, log))) == words
    assert set(xfs_log.NOT_CLEAN) == {"unwritten", "dirty", "foreign", "unknown"}


def header(number: int = 1, version: int = 5, **changed: int) -> tuple[int, bytes]:
    return number * STRIDE + SECTOR, made.header(version, number, **changed)


LISTS = "the two trees of group 1 hold other extents"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"free": 413}, "group 1 has 414 free blocks, not 413"),
        ({"free": 415}, "group 1 has 414 free blocks, not 415"),
        ({"longest": 299}, "the longest free extent of group 1 is not so long"),
        ({"longest": 301}, "the longest free extent of group 1 is not so long"),
        ({"trees": 6}, "its groups count 1086 free blocks, its superblock says 1085"),
        ({"trees": 4}, "its groups count 1084 free blocks, its superblock says 1085"),
        ({"own": 0}, "the header of group 1 is another group's"),
        ({"own": 2}, "the header of group 1 is another group's"),
        ({"length": 599}, "the header of group 1 is another group's"),
        ({"length": 601}, "the header of group 1 is another group's"),
        ({"root": 0}, "a tree of group 1 lies outside"),
        ({"root": 600}, "a tree of group 1 lies outside"),
        ({"by_size": 0}, "a tree of group 1 lies outside"),
        ({"by_size": 600}, "a tree of group 1 lies outside"),
        ({"root": 601}, "a tree of group 1 lies outside"),
        ({"by_size": 601}, "a tree of group 1 lies outside"),
        ({"levels": 0}, "a tree of group 1 is too deep"),
        ({"levels": 10}, "a tree of group 1 is too deep"),
        ({"levels": 9}, "the levels of a tree of group 1 contradict"),
        ({"levels": 1}, "the levels of a tree of group 1 contradict"),
        ({"size_levels": 0}, "a tree of group 1 is too deep"),
        ({"size_levels": 10}, "a tree of group 1 is too deep"),
        ({"levels": 11}, "a tree of group 1 is too deep"),
        ({"size_levels": 11}, "a tree of group 1 is too deep"),
        ({"size_levels": 9}, "the levels of a tree of group 1 contradict"),
        ({"size_levels": 3}, "the levels of a tree of group 1 contradict"),
        ({"root": 4}, "a tree of group 1 has a wrong magic number"),
        ({"by_size": 3}, "a tree of group 1 has a wrong magic number"),
        ({"listed": 1025}, "a free list is longer than its place"),
        ({"first": 1024}, "a free list begins outside of itself"),
        ({"last": 1024}, "a free list begins outside of itself"),
    ],
)
def test_a_group_that_contradicts_itself_is_not_believed(
    version: int, changed: dict[str, int], words: str
) -> None:
    assert look(whole(version, header(version=version, **changed))) == words


@pytest.mark.parametrize("version", [4, 5])
def test_roots_and_levels_within_their_limits_are_taken(version: int) -> None:
    info, _ = xfs._superblock(whole(version))
    for told in ({"root": 1, "by_size": 599}, {"root": 599, "by_size": 1}):
        for levels in ((1, 9), (9, 1)):
            both = dict(zip(("levels", "size_levels"), levels, strict=True))
            raw = made.header(version, 1, **told, **both)
            assert xfs._group(raw, info, 1) == Group(1, PER_GROUP, told["root"], levels[0])
    assert xfs._group(made.header(version, 2), info, 2) == Group(2, made.LAST, 3, 1)


@pytest.mark.parametrize("magic", [b"XAGE", b"XAGG", b"XAG\0"])
def test_a_header_has_its_name(magic: bytes) -> None:
    at, raw = header(version=4)
    assert look(whole(4, (at, magic + raw[4:]))) == "the header of group 1 has no magic number"


@pytest.mark.parametrize("at", [4, 215, 220, 600, SECTOR - 1])
def test_a_header_has_its_checksum(at: int) -> None:
    place, raw = header()
    raw = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    assert look(whole(5, (place, raw))) == "the header of group 1 has a wrong checksum"


@pytest.mark.parametrize("at", [64, 79])
@pytest.mark.parametrize("by", [1, -1])
def test_a_header_belongs_to_its_file_system(at: int, by: int) -> None:
    place, raw = header()
    raw = made.summed(raw[:at] + bytes([raw[at] + by]) + raw[at + 1 :], 216)
    assert look(whole(5, (place, raw))) == "the header of group 1 belongs to another file system"


def test_trees_hold_the_same_extents() -> None:
    for leaf in ([(14, 2), (20, 5), (50, 300)], [(14, 2), (19, 5), (60, 300)], [(13, 2), (20, 5)]):
        raw = made.tree_block(5, "block", 1, 5, leaf)
        at = STRIDE + 3 * BLOCK
        root = made.tree_block(5, "block", 1, 3, [leaf[0], (400, 7)], [5, 6])
        assert look(whole(5, (STRIDE + 5 * BLOCK, raw), (at, root))) == LISTS


def listed(number: int, version: int, first: int, blocks: Iterable[int]) -> list[tuple[int, bytes]]:
    """Another free list of a group, as long as the one before, and the header that tells it."""
    words = [*blocks]
    last = (first + len(words) - 1) % made.spares(version)
    return [
        (number * STRIDE + 3 * SECTOR, made.free_list(version, number, first, words)),
        header(number, version, first=first, last=last),
    ]


def claimed(number: int, at: int, count: int) -> str:
    return f"group {number} calls metadata in blocks {at} to {at + count} free"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("number", "blocks", "words"),
    [
        (0, (13, 19, 320), None),
        (0, (13, 19, 319), claimed(0, 20, 300)),
        (0, (20, 13, 14), claimed(0, 20, 300)),
        (0, (13, 14, 331), claimed(0, 331, 1)),
        (0, (330, 332, 339), None),
        (0, (599, 14, 13), claimed(0, 340, 260)),
        (1, (16, 19, 25), None),
        (1, (13, 14, 17), claimed(1, 14, 2)),
        (1, (13, 15, 17), claimed(1, 14, 2)),
        (1, (359, 13, 17), claimed(1, 60, 300)),
        (1, (13, 406, 17), claimed(1, 400, 7)),
        (1, (407, 409, 510), None),
        (2, (13, 17, 119), claimed(2, 30, 90)),
    ],
)
@pytest.mark.parametrize("first", [0, 7])
def test_blocks_of_the_free_list_are_not_free(
    version: int, number: int, blocks: tuple[int, ...], words: str | None, first: int
) -> None:
    for begin in (first, made.spares(version) - 1 - first % 3):
        found = look(whole(version, *listed(number, version, begin, blocks)))
        assert (None if isinstance(found, XfsMap) else found) == words


@pytest.mark.parametrize("version", [4, 5])
def test_a_free_list_may_fill_its_place(version: int) -> None:
    """From whichever word on, and no word more."""
    count = made.spares(version)
    for first in (0, count - 1):
        for more, words in ((0, None), (1, "a free list is longer than its place")):
            changes = dict(listed(0, version, first, [13] * count))
            told = {"listed": count + more, "first": first, "last": count - 1, "trees": 0}
            changes |= dict([header(0, version, **told)])
            found = look(whole(version, *changes.items()))
            wrong = f"its groups count {1085 - 5 + count} free blocks, its superblock says 1085"
            assert found == (words or wrong)
    for told in ({"first": count}, {"last": count}):
        found = look(whole(version, header(0, version, **told)))
        assert found == "a free list begins outside of itself"


@pytest.mark.parametrize(
    ("at", "what"), [(3, b"M"), (3, b"K"), (7, b"\1"), (4, b"\1"), (36, b"\1"), (SECTOR - 1, b"\0")]
)
def test_a_free_list_of_version_5_has_its_head(at: int, what: bytes) -> None:
    place, raw = 3 * SECTOR, made.free_list(5, 0)
    changed = raw[:at] + what + raw[at + 1 :]
    words = "the free list of group 0 is damaged"
    assert look(whole(5, (place, changed))) == words
    if at < 8:
        assert look(whole(5, (place, made.summed(changed, 32)))) == words


def with_extents(*extents: Extent) -> XfsMap | str:
    """What is said where these are free in group 1."""
    count, longest = sum(count for _, count in extents), max(count for _, count in extents)
    changes = made.trees(5, 1, extents) | dict([header(free=count, longest=longest)])
    return look(whole(5, *changes.items()))


@pytest.mark.parametrize("at", [LOG - 1, LOG, LOG + 1, LOG + LOG_BLOCKS - 1, LOG + LOG_BLOCKS])
def test_the_log_is_not_free(at: int) -> None:
    wrong = "its groups count 786 free blocks, its superblock says 1085"
    found = with_extents((14, 2), (20, 5), (at, 1), (400, 7), (410, 100))
    assert found == (claimed(1, at, 1) if LOG <= at < LOG + LOG_BLOCKS else wrong)


@pytest.mark.parametrize("at", range(10))
def test_headers_and_the_blocks_of_trees_are_not_free(at: int) -> None:
    """Blocks 2 and 9 are nobody's."""
    wrong = "its groups count 784 free blocks, its superblock says 1085"
    found = with_extents((at, 1), (20, 5), (32, 1), (400, 7), (410, 99))
    assert found == (wrong if at in (2, 9) else claimed(1, at, 1))


def reserved(version: int = 5, number: int = 0, **changed: int) -> set[Span]:
    """What is metadata in any case, by a geometry of other numbers."""
    volume = whole(version)
    info, _ = xfs._superblock(volume)
    told = dataclasses.replace(info, **changed)
    raw = made.header(version, number)
    found = XfsMap(volume, told)._reserved(raw, number, made.FIRST, 0, 0)
    return set(found)


@pytest.mark.parametrize(
    ("sector", "block", "count"),
    [(1024, 2048, 2), (1024, 1024, 4), (1024, 4096, 1), (1024, 8192, 1), (1024, 3072, 2)],
)
def test_a_group_begins_with_four_sectors_of_headers(sector: int, block: int, count: int) -> None:
    assert reserved(4, sector_size=sector, block_size=block) == {(0, count)}


def test_trees_of_features_have_roots() -> None:
    log = (LOG, LOG + LOG_BLOCKS)
    assert reserved() == {(0, 2)}
    assert reserved(number=1) == {(0, 2), log}
    assert reserved(number=2) == {(0, 2)}
    for group in (0, 2):
        assert reserved(number=group, log_start=group << made.BITS | LOG) == {(0, 2), log}
    for mask, roots in ((1, []), (2, [17]), (4, [18]), (6, [17, 18]), (8, []), (9, [])):
        assert reserved(read_only=mask) == {(0, 2), *((at, at + 1) for at in roots)}


@pytest.mark.parametrize(
    ("spans", "apart"),
    [
        ([], True),
        ([(0, 20)], True),
        ([(0, 21)], False),
        ([(319, 320)], False),
        ([(320, 331), (332, 340)], True),
        ([(320, 332)], False),
        ([(331, 332)], False),
        ([(0, 1), (2, 3), (4, 5), (600, 700)], True),
        ([(0, 1), (0, 2), (1, 2), (339, 341)], False),
        ([(0, 600)], False),
        ([(5, 6), (599, 600)], False),
    ],
)
def test_free_extents_lie_apart_from_metadata(spans: list[Span], apart: bool) -> None:
    volume = whole()
    found = XfsMap(volume, xfs._superblock(volume)[0])
    if apart:
        found._require_apart(found.group(0), spans)
        return
    with pytest.raises(KeptError, match="group 0 calls metadata in blocks "):
        found._require_apart(found.group(0), spans)


def test_headers_are_sectors_of_their_group() -> None:
    """In a volume whose sectors are as large as its blocks, of which a group has an odd number."""
    info = dataclasses.replace(xfs._superblock(whole(4))[0], sector_size=BLOCK, group_blocks=601)
    asked: list[Span] = []

    class Watched:
        size = SIZE

        def read(self, offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return bytes(length)

    found = XfsMap(Watched(), info)
    found._header(1)
    found._reserved(made.header(4, 1), 1, 0, 0, 0)
    assert asked == [((601 + 1) * BLOCK, BLOCK), ((601 + 3) * BLOCK, BLOCK)]
    far = XfsMap(Watched(), dataclasses.replace(info, log_start=300 << made.BITS | LOG))
    assert (LOG, LOG + LOG_BLOCKS) in far._reserved(made.header(4, 1), 300, 0, 0, 0)


@pytest.mark.parametrize(("most", "runs"), [(1, None), (3, None), (16, None), (18, None), (19, 9)])
def test_where_the_effort_ends_the_headers_are_believed(most: int, runs: int | None) -> None:
    """Each extent of both trees costs one."""
    found = look(whole(), Effort(most))
    assert isinstance(found, XfsMap)
    assert (found.free, found.runs) == (FREE, runs)


def test_a_group_is_held_against_its_header_as_long_as_the_effort_lasts() -> None:
    volume = whole(5, header(0, longest=1))
    assert isinstance(look(volume, Effort(6)), XfsMap)
    assert look(volume, Effort(7)) == "the longest free extent of group 0 is not so long"
    assert isinstance(look(whole(5, header(2, longest=1)), Effort(18)), XfsMap)


def test_once_the_effort_ended_runs_stay_unknown() -> None:
    """The last group has none, so that nothing of it is left to hear."""
    at = 2 * STRIDE
    volume = whole(
        5,
        header(2, free=0, longest=0),
        (at + 3 * BLOCK, made.tree_block(5, "block", 2, 3, [])),
        (at + 4 * BLOCK, made.tree_block(5, "size", 2, 4, [])),
        (0, made.Head(free=1085 - 90).raw),
    )
    for most, runs in ((3, None), (17, 8)):
        found = look(volume, Effort(most))
        assert isinstance(found, XfsMap)
        assert (found.free, found.runs) == (FREE - 90 * BLOCK, runs)


def sum_of(*extents: tuple[int, int]) -> _Sum:
    return _Sum(extents, Effort())


def test_the_same_extents_in_another_order_are_equal() -> None:
    assert sum_of((1, 2), (7, 300)) == sum_of((7, 300), (1, 2))
    assert sum_of((1, 2), (7, 300)) != sum_of((1, 2), (8, 300))
    assert sum_of((1, 2), (7, 3)) != sum_of((1, 3), (7, 2))
    assert sum_of((1, 2)) != sum_of((1, 1), (2, 1))
    assert sum_of() == sum_of()
    assert sum_of() != {"blocks": 0}
    told = sum_of((1, 2), (7, 300), (9, 5))
    assert (told.blocks, told.count, told.longest, told.whole) == (307, 3, 300, True)
    cut = _Sum([(1, 2), (7, 300), (9, 5)], Effort(3))
    assert (cut.blocks, cut.count, cut.longest, cut.whole) == (302, 2, 300, False)

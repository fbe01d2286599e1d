"""What is told without being asked: the same numbers for a bounded effort."""

import itertools
import random

import file_systems as made
import pytest

from pipeline.content import free_space
from pipeline.content.free_space import Area, FreeSpace, ext, gaps, held
from pipeline.content.free_space.base import NOT_COUNTED, Effort, Piece
from pipeline.fileview import FileView
from pipeline.source import Extent, Source

MIB = 1 << 20


class Counted:
    """A ``Reader`` that knows how much was read."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.count = 0
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        self.count += length
        return self._data[offset : offset + length]


KINDS = {
    "ext2": lambda path: made.ext(path, (*made.EXT["ext2"], "-b", "1024", "-N", "20000"), 20 * MIB),
    "xfs": lambda path: made.xfs(path, ()),
    "ntfs": lambda path: made.ntfs(path, (), 20 * MIB),
}


@pytest.mark.needs("mke2fs", "debugfs", "mkfs.xfs", "mkntfs", "ntfs-3g")
@pytest.mark.parametrize("kind", KINDS)
def test_advice_hears_fewer_witnesses_and_says_the_same(kind, tmp_path, monkeypatch):
    data = KINDS[kind](tmp_path / "fs").read_bytes()
    monkeypatch.setattr("pipeline.content.free_space.ADVICE", 5)
    monkeypatch.setattr("pipeline.content.free_space.base._COUNTING", 1 << 20)
    monkeypatch.setattr("pipeline.content.free_space.ntfs._CHUNK", 4096)
    monkeypatch.setattr("pipeline.content.disk.PAGE", 1024)
    all_of_it, some = Counted(data), Counted(data)

    proved = free_space.survey(all_of_it)
    believed = free_space.survey(some, thorough=False)

    assert believed.areas[0].reason is None
    assert proved.free == believed.free > 0
    if kind == "xfs":  # its trees are counted only when they are compared
        assert believed.runs is None
    else:
        assert some.count < all_of_it.count * 0.9
        assert believed.runs == proved.runs


TOLD = {  # by the file system itself, where it was not counted
    "ext4": lambda path: made.ext(path, made.EXT["ext4"], 200 * MIB),
    "fat32": lambda path: made.fat(path, ("-F", "32"), 64 * MIB),
}
SILENT = {
    "fat16": lambda path: made.fat(path, ("-F", "16"), 64 * MIB),
    "ntfs": lambda path: made.ntfs(path, (), 20 * MIB),
}


@pytest.mark.needs("mke2fs", "debugfs", "mkfs.vfat", "mkntfs", "ntfs-3g")
@pytest.mark.parametrize("kind", [*TOLD, *SILENT])
def test_advice_counts_no_longer_than_its_effort(kind, tmp_path, monkeypatch):
    data = {**TOLD, **SILENT}[kind](tmp_path / "fs").read_bytes()
    monkeypatch.setattr("pipeline.content.free_space.ADVICE", 5)
    monkeypatch.setattr("pipeline.content.disk.PAGE", 1024)
    all_of_it, some = Counted(data), Counted(data)

    proved = free_space.survey(all_of_it)
    [believed] = free_space.survey(some, thorough=False).areas

    assert some.count < all_of_it.count
    if kind in TOLD:
        assert (believed.map.free, believed.map.runs) == (proved.free, None)
    else:
        assert (believed.map, believed.reason) == (None, NOT_COUNTED)


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_map_that_nobody_read_and_that_contradicts_itself_holds_nothing_deleted(
    tmp_path, monkeypatch
):
    # given an ext4 whose bitmap of the first group is damaged
    path = made.ext(tmp_path / "fs", (*made.EXT["ext4"], "-b", "4096"), 64 * MIB)
    with Source.open(path) as source:
        block = ext.look(source, Effort()).descriptor(0).block_bitmap
    with path.open("r+b") as file:
        file.seek(block * 4096)
        file.write(b"\xa5" * 100)
    monkeypatch.setattr("pipeline.content.free_space.ADVICE", 5)

    with Source.open(path) as source:
        view = FileView(source, source.size)
        free = free_space.survey(view, thorough=False)
        told = held.deleted(view, free, view.extents())

    assert free.free > 0
    assert told == 0


@pytest.mark.parametrize("most", [0, 1, 99, 100, 101])
def test_an_effort_ends_once_and_for_all(most):
    effort = Effort(most)

    spent = sum(7 for _ in itertools.takewhile(effort.allows, itertools.repeat(7)))

    assert spent < most or spent == 0
    assert not effort.allows(0)
    assert Effort().allows(1 << 60)


@pytest.mark.parametrize("most", [50_000, 4000])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_how_much_is_deleted_is_told_from_some_of_the_runs(
    share, counted, most, tmp_path, monkeypatch
):
    # given 8192 runs of one page all over a disk, of which a share holds something else than zeros
    monkeypatch.setattr(held, "_RUNS", most)
    monkeypatch.setattr(held, "_WINDOW", MIB)
    size, chance = 64 * MIB, random.Random(3)
    spans = tuple((at, at + 4096) for at in range(0, size, 8192))
    path = made.empty(tmp_path / "disk", size)
    with path.open("r+b") as file:
        for low, _ in spans:
            if chance.random() < share:
                file.seek(low)
                file.write(b"x" * 4096)
    known = gaps.GapMap(spans, size)
    known.runs = known.runs if counted else None
    free = FreeSpace((Area("the disk", None, 0, size, (Piece(0, 0, size),), known),))

    with Source.open(path) as source:
        told = held.deleted(FileView(source, size), free, [Extent(0, size, "data")])

    assert told == pytest.approx(share * free.free, rel=0.2)

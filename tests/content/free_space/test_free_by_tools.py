"""Every byte that a file system's own tools call free is found, and no other."""

import re
from pathlib import Path

import file_systems as made
import pytest

from pipeline.content import free_space
from pipeline.content.free_space.base import Span, merged
from pipeline.source import Source

MIB = 1 << 20


def free_of(path: Path) -> tuple[list[Span], free_space.FreeSpace]:
    with Source.open(path) as source:
        found = free_space.survey(source)
        (area,) = found.areas
        assert area.reason is None, area.reason
        whole = list(found.between(0, source.size))
        by_windows = [
            span
            for low in range(0, source.size, 3 * MIB)
            for span in found.between(low, min(source.size, low + 3 * MIB))
        ]
        assert list(merged(by_windows)) == whole
        assert sum(high - low for low, high in whole) == found.free
    return whole, found


def by_dumpe2fs(path: Path) -> list[Span]:
    told = made.run("dumpe2fs", path)
    number = {
        name: int(match[1])
        for name in ("Block size", "Block count", "Cluster size")
        if (match := re.search(rf"^{name}:\s+(\d+)", told, re.MULTILINE))
    }
    size = number["Block size"]
    ratio = number.get("Cluster size", size) // size
    spans = []
    for line in re.findall(r"^  Free blocks: (.+)$", told, re.MULTILINE):
        for part in line.split(", "):
            first, _, last = part.partition("-")  # newer ones name a cluster's last block
            end = min((int(last or first) // ratio + 1) * ratio, number["Block count"])
            spans.append((int(first) * size, end * size))
    return list(merged(sorted(spans)))


@pytest.mark.needs("mke2fs", "debugfs", "dumpe2fs")
@pytest.mark.parametrize("name", made.EXT)
def test_ext(name, tmp_path):
    path = made.ext(tmp_path / "fs", made.EXT[name])

    found, _ = free_of(path)

    assert found == by_dumpe2fs(path)


@pytest.mark.needs("mke2fs", "dumpe2fs")
def test_an_ext4_whose_groups_were_never_written(tmp_path):
    # given 20 block groups of 8 MiB, most of them without a bitmap, on a disk that is not empty
    path = made.dirty(tmp_path / "fs", 160 * MIB)
    made.run("mke2fs", "-F", "-q", "-t", "ext4", "-b", "1024", "-E", "lazy_itable_init=1", path)
    assert "BLOCK_UNINIT" in made.run("dumpe2fs", path)

    assert free_of(path)[0] == by_dumpe2fs(path)


@pytest.mark.needs("mke2fs", "dumpe2fs")
@pytest.mark.parametrize("size", [1 << 40, 160 * 1000**3, 15 << 40])
def test_an_ext4_of_any_size(size, tmp_path):
    path = made.empty(tmp_path / "fs", size)
    options = ["-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-O", "64bit"]
    made.run("mke2fs", "-F", "-q", *options, "-N", "1000000", path)
    told = made.run("dumpe2fs", "-h", path)
    free = int(re.search(r"^Free blocks:\s+(\d+)", told, re.MULTILINE)[1])

    with Source.open(path) as source:
        assert free_space.survey(source).free == free * 4096


def by_xfs_db(path: Path) -> tuple[list[Span], int]:
    """Free extents, those of the free lists among them; and bytes in those lists."""
    told = made.run("xfs_db", "-r", "-c", "sb 0", "-c", "p blocksize agblocks agcount", path)
    number = {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", told)}
    size, blocks = number["blocksize"], number["agblocks"]
    spans = []
    for line in made.run("xfs_db", "-r", "-c", "freesp -d", path).splitlines():
        if re.fullmatch(r"\s*\d+\s+\d+\s+\d+\s*", line):
            group, first, count = map(int, line.split())
            start = group * blocks + first
            spans.append((start * size, (start + count) * size))
    listed = sum(
        int(made.run("xfs_db", "-r", "-c", f"agf {group}", "-c", "p flcount", path).split()[-1])
        for group in range(number["agcount"])
    )
    return list(merged(sorted(spans))), listed * size


@pytest.mark.needs("mkfs.xfs", "xfs_db")
@pytest.mark.parametrize("name", made.XFS)
def test_xfs(name, tmp_path):
    path = made.xfs(tmp_path / "fs", made.XFS[name])

    found, space = free_of(path)

    theirs, listed = by_xfs_db(path)
    assert made.inside(found, theirs)
    assert space.free == sum(high - low for low, high in theirs) - listed


def by_ntfsinfo(path: Path) -> int:
    """Free bytes."""
    told = made.run("ntfsinfo", "-m", path)
    size, free = (
        int(re.search(rf"{words}: (\d+)", told)[1]) for words in ("Cluster Size", "Free Clusters")
    )
    return size * free


@pytest.mark.needs("mkntfs", "ntfs-3g", "ntfsinfo")
@pytest.mark.parametrize("name", made.NTFS)
def test_ntfs(name, tmp_path):
    path = made.ntfs(tmp_path / "fs", made.NTFS[name])

    assert free_of(path)[1].free == by_ntfsinfo(path)


def by_fsck_fat(path: Path) -> int:
    """Free bytes."""
    told = made.run("fsck.fat", "-n", "-v", path)
    cluster = int(re.search(r"(\d+) bytes per cluster", told)[1])
    used, every = map(int, re.search(r"(\d+)/(\d+) clusters", told).groups())
    return (every - used) * cluster


@pytest.mark.needs("mkfs.fat", "fsck.fat", "mcopy", "mdel")
@pytest.mark.parametrize("name", made.FAT)
def test_fat(name, tmp_path):
    options, size = made.FAT[name]
    path = made.fat(tmp_path / "fs", options, size * MIB)

    assert free_of(path)[1].free == by_fsck_fat(path)


@pytest.mark.needs("mkswap")
@pytest.mark.parametrize("page", [4096, 65536])
def test_swap(page, tmp_path):
    path = made.empty(tmp_path / "fs", 4 * MIB + 1000)
    made.run("mkswap", "-p", page, path)

    assert free_of(path)[0] == [(page, 4 * MIB)]

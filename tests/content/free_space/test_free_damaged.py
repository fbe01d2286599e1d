"""Damaged file systems: no block that is in use is ever called free.

Truth is what the undamaged file system calls free, which ``test_free_by_tools`` has compared with what
its own tools say.  The damage lies where the free space is told: superblocks, descriptors, bitmaps,
tables, trees, logs.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import file_systems as made
import pytest

from pipeline.content import free_space
from pipeline.content.free_space.base import Span

MIB = 1 << 20
FEW, MANY = 120, 1000


@dataclass(frozen=True)
class Victim:
    """A sound file system, and where it is to be damaged."""

    build: Callable[[Path], Path]
    places: Callable[[bytes], list[Span]]


def ext_places(data: bytes) -> list[Span]:
    """Superblock, descriptors, and of each group its bitmaps and the begin of its inode table."""
    size = 1024 << struct.unpack_from("<I", data, 1048)[0]
    wide = struct.unpack_from("<I", data, 1120)[0] & 0x80
    each = struct.unpack_from("<H", data, 1278)[0] if wide else 32
    first, groups_of = (
        struct.unpack_from("<I", data, 1044)[0],
        struct.unpack_from("<I", data, 1056)[0],
    )
    groups = -(-(struct.unpack_from("<I", data, 1028)[0] - first) // groups_of)
    table = (first + 1) * size
    found = [(1024, 2048), (table, table + groups * each)]
    for group in range(groups):
        for number, length in zip(
            struct.unpack_from("<3I", data, table + group * each),
            (size, size, 4 * size),
            strict=True,
        ):
            found.append((number * size, number * size + length))
    return found


def xfs_places(data: bytes) -> list[Span]:
    """Superblock, headers, free lists and the two roots of each group, and the log's unmount."""
    size, log = struct.unpack_from(">I", data, 4)[0], struct.unpack_from(">Q", data, 48)[0]
    each, groups = struct.unpack_from(">2I", data, 84)
    start = ((log >> data[124]) * each + (log & (1 << data[124]) - 1)) * size
    found = [(0, 128), (start, start + 48), (start + 512, start + 524)]
    for group in range(groups):
        at = group * each * size
        found += [(at + 512, at + 576), (at + 1536, at + 1600)]
        for root in struct.unpack_from(">2I", data, at + 528):
            found.append((at + root * size, at + root * size + 80))
    return found


def ntfs_places(data: bytes) -> list[Span]:
    """Boot sector, MFT, its mirror, the log's head, and the bitmap, which is found by its run."""
    mft, mirror = (number * 4096 for number in struct.unpack_from("<2Q", data, 48))
    record = data[mft + 6 * 1024 : mft + 7 * 1024]
    at = int.from_bytes(record[20:22], "little")
    while record[at] != 0x80:
        at += int.from_bytes(record[at + 4 : at + 8], "little")
    runs = at + int.from_bytes(record[at + 32 : at + 34], "little")
    wide, step = record[runs] & 15, record[runs] >> 4
    place = int.from_bytes(record[runs + 1 + wide : runs + 1 + wide + step], "little") * 4096
    length = struct.unpack_from("<Q", data, 40)[0] // 8 // 8
    return [
        (0, 512),
        (mft, mft + 16 * 1024),
        (mft, mft + 160 * 1024),
        (mirror, mirror + 4096),
        (place, place + length),
        (place, place + 512),
    ]


def fat_places(data: bytes) -> list[Span]:
    """Boot sector, FSInfo, and what is used of both tables."""
    sector, reserved = (int.from_bytes(data[at : at + 2], "little") for at in (11, 14))
    length = int.from_bytes(data[22:24], "little") or int.from_bytes(data[36:40], "little")
    tables = [(reserved + number * length) * sector for number in range(2)]
    return [(0, 90), (sector, 2 * sector), *((at, at + 4096) for at in tables)]


VICTIMS = {
    "ext2": Victim(lambda path: made.ext(path, made.EXT["ext2"], 20 * MIB), ext_places),
    "ext3": Victim(lambda path: made.ext(path, made.EXT["ext3"], 20 * MIB), ext_places),
    "ext4": Victim(lambda path: made.ext(path, made.EXT["ext4"], 20 * MIB), ext_places),
    "uninit_bg": Victim(
        lambda path: made.ext(path, ("-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"), 20 * MIB),
        ext_places,
    ),
    "xfs version 4": Victim(lambda path: made.xfs(path, made.XFS["version 4"]), xfs_places),
    "xfs version 5": Victim(lambda path: made.xfs(path, made.XFS["version 5"]), xfs_places),
    "ntfs": Victim(lambda path: made.ntfs(path, (), 20 * MIB), ntfs_places),
    "fat12": Victim(lambda path: made.fat(path, ("-F", "12"), 4 * MIB), fat_places),
    "fat16": Victim(lambda path: made.fat(path, ("-F", "16"), 20 * MIB), fat_places),
    "fat32": Victim(lambda path: made.fat(path, ("-F", "32"), 40 * MIB), fat_places),
}  # fmt: skip
ALL = [
    pytest.param(FEW, marks=()),
    pytest.param(MANY, marks=(pytest.mark.slow, pytest.mark.nightly)),
]


@pytest.mark.needs(
    "mke2fs", "debugfs", "mkfs.xfs", "mkntfs", "ntfs-3g", "mkfs.fat", "mcopy", "mdel"
)
@pytest.mark.parametrize("count", ALL)
@pytest.mark.parametrize("name", VICTIMS)
def test_a_used_block_is_never_called_free(name, count, tmp_path):
    victim = VICTIMS[name]
    data = victim.build(tmp_path / "fs").read_bytes()
    truth = spans_of(made.Damaged(data, {}))
    assert truth
    refused = 0

    for changes in made.damages(data, victim.places(data), count, seed=len(name) * count):
        reader = made.Damaged(data, changes)
        found = free_space.survey(reader)
        assert made.inside(found.between(0, reader.size), truth), (changes, truth)
        refused += all(area.map is None for area in found.areas)
        assert all(area.map is not None or area.reason for area in found.areas)

    assert refused > count // 4  # damage is seen, and not only without consequence


def spans_of(reader: made.Damaged) -> list[Span]:
    return list(free_space.survey(reader).between(0, reader.size))


@pytest.mark.needs("mke2fs", "debugfs")
@pytest.mark.parametrize(
    "name", ["ext2", "ext4 without any checksum", "bigalloc without checksums"]
)
def test_a_bitmap_that_is_wrong_but_counts_right_contradicts_the_inodes(name, tmp_path):
    # given a block of a file that is called free, and a free one that is called used instead
    path = made.ext(tmp_path / "fs", made.EXT[name])
    told = made.run("debugfs", "-R", "blocks /d/f1", path) + made.run(
        "debugfs", "-R", "blocks /d/f4", path
    )
    block = max(map(int, told.split()))
    assert made.run("debugfs", "-R", f"testb {block}", path).strip().endswith("in use")
    stats = made.run("dumpe2fs", path)
    free = int(re.findall(r"Free blocks: (\d+)", stats)[-1])
    made.debugfs(path, [f"freeb {block}", f"setb {free}"])

    data = path.read_bytes()
    (area,) = free_space.survey(made.Damaged(data, {})).areas

    assert area.reason is not None
    assert re.search(r"which the bitmap calls free|free clusters, its descriptor", area.reason)

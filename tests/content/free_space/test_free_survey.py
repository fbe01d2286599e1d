"""A whole disk: what is looked into, what is kept, and why."""

import itertools
import os
import re
import struct
from pathlib import Path

import file_systems as made
import pytest
from phony import builder

from pipeline.content import free_space
from pipeline.content.free_space import FreeSpace
from pipeline.content.free_space.base import clipped
from pipeline.source import Source

MIB = 1 << 20
KINDS = {
    "ext4": lambda path: made.ext(path, made.EXT["ext4"], 20 * MIB),
    "xfs": lambda path: made.xfs(path, ()),
    "ntfs": lambda path: made.ntfs(path, (), 20 * MIB),
    "fat16": lambda path: made.fat(path, ("-F", "16"), 20 * MIB),
    "fat32": lambda path: made.fat(path, ("-F", "32"), 40 * MIB),
    "swap": lambda path: (made.empty(path, 4 * MIB), made.run("mkswap", path))[0],
}
ALL_TOOLS = ("mke2fs", "debugfs", "mkfs.xfs", "mkntfs", "ntfs-3g", "mkfs.fat", "mcopy", "mkswap")


def survey(path: Path) -> FreeSpace:
    """With the source closed again: nothing is read after this."""
    with Source.open(path) as source:
        found = free_space.survey(source)
        for area in found.areas:
            assert area.map is not None or area.reason
        return found


def patch(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def number(path: Path, form: str, offset: int) -> int:
    return struct.unpack_from(form, path.read_bytes()[: offset + 8], offset)[0]


def mft_record(path: Path, index: int) -> int:
    return number(path, "<Q", 48) * 4096 + index * 1024


def in_both_mfts(path: Path, index: int, at: int, mask: int) -> None:
    """Set bits of a record that has a mirror, too."""
    for place in (48, 56):
        where = number(path, "<Q", place) * 4096 + index * 1024 + at
        patch(path, where, bytes([path.read_bytes()[where] | mask]))


def volume_flags(path: Path) -> int:
    """Where in record 3 the flags of $VOLUME_INFORMATION lie."""
    record = path.read_bytes()[mft_record(path, 3) :][:1024]
    at = int.from_bytes(record[20:22], "little")
    while record[at] != 0x70:
        at += int.from_bytes(record[at + 4 : at + 8], "little")
    return at + int.from_bytes(record[at + 20 : at + 22], "little") + 10


def resummed(path: Path, change: tuple[int, bytes]) -> None:
    """Change ext4's superblock and give it the right checksum again."""
    from pipeline.content.free_space.ext_superblock import raw_crc

    patch(path, *change)
    raw = path.read_bytes()[1024 : 1024 + 0x3FC]
    patch(path, 1024 + 0x3FC, struct.pack("<I", raw_crc(0xFFFFFFFF, raw)))


IN_DOUBT = {
    ("ext4", "a journal to replay"): (
        lambda path: resummed(path, (1024 + 0x60, struct.pack("<I", number(path, "<I", 1024 + 0x60) | 4))),
        "its journal holds changes",
    ),
    ("ext4", "not unmounted"): (lambda path: resummed(path, (1024 + 0x3A, b"\0\0")), "not unmounted"),
    ("ext4", "errors seen"): (lambda path: resummed(path, (1024 + 0x3A, b"\3\0")), "errors were seen"),
    ("ext4", "an unknown feature"): (
        lambda path: resummed(path, (1024 + 0x63, b"\x08")),
        "unknown incompatible features 0x8000000",
    ),
    ("ext4", "larger than its place"): (
        lambda path: resummed(path, (1024 + 4, struct.pack("<I", 24000))), "in a place of"),
    ("ext4", "another count in the superblock"): (
        lambda path: resummed(path, (1024 + 12, struct.pack("<I", 7))), "its superblock says"),
    ("ext4", "a bit in the superblock"): (
        lambda path: patch(path, 1024 + 0x70, bytes([number(path, "<B", 1024 + 0x70) ^ 1])),
        "wrong checksum",
    ),
    ("xfs", "a log that does not end"): (
        lambda path: patch(path, (lambda at: at + 512 + 9)(log_of(path)), b"\0"), "its log may hold"),
    ("xfs", "in need of repair"): (lambda path: resummed_xfs(path, 216, 0x10), "in need of repair"),
    ("xfs", "an unknown feature"): (lambda path: resummed_xfs(path, 216, 1 << 20), "unknown incompatible"),
    ("ntfs", "dirty"): (lambda path: in_both_mfts(path, 3, volume_flags(path), 1), "its dirty flag"),
    ("ntfs", "a log in use"): (lambda path: ntfs_log(path, clients=0), "its log may hold"),
    ("ntfs", "mirrors that differ"): (
        lambda path: patch(path, mft_record(path, 2) + 100, b"\x55"), "differs from the mirror"),
    ("fat16", "not unmounted, as Linux says"): (lambda path: patch(path, 37, b"\1"), "not unmounted"),
    ("fat16", "one table"): (lambda path: patch(path, 16, b"\1"), "nothing to compare"),
    ("fat32", "not unmounted, as Windows says"): (
        lambda path: fat32_second(path, 0x07FFFFFF), "it was not unmounted"),
    ("fat32", "a read failed"): (lambda path: fat32_second(path, 0x0BFFFFFF), "errors were seen"),
    ("fat32", "a count that is wrong"): (
        lambda path: patch(path, 512 + 488, struct.pack("<I", 5)), "FSInfo says 5"),
    ("swap", "hibernated"): (lambda path: patch(path, 4086, b"S1SUSPEND\0"), "hibernated"),
    ("swap", "larger than its place"): (lambda path: patch(path, 1028, b"\xff\xff\0\0"), "in a place of"),
}  # fmt: skip


def log_of(path: Path) -> int:
    head = path.read_bytes()[:512]
    start, each = struct.unpack_from(">Q", head, 48)[0], struct.unpack_from(">I", head, 84)[0]
    return ((start >> head[124]) * each + (start & (1 << head[124]) - 1)) * 4096


def resummed_xfs(path: Path, at: int, bit: int) -> None:
    from pipeline.formats.crc32c import crc32c

    patch(path, at, struct.pack(">I", number(path, ">I", at) | bit))
    raw = path.read_bytes()[:512]
    patch(path, 224, struct.pack("<I", crc32c(raw[:224] + bytes(4) + raw[228:])))


def ntfs_log(path: Path, *, clients: int) -> None:
    """An open log, as Windows leaves it; ntfs-3g leaves an empty one."""
    page = bytearray(4096)
    struct.pack_into("<4sHHQII", page, 0, b"RSTR", 30, 9, 0, 4096, 4096)
    struct.pack_into("<H", page, 24, 48)
    struct.pack_into("<QHHHH", page, 48, 0, 1, 0xFFFF, clients, 0)
    record = path.read_bytes()[mft_record(path, 2) :][:1024]
    at = int.from_bytes(record[20:22], "little")
    while record[at] != 0x80:
        at += int.from_bytes(record[at + 4 : at + 8], "little")
    runs = at + int.from_bytes(record[at + 32 : at + 34], "little")
    wide, step = record[runs] & 15, record[runs] >> 4
    place = int.from_bytes(record[runs + 1 + wide : runs + 1 + wide + step], "little") * 4096
    patch(path, place, bytes(page) * 2)


def fat32_second(path: Path, value: int) -> None:
    start, length = number(path, "<H", 14) * 512, number(path, "<I", 36) * 512
    for table in (start, start + length):
        patch(path, table + 4, struct.pack("<I", value))


@pytest.mark.needs(*ALL_TOOLS)
@pytest.mark.parametrize("case", IN_DOUBT, ids=" ".join)
def test_when_in_doubt_it_is_data(case, tmp_path):
    change, words = IN_DOUBT[case]
    path = KINDS[case[0]](tmp_path / "fs")
    assert survey(path).free > 0

    change(path)
    found = survey(path)

    assert found.free == 0
    assert words in (found.areas[0].reason or "")


@pytest.mark.needs(*ALL_TOOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_system_that_is_larger_than_its_place_is_kept(kind, tmp_path):
    path = KINDS[kind](tmp_path / "fs")

    os.truncate(path, path.stat().st_size - MIB)
    found = survey(path)

    assert found.free == 0
    assert "in a place of" in (found.areas[0].reason or "")


def bits(path: Path, block: int, changes: dict[int, bool]) -> None:
    """Set or clear bits of a bitmap in a block of 1 KiB."""
    for bit, value in changes.items():
        at = block * 1024 + bit // 8
        old = path.read_bytes()[at]
        patch(path, at, bytes([old | 1 << bit % 8 if value else old & ~(1 << bit % 8)]))


def first_free(path: Path, block: int) -> int:
    bitmap = path.read_bytes()[block * 1024 :][:1024]
    return next(bit for bit in range(8192) if not bitmap[bit // 8] >> bit % 8 & 1)


@pytest.mark.needs("mke2fs", "debugfs")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path, at: patch(path, 2048, struct.pack("<I", 1 << 24)), "outside"),
        (lambda path, at: patch(path, 2048 + 32, struct.pack("<I", at)), "in another group"),
        (lambda path, at: patch(path, 2048 + 4, struct.pack("<I", at)), "both claim block"),
        (lambda path, at: bits(path, at, {0: False, first_free(path, at): True}), "its base free"),
        (
            lambda path, at: bits(path, at, {at - 1: False, first_free(path, at): True}),
            "calls metadata at block",
        ),
    ],
    ids=["outside", "in another group", "twice", "the superblock is free", "metadata is free"],
)  # fmt: skip
def test_lying_descriptors_and_bitmaps_of_ext(change, words, tmp_path):
    # given an ext2, which has no checksums: descriptors from byte 2048 on
    path = made.ext(tmp_path / "fs", ("-t", "ext2", "-b", "1024"), 20 * MIB)
    assert survey(path).free > 0

    change(path, number(path, "<I", 2048))
    found = survey(path)

    assert found.free == 0
    assert words in (found.areas[0].reason or "")


@pytest.mark.needs("mkfs.xfs")
def test_a_tree_of_xfs_that_leads_to_itself_ends(tmp_path):
    # given a root that is its own only child, in a version without checksums
    path = made.xfs(tmp_path / "fs", ("-m", "crc=0"))
    root, size = number(path, ">I", 512 + 16), 4096
    most = (size - 16) // 12
    patch(path, 512 + 28, struct.pack(">I", 2))
    patch(path, root * size + 4, struct.pack(">HH", 1, 1))
    patch(path, root * size + 16 + 8 * most, struct.pack(">I", root))

    found = survey(path)

    assert found.free == 0
    assert "levels of a tree" in (found.areas[0].reason or "")


@pytest.mark.needs("mkntfs", "ntfs-3g")
@pytest.mark.parametrize(("head", "free"), [(b"hibr", False), (b"wake", True), (b"\0\0\0\0", True)])
def test_a_windows_that_sleeps_is_not_touched(head, free, tmp_path):
    path = made.empty(tmp_path / "fs", 20 * MIB)
    made.run("mkntfs", "-F", "-q", path)
    with made.mounted_ntfs(path) as root:
        (root / "hiberfil.sys").write_bytes(head + bytes(8000))

    found = survey(path)

    assert (found.free > 0) == free
    assert free or found.areas[0].reason == "a system is hibernated in it"


@pytest.mark.needs("mkfs.btrfs")
def test_what_is_not_looked_into_is_named(tmp_path):
    path = made.empty(tmp_path / "fs", 120 * MIB)
    made.run("mkfs.btrfs", "-q", path)

    (area,) = survey(path).areas

    assert (area.content, area.reason) == ("btrfs", "btrfs is not looked into")


# ------------------------------------------------------------------------------------- whole disks


def disk(path: Path, label: str, parts: list[tuple[int, int, Path | None]], size: int = 64) -> Path:
    """A disk of ``size`` MiB; of each partition begin and length in MiB, and its content."""
    made.empty(path, size * MIB)
    lines = [
        f"label: {label}",
        *(f"start={at * 2048}, size={length * 2048}" for at, length, _ in parts),
    ]
    made.run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path, input="\n".join(lines) + "\n")
    for at, _, content in parts:
        if content is not None:
            patch(path, at * MIB, content.read_bytes())
    return path


@pytest.fixture(scope="module")
def ext4(tmp_path_factory):
    return made.ext(tmp_path_factory.mktemp("ext4") / "fs", made.EXT["ext4"], 20 * MIB)


@pytest.mark.needs("mke2fs", "debugfs", "sfdisk")
@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_partitions_and_what_lies_between_them(label, ext4, tmp_path):
    # given a partition at 2 MiB, one with nothing known at 30 MiB, and nothing from 40 MiB on
    path = disk(tmp_path / "disk", label, [(2, 20, ext4), (30, 10, None)])
    alone = survey(ext4).free

    found = survey(path)

    first, second, outside = found.areas
    assert (first.place, first.content, first.map.free) == ("partition 1", "ext4", alone)
    assert (second.map, second.reason) == (None, "nothing known begins there")
    gaps = [(22 * MIB, 30 * MIB), (40 * MIB, 63 * MIB)]
    assert outside.place == "outside of partitions"
    assert list(outside.map.between(0, 64 * MIB)) == gaps
    runs = list(found.between(0, 64 * MIB))
    assert all(left[1] < right[0] for left, right in itertools.pairwise(runs))
    for low in (0, 5 * MIB, 23 * MIB, 41 * MIB):
        assert list(found.between(low, 64 * MIB)) == list(clipped(runs, low, 64 * MIB))
    assert all(low >= 2 * MIB and high <= 63 * MIB for low, high in runs)
    assert sum(high - low for low, high in runs) == found.free == alone + 31 * MIB


@pytest.mark.needs("mke2fs", "debugfs", "sfdisk")
def test_a_partition_that_was_enlarged_without_its_file_system(ext4, tmp_path):
    path = disk(tmp_path / "disk", "gpt", [(2, 40, ext4)])

    area = survey(path).areas[0]

    assert area.behind == 20 * MIB
    assert max(high for _, high in area.map.between(0, 40 * MIB)) <= 20 * MIB


@pytest.mark.needs("mke2fs", "debugfs", "sfdisk")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: patch(path, 446 + 16 + 8, struct.pack("<II", 8192, 4096)), "both hold byte"),
        (lambda path: patch(path, 446 + 16 + 12, struct.pack("<I", 1 << 24)), "but the disk at"),
        (lambda path: patch(path, 446 + 16 + 4, b"\x42"), "logical disk manager"),
        (lambda path: patch(path, 1080, b"\x53\xef"), "but is also a ext2"),
        (
            lambda path: patch(path, 64 * MIB - 65536, struct.pack("<I", 0xA92B4EFC)),
            "linux_raid_member",
        ),
    ],
    ids=["overlap", "outside", "dynamic disk", "a file system as well", "RAID"],
)
def test_a_disk_whose_partitions_are_in_doubt_is_kept_whole(change, words, ext4, tmp_path):
    path = disk(tmp_path / "disk", "dos", [(2, 20, ext4), (30, 10, None)])

    change(path)
    found = survey(path)

    assert found.free == 0
    assert words in found.areas[0].reason


@pytest.mark.needs("mke2fs", "debugfs", "mkswap")
def test_logical_volumes_in_several_pieces(ext4, tmp_path):
    # given a volume whose second half lies before its first, and a swap area
    whole = ext4.read_bytes()
    halves = [whole[12 * MIB :], whole[: 12 * MIB]]
    for name, data in zip("ab", halves, strict=True):
        (tmp_path / name).write_bytes(data)
    swap = KINDS["swap"](tmp_path / "swap")
    path = tmp_path / "pv"
    guests = builder("guest_disks")
    guests.lvm(path, "vg", {"b": tmp_path / "a", "a": tmp_path / "b", "swap": swap})
    join(path)

    with Source.open(path) as source:
        found = free_space.survey(source)
        shown = [(area.place, area.content, area.reason) for area in found.areas]
        assert shown == [("volume vg/root", "ext4", None), ("volume vg/swap", "swap", None)]
        alone = survey(ext4)
        assert found.areas[0].map.free == alone.free
        for low, high in found.between(0, source.size):
            if high <= 9 * MIB:  # the second half, which lies first
                assert whole[low - MIB + 12 * MIB :][: high - low] == source.read(low, high - low)
        assert sum(high - low for low, high in found.between(0, source.size)) == found.free


def join(path: Path) -> None:
    """Make one volume ``root`` of the volumes ``a`` and ``b``, which lie in the wrong order."""
    guests = builder("guest_disks")
    data = path.read_bytes()
    start = data.index(b"vg {")
    text = data[start : data.index(b"\0", start)].decode()
    segment = (
        "segment{n} {{\nstart_extent = {at}\nextent_count = {count}\n"
        'type = "striped"\nstripe_count = 1\nstripes = [\n"pv0", {place}\n]\n}}\n'
    )
    first = text.index("b {")
    end = text.index("swap {")
    head = text[first : text.index("segment_count", first)].replace("b {", "root {", 1)
    body = segment.format(n=1, at=0, count=3, place=2) + segment.format(n=2, at=3, count=2, place=0)
    text = f"{text[:first]}{head}segment_count = 2\n{body}}}\n{text[end:]}"
    guests._write_label(path, guests._lvm_id("vg", "pv"), len(data), MIB, text.encode() + b"\0")


@pytest.mark.needs("mke2fs", "debugfs")
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b'type = "striped"', b'type = "thin"', "volumes that are not linear"),
        (b"extent_count = 5", b"extent_count = 6", "LVM's metadata cannot be read"),
    ],
)
def test_a_volume_group_in_doubt_is_kept(before, after, words, ext4, tmp_path):
    path = tmp_path / "pv"
    guests = builder("guest_disks")
    guests.lvm(path, "vg", {"root": ext4})
    data = path.read_bytes()
    assert before in data
    text = data[data.index(b"vg {") :].split(b"\0", 1)[0].replace(before, after)
    if b"thin" in after:
        guests._write_label(path, guests._lvm_id("vg", "pv"), len(data), MIB, text + b"\0")
    else:
        path.write_bytes(data.replace(before, after))

    (area,) = survey(path).areas

    assert area.reason is not None
    assert words in area.reason


@pytest.mark.needs("mke2fs", "debugfs")
def test_two_volumes_that_overlap_are_kept(ext4, tmp_path):
    path = tmp_path / "pv"
    guests = builder("guest_disks")
    guests.lvm(path, "vg", {"one": ext4, "other": ext4})
    assert survey(path).free > 0
    data = path.read_bytes()
    text = data[data.index(b"vg {") :].split(b"\0", 1)[0]
    first, second = re.findall(rb'"pv0",\s*\d+', text)
    text = text.replace(second, first)
    guests._write_label(path, guests._lvm_id("vg", "pv"), len(data), MIB, text + b"\0")

    (area,) = survey(path).areas

    assert area.reason == "two of its volumes claim the same place"


def test_a_volume_group_that_holds_itself_ends(tmp_path):
    empty = made.empty(tmp_path / "content", 4 * MIB)
    path = tmp_path / "pv"
    guests = builder("guest_disks")
    guests.lvm(path, "vg", {"root": empty})
    data = path.read_bytes()
    text = (
        data[data.index(b"vg {") :].split(b"\0", 1)[0].replace(b"pe_start = 2048", b"pe_start = 0")
    )
    guests._write_label(path, guests._lvm_id("vg", "pv"), len(data), MIB, text + b"\0")

    (area,) = survey(path).areas

    assert area.reason == "LVM2_member is not looked into"


def test_a_disk_of_nothing_is_kept(tmp_path):
    (area,) = survey(made.empty(tmp_path / "disk", MIB)).areas

    assert (area.place, area.reason) == ("the disk", "nothing known begins there")

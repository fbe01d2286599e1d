"""What the direct reader refuses before a library meets it, and the volumes in pieces that it reads."""

from pathlib import Path

import pytest
from direct import children, patched, whole
from phony import builder

from pipeline.content.joined import Joined
from pipeline.guest.survey import survey
from pipeline.source import Source
from pipeline.tools.reader import client, gates
from pipeline.tools.reader.child import UnableError

pytestmark = pytest.mark.needs("setpriv", "prlimit", "module:pyfsext", "module:pyregf")

REFUSED = {
    "ext4-inline-data": "bit 0x8000",
    "ext4-casefold": "bit 0x20000",
    "ext4-encrypt": "bit 0x10000",
    "ext4-large-dir": "bit 0x4000",
    "ext4-mmp": "bit 0x100",
    "ntfs-8k": "8192 bytes",
    "ntfs-64k": "65536 bytes",
}


def made(name: str, directory: Path) -> Path:
    return builder("guest_filesystems").FILE_SYSTEMS[name](directory / name)


@pytest.mark.needs("mke2fs", "mkfs.xfs", "mkntfs", "ntfs-3g", "fusermount")
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_wrongly_is_refused_before_a_library_meets_it(name, tmp_path):
    with Source.open(made(name, tmp_path)) as source, client.open_reader(source) as reader:
        with pytest.raises(UnableError, match=REFUSED[name]):
            reader.mount(whole(source))
        assert children("tools.reader.worker") == []


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize(("at", "bit"), [(0x60, 0x80000000), (0x64, 0x40000000)])
def test_an_ext_feature_that_nobody_knows_yet_is_refused(at, bit, tmp_path):
    path = made("ext4", tmp_path)
    before = int.from_bytes(path.read_bytes()[1024 + at : 1028 + at], "little")
    with patched(path, 1024 + at, (before | bit).to_bytes(4, "little")) as source:
        assert f"{bit:#x}" in gates.refusal("ext4", source)


@pytest.mark.needs("mke2fs")
def test_an_ext_superblock_with_a_wrong_checksum_is_refused(tmp_path):
    with patched(made("ext4", tmp_path), 1024 + 0x78, b"another name") as source:
        assert "wrong checksum" in gates.refusal("ext4", source)


@pytest.mark.needs("mkfs.xfs")
@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (216, b"\x80\0\0\x03", "bit 0x80000000"),
        (212, b"\x40\0\0\x01", "bit 0x40000000"),
        (101, b"\xb6", "version 6"),
        (16, b"\0\0\0\0\0\0\1\0", "real-time"),
        (48, bytes(8), "log is elsewhere"),
        (124, b"\xff", "log is elsewhere"),
        (108, b"another name", "wrong checksum"),
    ],
)
def test_an_xfs_that_is_not_plain_is_refused(at, data, said, tmp_path):
    with patched(made("xfs", tmp_path), at, data) as source:
        assert said in gates.refusal("xfs", source)


@pytest.mark.needs("mkfs.xfs")
def test_a_log_that_was_not_ended_by_an_unmount_is_seen(tmp_path):
    # given an XFS whose last log record is no unmount record
    path = made("xfs", tmp_path)
    with Source.open(path) as source:
        assert gates.refusal("xfs", source) is None
        start = log_start(source)
    with patched(path, start + 512 + 9, b"\x01") as source:
        assert "not written back" in gates.refusal("xfs", source)


def log_start(source: Source) -> int:
    head = source.read(0, 512)
    block, first = int.from_bytes(head[4:8], "big"), int.from_bytes(head[48:56], "big")
    group, bits = int.from_bytes(head[84:88], "big"), head[124]
    return ((first >> bits) * group + (first & ((1 << bits) - 1))) * block


def test_superblocks_that_are_cut_off_are_refused(tmp_path):
    (tmp_path / "short").write_bytes(bytes(100))
    with Source.open(tmp_path / "short") as source:
        for kind in ("ext4", "xfs", "ntfs"):
            assert "cut off" in gates.refusal(kind, source)


# ----------------------------------------------------------------------------------- its sources


def test_pieces_of_a_disk_read_as_one(tmp_path):
    (tmp_path / "disk").write_bytes(b"..worldhello, ..")
    with Source.open(tmp_path / "disk") as source:
        joined = Joined(source, ((7, 7), (2, 5)))

        assert joined.size == 12
        assert joined.read(0, 100) == b"hello, world"
        assert joined.read(5, 4) == b", wo"
        assert joined.read(12, 1) == joined.read(-1, 1) == b""


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_logical_volume_in_pieces_is_read_through(tmp_path):
    image = builder().build("lvm-pieces", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        root = next(item for item in survey(source).volumes if item.group)
        tree = reader.mount(root)

        assert len(root.pieces) == 3
        size = tree.stat("/usr/share", ["large"])[0].size
        assert tree.read("/usr/share/large", 0, size) == bytes(range(251)) * 60_000

"""Sizes that real superblocks state, on volumes that the real tools make, whole and cut."""

import shutil
import subprocess
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content import disk, filesystems, fs_sizes
from pipeline.source import Source
from tests import handmade

MIB = 1 << 20
SIZE = 320 * MIB
ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
MAKE = {
    "ext2": ["mke2fs", "-q", "-F", "-t", "ext2"],
    "ext4": ["mke2fs", "-q", "-F", "-t", "ext4"],
    "ext4 of 1 KiB": ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024"],
    "ext4 of 32 bits": ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^64bit"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "xfs of 1 KiB": ["mkfs.xfs", "-q", "-f", "-b", "size=1024"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
    "ntfs": ["mkntfs", "-F", "-q", "-f"],
    "swap": ["mkswap", "-q"],
}
PROGRAMS = sorted({argv[0] for argv in MAKE.values()})


@pytest.fixture(params=sorted(MAKE), scope="module")
def volume(request, tmp_path_factory):
    """A whole volume in a file."""
    if shutil.which(MAKE[request.param][0], path=ENV["PATH"]) is None:
        pytest.skip(f"{MAKE[request.param][0]} is missing")
    path = tmp_path_factory.mktemp("volume") / "volume"
    with path.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run([*MAKE[request.param], path], check=True, capture_output=True, env=ENV)
    return path


@pytest.mark.needs(*PROGRAMS)
def test_a_whole_volume_fits_and_fills_its_place(volume):
    with Source.open(volume) as source:
        kind = filesystems.signature(source)
        size = fs_sizes.stated(source, kind)

        assert size is not None
        assert SIZE - 2 * MIB < size <= SIZE
        assert disk.inspect(source).problems == ()


@pytest.mark.needs(*PROGRAMS)
def test_a_volume_that_was_cut_is_told_by_its_superblock_alone(volume, tmp_path):
    cut = tmp_path / "cut"
    with volume.open("rb") as whole:
        cut.write_bytes(whole.read(200 * MIB))

    with Source.open(cut) as source:
        (problem,) = disk.inspect(source).problems

    assert problem.rule == "file-system-too-large"
    assert problem.detail.endswith(f" bytes, the disk has {200 * MIB}")


@pytest.mark.needs("mke2fs", "sfdisk")
def test_a_file_system_in_a_partition_that_was_shrunk(tmp_path):
    # given a file system of 100 MiB in a partition of 60
    inner, path = tmp_path / "inner", tmp_path / "disk"
    with inner.open("wb") as file:
        file.truncate(100 * MIB)
    subprocess.run([*MAKE["ext4"], inner], check=True, capture_output=True, env=ENV)
    data = inner.read_bytes()
    for size, rules in ((100, []), (60, ["file-system-too-large"])):
        with path.open("wb") as file:
            file.truncate(128 * MIB)
        script = f"label: gpt\nstart=2048, size={size * 2048}\n"
        subprocess.run(
            ["sfdisk", "-q", "--no-reread", path], input=script, text=True, check=True, env=ENV
        )
        with path.open("r+b") as file:
            file.seek(MIB)
            file.write(data[: size * MIB])

        with Source.open(path) as source:
            problems = disk.inspect(source).problems

        assert [problem.rule for problem in problems] == rules
        for problem in problems:
            assert problem.detail == (
                f"the ext4 in partition 1 has {100 * MIB} bytes, the partition has {60 * MIB}"
            )
            assert problem.offset == MIB


def test_a_physical_volume(tmp_path):
    # given the header that pvcreate writes (layout.h of lvm2), for 64 MiB
    label = b"LABELONE" + (1).to_bytes(8, "little") + bytes(4) + (32).to_bytes(4, "little")
    header = uuid.UUID(int=9).hex.encode() + (64 * MIB).to_bytes(8, "little")
    sector = (label + b"LVM2 001" + header).ljust(512, b"\0")
    for size, rules in ((64 * MIB, []), (63 * MIB, ["file-system-too-large"])):
        view = handmade.Memory((bytes(512) + sector).ljust(size, b"\0"))

        assert [problem.rule for problem in disk.inspect(view).problems] == rules


@given(st.sampled_from(sorted(fs_sizes._LOOKS)), st.binary(max_size=70000))
def test_nothing_in_a_superblock_makes_it_raise(kind, data):
    found = fs_sizes.stated(handmade.Memory(data), kind)

    assert found is None or found >= 0

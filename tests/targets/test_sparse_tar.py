"""The tar of Google's import: its holes are left out, and everybody's tar reads it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhd_files import MemoryDisk

from pipeline.source import Extent
from pipeline.stage import Cancellation
from pipeline.targets import packing, sparse_tar

MIB, GIB = 1 << 20, 1 << 30


class Artifact(MemoryDisk):
    """A disk as an artifact."""

    grid = (0, 2 * MIB)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self.read(offset, len(buffer))
        buffer[: len(found)] = found
        return len(found)


def artifact(size: int, *places: int, allocated: bool = False) -> Artifact:
    rng = random.Random(size)
    return Artifact(size, {at: rng.randbytes(5000) for at in places}, allocated=allocated)


def tar_of(disk: Artifact) -> packing.Stream:
    return packing.stream_of(disk, "tar.gz", threads=2, cancellation=Cancellation())


def written(stream: packing.Stream, path: Path) -> Path:
    with path.open("wb") as file:
        for offset in range(0, stream.size, MIB):
            file.write(stream.read(offset, MIB))
    return path


DISKS = {
    "empty": artifact(8 * MIB),
    "one run": artifact(64 * MIB, 20 * MIB),
    "begins with data": artifact(64 * MIB, 0, 63 * MIB),
    "three runs": artifact(64 * MIB, 0, 20 * MIB, 22 * MIB, 40 * MIB),
    "more runs than the header holds": artifact(64 * MIB, *range(0, 64 * MIB, 8 * MIB)),
    "more runs than a record holds": artifact(128 * MIB, *range(2 * MIB, 126 * MIB, 4 * MIB)),
    "an odd size": artifact(10 * MIB + 512, 10 * MIB),
    "no hole": artifact(6 * MIB, 0, 2 * MIB, 4 * MIB),
}


@pytest.mark.needs("tar")
@pytest.mark.parametrize("name", DISKS)
def test_gnu_tar_and_python_unpack_the_disk(name: str, tmp_path: Path):
    disk, path = DISKS[name], tmp_path / "x.tar"
    wanted = hashlib.sha256(disk.read(0, disk.size)).hexdigest()

    written(tar_of(disk), path)

    said = subprocess.run(["tar", "-xvf", path, "-C", tmp_path], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "disk.raw\n", "")
    unpacked = (tmp_path / "disk.raw").read_bytes()
    assert (len(unpacked), hashlib.sha256(unpacked).hexdigest()) == (disk.size, wanted)
    with tarfile.open(path) as archive:
        (only,) = archive.getmembers()
        file = archive.extractfile(only)
        assert file is not None
        assert hashlib.sha256(file.read()).hexdigest() == wanted
    assert path.read_bytes()[257:265] == b"ustar  \0"
    assert path.stat().st_size % tarfile.RECORDSIZE == 0


@pytest.mark.needs("tar")
def test_gnu_tar_itself_writes_the_same_header(tmp_path: Path):
    disk = artifact(64 * MIB, 0, 20 * MIB, 40 * MIB)
    with (tmp_path / "disk.raw").open("wb") as file:
        for at in (0, 20 * MIB, 40 * MIB):
            os.pwrite(file.fileno(), disk.read(at, 2 * MIB), at)
        file.truncate(disk.size)
    argv = [
        "tar",
        "-S",
        "--format=oldgnu",
        "--hole-detection=seek",
        "--mode=0644",
        "--owner=root:0",
    ]
    argv += ["--group=root:0", "--mtime=@0", "-cf", tmp_path / "gnu.tar", "disk.raw"]
    subprocess.run(argv, cwd=tmp_path, check=True)

    path = written(tar_of(disk), tmp_path / "x.tar")
    with tarfile.open(path) as ours, tarfile.open(tmp_path / "gnu.tar") as theirs:
        (one,), (other,) = ours.getmembers(), theirs.getmembers()
    assert (one.type, one.name, one.size) == (other.type, other.name, other.size)
    assert one.issparse()


def test_zeros_that_are_stored_are_holes_too():
    sparse, full = artifact(32 * MIB, 4 * MIB), artifact(32 * MIB, 4 * MIB, allocated=True)

    assert tar_of(sparse).read(0, 1 << 20) == tar_of(full).read(0, 1 << 20)
    assert tar_of(full).size == tar_of(sparse).size < 3 * MIB


class Huge(Artifact):
    """20 GiB with data at the very end."""

    def __init__(self) -> None:
        super().__init__(20 * GIB, {20 * GIB - 5000: b"end" * 1000})

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        yield Extent(0, 20 * GIB - MIB, "zero")
        yield Extent(20 * GIB - MIB, MIB, "data")


def test_places_above_8_gib_are_kept():
    stream = tar_of(Huge())

    info = tarfile.TarInfo.frombuf(stream.read(0, 512), "utf-8", "strict")

    assert info.size == 2 * MIB
    structs, extended, size = info._sparse_structs
    assert (structs[0], extended, size) == ((20 * GIB - 2 * MIB, 2 * MIB), False, 20 * GIB)


@pytest.mark.parametrize("offset", [0, 100, 511, 512, 513, 2 * MIB, 2 * MIB + 511, 4 * MIB - 1])
@pytest.mark.parametrize("length", [1, 700, 3 * MIB])
def test_the_tar_can_be_read_at_any_offset(offset: int, length: int):
    stream = tar_of(DISKS["three runs"])
    whole = stream.read(0, stream.size)

    assert stream.read(offset, length) == whole[offset : offset + length]


@pytest.mark.parametrize(
    ("blocks", "size", "expected"),
    [
        ([], 8 * MIB, []),
        ([0], 8 * MIB, [(0, 2 * MIB)]),
        ([0, 1, 3], 7 * MIB, [(0, 4 * MIB), (6 * MIB, MIB)]),
        ([2, 3], 8 * MIB, [(4 * MIB, 4 * MIB)]),
    ],
)
def test_neighbours_are_one_run(blocks: list[int], size: int, expected: list[tuple[int, int]]):
    assert list(sparse_tar.runs(blocks, size)) == expected

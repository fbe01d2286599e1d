"""Whatever way the bytes take to the disk, they are the artifact's."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.vhd_layout import VhdLayout
from pipeline.source import Extent, Source
from pipeline.stage import Cancellation
from pipeline.targets import file_writer, writing
from pipeline.targets.artifact import LaidOut, Stored
from pipeline.targets.file_writer import FileWriter
from pipeline.targets.linear import LinearLayout

MIB = 1 << 20
WAYS = ("past the page cache", "through it", "refused at the first write")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == WAYS[1]:
        monkeypatch.setattr(file_writer, "_open_direct", lambda _handle: None)
    elif request.param == WAYS[2]:
        real = os.open

        def refusing(handle: int) -> int:
            # a descriptor that may not be written stands for a disk with larger sectors
            return real(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT)

        monkeypatch.setattr(file_writer, "_open_direct", refusing)
        pwrite = os.pwrite

        def picky(handle: int, data: Any, offset: int) -> int:
            if os.get_blocking(handle) and os.O_DIRECT & _flags(handle):
                raise OSError(errno.EINVAL, "Invalid argument")
            return pwrite(handle, data, offset)

        monkeypatch.setattr(os, "pwrite", picky)
    return str(request.param)


def _flags(handle: int) -> int:
    text = Path(f"/proc/self/fdinfo/{handle}").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("flags")), 8)


def write(artifact: Any, path: Path, source: Source | None = None, *, checksum: bool = True) -> str:
    """The checksum, empty where none was wanted."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.ftruncate(handle, artifact.size)
        with FileWriter(handle, source) as writer:
            work = writing._Work(artifact, writer, hashlib.sha256() if checksum else None)
            work.run(3, Cancellation(), lambda _done, _total: None)
    finally:
        os.close(handle)
    return work.digest or ""


def disk(size: int, seed: int) -> files.MemoryDisk:
    rng = random.Random(seed)
    places = {}
    for _ in range(rng.randrange(1, 9)):
        at = rng.randrange(0, size, 512)
        places[at] = rng.randbytes(min(rng.choice((512, 4096, 70_000, 3 * MIB)), size - at))
    return files.MemoryDisk(size, places)


def same(path: Path, artifact: Any, digest: str) -> None:
    data = path.read_bytes()
    assert data == artifact.read(0, artifact.size)
    assert digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("seed", range(4))
def test_a_vhd_is_written_as_it_reads(tmp_path: Path, way: str, seed: int):
    source = disk(22 * MIB, seed)
    blocks = sorted(
        {at // files.BLOCK for at in range(0, 22 * MIB, 4096) if any(source.read(at, 4096))}
    )
    artifact = LaidOut(VhdLayout(22 * MIB, blocks, files.UUID_1, 7), source)

    digest = write(artifact, tmp_path / "out")

    same(tmp_path / "out", artifact, digest)


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_as_it_is_is_written_as_it_reads(tmp_path: Path, way: str, seed: int):
    source = disk(7 * MIB + 512, seed)
    artifact = LaidOut(LinearLayout(7 * MIB + 512, 8 * MIB, b"f" * 512), source)

    digest = write(artifact, tmp_path / "out")

    same(tmp_path / "out", artifact, digest)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), min_size=1, max_size=6),
    st.integers(0, 4095),
)
@settings(max_examples=40)
def test_any_run_lands_where_it_belongs(tmp_path_factory: pytest.TempPathFactory, runs, shift):
    import mmap

    path = tmp_path_factory.mktemp("run") / "out"
    memory = memoryview(mmap.mmap(-1, 4 * MIB))
    memory[:] = random.Random(1).randbytes(4 * MIB)
    wanted = bytearray(4 * MIB)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, 4 * MIB)
    with FileWriter(handle) as writer:
        for start, count in runs:
            begin = start * 4096 + shift
            end = min(begin + count * 4099, 4 * MIB)
            if begin < end:
                writer.write(memory[begin:end], begin)
                wanted[begin:end] = memory[begin:end]
    os.close(handle)

    assert path.read_bytes() == bytes(wanted)


def test_space_is_reserved_for_data_and_holes_stay_holes(tmp_path: Path):
    path = tmp_path / "out"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, 64 * MIB)
    with FileWriter(handle) as writer:
        reserved = writer.reserve([(MIB, 2 * MIB), (40 * MIB, MIB)])
    os.close(handle)

    assert reserved
    assert 3 * MIB <= path.stat().st_blocks * 512 < 4 * MIB
    assert path.stat().st_size == 64 * MIB


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_reserve_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(file_writer, "_fallocate", refusal(number))
    source = disk(22 * MIB, 1)
    artifact = LaidOut(LinearLayout(22 * MIB, 22 * MIB), source)
    handle = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    with FileWriter(handle) as writer:
        assert not writer.reserve([(0, MIB)])
    os.close(handle)

    same(tmp_path / "out", artifact, write(artifact, tmp_path / "out"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(file_writer, "_fallocate", refusal(number))
    handle = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    with FileWriter(handle) as writer, pytest.raises(OSError, match=os.strerror(number)):
        writer.reserve([(0, MIB)])
    os.close(handle)


def test_what_a_signal_interrupted_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, ...]] = []

    def fallocate(*arguments: int) -> int:
        asked.append(arguments)
        ctypes.set_errno(errno.EINTR)
        return -1 if len(asked) < 3 else 0

    monkeypatch.setattr(file_writer, "_fallocate", fallocate)

    assert file_writer._reserved(7, 100, 20)
    assert asked == [(7, 0, 100, 20)] * 3


def refusal(number: int) -> Any:
    def fallocate(*_: int) -> int:
        ctypes.set_errno(number)
        return -1

    return fallocate


def test_runs_grow_to_whole_pages_inside_their_range():
    """A block's bitmap is a sector, at the end of the page before its data."""
    found = list(writing.whole_pages([(8192 + 3584, 600), (20_000, 480)], 8192, 12_288))

    assert found == [(8192, 8192), (16_384, 4096)]


@pytest.mark.parametrize(
    ("size", "first", "step"), [(100, 0, 10), (105, 7, 10), (33, 30, 8), (5, 9, 4)]
)
def test_ranges_cover_everything_once(size: int, first: int, step: int):
    found = list(writing.ranges(size, first, step))

    assert [offset for offset, _ in found] == [0, *[o + n for o, n in found][:-1]]
    assert sum(length for _, length in found) == size
    assert max(length for _, length in found) <= step
    assert first in {offset for offset, _ in found} or first >= size


def test_short_holes_are_written_and_long_ones_left():
    kinds = [("data", 100), ("zero", 4096), ("data", 50), ("zero", 1 << 20), ("data", 7)]
    at, extents = 0, []
    for kind, length in kinds:
        extents.append(Extent(at, length, kind))  # type: ignore[arg-type]
        at += length

    assert list(writing.data_runs(extents)) == [(0, 4246), (4246 + (1 << 20), 7)]


def test_holes_stay_holes(tmp_path: Path, way: str):
    source = files.MemoryDisk(64 * MIB, {0: b"x" * 4096})
    artifact = LaidOut(LinearLayout(64 * MIB, 64 * MIB), source)

    write(artifact, tmp_path / "out")

    assert (tmp_path / "out").stat().st_blocks * 512 < MIB


def test_a_file_is_cut_like_a_disk():
    assert Stored.grid == LinearLayout(1, 1).grid

"""Bytes that are moved from file to file, whatever way the kernel takes, are the artifact's."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files
from test_writing import write

from pipeline.content.free_space.view import ZeroedView
from pipeline.errors import ConversionFailed
from pipeline.fileview import FileView
from pipeline.formats.vhd_layout import VhdLayout
from pipeline.remote.source import RemoteSource
from pipeline.source import Extent, Place, RemoteIdentity, Source
from pipeline.targets import file_writer, movers
from pipeline.targets.artifact import LaidOut, Stored
from pipeline.targets.linear import LinearLayout
from pipeline.targets.writing import joined
from pipeline.tools.mapped import MappedView, Runs
from pipeline.tools.qemu_img import Run

MIB = 1 << 20
WAYS = ("shared", "mapped", "in the kernel", "refused after a while", "never")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kernel as it answers on another file system; one that shares blocks is played by a copy."""

    def shared(handle: int, asked: int, argument: bytes) -> int:
        assert asked == movers._FICLONERANGE
        source, at, length, offset = movers._CLONE_RANGE.unpack(argument)
        assert not (at | length | offset) % movers.PAGE
        if at + length > os.fstat(source).st_size:
            raise OSError(errno.EINVAL, "Invalid argument")  # as the file systems say then
        os.pwrite(handle, os.pread(source, length, at), offset)
        return 0

    if request.param == "shared":
        monkeypatch.setattr(fcntl, "ioctl", shared)
    if request.param == "in the kernel":
        monkeypatch.setattr(file_writer, "_open_direct", lambda _handle: None)
    if request.param == "refused after a while":
        limited(monkeypatch, movers.Mapped)
        limited(monkeypatch, movers.InKernel)
    if request.param == "never":
        monkeypatch.setattr(file_writer, "movers", lambda *_: [])
    return str(request.param)


def limited(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """Two runs, the second of them in part; then it refuses."""
    real, calls = kind.move, iter(range(100))

    def move(self: Any, at: int, offset: int, length: int) -> int:
        number = next(calls)
        if number > 2:
            raise OSError(errno.EINVAL, "Invalid argument")
        return int(real(self, at, offset, length if number == 0 else min(length, 64 << 10)))

    monkeypatch.setattr(kind, "move", move)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    rng = random.Random(5)
    path = tmp_path / "source"
    with path.open("wb") as file:
        for at in range(0, 18 * MIB, 3 * MIB):
            file.seek(at + rng.randrange(0, MIB, 4096))
            file.write(rng.randbytes(rng.randrange(4096, 2 * MIB)))
        file.truncate(18 * MIB + 512)
    with Source.open(path) as opened:
        yield opened


def mapped(source: Source, seed: int) -> MappedView:
    """A container whose clusters lie in its file in any order, as those of a qcow2 do."""
    rng = random.Random(seed)
    runs, place = [], 0
    while place < 12 * MIB:
        length = rng.randrange(1, 12) << 16
        at = rng.randrange(0, 17 * MIB - length, 512 if rng.random() < 0.3 else 4096)
        runs.append(Run(place, length, data=True, zero=rng.random() < 0.3, offset=at))
        place += length
    return MappedView(source, Runs(runs, source.size), lambda: pytest.fail("nothing is served"))


def same(path: Path, artifact: Any) -> None:
    assert path.read_bytes() == artifact.read(0, artifact.size)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_vhd_of_clusters(tmp_path: Path, way: str, source: Source, seed: int, checksum: bool):
    view = mapped(source, seed)
    size = -(-view.size // files.BLOCK) * files.BLOCK
    blocks = range(0, size // files.BLOCK, 1 + seed % 2)
    artifact = LaidOut(VhdLayout(size, blocks, files.UUID_1, 7), view)

    write(artifact, tmp_path / "out", source, checksum=checksum)

    same(tmp_path / "out", artifact)


@pytest.mark.parametrize("checksum", [True, False])
def test_a_disk_as_it_is(tmp_path: Path, way: str, source: Source, checksum: bool):
    view = FileView(source, source.size)
    artifact = LaidOut(LinearLayout(view.size, 20 * MIB, b"f" * 512), view)

    write(artifact, tmp_path / "out", source, checksum=checksum)

    same(tmp_path / "out", artifact)


def test_a_source_that_is_passed_through(tmp_path: Path, way: str, source: Source):
    artifact = Stored(source, is_source=True)

    write(artifact, tmp_path / "out", source, checksum=False)

    same(tmp_path / "out", artifact)


def test_a_copy_is_never_taken_for_the_source(source: Source):
    assert list(Stored(source).places(0, 100)) == [Place(0, 100, None)]


class Free:
    """Two free runs; see ``pipeline.content.free_space.FreeSpace``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def between(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        for start, end in ((MIB, 5 * MIB), (9 * MIB, 9 * MIB + 4096)):
            if start < high and low < end:
                yield max(low, start), min(high, end)


def test_what_is_free_is_not_moved(tmp_path: Path, way: str, source: Source):
    view = ZeroedView(FileView(source, source.size), Free())  # type: ignore[arg-type]
    artifact = LaidOut(LinearLayout(view.size, view.size), view)

    write(artifact, tmp_path / "out", source, checksum=False)

    same(tmp_path / "out", artifact)
    data = (tmp_path / "out").read_bytes()
    assert not any(data[MIB : 5 * MIB])
    assert not any(data[9 * MIB : 9 * MIB + 4096])
    assert data[5 * MIB : 9 * MIB] == source.read(5 * MIB, 4 * MIB)


def test_a_source_that_gets_shorter_is_an_error_and_no_signal(tmp_path: Path, way: str):
    path = tmp_path / "source"
    path.write_bytes(random.Random(1).randbytes(8 * MIB))
    with Source.open(path) as source:
        artifact = LaidOut(LinearLayout(8 * MIB, 8 * MIB), Solid(source, source.size))
        os.truncate(path, 5 * MIB + 100)

        with pytest.raises(ConversionFailed, match="the file ends there"):
            write(artifact, tmp_path / "out", source, checksum=False)


class Solid(FileView):
    """A view that does not look for holes, so it does not see that the file ends early."""

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        yield Extent(offset, self.size - offset if length is None else length, "data")


def test_what_a_system_call_refused_is_not_asked_again(tmp_path: Path, source: Source):
    handle = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    asked = []

    class Refusing:
        reads_nothing = True

        def move(self, at: int, offset: int, length: int) -> int:
            asked.append(at)
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        def close(self) -> None: ...

    with file_writer.FileWriter(handle) as writer:
        writer._movers = [Refusing()]
        assert writer.moves(read_already=True)
        for _ in range(3):
            place = Place(0, MIB, 0)
            assert writer.move(place, read_already=True) == (MIB, MIB)
        assert not writer.moves(read_already=True)
    os.close(handle)

    assert asked == [0]


class Server:
    """An ``Origin``."""

    by_ranges = True

    def look(self) -> RemoteIdentity:
        return RemoteIdentity("http://host/disk.raw", 8 * MIB, '"one"', "")

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        return bytes((offset + number) % 251 for number in range(length))

    def whole(self, known: RemoteIdentity, take: Any) -> None:
        pytest.fail("it is read by ranges")

    def close(self) -> None: ...


def test_what_lies_on_a_server_is_read(tmp_path: Path):
    """It has no descriptor: mapping its -1 would be a map of zeros."""
    source = RemoteSource("http://host/disk.raw", Server())
    artifact = Stored(source)

    assert movers.movers(source, -1, None) == []
    write(artifact, tmp_path / "out", source, checksum=False)

    same(tmp_path / "out", artifact)
    assert any((tmp_path / "out").read_bytes())


def test_only_whole_pages_that_lie_alike_are_moved(tmp_path: Path, source: Source):
    handle = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    with file_writer.FileWriter(handle, source) as writer:
        assert writer.move(Place(0, MIB, None), read_already=False) == (MIB, MIB)
        assert writer.move(Place(0, MIB, 512), read_already=False) == (MIB, MIB)
        assert writer.move(Place(0, 4096, 0), read_already=False) == (4096, 4096)
        assert writer.move(Place(100, MIB, 4196), read_already=False) == (4096, MIB)
    os.close(handle)


def test_blocks_are_shared_only_where_the_first_page_can_be(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
):
    """What the attempt left in the new file is gone: it may be a hole there."""
    asked: list[bytes] = []

    def share(handle: int, _asked: int, argument: bytes) -> int:
        asked.append(argument)
        os.pwrite(handle, b"x" * movers.PAGE, 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", share)
    path = tmp_path / "out"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, MIB)
    kinds = [type(mover) for mover in movers.movers(source, handle, None)]
    os.close(handle)

    assert kinds == [movers.Clone, movers.InKernel]
    assert [movers._CLONE_RANGE.unpack(each)[1:] for each in asked] == [(0, movers.PAGE, 0)]
    assert path.read_bytes() == bytes(MIB)


def test_only_shared_blocks_are_worth_while_where_the_bytes_were_read_anyway():
    kinds = (movers.Clone, movers.Mapped, movers.InKernel)

    assert [kind.reads_nothing for kind in kinds] == [True, False, False]


def test_the_number_of_the_system_call_that_shares_blocks():
    """_IOW(0x94, 13, struct file_clone_range of 32 bytes), linux/fs.h and asm-generic/ioctl.h."""
    write, size, kind, number = 1 << 30, movers._CLONE_RANGE.size << 16, 0x94 << 8, 13

    assert write | size | kind | number == movers._FICLONERANGE
    assert (movers._CLONE_RANGE.size, movers.PAGE) == (32, 4096)


def test_places_that_lie_nowhere_are_put_together():
    places = [Place(0, 5, None), Place(5, 5, None), Place(10, 5, 70), Place(15, 5, 75)]

    found = list(joined([*places, Place(20, 1, None)]))

    assert found == [Place(0, 10, None), *places[2:], Place(20, 1, None)]
    assert list(joined([])) == []


@pytest.mark.nightly
@pytest.mark.needs("mount", "mkfs.xfs", "mkfs.btrfs", "qemu-img")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_file_systems_that_share_blocks(tmp_path: Path, kind: str):
    """The real thing: the VHD takes next to no space beside its source."""
    imgprep = Path(sys.executable).with_name("imgprep")
    volume, place = tmp_path / "volume", tmp_path / "mounted"
    place.mkdir()
    with volume.open("wb") as file:
        file.truncate(1024 * MIB)
    subprocess.run([f"mkfs.{kind}", "-q", volume], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", volume, place], check=True, timeout=60)
    try:
        (place / "disk.raw").write_bytes(random.Random(2).randbytes(30 * MIB) * 10)
        os.sync()
        before = os.statvfs(place).f_bfree
        for format_ in ("raw", "vhd-fixed"):
            made = place / f"out.{format_}"
            options = ("-q", "--checksum=none", f"--format={format_}")
            subprocess.run(
                [imgprep, "convert", *options, place / "disk.raw", made], check=True, timeout=120
            )
            with made.open("rb") as file:
                assert file.read(300 * MIB) == (place / "disk.raw").read_bytes()
        found = os.statvfs(place)
        assert (before - found.f_bfree) * found.f_frsize < 64 * MIB
    finally:
        subprocess.run(["umount", place], check=True, timeout=60)

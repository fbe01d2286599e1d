"""How an output file is cut, written, named and given its identifiers: exact values."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import google_crc32c
import handmade
import handmade_vhdx
import pytest

from pipeline.beside import Beside
from pipeline.errors import EnvironmentFailed, ImgprepError, UsageError
from pipeline.formats import vhdx
from pipeline.model import Artifact
from pipeline.source import Extent, Source
from pipeline.targets import (
    artifact,
    file_writer,
    identifiers,
    linear,
    output,
    reclaimed,
    writing,
)

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 2 * MIB
ONE = UUID(int=1)


def planned(**changes: Any) -> Artifact:
    plan = {"kind": "raw", "source_size": 512, "virtual_size": 512}
    return replace(Artifact("raw", virtual_size=512, size=512, suffix="", plan=plan), **changes)


# --- writing


def test_the_ranges_of_a_grid() -> None:
    assert list(writing.ranges(25, 7, 10)) == [(0, 7), (7, 10), (17, 8)]
    assert list(writing.ranges(20, 10, 10)) == [(0, 10), (10, 10)]
    assert list(writing.ranges(5, 7, 10)) == [(0, 5)]
    assert list(writing.ranges(0, 7, 10)) == []


@pytest.mark.parametrize("hole", [(64 << 10) - 1, 64 << 10])
def test_a_hole_is_left_from_64_kib_on(hole: int) -> None:
    extents = [Extent(10, 5, "data"), Extent(15, hole, "zero"), Extent(15 + hole, 1, "data")]

    runs = list(writing.data_runs(extents))

    assert runs == ([(10, 6 + hole)] if hole < 64 << 10 else [(10, 5), (15 + hole, 1)])
    assert list(writing.data_runs([Extent(0, 9, "zero")])) == []
    assert list(writing.data_runs([Extent(0, 9, "data")])) == [(0, 9)]


def test_what_is_told_while_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * 5000)
    told: list[tuple[int, int]] = []
    made = planned(size=5000, plan={"kind": "source"})
    with Source.open(tmp_path / "disk") as source, Beside(tmp_path, "t") as beside:
        disk: Any = SimpleNamespace(source=source)
        for checksum in (True, False):
            path = tmp_path / f"out-{checksum}"
            found = writing.write_artifact(
                made, disk, path, beside, checksum=checksum, progress=lambda *at: told.append(at)
            )
            assert path.read_bytes() == b"x" * 5000
            assert (found.sha256 is None) is not checksum
            assert found.copy == artifact.file_plan(path)
    assert told[-1] == (5000, 5000)
    assert writing.WORKERS in (2, 3, 4)


def test_the_disk_is_told_to_begin_only_where_the_page_cache_is_used(
    tmp_path: Path, monkeypatch: Any
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _h, at, n, _a: asked.append((at, n)))
    monkeypatch.setattr(file_writer, "_open_direct", lambda _handle: None)
    behind = file_writer.BEHIND
    handle = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    with file_writer.FileWriter(handle) as writer:
        for end in (behind, 2 * behind - 1, 2 * behind, 5 * behind):
            writer.begin_writeback(end)
        writer._direct = handle
        writer.begin_writeback(9 * behind)
    os.close(handle)

    assert asked == [(0, behind), (3 * behind, behind)]


def test_the_way_past_the_page_cache_is_one(tmp_path: Path) -> None:
    """A file system that refuses it has none."""
    handle = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    found = file_writer._open_direct(handle)
    if found is not None:
        flags = fcntl.fcntl(found, fcntl.F_GETFL)
        assert flags & os.O_DIRECT
        assert flags & os.O_ACCMODE == os.O_WRONLY
        os.close(found)
    os.close(handle)
    assert file_writer._open_direct(handle) is None


def test_the_disk_begins_to_work_whenever_enough_is_written(monkeypatch: Any) -> None:
    monkeypatch.setattr(writing, "BEHIND", 10)
    begun: list[int] = []
    opened: Any = SimpleNamespace(grid=(0, 4), size=99)
    writer: Any = SimpleNamespace(begin_writeback=begun.append)
    work = writing._Work(opened, writer, None)

    counts = []
    for length in (4, 5, 1, 3, 6, 1, 25):
        work._hand_over(0, length, memoryview(b""))
        counts.append(len(begun))

    assert begun == [0, 10, 20]
    assert counts == [0, 0, 1, 1, 1, 2, 3]
    assert work._written == 45


def test_which_bytes_go_past_the_page_cache(tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[tuple[bool, int, int]] = []
    direct = 999

    def pwrite(handle: int, data: Any, offset: int) -> int:
        asked.append((handle == direct, offset, len(data)))
        return len(data)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "close", lambda _handle: None)
    monkeypatch.setattr(file_writer, "_open_direct", lambda _handle: direct)
    least = file_writer.DIRECT_LEAST
    with file_writer.FileWriter(3) as writer:
        for length, offset in (
            (least, 0),
            (least - 1, 0),
            (least + 100, 4096),
            (least + 4096, 4095),
        ):
            writer.write(memoryview(bytes(length)), offset)

    assert asked == [
        (True, 0, least),
        (False, 0, least - 1),
        (True, 4096, least),
        (False, 4096 + least, 100),
        (False, 4095, 1),
        (True, 4096, least),
        (False, 4096 + least, 4095),
    ]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_write_past_the_cache_that_is_refused(
    tmp_path: Path, monkeypatch: Any, number: int
) -> None:
    real = os.pwrite

    def pwrite(handle: int, data: Any, offset: int) -> int:
        if handle == writer._opened and offset:
            raise OSError(number, "refused")
        return real(handle, data[: 8192 + 5] if handle == writer._opened else data, offset)

    handle = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    monkeypatch.setattr(file_writer, "_open_direct", lambda handle: os.dup(handle))
    data = bytes(range(256)) * 512
    with file_writer.FileWriter(handle) as writer:
        monkeypatch.setattr(os, "pwrite", pwrite)
        if number == errno.EINVAL:
            writer.write(memoryview(data), 0)
            assert writer._direct is None
            assert (tmp_path / "f").read_bytes() == data
        else:
            with pytest.raises(OSError, match="refused"):
                writer.write(memoryview(data), 0)
    os.close(handle)


# --- output


def test_an_output_that_may_not_be(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x")
    (tmp_path / "there").write_bytes(b"y")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    refused: dict[tuple[str, bool], str] = {}
    with Source.open(tmp_path / "disk") as source:
        for name in ("new", "there", "folder", "dangling", "none/x", "disk"):
            for overwrite in (False, True):
                try:
                    output.require_writable(tmp_path / name, source, overwrite=overwrite)
                except UsageError as error:
                    refused[name, overwrite] = error.code

    assert refused == {
        ("there", False): "output-exists",
        ("folder", False): "output-exists",
        ("folder", True): "output-exists",
        ("dangling", False): "output-exists",
        ("dangling", True): "output-exists",
        ("none/x", False): "output-directory-missing",
        ("none/x", True): "output-directory-missing",
        ("disk", False): "output-is-source",
        ("disk", True): "output-is-source",
    }


@pytest.mark.parametrize(
    ("size", "data", "fits"),
    [(4096_000, 0, True), (4096_001, 4096_000, True), (4096_001, 4096_001, False)],
)
def test_room_for_the_data(
    monkeypatch: Any, tmp_path: Path, size: int, data: int, fits: bool
) -> None:
    found = SimpleNamespace(f_bavail=1000, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _path: found)
    extents = [Extent(0, data, "data"), Extent(data, 5, "zero")]

    if fits:
        output.require_space(tmp_path, size, extents)
        return
    with pytest.raises(EnvironmentFailed) as error:
        output.require_space(tmp_path, size, extents)
    assert error.value.code == "no-space"
    assert f"({data} bytes of data)" in error.value.message


def _has_nameless_files(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        os.close(os.open(directory, os.O_RDWR | os.O_TMPFILE))
        return True
    return False


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_new_file_gets_its_name_at_the_end(
    tmp_path: Path, monkeypatch: Any, nameless: bool, there: bool
) -> None:
    real, path = os.open, tmp_path / "out"
    if there:
        path.write_bytes(b"old")

    def open_(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE and not nameless:
            raise OSError(errno.EOPNOTSUPP, "no nameless files")
        return real(name, flags, mode, **more)

    monkeypatch.setattr(os, "open", open_)
    with Beside(tmp_path, "job") as beside:
        with output.new_file(path, beside, overwrite=True) as handle:
            os.write(handle, b"new")
            if nameless and _has_nameless_files(tmp_path):
                assert [item.name for item in tmp_path.iterdir()] == ["out"] * there
            assert not there or path.read_bytes() == b"old"
            assert there or not path.exists()
        assert path.read_bytes() == b"new"
        os.umask(umask := os.umask(0))
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
        with (
            pytest.raises(UsageError, match="made by another program"),
            output.new_file(path, beside, overwrite=False) as handle,
        ):
            os.write(handle, b"newer")
    assert path.read_bytes() == b"new"
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_what_somebody_put_in_the_place_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: Any
) -> None:
    real, victim = os.open, tmp_path / "victim"
    victim.write_bytes(b"precious")

    def open_(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no nameless files")
        return real(name, flags, mode, **more)

    monkeypatch.setattr(os, "open", open_)
    with Beside(tmp_path, "job") as beside:
        (beside.directory() / "out").symlink_to(victim)
        with (
            pytest.raises(EnvironmentFailed),
            output.new_file(tmp_path / "out", beside, overwrite=False),
        ):
            pytest.fail("it was opened")
    assert victim.read_bytes() == b"precious"


def test_what_moves_bytes_is_closed_once(tmp_path: Path) -> None:
    closed: list[int] = []
    handle = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    writer = file_writer.FileWriter(handle)
    writer._movers = [SimpleNamespace(close=lambda n=n: closed.append(n)) for n in range(2)]  # type: ignore[misc]

    writer.close()
    writer.close()

    os.close(handle)
    assert closed == [0, 1]


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "no-space"), (errno.EDQUOT, "no-space"), (errno.EIO, "output-unwritable")],
)
def test_what_an_error_of_the_system_means(number: int, code: str) -> None:
    assert output.unwritable(Path("x"), OSError(number, "why")).code == code


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EIO])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: Any, number: int) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(number, "no links")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "a").write_bytes(b"made")

    if number == errno.EIO:
        with pytest.raises(OSError, match="no links"):
            output.publish(tmp_path / "a", tmp_path / "b", overwrite=False)
        return
    output.publish(tmp_path / "a", tmp_path / "b", overwrite=False)
    assert (tmp_path / "b").read_bytes() == b"made"


# --- identifiers


def test_the_ids_of_a_vdi_lie_where_they_lie(tmp_path: Path) -> None:
    path, before = tmp_path / "d", handmade.vdi()
    path.write_bytes(before)

    identifiers.replace(path, "vdi", ONE)

    image, last = (identifiers.derived(ONE, purpose) for purpose in ("image", "last change"))
    assert path.read_bytes() == before[:392] + image + last + before[424:]
    plain = bytearray(hashlib.sha256(ONE.bytes + b"image").digest()[:16])
    plain[6], plain[8] = plain[6] & 0x0F | 0x40, plain[8] & 0x3F | 0x80
    assert image == bytes(plain)


def test_the_id_of_a_vmdk_is_in_its_text(tmp_path: Path) -> None:
    path, before = tmp_path / "d", handmade.vmdk()
    path.write_bytes(before)

    identifiers.replace(path, "vmdk", ONE)

    cid = identifiers.derived(ONE, "content").hex()[:8].encode()
    assert path.read_bytes() == before.replace(b"\nCID=12345678", b"\nCID=" + cid)


@pytest.mark.parametrize(("sectors", "changed"), [(2048, True), (2049, False), (0, False)])
def test_a_descriptor_of_at_most_a_mebibyte(tmp_path: Path, sectors: int, changed: bool) -> None:
    path = tmp_path / "d"
    before = handmade.patched(handmade.vmdk(), 36, handmade.le64(sectors))
    path.write_bytes(before)

    identifiers.replace(path, "vmdk", ONE)

    assert (path.read_bytes() != before) is changed


def test_the_ids_of_a_vhdx(tmp_path: Path) -> None:
    path = tmp_path / "d"
    before = handmade.patched(handmade_vhdx.vhdx(), MIB + 77, b"spent")
    for at in vhdx.HEADERS:
        before = handmade.patched(before, at + 80, b"\xff")  # behind what is looked at
    before = handmade.patched(before, vhdx.HEADERS[0] + 16, b"\xff")  # no part of its age
    path.write_bytes(before)

    identifiers.replace(path, "vhdx", ONE)

    after = path.read_bytes()
    for at, number in zip(vhdx.HEADERS, (1, 2), strict=True):
        head = bytearray(after[at : at + 4096])
        assert head[8:16] == number.to_bytes(8, "little")
        assert head[16:32] == identifiers.derived(ONE, "file write")
        assert head[32:48] == identifiers.derived(ONE, "data write")
        stated, head[4:8] = bytes(head[4:8]), bytes(4)
        assert stated == google_crc32c.value(bytes(head)).to_bytes(4, "little")
    assert not any(after[MIB : 2 * MIB])
    disk = UUID(bytes=identifiers.derived(ONE, "disk")).bytes_le
    assert after == (
        before[: 64 << 10]
        + after[64 << 10 : (64 << 10) + 4096]
        + before[(64 << 10) + 4096 : 128 << 10]
        + after[128 << 10 : (128 << 10) + 4096]
        + before[(128 << 10) + 4096 : MIB]
        + bytes(MIB)
        + before[2 * MIB :].replace(UUID(int=9).bytes_le, disk)
    )


@pytest.mark.parametrize("log_id", [b"\1".ljust(16, b"\0"), b"\1".rjust(16, b"\0")])
def test_a_vhdx_whose_log_is_not_spent_is_left_as_it_is(tmp_path: Path, log_id: bytes) -> None:
    path, before = tmp_path / "d", handmade_vhdx.vhdx(log_id=log_id)
    path.write_bytes(before)

    identifiers.replace(path, "vhdx", ONE)

    assert path.read_bytes() == before


# --- reclaimed


def test_what_is_left_out_is_told() -> None:
    areas = [
        SimpleNamespace(place="partition 1", reason=None, behind=0),
        SimpleNamespace(place="partition 2", reason="it is encrypted", behind=5),
        SimpleNamespace(place="partition 3", reason=None, behind=MIB),
    ]
    free = SimpleNamespace(free=3 * MIB, runs=7, areas=areas)
    disk: Any = SimpleNamespace(reclaim=True, free_space=lambda: free)

    assert list(reclaimed.notes(disk)) == [
        "left out: 3 MiB of free space in 7 runs; it reads as zeros",
        "partition 2 is kept whole: it is encrypted",
        "partition 3 is larger than its file system: 1 MiB are kept",
    ]
    assert list(reclaimed.notes(SimpleNamespace(reclaim=False))) == []  # type: ignore[arg-type]


def test_every_error_of_targets_says_what_to_do() -> None:
    errors: Sequence[ImgprepError] = [
        artifact._bad_plan("x"),
        output.unwritable(Path("x"), OSError(1, "why")),
    ]

    assert all(error.hint for error in errors)
    assert linear.EVEN_GRID == (0, 2 << 20)

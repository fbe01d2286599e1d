"""The disk behind a container, through a confined qemu-nbd and our client."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files
from disks import lent

from pipeline.errors import ConversionFailed, ImgprepError
from pipeline.fileview import FileView
from pipeline.source import Source
from pipeline.tools import command, nbd
from pipeline.tools.nbd_view import NbdView

MIB = 1 << 20
needs_nbd = pytest.mark.needs("qemu-img", "qemu-nbd")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return files.raw_disk(tmp_path / "disk.raw", 50 * MIB)


@pytest.fixture
def image(raw: Path, tmp_path: Path) -> Path:
    files.qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "image.qcow2")
    return tmp_path / "image.qcow2"


def facts(name: str, size: int | None, variant: str | None = None) -> dict[str, Any]:
    return {"format": name, "variant": variant, "virtual_size": size}


@needs_nbd
def test_the_disk_reads_as_its_source(raw: Path, image: Path, tmp_path: Path) -> None:
    data = raw.read_bytes()

    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", 50 * MIB), tmp_path) as disk,
    ):
        assert disk.size == 50 * MIB
        assert disk.read(0, disk.size) == data
        assert disk.read(12345, 70000) == data[12345:82345]
        assert disk.read(50 * MIB - 10, 100) == data[-10:]
        assert disk.read(60 * MIB, 100) == b""


@needs_nbd
def test_extents_cover_the_disk_and_zero_runs_are_zeros(
    raw: Path, image: Path, tmp_path: Path
) -> None:
    data = raw.read_bytes()

    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", 50 * MIB), tmp_path) as disk,
    ):
        extents = list(disk.extents())
        some = list(disk.extents(MIB, 10 * MIB))

    position = 0
    for extent in extents:
        assert extent.offset == position
        position += extent.length
        if extent.kind == "zero":
            assert not any(data[extent.offset : position])
    assert position == 50 * MIB
    assert {extent.kind for extent in extents} == {"data", "zero"}
    assert some[0].offset == MIB
    assert sum(extent.length for extent in some) == 10 * MIB


@needs_nbd
def test_many_threads_share_a_few_connections(raw: Path, image: Path, tmp_path: Path) -> None:
    data = raw.read_bytes()
    wrong: list[int] = []

    with (
        Source.open(image) as source,
        nbd.serve(source, facts("qcow2", None), scratch=tmp_path) as path,
        closing(NbdView(path, source.name, connections=3)) as disk,
    ):

        def read(start: int) -> None:
            for offset in range(start * 333_333, disk.size, 8 * 333_333):
                if disk.read(offset, 333_333) != data[offset : offset + 333_333]:
                    wrong.append(offset)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


@needs_nbd
def test_the_socket_is_private_and_gone_afterwards(image: Path, tmp_path: Path) -> None:
    with (
        Source.open(image) as source,
        nbd.serve(source, facts("qcow2", None), scratch=tmp_path) as path,
    ):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    assert not path.parent.exists()


@needs_nbd
def test_a_long_scratch_path_does_not_matter(image: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)

    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", None), deep) as disk,
    ):
        assert disk.size == 50 * MIB


@needs_nbd
@pytest.mark.needs("qemu-io")
def test_a_client_cannot_write(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    with (
        Source.open(image) as source,
        nbd.serve(source, facts("qcow2", None), scratch=tmp_path) as path,
    ):
        url = f"nbd+unix:///?socket={path}"
        argv = ["qemu-io", "-f", "raw", "-c", "write 0 512", url]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert re.search("read-only|not permitted|denied", done.stdout + done.stderr, re.IGNORECASE)

    assert image.read_bytes() == before


@needs_nbd
def test_a_backing_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"canary" * 100_000)
    overlay = tmp_path / "overlay.qcow2"
    files.qemu_img("create", "-f", "qcow2", "-b", tmp_path / "secret", "-F", "raw", overlay, "1M")

    with (
        Source.open(overlay) as source,
        lent(source, facts("qcow2", MIB), tmp_path) as disk,
    ):
        assert disk.read(0, MIB) == bytes(MIB)


@needs_nbd
def test_a_vhd_is_read_to_its_size_in_bytes_not_by_its_geometry(tmp_path: Path) -> None:
    data = files.ours(10 * MIB, [4])
    files.set_footer(data, creator=b"vbox", cylinders=10, heads=4, sectors=17)
    (tmp_path / "image.vhd").write_bytes(data)

    with (
        Source.open(tmp_path / "image.vhd") as source,
        lent(source, facts("vhd", 10 * MIB, "dynamic"), tmp_path) as disk,
    ):
        assert disk.size == 10 * MIB
        assert disk.read(8 * MIB, 2 * MIB) == files.filled(4, 7)


@needs_nbd
def test_another_size_than_our_parser_read_is_an_error(image: Path, tmp_path: Path) -> None:
    with (
        Source.open(image) as source,
        pytest.raises(ConversionFailed) as caught,
        lent(source, facts("qcow2", 49 * MIB), tmp_path),
    ):
        pass

    assert caught.value.code == "disk-size-disagrees"


@needs_nbd
def test_an_image_that_qemu_cannot_open_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "image.qcow2").write_bytes(b"QFI\xfb" + bytes(4000))

    with (
        Source.open(tmp_path / "image.qcow2") as source,
        pytest.raises(ImgprepError, match="qemu-nbd") as caught,
        lent(source, facts("qcow2", None), tmp_path),
    ):
        pass

    assert caught.value.code == "tool-failed"
    assert [item.name for item in tmp_path.iterdir()] == ["image.qcow2"]


@needs_nbd
def test_damaged_data_is_an_error_with_its_place(raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    files.qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", raw, image)
    size = image.stat().st_size
    with image.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))

    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", None), tmp_path) as disk,
    ):
        with pytest.raises(ConversionFailed, match=r"image\.qcow2.* offset \d+ failed") as caught:
            disk.read(0, disk.size)
        # the next reader gets a connection that works
        assert disk.read(0, 512) == raw.read_bytes()[:512]

    assert caught.value.exit_code == 4


@needs_nbd
def test_a_server_that_dies_is_an_error_not_a_hang(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[command.Background] = []
    real = nbd._await_listening

    def remember(path: Path, server: command.Background) -> None:
        real(path, server)
        started.append(server)

    monkeypatch.setattr(nbd, "_await_listening", remember)
    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", None), tmp_path) as disk,
    ):
        os.killpg(started[0].pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(ImgprepError):
            disk.read(0, disk.size)
        assert time.monotonic() - began < 5


@needs_nbd
def test_reading_much_needs_little_memory(image: Path, tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with (
        Source.open(image) as source,
        lent(source, facts("qcow2", None), tmp_path) as disk,
    ):
        disk.read(0, 4 * MIB)
        before = resident()
        for turn in range(100):
            disk.read(turn % 10 * 4 * MIB, 4 * MIB)

        assert resident() - before < 40 * MIB


class TestFileView:
    def test_a_fixed_vhd_ends_before_its_footer(self, tmp_path: Path) -> None:
        (tmp_path / "image.vhd").write_bytes(b"d" * 4096 + b"f" * 512)

        with (
            Source.open(tmp_path / "image.vhd") as source,
            lent(source, facts("vhd", 4096, "fixed"), tmp_path) as disk,
        ):
            assert disk.read(0, 10000) == b"d" * 4096
            assert [(item.offset, item.length) for item in disk.extents()] == [(0, 4096)]

    def test_holes_are_known_without_reading(self, tmp_path: Path) -> None:
        with (tmp_path / "disk.raw").open("wb") as file:
            file.truncate(10 * MIB)
            file.seek(4 * MIB)
            file.write(b"x" * MIB)

        with Source.open(tmp_path / "disk.raw") as source:
            found = [
                (item.kind, item.offset, item.length)
                for item in FileView(source, source.size).extents(MIB, 8 * MIB)
            ]

        assert found == [
            ("zero", MIB, 3 * MIB),
            ("data", 4 * MIB, MIB),
            ("zero", 5 * MIB, 4 * MIB),
        ]

    @pytest.mark.parametrize("ask", ["read", "extents"])
    def test_a_disk_beyond_the_end_of_its_file_is_an_error(self, tmp_path: Path, ask: str) -> None:
        (tmp_path / "disk.raw").write_bytes(b"x" * 1000)

        with Source.open(tmp_path / "disk.raw") as source:
            view = FileView(source, 10000)
            with pytest.raises(ConversionFailed) as caught:
                view.read(0, 5000) if ask == "read" else list(view.extents())

        assert caught.value.code == "source-data-unreadable"

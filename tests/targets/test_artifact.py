"""The artifact of every input format: planned, written, and read by two independent readers."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files
from disks import written

from pipeline import formats
from pipeline.disk import GuestDisk
from pipeline.errors import ConversionFailed, EnvironmentFailed, Interrupted, UsageError
from pipeline.fileview import FileView
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_layout import target_size
from pipeline.model import Artifact, from_json, to_json
from pipeline.source import Extent, Source
from pipeline.stage import Cancellation
from pipeline.targets import output
from pipeline.targets.artifact import open_artifact
from pipeline.targets.tap_vhd import plan_vhd
from pipeline.targets.zero_scan import PROBE

MIB, GIB = 1 << 20, 1 << 30

FORMATS: dict[str, tuple[str, list[str]]] = {
    "qcow2": ("qcow2", ["-O", "qcow2"]),
    "qcow2, compressed": ("qcow2", ["-O", "qcow2", "-c"]),
    "qcow2, 2 MiB clusters": ("qcow2", ["-O", "qcow2", "-o", "cluster_size=2M"]),
    "vmdk, sparse": ("vmdk", ["-O", "vmdk", "-o", "subformat=monolithicSparse"]),
    "vmdk, stream": ("vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    "vdi": ("vdi", ["-O", "vdi"]),
    "vdi, static": ("vdi", ["-O", "vdi", "-o", "static=on"]),
    "vhdx": ("vhdx", ["-O", "vhdx"]),
    "vhd, dynamic": ("vhd", ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"]),
    "vhd, by geometry": ("vhd", ["-O", "vpc", "-o", "subformat=dynamic"]),
    "vhd, fixed": ("vhd", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
    "raw": ("raw", ["-O", "raw"]),
}


def container(source: Source, name: str) -> dict[str, Any]:
    """The facts that opening a disk needs."""
    if name == "vhd":
        found = Vhd().inspect(source)
        return {"format": "vhd", "variant": found.variant, "virtual_size": found.virtual_size}
    found = formats.identify(source).container
    return {"format": name, "variant": found.variant, "virtual_size": found.virtual_size}


def guest_disk(source: Source, name: str, scratch: Path) -> GuestDisk:
    return GuestDisk(source, container(source, name), scratch)  # type: ignore[arg-type]


def plan(source: Source, name: str, scratch: Path, **options: Any) -> Artifact:
    with guest_disk(source, name, scratch) as disk:
        return plan_vhd(disk.view(), uuid=files.UUID_1, timestamp=7, **options)


def convert(path: Path, name: str, output: Path, **options: Any) -> Artifact:
    with Source.open(path) as source, guest_disk(source, name, path.parent) as disk:
        artifact = plan(source, name, path.parent)
        return written(artifact, disk, output, **options)


def compare_with_qemu(raw: Path, vhd: Path) -> None:
    said = files.qemu_img("compare", "-f", "raw", "-F", "vpc", raw, vhd)
    assert "Images are identical." in said


def compare_with_libvhdi(raw: Path, vhd: Path) -> None:
    """libvhdi honours sector bitmaps, which qemu does not look at."""
    import pyvhdi

    disk = pyvhdi.file()
    disk.open(str(vhd))
    with Source.open(raw) as source:
        assert disk.get_media_size() == target_size(source.size)
        rng = random.Random(3)
        places = [extent.offset for extent in FileView(source, source.size).extents()]
        places += [rng.randrange(source.size) for _ in range(20)]
        for place in places:
            expected = source.read(place, MIB)
            disk.seek_offset(place, 0)
            assert disk.read_buffer(MIB)[: len(expected)] == expected
        tail = source.size // MIB * MIB
        disk.seek_offset(tail, 0)
        data = disk.read_buffer(disk.get_media_size() - tail)
        assert data == source.read(tail, MIB).ljust(len(data), b"\0")
    disk.close()


def require_sound(vhd: Path) -> None:
    with Source.open(vhd) as file:
        assert files.against_xenserver(file) == set()


@pytest.mark.needs("qemu-img", "qemu-nbd", "module:pyvhdi")
@pytest.mark.parametrize("kind", FORMATS)
def test_two_readers_find_the_sources_data(tmp_path: Path, kind: str) -> None:
    name, options = FORMATS[kind]
    raw = files.raw_disk(tmp_path / "disk.raw", 61 * MIB + 1536, runs=6)
    image = tmp_path / "image"
    files.qemu_img("convert", "-f", "raw", *options, raw, image)

    made = convert(image, name, tmp_path / "out.vhd")

    data = (tmp_path / "out.vhd").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (made.size, made.sha256)
    require_sound(tmp_path / "out.vhd")
    compare_with_qemu(raw, tmp_path / "out.vhd")
    if kind != "vhd, by geometry":  # that source is larger than the raw image
        compare_with_libvhdi(raw, tmp_path / "out.vhd")


SIZES = [
    1,
    511,
    2 * MIB - 1,
    2 * MIB,
    2 * MIB + 512,
    401 * MIB + 1536,
    8190 * MIB,
    8194 * MIB,
    8208 * MIB,
    16386 * MIB,
    20 * GIB,
    127 * GIB,
    128 * GIB,
    160 * GIB,
    2040 * GIB,
]


@pytest.mark.needs("qemu-img", "module:pyvhdi")
@pytest.mark.parametrize("size", SIZES)
def test_every_size(tmp_path: Path, size: int) -> None:
    raw = files.raw_disk(tmp_path / "disk.raw", size, runs=4)

    made = convert(raw, "raw", tmp_path / "out.vhd")

    assert made.virtual_size == target_size(size)
    require_sound(tmp_path / "out.vhd")
    compare_with_libvhdi(raw, tmp_path / "out.vhd")
    compare_with_qemu(raw, tmp_path / "out.vhd")


@pytest.mark.skipif(shutil.which("vhd-util") is None, reason="vhd-util is in no package: optional")
@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("size", [401 * MIB + 1536, 8194 * MIB, 20 * GIB])
def test_xenservers_own_tool_takes_and_resizes_it(tmp_path: Path, size: int) -> None:
    raw = files.raw_disk(tmp_path / "disk.raw", size)
    output = tmp_path / "out.vhd"
    convert(raw, "raw", output)

    def tool(*argv: str) -> str:
        done = subprocess.run(
            ["vhd-util", *argv], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    assert "is valid" in tool("check", "-n", str(output))
    larger = target_size(size) // MIB + 100
    tool("resize", "-n", str(output), "-s", str(larger), "-j", str(tmp_path / "journal"))
    assert tool("query", "-n", str(output), "-v").strip() == str(larger)
    compare_with_qemu(raw, output)


@pytest.mark.needs("qemu-img", "qemu-nbd")
def test_reading_back_and_converting_again_gives_the_same_bytes(tmp_path: Path) -> None:
    raw = files.raw_disk(tmp_path / "disk.raw", 40 * MIB)
    first = convert(raw, "raw", tmp_path / "1.vhd")
    files.qemu_img("convert", "-f", "vpc", "-O", "qcow2", tmp_path / "1.vhd", tmp_path / "2.qcow2")

    second = convert(tmp_path / "2.qcow2", "qcow2", tmp_path / "2.vhd")
    third = convert(tmp_path / "2.vhd", "vhd", tmp_path / "3.vhd")

    assert first.sha256 == second.sha256 == third.sha256


@pytest.mark.needs("qemu-img", "qemu-nbd")
def test_segments_made_by_threads_in_any_order_are_the_file(tmp_path: Path) -> None:
    raw = files.raw_disk(tmp_path / "disk.raw", 60 * MIB)
    image = tmp_path / "image.qcow2"
    files.qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, image)
    convert(image, "qcow2", tmp_path / "out.vhd")
    expected = (tmp_path / "out.vhd").read_bytes()
    found = bytearray(len(expected))

    with Source.open(image) as source, guest_disk(source, "qcow2", tmp_path) as disk:
        # as another process would: from the plan's JSON alone
        artifact = from_json(to_json(plan(source, "qcow2", tmp_path)), Artifact)
        with open_artifact(artifact, disk) as opened:
            offsets = list(range(0, opened.size, 777_777))
            random.Random(5).shuffle(offsets)

            def read(part: list[int]) -> None:
                for offset in part:
                    found[offset : offset + 777_777] = opened.read(offset, 777_777)

            threads = [threading.Thread(target=read, args=(offsets[n::6],)) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert bytes(found) == expected


def allocated_zeros(path: Path) -> Path:
    """10 blocks, all allocated: data in 0 and at the end of 5, zeros elsewhere."""
    data = bytearray(20 * MIB)
    data[0:4] = b"boot"
    data[6 * files.BLOCK - 1] = 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("zero_scan", "blocks"), [(True, 2), (False, 10)])
def test_the_zero_scan_leaves_out_what_holds_only_zeros(
    tmp_path: Path, zero_scan: bool, blocks: int
) -> None:
    with Source.open(allocated_zeros(tmp_path / "disk.raw")) as source:
        artifact = plan(source, "raw", tmp_path, zero_scan=zero_scan)
        written(artifact, guest_disk(source, "raw", tmp_path), tmp_path / "o.vhd")

    with Source.open(tmp_path / "o.vhd") as file:
        assert Vhd().inspect(file).details["allocated_blocks"] == blocks
    compare_with_qemu(tmp_path / "disk.raw", tmp_path / "o.vhd")


def test_planning_a_sparse_disk_of_2_tib_looks_only_where_its_data_is() -> None:
    places = range(0, 2040 * GIB, 10 * GIB)
    disk = files.MemoryDisk(2040 * GIB, {place: files.filled(7) for place in places})

    artifact = plan_vhd(disk, uuid=files.UUID_1, timestamp=7)

    assert artifact.virtual_size == 2040 * GIB
    assert {offset for offset, _ in disk.asked} == set(places)
    assert sum(length for _, length in disk.asked) <= len(places) * PROBE


def leftovers(directory: Path) -> set[str]:
    return {item.name for item in directory.iterdir()}


class TestFailures:
    """Whatever goes wrong, there is no output, whole or half."""

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        return files.raw_disk(tmp_path / "disk.raw", 60 * MIB, runs=40)

    def write(self, raw: Path, output: Path, **options: Any) -> Artifact:
        return convert(raw, "raw", output, **options)

    def test_a_source_cut_short_while_it_is_read(self, raw: Path, tmp_path: Path) -> None:
        with Source.open(raw) as source:
            artifact = plan(source, "raw", tmp_path)
            disk = guest_disk(source, "raw", tmp_path)
            os.truncate(raw, 20 * MIB)

            with pytest.raises(ConversionFailed, match=r"disk\.raw") as caught:
                written(artifact, disk, tmp_path / "out.vhd")

        assert (caught.value.code, caught.value.exit_code) == ("source-data-unreadable", 4)
        assert leftovers(tmp_path) == {"disk.raw"}

    @pytest.mark.needs("qemu-img", "qemu-nbd")
    def test_a_read_error_in_the_middle(self, raw: Path, tmp_path: Path) -> None:
        image = tmp_path / "image.qcow2"
        files.qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", raw, image)
        size = image.stat().st_size
        with image.open("r+b") as file:  # inside of the last compressed clusters
            file.seek(size * 3 // 4)
            file.write(os.urandom(size // 8))

        with pytest.raises(ConversionFailed) as caught:
            convert(image, "qcow2", tmp_path / "out.vhd")

        assert caught.value.code == "source-data-unreadable"
        assert leftovers(tmp_path) == {"disk.raw", "image.qcow2"}

    def test_a_stop_while_it_runs(self, raw: Path, tmp_path: Path) -> None:
        cancellation = Cancellation()

        with Source.open(raw) as source:
            artifact = plan(source, "raw", tmp_path)
            timer = threading.Timer(0.01, cancellation.set, [2])
            timer.start()
            output = tmp_path / "out.vhd"

            def until_stopped() -> None:
                for _ in range(100):  # until the signal meets one of them at work
                    disk = guest_disk(source, "raw", tmp_path)
                    written(artifact, disk, output, cancellation=cancellation)
                    output.unlink()

            with pytest.raises(Interrupted):
                until_stopped()
            timer.join()

        assert leftovers(tmp_path) == {"disk.raw"}

    def test_an_output_that_exists_is_kept(self, raw: Path, tmp_path: Path) -> None:
        (tmp_path / "out.vhd").write_text("precious")

        with pytest.raises(UsageError) as caught:
            self.write(raw, tmp_path / "out.vhd")

        assert caught.value.code == "output-exists"
        assert (tmp_path / "out.vhd").read_text() == "precious"

    def test_an_output_that_exists_is_replaced_when_wanted(self, raw: Path, tmp_path: Path) -> None:
        (tmp_path / "out.vhd").write_text("worthless")

        self.write(raw, tmp_path / "out.vhd", overwrite=True)

        require_sound(tmp_path / "out.vhd")
        assert leftovers(tmp_path) == {"disk.raw", "out.vhd"}

    def test_the_source_itself_is_never_the_output(self, raw: Path, tmp_path: Path) -> None:
        before = raw.read_bytes()
        os.link(raw, tmp_path / "other-name.vhd")

        with pytest.raises(UsageError) as caught:
            self.write(raw, tmp_path / "other-name.vhd", overwrite=True)

        assert caught.value.code == "output-is-source"
        assert raw.read_bytes() == before

    def test_a_directory_that_is_not_there(self, raw: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            self.write(raw, tmp_path / "none" / "out.vhd")

        assert caught.value.code == "output-directory-missing"

    def test_too_little_space_is_found_before_anything_is_written(self, tmp_path: Path) -> None:
        data = [Extent(0, 1 << 60, "data")]

        with pytest.raises(EnvironmentFailed, match=str(1 << 60)) as caught:
            output.require_space(tmp_path, 1 << 60, data)

        assert (caught.value.code, caught.value.exit_code) == ("no-space", 3)

    def test_holes_need_no_space(self, tmp_path: Path) -> None:
        output.require_space(tmp_path, 1 << 60, [Extent(0, 1 << 60, "zero")])

    def test_a_plan_that_is_not_ours(self, raw: Path, tmp_path: Path) -> None:
        with Source.open(raw) as source:
            artifact = plan(source, "raw", tmp_path)
            for broken in (
                replace(artifact, plan={"kind": "telepathy"}),
                replace(artifact, plan={**artifact.plan, "blocks": "AAAA"}),
                replace(artifact, size=artifact.size + 512),
            ):
                with (
                    pytest.raises(ConversionFailed) as caught,
                    open_artifact(broken, guest_disk(source, "raw", tmp_path)),
                ):
                    pass
                assert caught.value.code == "artifact-plan"

    def test_a_kept_file_that_was_touched_is_not_uploaded(self, raw: Path, tmp_path: Path) -> None:
        written = self.write(raw, tmp_path / "out.vhd")
        with Source.open(raw) as source:
            disk = guest_disk(source, "raw", tmp_path)
            with open_artifact(written, disk) as opened:
                assert opened.read(0, 8) == b"conectix"
            os.truncate(tmp_path / "out.vhd", 1000)

            with (
                pytest.raises(ConversionFailed) as caught,
                open_artifact(written, disk),
            ):
                pass

        assert caught.value.code == "artifact-changed"

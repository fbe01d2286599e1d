"""qemu-img on real images of every format that it is asked to open."""

import os
import struct
import subprocess

import pytest

from pipeline.errors import Interrupted, ToolError
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.tools import command, qemu_img
from pipeline.tools.command import MIB, Limits
from pipeline.tools.qemu_img import ImageSpec

pytestmark = pytest.mark.needs("qemu-img", "qemu-io")

SIZE = 64 * MIB
DATA_AT, DATA = 3 * MIB, MIB  # one megabyte of 0xA7

MADE = {
    "raw": ("raw", []),
    "qcow2": ("qcow2", []),
    "vhd": ("vpc", ["-o", "subformat=dynamic,force_size=on"]),
    "vhdx": ("vhdx", []),
    "vmdk": ("vmdk", []),
    "vdi": ("vdi", []),
}


def qemu(*argv):
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The same disk in every format; one directory for all tests, which only read it."""
    place = tmp_path_factory.mktemp("images")
    raw = place / "disk.raw"
    qemu("qemu-img", "create", "-q", "-f", "raw", raw, str(SIZE))
    qemu("qemu-io", "-f", "raw", "-c", f"write -P 0xA7 {DATA_AT} {DATA}", raw)
    for name, (driver, options) in MADE.items():
        if name != "raw":
            qemu(
                "qemu-img",
                "convert",
                "-f",
                "raw",
                "-O",
                driver,
                *options,
                raw,
                place / f"disk.{name}",
            )
    fixed = ["-o", "subformat=fixed,force_size=on"]
    qemu("qemu-img", "convert", "-f", "raw", "-O", "vpc", *fixed, raw, place / "fixed.vhd")
    return place


@pytest.fixture
def spec(images):
    """How to tell qemu-img one of them."""
    opened = []

    def make(name, **container):
        source = Source.open(images / name)
        opened.append(source)
        kind = name.rpartition(".")[2]
        return ImageSpec.of(source, {"format": kind, **container})

    yield make
    for source in opened:
        source.close()


@pytest.mark.parametrize("kind", list(MADE))
class TestEveryFormat:
    def test_info_tells_size_and_format(self, spec, kind):
        seen = qemu_img.info(spec(f"disk.{kind}"))

        assert (seen.format, seen.virtual_size) == (MADE[kind][0], SIZE)
        assert (seen.backing_file, seen.data_file, seen.encrypted) == (None, None, False)

    def test_map_covers_the_disk_without_gaps(self, spec, kind):
        runs = qemu_img.map_(spec(f"disk.{kind}"))

        assert [run.start for run in runs[1:]] == [run.start + run.length for run in runs[:-1]]
        assert (runs[0].start, runs[-1].start + runs[-1].length) == (0, SIZE)
        data = [run for run in runs if run.start <= DATA_AT < run.start + run.length]
        assert data[0].data

    def test_compare_finds_it_equal_to_the_raw_disk(self, spec, kind):
        assert qemu_img.compare(spec("disk.raw"), spec(f"disk.{kind}")).identical

    def test_a_relative_or_odd_name_never_reaches_it(self, spec, kind):
        node = spec(f"disk.{kind}").node()

        assert node["file"]["filename"].startswith("/proc/self/fd/")


@pytest.mark.parametrize("kind", sorted(qemu_img.CHECKED))
def test_a_sound_image_checks_clean(spec, kind):
    seen = qemu_img.check(spec(f"disk.{kind}"))

    assert (seen.corruptions, seen.leaks, seen.errors, seen.said) == (0, 0, 0, "")


def test_a_fixed_vhd_is_its_bytes_before_the_footer(spec):
    fixed = spec("fixed.vhd", variant="fixed", virtual_size=SIZE)

    assert qemu_img.info(fixed).virtual_size == SIZE
    assert qemu_img.compare(spec("disk.raw"), fixed).identical


def test_a_dynamic_vhd_keeps_its_size_whatever_its_geometry_says(tmp_path):
    # given a creator for which every qemu-img, left alone, takes the geometry's size (newer ones do so
    # for Virtual PC and a few others only)
    path = tmp_path / "odd.vhd"
    size = 100 * MIB + 512
    qemu("qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", path, str(size))
    for at in (0, path.stat().st_size - 512):
        _patch_footer(path, at, creator=b"vpc ", cylinders=3000, heads=4, sectors=17)

    with Source.open(path) as source:
        image = ImageSpec.of(source, {"format": "vhd", "variant": "dynamic"})
        told = qemu_img.info(image).virtual_size
        guessed = qemu_img.info(
            ImageSpec(image.path, "vhd", image.fds, force_size_calc=False)
        ).virtual_size

    assert told == size
    assert guessed == 3000 * 4 * 17 * 512


def _patch_footer(path, at, *, creator, cylinders, heads, sectors):
    with path.open("r+b") as file:
        file.seek(at)
        footer = bytearray(file.read(512))
        footer[28:32] = creator
        footer[56:60] = struct.pack(">HBB", cylinders, heads, sectors)
        footer[64:68] = bytes(4)
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        file.seek(at)
        file.write(footer)


def test_a_backing_file_is_named_but_not_opened(tmp_path, images):
    overlay = tmp_path / "overlay.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", images / "disk.raw", overlay)

    with Source.open(overlay) as source:
        image = ImageSpec.of(source, {"format": "qcow2"})
        seen = qemu_img.info(image)
        runs = qemu_img.map_(image)

    assert seen.backing_file == str(images / "disk.raw")
    assert not any(run.data for run in runs)


def test_damage_is_counted_and_quoted(tmp_path, images):
    # given a qcow2 whose second-level table has an entry that points at the refcount table
    path = tmp_path / "bad.qcow2"
    path.write_bytes((images / "disk.qcow2").read_bytes())
    with path.open("r+b") as file:
        file.seek(40)
        l1 = int.from_bytes(file.read(8), "big")
        file.seek(l1)
        l2 = int.from_bytes(file.read(8), "big") & 0x00FFFFFFFFFFFE00
        file.seek(l2 + 8 * (DATA_AT // 65536))
        file.write((1 << 63 | 65536).to_bytes(8, "big"))

    with Source.open(path) as source:
        seen = qemu_img.check(ImageSpec.of(source, {"format": "qcow2"}))

    assert seen.corruptions > 0
    assert "ERROR" in seen.said


def test_leaks_are_no_corruption(tmp_path, images):
    # given a refcount of one for a cluster that nothing uses
    path = tmp_path / "leak.qcow2"
    path.write_bytes((images / "disk.qcow2").read_bytes() + bytes(65536))
    with path.open("r+b") as file:
        end = path.stat().st_size // 65536 - 1
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        file.seek(block + 2 * end)
        file.write((1).to_bytes(2, "big"))

    with Source.open(path) as source:
        seen = qemu_img.check(ImageSpec.of(source, {"format": "qcow2"}))

    assert (seen.corruptions, seen.leaks) == (0, 1)


def test_a_file_of_another_format_fails_with_what_was_said(images):
    with Source.open(images / "disk.raw") as source, pytest.raises(ToolError) as caught:
        qemu_img.info(ImageSpec.of(source, {"format": "qcow2"}))

    assert caught.value.code == "tool-failed"
    assert "not in qcow2 format" in caught.value.message


def test_a_format_that_is_never_opened_is_refused_before_any_tool(images):
    with Source.open(images / "disk.raw") as source, pytest.raises(ToolError) as caught:
        ImageSpec.of(source, {"format": "qed"})

    assert caught.value.code == "format-not-openable"


class TestConvert:
    @pytest.mark.parametrize(
        ("target", "options", "compress"),
        [
            ("qcow2", (), False),
            ("qcow2", (), True),
            ("raw", (), False),
            ("vmdk", ("subformat=streamOptimized",), False),
            ("vmdk", ("subformat=monolithicSparse",), False),
            ("vhd", ("subformat=fixed", "force_size=on"), False),
            ("vhdx", (), False),
            ("vdi", (), False),
        ],
    )
    def test_the_copy_reads_the_same(self, spec, tmp_path, target, options, compress):
        source, output, seen = spec("disk.qcow2"), tmp_path / "out", []

        qemu_img.convert(
            source, output, target, options=options, compress=compress, on_progress=seen.append
        )

        copy = ImageSpec(str(output), target)
        assert qemu_img.compare(source, copy).identical
        assert seen == sorted(seen)
        assert seen[-1] == 1.0

    def test_a_request_to_stop_ends_it(self, tmp_path):
        # given more work than is done before anybody looks up
        stop = Cancellation()
        disk = tmp_path / "disk.raw"
        disk.write_bytes(os.urandom(32 * MIB) * 8)

        def stop_now(_part):
            stop.set(2)

        with pytest.raises(Interrupted):
            qemu_img.convert(
                ImageSpec(str(disk), "raw"), tmp_path / "out", "qcow2", compress=True,
                on_progress=stop_now, stop=stop, limits=Limits(wall_s=60),
            )  # fmt: skip

    def test_measure_foretells_the_size(self, spec, tmp_path):
        output = tmp_path / "out.qcow2"
        foretold = qemu_img.measure(spec("disk.raw"), "qcow2")

        qemu_img.convert(spec("disk.raw"), output, "qcow2")

        assert output.stat().st_size <= foretold.required <= foretold.fully_allocated


def test_comparing_tells_where_disks_differ(spec, tmp_path):
    other = tmp_path / "other.raw"
    qemu("qemu-img", "create", "-q", "-f", "raw", other, str(SIZE))

    seen = qemu_img.compare(spec("disk.raw"), ImageSpec(str(other), "raw"))

    assert not seen.identical
    assert str(DATA_AT) in seen.said


def test_an_image_that_a_machine_writes_to_is_in_use(tmp_path):
    path = tmp_path / "disk.raw"
    qemu("qemu-img", "create", "-q", "-f", "raw", path, str(SIZE))
    with Source.open(path) as source:
        idle = qemu_img.in_use(source.fd)
        writer = subprocess.Popen(
            ["qemu-io", "-f", "raw", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            writer.stdin.write(b"length\n")
            writer.stdin.flush()
            writer.stdout.readline()  # it answers when it has opened the file
            busy = qemu_img.in_use(source.fd)
        finally:
            writer.communicate(b"quit\n", timeout=20)

    assert (idle, busy) == (False, True)


def test_output_that_is_not_what_was_asked_for_is_an_error(tmp_path, monkeypatch, spec):
    fake = tmp_path / "qemu-img"
    fake.write_text('#!/bin/sh\necho \'{"format": "qcow2"}\'\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(ToolError, match="has no 'virtual-size'") as caught:
        qemu_img.info(spec("disk.qcow2"))

    assert caught.value.code == "tool-output-unexpected"


def test_output_without_end_is_cut(spec):
    with pytest.raises(ToolError) as caught:
        qemu_img.info(spec("disk.qcow2"), limits=Limits(output=100))

    assert caught.value.code == "tool-output-limit"


def test_the_version_is_a_number():
    said = command.run(["qemu-img", "--version"], limits=Limits()).stdout.decode()

    assert f"version {qemu_img.version()}" in said

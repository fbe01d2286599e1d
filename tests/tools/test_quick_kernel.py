"""The appliance's kernel, unpacked once: what is left as it is, and what is never tried again."""

import gzip
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path

import lz4.block as lz4_block
import pytest
import zstandard

from pipeline.tools.appliance import cache, init, kernel, launch, probe, quick

ELF = b"\x7fELF" + bytes(60) + struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(5000)
SETUP = 3  # sectors behind the first
PACKERS = {
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def lz4(data: bytes) -> bytes:
    """As a kernel is packed by it: the legacy frame, one block."""
    block = lz4_block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block


def packed(payload: bytes) -> bytes:
    """A bzImage: its payload lies 100 bytes behind the setup code, the unpacked size at its end."""
    head = bytearray((SETUP + 1) * 512)
    head[0x1F1] = SETUP
    head[0x202:0x206] = b"HdrS"
    payload += struct.pack("<I", len(ELF))
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + bytes(100) + payload + b"behind"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "vmlinuz-6.1").write_bytes(packed(PACKERS["xz"](ELF)))
    return tmp_path


def found(place: Path):
    return kernel.quick(place / "vmlinuz-6.1", place / "lib/modules/6.1", place / "cache")


@pytest.mark.parametrize("packer", PACKERS)
def test_every_usual_packing_is_undone(packer):
    assert kernel.unpacked(packed(PACKERS[packer](ELF))) == ELF


@pytest.mark.parametrize(
    "image",
    [
        b"",
        bytes(4096),
        packed(lz4(ELF)),
        packed(PACKERS["xz"](b"no ELF" * 100)),
        packed(PACKERS["xz"](b"\x7fELF" + bytes(5000))),
        packed(PACKERS["xz"](ELF)[:-40]),
        packed(PACKERS["gzip"](ELF)[:30] + b"\xff" * 40),
    ],
    ids=["empty", "zeros", "LZ4", "no ELF", "no PVH", "cut", "damaged"],
)
def test_what_qemu_could_not_start_is_left_packed(image):
    assert kernel.unpacked(image) is None


def test_it_is_made_once(place):
    first = found(place)
    stamp = first.path.stat().st_mtime_ns

    again = found(place)

    assert first.path.read_bytes() == ELF
    assert again.path.stat().st_mtime_ns == stamp
    assert again.environment == {
        "SUPERMIN_KERNEL": str(first.path),
        "SUPERMIN_KERNEL_VERSION": "6.1",
        "SUPERMIN_MODULES": str(place / "lib/modules/6.1"),
    }


def test_another_kernel_is_unpacked_anew(place):
    first = found(place)
    (place / "vmlinuz-6.1").write_bytes(packed(PACKERS["gzip"](ELF + b"newer")))

    second = found(place)

    assert second.path != first.path
    assert second.path.read_bytes() == ELF + b"newer"


def test_one_that_did_not_work_is_not_tried_again(place):
    found(place).give_up()

    assert found(place) is None


def test_a_kernel_packed_by_lz4_unpacks_itself_quickly_and_stays_as_it_is(place):
    (place / "vmlinuz-6.1").write_bytes(packed(lz4(ELF)))

    assert found(place) is None
    assert [path.name for path in (place / "cache").rglob("*") if path.is_file()] == [
        "does-not-work"
    ]


def test_a_kernel_that_cannot_be_unpacked_or_read_is_none(place):
    (place / "vmlinuz-6.1").write_bytes(b"something else")
    assert found(place) is None
    assert kernel.quick(place / "absent", place, place / "cache") is None


def test_a_user_who_chose_a_kernel_gets_that_one(place):
    for name in ("SUPERMIN_KERNEL", "LIBGUESTFS_PATH"):
        assert quick.quick(probe.Machine(env={name: "/somewhere"})) is None


# ------------------------------------------------------------------------------------------- init

SCRIPT = """#!/bin/bash
mount -t proc /proc /proc
kmod static-nodes --format=tmpfiles --output=/run/tmpfiles.d/kmod.conf
udevadm trigger
udevadm settle --timeout=600
mdadm -As --auto=yes --run
ldmtool create all
lvm pvscan --cache --activate ay
cmd="guestfsd"
"""
SHORT = """#!/bin/bash
mount -t proc /proc /proc
udevadm trigger --subsystem-match=block --subsystem-match=virtio-ports
udevadm settle --timeout=600
[[ $cmdline == *imgprep_lvm=0* ]] || lvm pvscan --cache --activate ay
cmd="guestfsd"
"""


def supermin(directory: Path, script: str) -> Path:
    directory.mkdir()
    (directory / "packages").write_text("bash\n")
    (directory / "init.tar.gz").write_bytes(init._archive(script.encode()))
    return directory


def test_what_reading_needs_not_is_left_out_of_the_init(tmp_path):
    stock = supermin(tmp_path / "stock", SCRIPT)

    made = init.quick(stock, tmp_path / "cache")

    assert init._script(made.path / "supermin.d/init.tar.gz") == SHORT
    assert (made.path / "supermin.d/packages").read_text() == "bash\n"
    assert sorted(path.name for path in made.path.iterdir()) == ["supermin.d"]
    assert init.quick(stock, tmp_path / "cache") == made


def test_packages_that_bring_another_init_give_another_appliance(tmp_path):
    stock = supermin(tmp_path / "stock", SCRIPT)
    first = init.quick(stock, tmp_path / "cache")
    (stock / "init.tar.gz").write_bytes(init._archive(SCRIPT.encode() + b"# newer\n"))

    second = init.quick(stock, tmp_path / "cache")

    assert second.path != first.path
    assert init._script(second.path / "supermin.d/init.tar.gz") == SHORT + "# newer\n"


@pytest.mark.parametrize(
    "script",
    ["", SCRIPT.replace("udevadm trigger", "udevd --wait"), SCRIPT.replace("guestfsd", "x")],
)
def test_an_init_that_is_not_understood_is_left_alone(script, tmp_path):
    assert init.quick(supermin(tmp_path / "stock", script), tmp_path / "cache") is None


def test_an_init_that_cannot_be_read_or_did_not_work_is_none(tmp_path):
    stock = supermin(tmp_path / "stock", SCRIPT)
    init.quick(stock, tmp_path / "cache").give_up()
    assert init.quick(stock, tmp_path / "cache") is None
    (stock / "init.tar.gz").write_bytes(b"no archive")
    assert init.quick(stock, tmp_path / "cache") is None
    assert init.quick(tmp_path / "absent", tmp_path / "cache") is None


def test_each_way_and_both_together_have_an_appliance_of_their_own(place, monkeypatch):
    monkeypatch.setattr(cache, "place", lambda: place / "cache")
    (place / "lib/modules/6.1").mkdir(parents=True)
    (place / "lib/modules/6.1/modules.dep").touch()
    stock = supermin(place / "stock", SCRIPT)
    machine = probe.Machine(place, place / "lib/modules", place, {}, (place / "none", stock))

    both, kernel_alone = quick.quick(machine), quick.quick(machine, whole=True)
    stock.rename(place / "gone")

    assert [type(way).__name__ for way in both.shortcuts] == ["QuickKernel", "QuickInit"]
    assert [type(way).__name__ for way in kernel_alone.shortcuts] == ["QuickKernel"]
    assert quick.quick(machine) == kernel_alone
    assert {*both.environment} - {*kernel_alone.environment} == {"LIBGUESTFS_PATH"}
    places = [way.environment["LIBGUESTFS_CACHEDIR"] for way in (both, kernel_alone)]
    assert len({*places, str(place / "cache")}) == 3
    assert all(map(os.path.isdir, places))


# ---------------------------------------------------------------------------------- what is kept

HOLD = """
import sys
from pathlib import Path
from pipeline.tools.appliance import cache
with cache.in_use([Path(sys.argv[1])]):
    print("held", flush=True)
    sys.stdin.read()
"""


def an_appliance(directory: Path) -> Path:
    (directory / ".guestfs-0/appliance.d").mkdir(parents=True)
    (directory / ".guestfs-0/appliance.d/root").write_bytes(bytes(100_000))
    return directory


def test_older_appliances_go_when_no_living_process_uses_them(tmp_path):
    kept, _old, used = (an_appliance(tmp_path / name) for name in ("kept", "old", "used"))
    argv = [sys.executable, "-c", HOLD, str(used)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"held\n"
        with cache.in_use([used]):
            pass  # another user that ended before

        cache.sweep(tmp_path, {kept})

        assert sorted(tmp_path.iterdir()) == [kept, used]
        assert (used / ".guestfs-0/appliance.d/root").exists()
        user.kill()
    assert cache.size(tmp_path) >= 200_000

    cache.sweep(tmp_path, {kept})

    assert list(tmp_path.iterdir()) == [kept]


def test_the_note_that_one_did_not_work_outlives_it(place):
    way = found(place)
    way.give_up()

    cache.sweep(place / "cache", ())

    assert [path.name for path in way.directory.iterdir()] == ["does-not-work"]
    assert found(place) is None


def test_a_new_appliance_leaves_what_any_way_on_this_machine_uses(place, monkeypatch):
    monkeypatch.setattr(cache, "place", lambda: place / "cache")
    (place / "lib/modules/6.1").mkdir(parents=True)
    (place / "lib/modules/6.1/modules.dep").touch()
    stock = supermin(place / "stock", SCRIPT)
    machine = probe.Machine(place, place / "lib/modules", place, {}, (stock,))
    ways = [quick.quick(machine), quick.quick(machine, whole=True)]
    old = an_appliance(place / "cache/old")
    for way in ways:
        assert not way.built
        an_appliance(way.directory)
        assert way.built

    ways[0].remove_older()

    assert not old.exists()
    assert all(path.is_dir() for way in ways for path in way.directories)


@pytest.mark.appliance
@pytest.mark.timeout(400)
@pytest.mark.needs("qemu-nbd", "qemu-system-x86_64", "supermin", "mke2fs", "sfdisk", "zstd")
def test_the_stock_appliance_is_used_when_the_quick_one_does_not_start(
    place, monkeypatch, tmp_path
):
    from phony import builder

    from pipeline.source import Source
    from pipeline.tools import nbd

    # given an unpacked kernel that is none
    broken = quick.Quick((found(place),), place / "cache")
    stock = launch._tries(whole=False)[-1][0]
    monkeypatch.setattr(launch, "_tries", lambda **_: [(stock, broken), (stock, None)])
    image = builder().build("debian", tmp_path)
    (tmp_path / "scratch").mkdir()

    with (
        Source.open(image) as source,
        nbd.serve(
            source, {"format": "raw", "virtual_size": source.size}, scratch=tmp_path / "scratch"
        ) as server,
        launch.open_appliance(server, scratch=tmp_path / "scratch") as appliance,
    ):
        assert "etc" in appliance.mount("/dev/sda1", "ext4").names("/")

    assert found(place) is None

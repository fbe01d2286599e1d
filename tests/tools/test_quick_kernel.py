"""The appliance's kernel, unpacked once: what is left as it is, and what is never tried again."""

import gzip
import lzma
import struct
from pathlib import Path

import lz4.block as lz4_block
import pytest
import zstandard

from pipeline.tools.appliance import kernel, launch, probe

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


def test_it_is_made_once_and_used_with_an_appliance_of_its_own(place):
    first = found(place)
    stamp = first.path.stat().st_mtime_ns

    again = found(place)

    assert first.path.read_bytes() == ELF
    assert again.path.stat().st_mtime_ns == stamp
    assert again.environment == {
        "SUPERMIN_KERNEL": str(first.path),
        "SUPERMIN_KERNEL_VERSION": "6.1",
        "SUPERMIN_MODULES": str(place / "lib/modules/6.1"),
        "LIBGUESTFS_CACHEDIR": str(first.path.parent),
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
        assert probe.quick_kernel(probe.Machine(env={name: "/somewhere"})) is None


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
    broken = found(place)
    stock = launch._tries()[-1][0]
    monkeypatch.setattr(launch, "_tries", lambda: [(stock, broken), (stock, None)])
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

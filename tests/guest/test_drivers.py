"""Where a kernel's drivers are, and every way in which an initramfs is packed."""

import bz2
import contextlib
import gzip
import lzma
import shutil
import struct
import subprocess
from unittest import mock

import lz4.block
import pytest
from guests import GRUB_CFG, KERNEL, ROOT, disks, facts, findings, trees
from hypothesis import given
from hypothesis import strategies as st
from lzallright import LZOCompressor
from menus import pe
from phony import builder, files_of

from pipeline.guest import drivers, initramfs

MODULES = f"usr/lib/modules/{KERNEL}"
INITRD = f"boot/initrd.img-{KERNEL}"
BLK = trees.module("block", "virtio_blk")
NET = trees.module("net", "virtio_net")


def lz4_legacy(data):
    """As lz4 -l writes it: blocks of 8 MiB."""
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[at : at + (8 << 20)], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out


def lzop(data):
    return subprocess.run(["lzop", "-c"], input=data, capture_output=True, check=True).stdout


def alone(data):
    return lzma.compress(data, lzma.FORMAT_ALONE)


PACKINGS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lzma": alone,
    "lz4": lz4_legacy,
    "zstd": trees.zstd,
    "lzo": lzop,
}
NEEDS = {"zstd": "zstd", "lzo": "lzop"}
PACKED = [
    pytest.param(pack, marks=[pytest.mark.needs(NEEDS[name])] if name in NEEDS else [], id=name)
    for name, pack in PACKINGS.items()
]


def names(content):
    return list(initramfs.names(files_of({"initrd": content}), "/initrd"))


@pytest.mark.parametrize("pack", PACKED)
def test_an_initramfs_in_each_compression(pack):
    assert BLK in names(pack(trees.cpio(["init", BLK])))


@pytest.mark.parametrize("second", PACKED)
@pytest.mark.parametrize("first", PACKED)
def test_several_parts_each_packed_in_its_own_way(first, second):
    early = trees.cpio([trees.MICROCODE], {trees.MICROCODE: 5000})

    found = names(
        early + bytes(512) + first(trees.cpio([BLK])) + bytes(1024) + second(trees.cpio([NET]))
    )

    assert {trees.MICROCODE, BLK, NET} <= set(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"rubbish", "its compression (unknown) is not known"),
        (gzip.compress(trees.cpio(["init"]))[:-20], "ends too early"),
        (lz4_legacy(trees.cpio(["init"]))[:-20], "ends too early"),
        (alone(trees.cpio(["init"]))[:-20], "ends too early"),
        (b"\x02\x21\x4c\x18" + struct.pack("<I", 8) + b"\xff" * 8, "damaged lz4"),
        (b"\x89LZO\x00\r\n\x1a\n\x10", "cut short"),
        (gzip.compress(b"070701" + b"F" * 104 + bytes(5000)), "a name of"),
        (gzip.compress(b"no cpio" * 40), "holds no numbers"),
        (b"".join(gzip.compress(trees.cpio(["x"])) for _ in range(20)), "more than 16 parts"),
        (disks.Sparse(1 << 30), "bytes"),
        (disks.Fifo(), "not a regular file"),
        (None, "not a regular file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_initramfs_that_cannot_be_read_says_why(content, words):
    with pytest.raises(
        initramfs.NotReadableError, match=words.replace("(", r"\(").replace(")", r"\)")
    ):
        names(content)


def test_a_bomb_stops_at_the_limit(monkeypatch):
    monkeypatch.setattr(initramfs, "LARGEST_PLAIN", 1 << 20)
    archive = trees.cpio(["big"], {"big": 4 << 20})

    with pytest.raises(initramfs.NotReadableError, match="come out of it"):
        names(gzip.compress(archive))


@pytest.mark.parametrize("damage", range(0, 200, 7))
@pytest.mark.parametrize("pack", [lz4_legacy, alone, gzip.compress], ids=["lz4", "lzma", "gzip"])
def test_damage_anywhere_is_an_answer(pack, damage):
    content = bytearray(pack(trees.cpio(["init", BLK, NET])))
    content[damage % len(content)] ^= 0x55

    with contextlib.suppress(initramfs.NotReadableError):
        assert names(bytes(content)) is not None


# ------------------------------------------------------------------------------------------ places


def place(name, changes):
    found = facts(changes)
    return (found["drivers"] or {}).get(name)


PACKED_BLK = gzip.compress(trees.cpio(["init", BLK + ".xz"]))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "missing"),
        ({f"{MODULES}/kernel/drivers/block/virtio_blk.ko": b"x"}, "module"),
        ({f"{MODULES}/kernel/drivers/block/virtio_blk.ko.xz": b"x"}, "module"),
        ({f"{MODULES}/kernel/drivers/block/virtio_blk.ko.zst": b"x"}, "module"),
        (
            {f"{MODULES}/modules.dep": "kernel/drivers/block/virtio_blk.ko.zst: kernel/x.ko\n"},
            "module",
        ),
        ({f"{MODULES}/modules.dep": "kernel/drivers/block/virtio_blk.ko:\n"}, "module"),
        (
            {f"{MODULES}/modules.dep": "kernel/x.ko: kernel/drivers/block/virtio_blk.ko\n"},
            "missing",
        ),
        ({f"{MODULES}/modules.builtin": "kernel/drivers/block/virtio_blk.ko\n"}, "built-in"),
        ({f"{MODULES}/modules.builtin": "kernel/drivers/block/virtio-blk.ko"}, "built-in"),
        ({f"{MODULES}/modules.builtin": "kernel/drivers/block/xvirtio_blk.ko\n"}, "missing"),
        (
            {f"{MODULES}/modules.builtin": ..., f"boot/config-{KERNEL}": "CONFIG_VIRTIO_BLK=y\n"},
            "built-in",
        ),
        (
            {f"{MODULES}/modules.builtin": ..., f"boot/config-{KERNEL}": "CONFIG_VIRTIO_BLK=m\n"},
            "missing",
        ),
        ({INITRD: PACKED_BLK}, "initramfs"),
        ({INITRD: PACKED_BLK, f"{MODULES}/modules.builtin": "k/virtio_blk.ko\n"}, "built-in"),
        ({INITRD: b"rubbish"}, None),
    ],
)
def test_where_a_driver_is(changes, where):
    assert place("virtio_blk", changes) == where


def test_a_built_in_driver_is_known_although_the_initramfs_is_not():
    builtin = "kernel/a/xen-blkfront.ko\nkernel/b/xen-netfront.ko\n"
    found = facts({INITRD: b"rubbish", f"{MODULES}/modules.builtin": builtin})

    assert found["xen_drivers"] == {
        "xen-blkfront": "built-in",
        "xen-netfront": "built-in",
        "kernel": KERNEL,
    }
    assert "xen_drivers" not in found["unknown"]
    assert found["unknown"]["drivers"].startswith(f"/boot/initrd.img-{KERNEL} cannot be read")


@pytest.mark.parametrize("name", sorted(drivers.DRIVERS))
def test_every_driver_is_found_in_every_place(name):
    directory, option = drivers.DRIVERS[name]
    path = f"kernel/{directory}/{name.replace('-', '_')}.ko"
    inside = gzip.compress(
        trees.cpio([f"usr/lib/modules/{KERNEL}/kernel/{directory}/{name}.ko.zst"])
    )
    base = {INITRD: trees.cpio(["init"]), f"{MODULES}/modules.builtin": "none.ko"}

    assert place(name, {**base, f"{MODULES}/{path}": b""}) == "module"
    assert place(name, {**base, f"{MODULES}/modules.builtin": path}) == "built-in"
    assert place(name, {**base, INITRD: inside}) == "initramfs"
    config = {f"{MODULES}/modules.builtin": ..., f"boot/config-{KERNEL}": f"CONFIG_{option}=y\n"}
    assert place(name, {**base, **config}) == "built-in"


# ----------------------------------------------------------------------------------------- kernels

SECOND = "6.9.7-amd64"


def two_kernels(default):
    entry = "menuentry '{0}' {{\nlinux /boot/vmlinuz-{0} root=UUID={1}\ninitrd /boot/initrd.img-{0}\n}}\n"
    return {
        GRUB_CFG: f"set default={default}\n"
        + entry.format(SECOND, ROOT)
        + entry.format(KERNEL, ROOT),
        f"boot/vmlinuz-{SECOND}": b"k",
        f"boot/initrd.img-{SECOND}": trees.cpio([BLK]),
        f"usr/lib/modules/{SECOND}/modules.builtin": "x.ko\n",
    }


@pytest.mark.parametrize(("default", "version"), [(0, SECOND), (1, KERNEL)])
def test_the_default_kernel_decides(default, version):
    found = facts(two_kernels(default))

    assert [kernel["version"] for kernel in found["kernels"]] == [SECOND, KERNEL]
    assert [kernel["version"] for kernel in found["kernels"] if kernel["default"]] == [version]
    assert found["xen_drivers"]["kernel"] == version
    assert found["drivers"]["virtio_blk"] == ("initramfs" if version == SECOND else "missing")
    places = {kernel["version"]: kernel["drivers"]["virtio_blk"] for kernel in found["kernels"]}
    assert places == {SECOND: "initramfs", KERNEL: "missing"}


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({f"boot/initrd.img-{SECOND}": ...}, {"boot-files-missing", "kernel-without-initramfs"}),
        ({INITRD: ...}, set()),
        ({f"boot/vmlinuz-{KERNEL}": ...}, set()),
        ({"boot/vmlinuz-0-rescue-abc": b"k"}, set()),
        ({f"usr/lib/modules/{SECOND}/modules.builtin": ...}, set()),
    ],
)
def test_only_the_kernel_that_starts_needs_its_initramfs(changes, rules):
    assert findings({**two_kernels(0), **changes}) == rules


def test_kernels_beyond_the_first_few_are_listed_only():
    many = {f"boot/vmlinuz-5.{number}": b"k" for number in range(30)}

    found = facts(many)

    assert len(found["kernels"]) <= 17
    assert sum(kernel["drivers"] is not None for kernel in found["kernels"]) <= 3
    assert [kernel["version"] for kernel in found["kernels"] if kernel["default"]] == [KERNEL]


def test_the_initramfs_within_a_unified_kernel_image():

    image = pe(
        linux=b"k" * 100,
        initrd=gzip.compress(trees.cpio([BLK])),
        cmdline=b"root=LABEL=root",
        uname=KERNEL.encode(),
    )
    found = facts({GRUB_CFG: ..., "boot/efi/EFI/Linux/debian.efi": image})

    assert (found["boot"]["loader"], found["boot"]["missing"]) == ("uki", [])
    assert found["drivers"]["virtio_blk"] == "initramfs"
    assert found["drivers"]["xen-blkfront"] == "module"


@pytest.mark.needs("lsinitramfs", "cpio", "zstd", "lz4")
@pytest.mark.parametrize("pack", [PACKED[1], PACKED[3], PACKED[6]])
def test_names_are_those_of_lsinitramfs(tmp_path, pack):
    # given an initramfs as cpio itself writes it
    tree = tmp_path / "tree"
    builder("guest_disks").plant(
        tree, {BLK: b"x" * 777, "init": "#!/bin/sh\n", "etc/a": "1", "bin": None}
    )
    listed = subprocess.run(["find", "."], cwd=tree, capture_output=True, check=True).stdout
    cpio = shutil.which("cpio")
    argv = [cpio, "--quiet", "-o", "-H", "newc"]
    archive = subprocess.run(argv, cwd=tree, input=listed, capture_output=True, check=True).stdout
    path = tmp_path / "initrd"
    path.write_bytes(trees.cpio([trees.MICROCODE], {trees.MICROCODE: 5000}) + pack(archive))

    truth = subprocess.run(["lsinitramfs", path], capture_output=True, text=True, check=True).stdout

    wanted = {line for line in truth.splitlines() if line != "."}
    ours = {name.removeprefix("./") for name in names(path.read_bytes())} - {".", "TRAILER!!!"}
    assert wanted - ours <= {"kernel", "kernel/x86", "kernel/x86/microcode"}
    assert {name for name in wanted if name.endswith((".ko", "init", "etc/a"))} <= ours


def lzop_by_hand(data, flags):
    """One block, with the checksums that the flags announce (their values are not looked at)."""
    packed = LZOCompressor().compress(data)
    head = struct.pack(">HHHBBIIIIB", 0x1040, 0x2080, 0x0940, 1, 5, flags, 0, 0, 0, 0) + bytes(4)
    sums = sum(4 * bool(flags & bit) for bit in (0x1, 0x2, 0x100, 0x200))
    block = struct.pack(">II", len(data), len(packed)) + b"\xee" * sums + packed
    return b"\x89LZO\x00\x0d\x0a\x1a\x0a" + head + block + bytes(4)


@pytest.mark.parametrize("flags", [0, 0x1, 0x2, 0x3, 0x100, 0x200, 0x300, 0x303, 0x202])
def test_lzop_s_checksums_are_stepped_over(flags):
    archive = trees.cpio(["lib/a.ko"])

    assert "lib/a.ko" in names(lzop_by_hand(archive, flags))


@given(
    st.binary(min_size=60, max_size=60),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 32), st.integers(0, 40)), max_size=8),
)
def test_any_reads_of_a_part_of_a_file_are_its_bytes(content, start, reads):
    files = files_of({"initrd": content})
    with mock.patch.object(initramfs, "_CHUNK", 7):
        part = initramfs._GuestFile(files.find("/initrd"), start, 30)
        for offset, length in reads:
            assert (
                part.read(offset, length) == content[start : start + 30][offset : offset + length]
            )

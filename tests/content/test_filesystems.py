"""What real mkfs programs write, told as libblkid tells it."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content import filesystems
from pipeline.source import Source

MIB = 1 << 20
ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
OFFSET = 3 * MIB

MADE = {
    "ext2": ("mke2fs", ["-F", "-q", "-t", "ext2", "-L", "my disk"], 16),
    "ext3": ("mke2fs", ["-F", "-q", "-t", "ext3"], 16),
    "ext4": ("mke2fs", ["-F", "-q", "-t", "ext4", "-L", "root"], 16),
    "xfs": ("mkfs.xfs", ["-q", "-f", "-L", "data"], 304),
    "btrfs": ("mkfs.btrfs", ["-q", "-f", "-L", "pool"], 120),
    "fat12": ("mkfs.vfat", ["-F", "12", "-n", "BOOT"], 4),
    "fat16": ("mkfs.vfat", ["-F", "16"], 32),
    "fat32": ("mkfs.vfat", ["-F", "32", "-n", "ESP"], 64),
    "ntfs": ("mkntfs", ["-F", "-q", "-L", "System"], 16),
    "exfat": ("mkfs.exfat", [], 16),
    "f2fs": ("mkfs.f2fs", ["-q", "-f", "-l", "flash"], 64),
    "swap": ("mkswap", ["-L", "swap"], 4),
}


def make(directory: Path, name: str) -> Path:
    program, options, size = MADE[name]
    path = directory / name
    with open(path, "wb") as file:
        file.truncate(size * MIB)
    path.chmod(0o600)
    subprocess.run([program, *options, path], check=True, capture_output=True, env=ENV)
    return path


def by_blkid(path: Path) -> dict[str, str]:
    done = subprocess.run(
        ["blkid", "-p", "-o", "export", path], capture_output=True, text=True, check=True, env=ENV
    )
    return dict(line.replace("\\ ", " ").split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(MADE[name][0], "blkid")) for name in MADE]
)
def test_we_and_blkid_see_the_same(name, tmp_path):
    path = make(tmp_path, name)
    theirs = by_blkid(path)

    with Source.open(path) as source:
        ours = filesystems.describe(source)

    assert ours is not None
    assert (ours.type, ours.uuid) == (theirs["TYPE"], theirs.get("UUID"))
    if name != "exfat":  # whose label lies in a directory
        assert ours.label == theirs.get("LABEL")
    assert ours.clean is not False


def relabel(path: Path, how: str) -> None:
    """Change a FAT's label in one of its two places; the directory's where mkfs put it, first."""
    raw = bytearray(path.read_bytes())
    sector, cluster, reserved, copies = struct.unpack_from("<HBHB", raw, 11)
    small = int.from_bytes(raw[22:24], "little")
    table = small or int.from_bytes(raw[36:40], "little")
    at = (reserved + copies * table) * sector
    boot = 43 if small else 71
    more = b"ANOTHER    \x08" + bytes(20)
    if how == "boot sector":
        raw[boot : boot + 11] = b"ELSEWHERE  "
    elif how == "directory":
        raw[at : at + 11] = b"NEW NAME   "
    elif how == "deleted":
        raw[at] = 0xE5
    elif how == "deleted, then another":
        raw[at] = 0xE5
        raw[at + 32 : at + 64] = more
    elif how == "behind a long name":
        raw[at : at + 32] = b"A" + b"x\0" * 5 + b"\x0f" + bytes(20)
        raw[at + 32 : at + 64] = more
    elif how == "behind the end":
        raw[at : at + 32] = bytes(32)
        raw[at + 32 : at + 64] = more
    elif how == "a directory of that kind":
        raw[at + 11] = 0x18
    elif how == "with a cluster":
        raw[at + 26] = 5
    elif how == "read-only":
        raw[at + 11] = 0x29
    elif how == "first letter 05":
        raw[at] = 0x05
    elif how == "in the second cluster":  # of a FAT32's root, which is a chain
        first, size = int.from_bytes(raw[44:48], "little"), cluster * sector
        raw[at : at + size] = (b"FILE       \x20" + bytes(20)) * (size // 32)
        for copy in range(copies):
            table_at = (reserved + copy * table) * sector
            struct.pack_into("<II", raw, table_at + 4 * first, 9, 0)
            struct.pack_into("<I", raw, table_at + 4 * 9, 0x0FFFFFFF)
        raw[at + 7 * size : at + 7 * size + 32] = more
    path.write_bytes(raw)


@pytest.mark.needs("mkfs.vfat", "blkid")
@pytest.mark.parametrize("bits", ["12", "16", "32"])
@pytest.mark.parametrize(
    "how",
    ["boot sector", "directory", "deleted", "deleted, then another", "behind a long name",
     "behind the end", "a directory of that kind", "with a cluster", "read-only"],
)  # fmt: skip
def test_a_fat_is_called_as_its_root_directory_says(bits, how, tmp_path):
    path = made_fat(tmp_path / "fat", bits)
    relabel(path, how)

    with Source.open(path) as source:
        ours = filesystems.describe(source)

    assert ours.label == by_blkid(path).get("LABEL")


def made_fat(path: Path, bits: str) -> Path:
    """A FAT with the label "OLD NAME"."""
    with path.open("wb") as file:
        file.truncate({"12": 1, "16": 8, "32": 34}[bits] * MIB)
    subprocess.run(
        ["mkfs.vfat", "-F", bits, "-s", "1", "-n", "OLD NAME", path],
        check=True, capture_output=True, env=ENV,
    )  # fmt: skip
    return path


@pytest.mark.needs("mkfs.vfat", "blkid")
def test_the_root_directory_of_a_fat32_is_followed(tmp_path):
    path = made_fat(tmp_path / "fat", "32")
    relabel(path, "in the second cluster")

    with Source.open(path) as source:
        ours = filesystems.describe(source)

    assert ours.label == by_blkid(path).get("LABEL") == "ANOTHER"


@pytest.mark.needs("mkfs.vfat")
def test_a_label_whose_first_byte_is_that_of_a_deleted_entry(tmp_path):
    path = made_fat(tmp_path / "fat", "16")
    relabel(path, "first letter 05")

    with Source.open(path) as source:
        assert filesystems.describe(source).label == "\ufffdLD NAME"


@pytest.mark.needs("mkfs.vfat")
def test_a_root_directory_that_leads_in_circles_ends(tmp_path):
    path = made_fat(tmp_path / "fat", "32")
    relabel(path, "in the second cluster")
    raw = bytearray(path.read_bytes())
    reserved = int.from_bytes(raw[14:16], "little")
    struct.pack_into("<I", raw, reserved * 512 + 4 * 9, 2)
    second = (reserved + 2 * int.from_bytes(raw[36:40], "little") + 7) * 512
    raw[second : second + 512] = (b"FILE       \x20" + bytes(20)) * 16
    path.write_bytes(raw)

    with Source.open(path) as source:
        assert filesystems.describe(source).label is None


@pytest.mark.needs("mke2fs")
def test_a_file_system_in_the_middle_of_a_disk(tmp_path):
    inner = make(tmp_path, "ext4")
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.seek(OFFSET)
        file.write(inner.read_bytes())

    with Source.open(disk) as source:
        assert filesystems.signature(source, OFFSET) == "ext4"
        assert filesystems.signature(source, 0) is None


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (
            1024 + 0x60,
            struct.pack("<I", 0x2C2 | 0x4),
            "its journal holds changes that were not written back",
        ),
        (1024 + 0x3A, struct.pack("<H", 2), "errors were seen in it"),
        (1024 + 0x3A, struct.pack("<H", 0), "it was not unmounted"),
    ],
)
def test_an_ext4_that_was_in_use(tmp_path, offset, value, words):
    path = make(tmp_path, "ext4")
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(value)

    with Source.open(path) as source:
        found = filesystems.describe(source)

    assert found is not None
    assert (found.clean, found.detail) == (False, words)


@pytest.mark.needs("mkfs.vfat")
@pytest.mark.parametrize(
    ("bits", "size", "change", "words"),
    [
        ("12", 4, {37: 1}, "it was not unmounted"),
        ("16", 32, {37: 1}, "it was not unmounted"),
        ("32", 64, {65: 1}, "it was not unmounted"),
        ("32", 64, {65: 2}, "errors were seen in it"),
        ("16", 32, {4 * 512 + 3: 0x7F}, "it was not unmounted"),
        ("16", 32, {4 * 512 + 3: 0xBF}, "errors were seen in it"),
        ("32", 64, {32 * 512 + 7: 0x07}, "it was not unmounted"),
        ("32", 64, {32 * 512 + 7: 0x0B}, "errors were seen in it"),
        ("12", 4, {512 + 4: 0x0F}, None),  # its entries have no room for marks
        ("16", 32, {}, None),
        ("32", 64, {}, None),
    ],
)
def test_the_marks_of_a_mounted_fat(tmp_path, bits, size, change, words):
    path = tmp_path / "fat"
    path.write_bytes(bytes(size * MIB))
    argv = ["mkfs.vfat", "-F", bits, "-S", "512"]
    subprocess.run([*argv, path], check=True, capture_output=True, env=ENV)
    data = bytearray(path.read_bytes())
    for at, value in change.items():
        data[at] = value
    path.write_bytes(data)

    with Source.open(path) as source:
        found = filesystems.describe(source)

    assert found is not None
    assert (found.type, found.clean, found.detail) == ("vfat", words is None, words)


@pytest.mark.needs("mkntfs", "ntfsinfo")
def test_an_ntfs_whose_dirty_flag_is_set(tmp_path):
    # given the flag of $VOLUME_INFORMATION, which follows the version 3.1
    path = make(tmp_path, "ntfs")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x03\x01", data.index("System".encode("utf-16-le")))
    data[at + 2] |= 1
    path.write_bytes(data)

    with Source.open(path) as source:
        found = filesystems.describe(source)

    assert found is not None
    assert (found.label, found.clean) == ("System", False)


@pytest.mark.needs("cryptsetup")
@pytest.mark.parametrize("version", ["1", "2"])
def test_luks(tmp_path, version):
    path = tmp_path / "luks"
    path.write_bytes(bytes(20 * MIB))
    argv = ["cryptsetup", "luksFormat", f"--type=luks{version}", "--pbkdf-force-iterations=1000"]
    argv += ["--pbkdf=pbkdf2", "--disable-locks", "-q", path, "-"]
    subprocess.run(argv, input=b"x", check=True, capture_output=True, env=ENV)

    with Source.open(path) as source:
        found = filesystems.describe(source)

    assert found is not None
    assert (found.type, found.version, len(found.uuid or "")) == ("crypto_LUKS", version, 36)


@pytest.mark.parametrize(
    ("at", "magic", "name"),
    [
        (3, b"-FVE-FS-", "BitLocker"),
        (0, b"hsqs", "squashfs"),
        (32769, b"CD001", "iso9660"),
        (4096, struct.pack("<I", 0xA92B4EFC), "linux_raid_member"),
        (0, struct.pack("<I", 0xA92B4EFC), "linux_raid_member"),
        (MIB - 8192, struct.pack("<I", 0xA92B4EFC), "linux_raid_member"),
        (MIB - 65536, struct.pack("<I", 0xA92B4EFC), "linux_raid_member"),
        (32, b"NXSB", "apfs"),
    ],
)
def test_signatures_of_what_no_program_here_makes(tmp_path, at, magic, name):
    path = tmp_path / "volume"
    data = bytearray(MIB)
    data[at : at + len(magic)] = magic
    path.write_bytes(data)

    with Source.open(path) as source:
        assert filesystems.signature(source, 0, MIB) == name


def test_zfs_is_told_by_its_ring_of_uberblocks(tmp_path):
    path = tmp_path / "pool"
    data = bytearray(MIB)
    for number in range(8):
        struct.pack_into("<Q", data, (128 + number) * 1024, 0x00BAB10C)
    path.write_bytes(data)

    with Source.open(path) as source:
        assert filesystems.signature(source) == "zfs_member"


def test_a_boot_loader_is_no_fat(tmp_path):
    # given code with FAT's text, but numbers that no FAT has
    path = tmp_path / "volume"
    path.write_bytes(
        (b"\xeb\x3c\x90MSDOS5.0" + bytes(43) + b"FAT16   ").ljust(510, b"\0") + b"\x55\xaa"
    )

    with Source.open(path) as source:
        assert filesystems.signature(source) is None


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        return self.data[offset : offset + length]


@given(
    magic=st.sampled_from(
        [(at, magic) for at, magic, _ in filesystems._MAGICS] + [(1080, b"\x53\xef")]
    ),
    data=st.binary(max_size=4096),
)
def test_nothing_behind_a_signature_makes_it_raise(magic, data):
    at, word = magic
    body = bytearray(data.ljust(4096, b"\xff"))
    body[at : at + len(word)] = word

    found = filesystems.describe(Bytes(bytes(body)), 0, len(body))

    assert found is not None
    assert (found.label or "").isprintable()


def test_a_superblock_that_is_cut_short_is_none():
    whole = bytes(1080) + b"\x53\xef" + bytes(4096 - 1082)

    for end in range(1080, 1200):
        found = filesystems.describe(Bytes(whole[:end]), 0, end)
        assert found is None or found.type == "ext2"
    assert filesystems.signature(Bytes(whole[:1127])) is None
    assert filesystems.signature(Bytes(whole)) == "ext2"

"""ext file systems without checksums: what is sound is read, what the kernel would refuse is left to it."""

import random
import re
import struct
from pathlib import Path

import pytest
from phony import builder

from pipeline.guest.survey import Volume
from pipeline.source import Source
from pipeline.tools.reader import answers, client
from pipeline.tools.reader.blockmaps import BlockMaps, Zones
from pipeline.tools.reader.child import UnableError

pytestmark = pytest.mark.needs("mke2fs", "debugfs", "setpriv", "prlimit", "module:pyfsext")
UUID = "99999999-2222-4333-8444-555555555555"
KIB, MIB = 1 << 10, 1 << 20
KINDS = {
    "ext2": ("ext2", ()),
    "ext2 of 4 KiB": ("ext2", ("-b", "4096")),
    "ext3": ("ext3", ("-J", "size=4")),
    "ext4": ("ext4", ("-O", "^metadata_csum")),
    "ext4 of 4 KiB, 32 bits": ("ext4", ("-b", "4096", "-O", "^metadata_csum,^64bit")),
    "meta_bg": ("ext4", ("-O", "^metadata_csum,^resize_inode,meta_bg")),
    "inodes of 128 bytes": ("ext2", ("-I", "128")),
}
LARGE = random.Random(3).randbytes(3 * MIB)  # with blocks of 1 KiB: two levels of indirect ones


def made(path: Path, kind: str) -> Path:
    disks = builder("guest_disks")
    tree = {
        "etc/hostname": "guest\n",
        "etc/short": disks.Link("hostname"),
        "etc/long": disks.Link("../" * 40 + "etc/hostname"),
        "large": LARGE,
        "empty": b"",
        **{f"many/{number:04}": f"{number}\n" for number in range(300)},
    }
    type_, options = KINDS[kind]
    return disks.ext4(path, 24, tree, UUID, kind=type_, options=options)


def debugfs(path: Path, command: str) -> str:
    return str(builder("guest_disks").tool("debugfs", "-w", "-R", command, path))


def reading(path: Path, ask):
    with Source.open(path) as source, client.open_reader(source) as reader:
        return ask(reader.mount(Volume("/dev/sda1", 0, source.size, "ext4")))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sound_is_read(kind, tmp_path):
    def all_of_it(tree):
        assert tree.names("/many") == [f"{number:04}" for number in range(300)]
        assert tree.read("/many/0123", 0, 100) == b"123\n"
        assert [item.kind for item in tree.stat("/etc", ["short", "long"])] == ["link", "link"]
        assert tree.readlink("/etc/long") == "../" * 40 + "etc/hostname"
        assert tree.read("/large", 0, len(LARGE)) == LARGE
        assert tree.stat("/", ["empty", "lost+found"])[1].kind == "directory"

    reading(made(tmp_path / "volume", kind), all_of_it)


DAMAGES = {
    "a file in the inode table": ("sif /etc/hostname block[0] {table}", "/etc/hostname"),
    "a file in a bitmap": ("sif /etc/hostname block[0] {bitmap}", "/etc/hostname"),
    "a file behind the end": ("sif /etc/hostname block[0] 99999999", "/etc/hostname"),
    "a list of blocks in the inode table": ("sif /large block[IND] {table}", "/large"),
    "attributes behind the end": ("sif /etc/hostname file_acl 99999999", "/etc/hostname"),
    "a mode that is none": ("sif /etc/hostname mode 0xf1a4", "/etc/hostname"),
    "a link as long as a block": ("sif /large mode 0120777", "/large"),
    "no links": ("sif /etc/hostname links_count 0", "/etc/hostname"),
    "a size that no list can hold": ("sif /etc/hostname size 0x400000000001", "/etc/hostname"),
    "a flag of another feature": ("sif /etc/hostname flags 0x10000000", "/etc/hostname"),
    "extents without any": ("sif /etc/hostname flags 0x80000", "/etc/hostname"),
    "more bytes than there are": ("sif /etc/hostname extra_isize 200", "/etc/hostname"),
    "a directory of half a block": ("sif /many size 100", "/many/0001"),
    "a directory in the inode table": ("sif /many block[0] {table}", "/many/0001"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_kernel_refuses_is_left_to_it(damage, tmp_path):
    command, path = DAMAGES[damage]
    volume = made(tmp_path / "volume", "ext2")
    group = debugfs(volume, "stats")
    found = re.search(r"block bitmap at (\d+), inode bitmap at \d+, inode table at (\d+)", group)
    assert found
    debugfs(volume, command.format(bitmap=found[1], table=found[2]))

    with pytest.raises(
        UnableError, match=r"cannot be right|libfsext|unable to read"
    ):  # the library looks at some
        reading(volume, lambda tree: tree.read(path, 0, 100))
    assert reading(volume, lambda tree: tree.names("/"))


def test_a_file_in_the_journal_is_left_to_the_kernel(tmp_path):
    volume = made(tmp_path / "volume", "ext3")
    debugfs(volume, f"sif /etc/hostname block[0] {debugfs(volume, 'bmap <8> 100').strip()}")

    with pytest.raises(UnableError, match="cannot be right: block"):
        reading(volume, lambda tree: tree.read("/etc/hostname", 0, 100))


def directory_block(volume: Path) -> int:
    return KIB * int(debugfs(volume, "bmap /etc 0"))


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (4, b"\x0d"),  # lengths: no multiple of four, too short, over the end
        (4, b"\x08"),
        (16, b"\xff\x7f"),
        (6, b"\xff"),  # a name longer than its entry
        (12, b"\xff\xff\xff\x7f"),  # an inode that there is not
        (8, b","),  # . and .. are others
        (20, b",."),
        (0, b"\x02"),
        (30, b"\0"),  # names: of no letter, with a slash, with a zero
        (32, b"/"),
        (33, b"\0"),
    ],
)
def test_a_directory_that_cannot_be_right_is_left_to_the_kernel(at, new, tmp_path):
    volume = made(tmp_path / "volume", "ext2")
    place = directory_block(volume) + at
    with open(volume, "r+b") as file:
        file.seek(place)
        file.write(new)

    with pytest.raises(UnableError, match="directory"):
        reading(volume, lambda tree: tree.names("/etc"))


# ------------------------------------------------------------------------------ extents, by hand


def node(*entries: bytes, depth: int = 0, room: int = 4, magic: int = 0xF30A) -> bytes:
    head = struct.pack("<4HI", magic, len(entries), room, depth, 0)
    return (head + b"".join(entries)).ljust(60, b"\0")


def leaf(first: int, count: int, block: int) -> bytes:
    return struct.pack("<IHHI", first, count, block >> 32, block & 0xFFFFFFFF)


def inode(tree: bytes) -> bytes:
    raw = bytearray(256)
    struct.pack_into("<HHI", raw, 0, 0o100644, 0, 10)
    struct.pack_into("<H", raw, 0x1A, 1)
    struct.pack_into("<I", raw, 0x20, 0x80000)
    raw[0x28:0x64] = tree
    return bytes(raw)


class Memory:
    """As much of ``Pages`` as is asked for."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data.ljust(64 * KIB, b"\0")

    def bytes_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def maps(data: bytes = b"") -> BlockMaps:
    found = BlockMaps(Memory(data), KIB, 100)
    found.set_zones(Zones(1, 64, [(3, 2), (40, 1)]))
    return found


@pytest.mark.parametrize(
    ("tree", "runs"),
    [
        (node(), []),
        (node(leaf(0, 2, 1 + 1)), None),  # into the table at 3
        (node(leaf(0, 1, 2), leaf(1, 3, 5)), [(2, 1), (5, 3)]),
        (node(leaf(0, 32768 + 2, 50)), [(50, 2)]),  # not written yet
        (node(leaf(5, 1, 50), leaf(5, 1, 51)), None),  # the same twice
        (node(leaf(0, 3, 50), leaf(2, 1, 60)), None),  # one in the other
        (node(leaf(0, 0, 50)), None),
        (node(leaf(0, 14, 50)), [(50, 14)]),  # to the last block
        (node(leaf(0, 15, 50)), None),
        (node(leaf(0, 1, 1)), None),  # the superblock's
        (node(leaf(0, 30, 12)), None),  # over the table at 40
        (node(leaf(0, 1, 50), room=5), None),
        (node(leaf(0, 1, 50), room=0), None),
        (node(leaf(0, 1, 50), magic=0xF30B), None),
        (node(leaf(0, 1, 1 << 32 | 50)), None),
    ],
    ids=lambda value: value.hex()[:64] if isinstance(value, bytes) else None,
)
def test_extents(tree, runs):
    if runs is None:
        with pytest.raises(answers.UnableError):
            maps().require_sound(12, inode(tree))
        return
    maps().require_sound(12, inode(tree))
    assert list(maps().runs(12, inode(tree))) == runs


@pytest.mark.parametrize(("depth", "sound"), [(0, True), (1, False)])
def test_an_index_of_extents_leads_to_one_level_less(depth, sound):
    child = node(leaf(0, 1, 50), depth=depth, room=84)
    index = struct.pack("<IIHH", 0, 20, 0, 0)
    raw = inode(node(index, depth=1))
    there = maps(bytes(20 * KIB) + child)

    if sound:
        assert list(there.runs(12, raw)) == [(50, 1)]
    else:
        with pytest.raises(answers.UnableError):
            list(there.runs(12, raw))


def test_zones():
    zones = Zones(1, 64, [(3, 2), (40, 1), (10, 0)])

    assert [block for block in range(70) if zones.holds((block, 1))] == [
        2, *range(5, 40), *range(41, 64)
    ]  # fmt: skip
    assert zones.holds((5, 35))
    assert not zones.holds((5, 36))
    assert not zones.holds((38, 10))
    assert not zones.holds((2, 100))

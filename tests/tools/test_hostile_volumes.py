"""The direct reader before volumes that were made or damaged to harm who reads them."""

import os
import re
import subprocess
import time
import uuid
from pathlib import Path

import google_crc32c
import pytest
from direct import ROOT_UUID, patched, tree_of, whole
from phony import builder

from pipeline.guest import facts
from pipeline.guest.survey import survey
from pipeline.guest.tree import Files, TreeError
from pipeline.source import Source
from pipeline.tools.reader import client
from pipeline.tools.reader.child import UnableError
from pipeline.tools.rungs import Ladder

pytestmark = pytest.mark.needs("setpriv", "prlimit", "module:pyfsext", "module:pyregf")


@pytest.mark.needs("mke2fs", "sfdisk", "debugfs", "zstd")
def test_traps_are_answered_as_by_the_appliance(tmp_path):
    image = builder().build("hostile", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        tree = tree_of(source, reader)
        files = Files(tree)
        begin = time.monotonic()

        for path in ("/etc/passwd", "/etc/cloud/cloud.cfg", "/etc/network/interfaces"):
            assert files.text(path) is None
        nodes = ("machine-id", "hostname", "adjtime")  # FIFO, character device, block device
        assert {item.kind for item in tree.stat("/etc", nodes)} == {"other"}
        assert [files.text(f"/etc/{name}") for name in nodes] == [None] * 3
        assert files.entry("/etc/shadow").size == 1 << 40
        assert files.read("/etc/shadow", 4096) == bytes(4096)
        assert files.names("/etc/ssh") == ["sshd_config"]
        with pytest.raises(TreeError):
            tree.names("/no/such/directory")
        assert time.monotonic() - begin < 30


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_directory_with_a_slash_in_a_name_is_not_listed(tmp_path):
    disks = builder("guest_disks")
    path = disks.ext4(tmp_path / "volume", 16, {"etc/hostname": "guest\n"}, ROOT_UUID)
    disks.tool(
        "debugfs", "-w", "-R", "mknod /etc/hosts c 1 5", path
    )  # of the very name, in the root
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="slash"):
            tree.names("/")
        assert tree.names("/etc") == ["hostname"]
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_directory_of_a_million_names_costs_no_more_than_its_own_names(tmp_path):
    path = builder("guest_traps").TRAPS["million-names"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="more than 100000 entries"):
            tree.names("/many")
        assert [bool(item) for item in tree.stat("/many", ["00999999", "01000000"])] == [
            True,
            False,
        ]
        assert tree.names("/small") == ["file"]
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"
        assert reader._starts == 1


def marked_as_a_leaf(volume: Path, directory: str) -> None:
    """What the kernel leaves at the end of an index's root, which was the directory's first leaf."""
    tool = builder("guest_disks").tool
    inode = tool("debugfs", "-R", f"stat {directory}", volume)
    number, generation = (
        int(re.search(rf"{name}:\s+(\d+)", inode)[1]).to_bytes(4, "little")
        for name in ("Inode", "Generation")
    )
    at = int(tool("debugfs", "-R", f"bmap {directory} 0", volume)) * 4096
    with volume.open("r+b") as file:
        file.seek(at)
        block = bytearray(file.read(4096))
        block[-8:-4] = b"\x0c\0\0\xde"
        count = int.from_bytes(block[0x22:0x24], "little")
        told = uuid.UUID(ROOT_UUID).bytes + number + generation + block[: 0x20 + 8 * count]
        sum_ = google_crc32c.value(told + block[-8:-4] + bytes(4)) ^ 0xFFFFFFFF
        block[-4:] = sum_.to_bytes(4, "little")
        file.seek(at)
        file.write(block)


@pytest.mark.needs("mke2fs", "e2fsck", "debugfs")
def test_an_index_whose_root_was_a_leaf_is_read(tmp_path):
    disks = builder("guest_disks")
    names = [f"file-{number:04}" for number in range(400)]
    tree = {f"many/{name}": "" for name in names}
    volume = disks.ext4(tmp_path / "v", 16, tree, ROOT_UUID, options=("-b", "4096"))
    subprocess.run(["e2fsck", "-fyD", volume], env=disks_env(), capture_output=True)
    marked_as_a_leaf(volume, "/many")

    said = subprocess.run(
        ["e2fsck", "-fn", volume], env=disks_env(), capture_output=True, text=True
    )
    with Source.open(volume) as source, client.open_reader(source) as reader:
        found = reader.mount(whole(source)).names("/many")

    assert said.returncode == 0, said.stdout
    assert found == names


@pytest.mark.needs("mke2fs", "debugfs")
@pytest.mark.parametrize("options", [(), ("-O", "^metadata_csum,^filetype", "-b", "1024")])
def test_a_name_is_looked_up_in_its_directory_alone(options, tmp_path):
    names = [f"file {number} \u00e4" for number in range(300)]
    tree = {f"many/{name}": name for name in names} | {"many/below/file": "below", "file": "top"}
    volume = builder("guest_disks").ext4(tmp_path / "v", 16, tree, ROOT_UUID, options=options)
    with Source.open(volume) as source, client.open_reader(source) as reader:
        opened = reader.mount(whole(source))

        assert all(opened.stat("/many", names))
        assert [opened.read(f"/many/{name}", 0, 99).decode() for name in names] == names
        assert opened.read("/many/below/file", 0, 99) == b"below"
        assert opened.stat("/many", ["file 0", "file", "\u00e4", "x" * 255]) == [None] * 4
        with pytest.raises(TreeError):
            opened.stat("/file", ["file"])
        with pytest.raises(TreeError):
            opened.read("/file/file", 0, 1)


def disks_env() -> dict[str, str]:
    """Where programs for file systems are."""
    return {**os.environ, "PATH": builder("guest_disks").FORMAT_PATH}


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_an_index_that_leads_in_circles_is_left_to_the_appliance(tmp_path):
    path = builder("guest_traps").TRAPS["ntfs-loops"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        with pytest.raises(UnableError):
            reader.mount(whole(source))
        assert reader._starts == 1  # neither a crash nor a hang


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_a_list_of_attributes_is_believed_when_it_leads_to_them(tmp_path):
    path = builder("guest_traps").many_links(tmp_path / "volume", "linked")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        assert len(tree.names("/linked")) == 41
        assert tree.read("/linked/first", 0, 100) == b"linked\n"


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_lists_of_attributes_that_lead_in_circles_are_left_to_the_appliance(tmp_path):
    path = builder("guest_traps").TRAPS["mft-loops"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="attribute list of record"):
            tree.stat("/self", ["first"])
        with pytest.raises(UnableError, match="is not one of record"):
            tree.stat("/other", ["first"])
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"
        assert reader._starts == 1


@pytest.mark.nightly
@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_an_initramfs_out_of_which_gibibytes_come_is_given_up(tmp_path):
    image = builder().build("bomb", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        seen = survey(source)
        section = facts.collect(seen, Ladder(seen, reader, None))

    assert section["distro"] == "debian"
    assert "more than 1073741824 bytes come out of it" in section["unknown"]["drivers"]


@pytest.mark.needs("mke2fs", "sfdisk", "zstd", "dumpe2fs", "debugfs", "tune2fs")
def test_an_inode_with_a_wrong_checksum_is_not_believed(tmp_path):
    volume = builder("guest_disks").ext4(tmp_path / "v", 8, {"etc/hostname": "one\n"}, ROOT_UUID)
    builder("guest_disks").damage_inode(volume, "/etc/hostname")
    with Source.open(volume) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match=r"checksum|signature"):
            tree.stat("/etc", ["hostname"])
        assert "etc" in tree.names("/")


@pytest.mark.needs("mkfs.xfs", "module:pyfsxfs")
@pytest.mark.parametrize(
    ("place", "said"), [(158, "checksum of inode"), (512 + 98, "inodes at .* are damaged")]
)
def test_nothing_is_read_through_a_directory_that_the_kernel_would_refuse(place, said, tmp_path):
    import pyfsxfs

    # given an XFS in which /var, or the inode behind it, has a byte changed that no library looks at
    files = {"var/lib/dpkg/status": "Package: base\n", "etc/hostname": "guest\n"}
    path = builder("guest_disks").xfs(tmp_path / "volume", 304, files, ROOT_UUID)
    volume = pyfsxfs.volume()
    volume.open(str(path))
    number = volume.get_file_entry_by_path("/var").inode_number
    volume.close()
    with Source.open(path) as source:
        head = source.read(0, 512)
    block, index = divmod(number, 1 << head[123])
    group, within = divmod(block, 1 << head[124])
    at = (group * int.from_bytes(head[84:88], "big") + within) * 4096 + index * 512
    with patched(path, at + place, b"\x14") as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        for ask in (lambda: tree.stat("/var/lib", ["dpkg"]), lambda: tree.names("/var/lib/dpkg")):
            with pytest.raises(UnableError, match=said):
                ask()
        with pytest.raises(UnableError):
            tree.read("/var/lib/dpkg/status", 0, 10)
        assert tree.read("/etc/hostname", 0, 10) == b"guest\n"

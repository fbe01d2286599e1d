"""Volumes of phony disks, found from bytes, and which firmware starts them."""

import struct

import pytest
from phony import builder, planted

from pipeline.content.partition_types import BIOS_BOOT
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.guest import facts, firmware, survey, windows
from pipeline.guest.tree import Files, TreeError
from pipeline.source import Source

MIB = 1 << 20


def seen(tmp_path, name):
    with Source.open(builder().build(name, tmp_path)) as source:
        return survey.survey(source)


@pytest.mark.needs("mke2fs", "mkfs.xfs", "mkfs.vfat", "mcopy", "sfdisk", "zstd")
def test_a_gpt_disk(tmp_path):
    found = seen(tmp_path, "fedora-uefi")

    assert [(volume.device, volume.type, volume.esp) for volume in found.volumes] == [
        ("/dev/sda1", "vfat", True),
        ("/dev/sda2", "ext4", False),
        ("/dev/sda3", "xfs", False),
    ]
    assert found.volumes[0].uuid == "1234-ABCD"
    assert all(volume.partition_uuid for volume in found.volumes)


@pytest.mark.needs("mke2fs", "mkswap", "sfdisk", "zstd")
def test_logical_volumes_are_looked_into_where_they_lie(tmp_path):
    found = seen(tmp_path, "lvm")

    assert (found.groups, found.incomplete_groups) == (("vg",), ())
    assert [(volume.device, volume.type, volume.group) for volume in found.volumes] == [
        ("/dev/sda1", "LVM2_member", None),
        ("/dev/vg/root", "ext4", "vg"),
        ("/dev/vg/swap", "swap", "vg"),
    ]
    assert found.volumes[0].partition_uuid.endswith("-01")


def test_a_group_that_needs_another_disk_is_said(tmp_path):
    (tmp_path / "root").write_bytes(bytes(4 * MIB))
    image = builder("guest_disks").lvm(
        tmp_path / "pv", "vg", {"root": tmp_path / "root"}, whole=False
    )

    with Source.open(image) as source:
        found = survey.survey(source)

    assert (found.groups, found.incomplete_groups) == (("vg",), ("vg",))


def test_a_whole_disk_without_partitions(tmp_path):
    image = builder("guest_disks").ext4(tmp_path / "disk", 8, {"etc/hostname": "x"}, builder().ROOT)

    with Source.open(image) as source:
        (volume,) = survey.survey(source).volumes

    assert (volume.device, volume.type, volume.partition) == ("/dev/sda", "ext4", None)


def test_a_partition_of_unknown_content_may_hold_a_system(tmp_path):
    # given a partition that nothing known begins in
    image = tmp_path / "disk"
    entry = struct.pack("<B3xB3xII", 0, 0x83, 2048, 2048)
    image.write_bytes((bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa" + bytes(4 * MIB))

    with Source.open(image) as source:
        found = survey.survey(source)

    assert found.volumes[0].opaque
    assert facts.without_appliance(found) is None


def part(number, kind, bootable=False):
    return Partition(number, MIB, MIB, kind, "", "", bootable)


@pytest.mark.parametrize(
    ("scheme", "code", "parts", "loaders", "expected"),
    [
        ("mbr", "grub", [], [], "bios"),
        ("mbr", "windows", [], [], "bios"),
        ("mbr", None, [], [], None),
        ("gpt", "grub", [part(1, BIOS_BOOT)], [], "bios"),
        ("gpt", "grub", [part(1, "other")], [], None),
        ("gpt", "windows", [part(1, "other")], ["/EFI/Microsoft/Boot/bootmgfw.efi"], "uefi"),
        ("gpt", "syslinux", [part(1, "other", bootable=True)], [], "bios"),
        ("gpt", "grub", [part(1, BIOS_BOOT)], ["/EFI/BOOT/BOOTX64.EFI"], "both"),
    ],
)
def test_which_firmware_starts_a_disk(scheme, code, parts, loaders, expected):
    table = PartitionTable(scheme, tuple(parts), boot_code=code)

    assert firmware.facts(table, loaders).firmware == expected


def test_loaders_whatever_their_case(tmp_path):
    files = planted(
        tmp_path, {"efi/boot/bootx64.efi": b"MZ", "efi/debian/grub.cfg": "x", "startup.nsh": "x"}
    )

    loaders = firmware.efi_loaders(files)

    assert loaders == ["/efi/boot/bootx64.efi"]
    assert firmware.facts(PartitionTable("gpt"), loaders).efi_fallback is True


# ---------------------------------------------------------------------------------------- Windows


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("hivex")

    def make(**options) -> Files:
        (tmp_path / "work").mkdir()
        return planted(tmp_path / "c", builder("guest_windows").tree(tmp_path / "work", **options))

    return make


@pytest.mark.needs("module:hivex")
@pytest.mark.parametrize("kind", ["LanmanNT", "ServerNT", "WinNT"])
def test_what_a_windows_is(server, tmp_path, kind):
    files = server(product_type=kind)

    found = windows.facts(files, files.find("/").tree.hive)

    assert found == windows.Windows(
        product_name="Windows Server 2022 Standard",
        installation_type="Server",
        edition="ServerStandard",
        version="10.0.20348",
        arch="x86_64",
        product_type=kind,
        fast_startup=False,
        hibernated=False,
        evaluation=False,
        installed_at=None,
        evaluation_ends=None,
        drivers={},
        agents=(),
        remote_desktop=None,
        network_level_authentication=None,
        automatic_logon=False,
        sysprep_state=None,
        pending_reboot=(),
        page_files=(),
        clock_is_utc=False,
        time_zone=None,
    )


@pytest.mark.needs("module:hivex")
def test_upper_and_lower_case_are_the_same_to_windows(server, tmp_path):
    server()
    (tmp_path / "c" / "Windows").rename(tmp_path / "c" / "WINDOWS")
    (tmp_path / "c" / "WINDOWS" / "System32").rename(tmp_path / "c" / "WINDOWS" / "system32")
    files = planted(tmp_path / "c", {})

    assert windows.looks_like_root(files)
    assert windows.fold(files, "/Windows/System32/CMD.EXE") == "/WINDOWS/system32/cmd.exe"


def test_a_windows_without_its_registry(tmp_path):
    files = planted(tmp_path, {"Windows/System32/config": None})

    assert not windows.looks_like_root(files)
    with pytest.raises(TreeError, match="no registry hive SOFTWARE"):
        windows.facts(files, lambda path, wanted: [])

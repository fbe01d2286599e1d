"""What a boot entry names and is not there, or lies elsewhere; and the versions of kernels."""

from dataclasses import replace

import pytest
from guests import (
    BOOT,
    GRUB_CFG,
    KERNEL,
    OTHER,
    ROOT,
    VOLUME,
    Disk,
    Link,
    disk,
    facts,
    findings,
    trees,
)
from menus import BAD, GOOD
from phony import files_of

from pipeline.guest.boot.entries import Entry
from pipeline.guest.boot.located import locate
from pipeline.guest.versions import version_key

INITRD = f"boot/initrd.img-{KERNEL}"


def with_root(spec):
    """A grub.cfg whose only entry has this root=."""
    return {GRUB_CFG: f"menuentry x {{\n{BAD.replace('/dev/sda1', spec)}}}\n"}


CASES = [
    ("as it should be", {}, set()),
    ("no kernel file", {f"boot/vmlinuz-{KERNEL}": ...}, {"boot-files-missing"}),
    ("no initramfs", {INITRD: ...}, {"boot-files-missing", "kernel-without-initramfs"}),
    (
        "an entry without initrd",
        {GRUB_CFG: f"menuentry x {{ linux /boot/vmlinuz-{KERNEL} root=LABEL=root }}"},
        set(),
    ),
    (
        "an initrd of another name",
        {
            INITRD: ...,
            "boot/initrd.img": trees.cpio(trees.INITRAMFS),
            GRUB_CFG: f"menuentry x {{\n linux /boot/vmlinuz-{KERNEL} root=LABEL=root\n"
            "initrd /boot/initrd.img\n}",
        },
        set(),
    ),
    (
        "microcode that is not there",
        {GRUB_CFG: f"menuentry x {{\n{GOOD}\ninitrd /boot/u.img /boot/initrd.img-{KERNEL}\n}}"},
        {"boot-files-missing"},
    ),
    ("a grub.cfg without entries", {GRUB_CFG: "set timeout=5\n"}, {"boot-no-kernel", "root-device-name?"}),
    ("an empty grub.cfg", {GRUB_CFG: ""}, {"boot-no-kernel", "root-device-name?"}),
    (
        "only Windows in it",
        {GRUB_CFG: "menuentry 'Windows' { chainloader +1 }"},
        {"boot-no-kernel", "root-device-name?"},
    ),
    ("blscfg without entries", {GRUB_CFG: "blscfg\n"}, {"boot-no-kernel", "root-device-name?"}),
    ("no configuration at all", {GRUB_CFG: ...}, {"root-device-name?"}),
    (
        "links in the root",
        {
            GRUB_CFG: "menuentry x {\n linux /vmlinuz root=LABEL=root\ninitrd /initrd.img\n}",
            "vmlinuz": Link(f"boot/vmlinuz-{KERNEL}"),
            "initrd.img": Link(INITRD),
        },
        set(),
    ),
    ("root by name", with_root("/dev/sda1"), {"root-device-name"}),
    ("root by id", with_root("/dev/disk/by-id/ata-X-part1"), {"root-device-name"}),
    ("root by path", with_root("/dev/disk/by-path/pci-0-part1"), {"root-device-name"}),
    ("root by uuid path", with_root(f"/dev/disk/by-uuid/{ROOT}"), set()),
    ("root by label", with_root("LABEL=root"), set()),
    ("root by partition", with_root("PARTUUID=12345678-01"), set()),
    ("root that is not here", with_root(f"UUID={OTHER}"), {"root-not-on-disk"}),
    ("a label that is not here", with_root("LABEL=other"), {"root-not-on-disk"}),
    ("a volume group that is not here", with_root("/dev/mapper/vg-root"), {"root-not-on-disk"}),
    ("root on the network", with_root("/dev/nfs"), set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rules"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_keeps_a_guest_from_starting(changes, rules):
    assert findings(changes) == rules


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/boot/k", "/boot/k"),
        ("($root)/k", "/boot/k"),
        ("(hd0,msdos1)/boot/k", "/boot/k"),
        ("/@/boot/k", "/boot/k"),
        ("k", "/boot/k"),
        ("/esp/k", "/boot/efi/esp/k"),
        ("/none", None),
    ],
)
def test_where_a_boot_loader_s_path_leads(path, place):
    assert locate(files_of({"boot/k": "x", "boot/efi/esp/k": "x"}), path) == place


def separate_boot(boot_tree, kind="ext2"):
    """A guest whose /boot lies on a volume of its own."""
    debian = disk().trees[0]
    root = {name: content for name, content in debian.items() if not name.startswith("boot/")}
    root |= {"boot": None, "etc/fstab": f"UUID={ROOT} / ext4 rw\nUUID={BOOT} /boot {kind} rw 0 2\n"}
    volume = replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT, label=None, type=kind)
    return Disk((VOLUME, volume), (root, boot_tree))


def test_a_separate_boot_is_looked_into():
    debian = disk().trees[0]
    tree = {name[5:]: content for name, content in debian.items() if name.startswith("boot/")}
    tree["grub/grub.cfg"] = tree["grub/grub.cfg"].replace("/boot/", "/")

    assert findings(separate_boot(tree)) == set()


def test_a_separate_boot_that_cannot_be_read_is_named_as_the_cause():
    guest = separate_boot("mount: unknown filesystem type")

    unknown = facts(guest)["unknown"]

    reason = "/boot (/dev/sda2) could not be read: mount: unknown filesystem type"
    assert {unknown[name] for name in ("boot", "boot_root", "kernels", "xen_drivers")} == {reason}
    assert findings(guest) == {
        "boot-no-kernel?",
        "boot-files-missing?",
        "kernel-without-initramfs?",
        "root-device-name?",
        "root-not-on-disk?",
        "boot-other-entries?",
    }


def test_a_separate_boot_on_another_disk_is_named_as_the_cause():
    debian = separate_boot({})
    guest = Disk((VOLUME,), (debian.trees[0],))

    assert facts(guest)["unknown"]["boot"] == f"/boot is on UUID={BOOT}, which is not on this disk"
    assert "fstab-absent-disks" in findings(guest)


def test_files_on_a_volume_that_the_guest_does_not_mount():
    debian = disk().trees[0]
    root = {**debian, f"boot/vmlinuz-{KERNEL}": ...}
    root = {name: content for name, content in root.items() if content is not ...}
    volume = replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT, label=None)
    guest = Disk((VOLUME, volume), (root, {f"vmlinuz-{KERNEL}": b"kernel"}))

    assert facts(guest)["boot"]["missing"] == []


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("/boot/vmlinuz-6.1.0-18-amd64", "6.1.0-18-amd64"),
        ("/vmlinuz-5.14.0-70.el9.x86_64", "5.14.0-70.el9.x86_64"),
        ("/0123456789abcdef/6.8.5-301.fc40/linux", "6.8.5-301.fc40"),
        ("/boot/vmlinuz-lts", "lts"),
        ("/boot/Image-6.6", "6.6"),
    ],
)
def test_the_version_of_an_entry_s_kernel(kernel, version):
    assert Entry("x", kernel).version == version


def test_kernel_versions_sort_as_people_do():
    versions = ["6.9.1-amd64", "6.10.0-amd64", "5.15.0-91-generic", "6.9.1-rc2-amd64"]

    assert max(versions, key=version_key) == "6.10.0-amd64"


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("/0123abcd/6.1.0-9/linux", "6.1.0-9"),
        ("/boot/6.1.0-9/vmlinuz", "6.1.0-9"),
        ("/boot/6.1.0-9/other", "other"),
        ("/boot/tool/linux", ""),
        ("6.1/linux", ""),
        (f"/boot/vmlinuz-{KERNEL}", KERNEL),
    ],
)
def test_a_kernel_s_version_is_in_its_path(kernel, version):
    assert Entry("title", kernel, "", (), "/path").version == version

"""Guests and containers and clouds: exactly these findings, no more and no fewer.

The guests are small trees, read by the real readers of guest facts; the containers are facts of
files whose parsers have tests of their own.  What the conversion fixes is no finding here, unless the
result is judged.  A rule with a question mark could not be judged.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from guest.guests import KERNEL, ROOT, VOLUME, Disk, disk, facts, trees

from pipeline import profile
from pipeline.content.partitions import PartitionTable
from pipeline.model import Status
from tests import samples

GIB = 1 << 30
CLOUDS = profile.newest()
DRIVERS = "virtio_pci virtio_blk virtio_scsi virtio_net hv_vmbus hv_storvsc hv_netvsc nvme ena"
BUILT_IN = {
    f"usr/lib/modules/{KERNEL}/modules.builtin": "".join(
        f"kernel/drivers/x/{name}.ko\n" for name in DRIVERS.split()
    )
}
EVERYWHERE = BUILT_IN | {"etc/cloud/cloud.cfg.d/90_dpkg.cfg": ...}
"""What the Debian of the fixtures lacks to start on any cloud: drivers, and to look for all its data."""


def guest(changes=None, **volume):
    return disk(EVERYWHERE | (changes or {}), **volume)


def with_swap():
    tree = guest().trees[0]
    swap = replace(VOLUME, device="/dev/sda2", type="swap", uuid="swap-uuid", label=None)
    return Disk((VOLUME, swap), (tree, "swap holds no files"))


def uefi(loader):
    """A disk that starts by UEFI alone, with this loader in its EFI system partition."""
    tree = guest().trees[0]
    esp = replace(VOLUME, device="/dev/sda2", type="vfat", uuid="ABCD-1234", label=None, esp=True)
    return Disk((VOLUME, esp), (tree, {loader: trees.pe()}), PartitionTable("gpt"))


GUESTS = {
    "good": guest(),
    "as Debian builds it": disk(),
    "cloud-init for EC2": guest(
        {"etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ Ec2, None ]\n"}
    ),
    "without cloud-init": guest({"usr/bin/cloud-init": ...}),
    "without SSH": guest(
        {"usr/sbin/sshd": ..., "etc/systemd/system/multi-user.target.wants/ssh.service": ...}
    ),
    "fixed address": guest(
        {"etc/network/interfaces": "auto eth0\niface eth0 inet static\n  address 10.0.0.5/24\n"}
    ),
    "devices by name": guest({"etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n"}),
    "quiet console": guest(
        {
            "boot/grub/grub.cfg": f"menuentry 'Debian' {{\n\tlinux /boot/vmlinuz-{KERNEL} "
            f"root=UUID={ROOT} ro quiet\n\tinitrd /boot/initrd.img-{KERNEL}\n}}\n"
        }
    ),
    "root on xfs": guest(type="xfs"),
    "root on zfs": guest(type="zfs_member"),
    "swap partition": with_swap(),
    "UEFI": uefi("EFI/BOOT/BOOTX64.EFI"),
    "UEFI without fallback": uefi("EFI/debian/shimx64.efi"),
}

GB = 10**9
SIZES = {f"{size} GB": size * GB // 512 * 512 for size in (5, 105, 260, 420, 1050, 2210, 3000)}
FORMATS = {
    "raw": {"format": "raw", "variant": None},
    "raw of an odd size": {"format": "raw", "variant": None, "virtual_size": 4 * GIB + 512},
    "qcow2": {"format": "qcow2", "variant": "v3"},
    "fixed VHD": {"format": "vhd", "variant": "fixed"},
    "dynamic VHD": {"format": "vhd", "variant": "dynamic"},
    "streamOptimized VMDK": {"format": "vmdk", "variant": "streamOptimized"},
    "flat VMDK": {"format": "vmdk", "variant": "monolithicFlat"},
    "VHDX": {"format": "vhdx", "variant": "dynamic"},
    "VDI": {"format": "vdi", "variant": "dynamic"},
}
"""Containers as they are uploaded unchanged: judged as a result."""

MBR = {"partition_table": "mbr", "protective_mbr": None}


def known(container):
    """All facts of a disk of 4 GiB with an MBR, a good guest on it, in this container."""
    size = {"virtual_size": 4 * GIB}
    return samples.facts(size | container, MBR, of=samples.QCOW2) | {"guest": GOOD}


GOOD = facts(GUESTS["good"])


def table(found, *, subject="source"):
    """What each cloud says: its findings as words, errors with "!", and the clouds that say so."""
    said = {}
    for name in CLOUDS:
        words = sorted(
            f"{item.rule}{'?' * (item.status is Status.UNKNOWN)}{'!' * (item.severity == 'error')}"
            for item in profile.judge(PROFILES[name], found, subject=subject).findings
            if not (item.fixed_by and item.severity == "info")
        )
        said.setdefault(" ".join(words), []).append(name)
    return {words: " ".join(names) for words, names in said.items()}


PROFILES = {name: profile.load(name) for name in CLOUDS}


TABLES = json.loads(Path(__file__).with_name("profile_clouds.json").read_bytes())
"""Case by case: findings as words, errors with "!", and the clouds that have exactly these."""


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_is_judged_by_every_cloud(name):
    found = known({}) | {"guest": facts(GUESTS[name])}

    assert table(found) == TABLES["guests"][name]


@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_judged_by_every_cloud(name):
    assert table(known({"virtual_size": SIZES[name]})) == TABLES["sizes"][name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_that_is_uploaded_unchanged_is_judged_by_every_cloud(name):
    container = {"details": {}, "creator": None, **FORMATS[name]}

    assert format_findings(known(container)) == TABLES["formats"][name]


def format_findings(found):
    """Of the findings about a result, those about its format; a VHD of Rackspace has tests of its own."""
    about = ("image-format", "vmdk-variant", "vhd-fixed", "virtual-size-multiple", "vhd-format")
    said = {}
    for name in CLOUDS:
        judged = profile.judge(PROFILES[name], found, subject="result")
        rules = sorted({item.rule for item in judged.findings} & set(about))
        said.setdefault(" ".join(rules), []).append(name)
    return {rules: " ".join(names) for rules, names in said.items()}


@pytest.mark.parametrize("name", CLOUDS)
def test_nothing_that_was_not_read_is_passed(name):
    known_guest = profile.judge(PROFILES[name], known({}))
    skipped = {"status": "skipped", "reason": "nobody looked"}

    unread = profile.judge(PROFILES[name], known({}) | {"guest": skipped})

    asked = {
        item.rule
        for item in PROFILES[name].requirements
        if any(path.startswith("guest.") for path in item.template.needs)
    }
    assert not asked & {*unread.passed, *unread.not_applicable}
    unknown = {item.rule for item in unread.findings if item.status is Status.UNKNOWN}
    assert asked <= unknown
    assert asked <= {*known_guest.passed, *known_guest.not_applicable} | {
        item.rule for item in known_guest.findings
    }


@pytest.mark.parametrize(
    ("name", "unit"), [("azure-gen1", 1 << 20), ("azure-gen2", 1 << 20), ("gce", GIB)]
)
def test_where_a_size_has_to_be_whole_the_target_rounds_it_up(name, unit):
    target = PROFILES[name].target

    assert PROFILES[name].parameters["size-multiple"]["multipleOf"] == unit
    assert target.size_multiple == unit
    assert target.outcome(4 * GIB + 512)["virtual_size"] == 4 * GIB + unit


@pytest.mark.parametrize("name", CLOUDS)
def test_what_is_made_is_what_the_cloud_accepts(name):
    target = PROFILES[name].target
    made = {"format": target.format, "variant": target.variant, "details": {}, "creator": None}

    assert format_findings(known(made))[""].split().count(name) == 1

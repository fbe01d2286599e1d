"""Names of devices, lines of fstab, volumes of a disk, each otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    BOOT,
    GRUB_CFG,
    OTHER,
    ROOT,
    TABLE,
    Disk,
    disk,
    facts,
    trees,
)

from pipeline.content.partition_types import EFI_SYSTEM
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.guest import (
    fstab,
)
from pipeline.guest.survey import Survey, Volume
from tests import every_field

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare

VOLUMES = (
    Volume(
        "/dev/sda1",
        1 << 20,
        1 << 30,
        "vfat",
        1,
        "12345678-01",
        "1234-ABCD",
        "ESP",
        esp=True,
        partition_label="EFI System",
    ),
    Volume(
        "/dev/sda2",
        2 << 30,
        1 << 30,
        "ext4",
        2,
        "12345678-02",
        ROOT,
        "root",
        partition_label="Root",
    ),
    Volume("/dev/sda3", 3 << 30, 1 << 30, "LVM2_member", 3, "12345678-03", BOOT),
    Volume("/dev/vg/lv-1", 4 << 30, 1 << 30, "xfs", uuid=OTHER, label="data", group="vg"),
    Volume("/dev/vg/swap", 5 << 30, 1 << 30, "swap", uuid="5A", group="vg"),
)
SURVEY = Survey(TABLE, VOLUMES, ("vg",), (), truncated=False)
SPECS = (
    *(
        f"/dev/{name}"
        for name in (
            "sda2",
            "sda9",
            "sdb1",
            "sda",
            "hda2",
            "vda2",
            "xvda3",
            "nvme0n1p2",
            "nvme0n1",
            "nvme1n1p1",
            "mmcblk0p2",
            "mmcblk1p2",
            "loop0p1",
            "nbd0p1",
            "dm-0",
            "cciss/c0d0p1",
            "sr0",
            "cdrom",
            "fd0",
            "zram0",
            "md0",
            "md/0",
            "vg/lv-1",
            "vg/none",
            "mapper/vg-lv--1",
            "mapper/vg-lv-1",
            "mapper/none",
            "root",
            "disk/by-id/scsi-1",
            "disk/by-id/lvm-pv-uuid-1",
            "disk/by-path/pci-1",
            "disk/by-diskseq/1",
            f"disk/by-uuid/{ROOT}",
            "disk/by-uuid/none",
            "disk/by-label/root",
            r"disk/by-label/ro\x6ft",
            "disk/by-partuuid/12345678-02",
            "disk/by-partlabel/Root",
            r"disk/by-partlabel/EFI\x20System",
        )
    ),
    *(
        "UUID=1234-abcd",
        "uuid=5a",
        "UUID=none",
        "LABEL=root",
        "LABEL=ROOT",
        "label=data",
        "PARTLABEL=Root",
        "PARTLABEL=root",
        "PARTUUID=12345678-02",
        "PARTUUID=12345678-2",
        "ID=1",
        "PARTUUID=12345678-01/PARTNROFF=1",
        "PARTUUID=12345678-02/PARTNROFF=-1",
        "PARTUUID=12345678-02/PARTNROFF=7",
        "PARTUUID=9/PARTNROFF=1",
    ),
    *("tmpfs", "nas:/export", "//server/share", "none"),
)


@TABLES
def devices() -> Iterator[str]:
    """Every way to name a device."""

    def tell(spec: str) -> dict[str, Any]:
        found = fstab.find(spec, VOLUMES)
        return {
            "volume": found and found.device,
            "on disk": fstab.on_disk(spec, SURVEY),
            "by name": fstab.is_by_name(spec),
        }

    return varied.of_values({spec: spec for spec in SPECS}, tell)


FSTAB = (
    f"# comment\nUUID={ROOT} / ext4 errors=remount-ro 0 1\nLABEL=none /a ext4 defaults 0 2\n"
    'UUID="none" /b\\040c xfs nofail,ro\n/dev/sdb1 /c auto\n/dev/sdc1 /d ext4 noauto 0 0\n'
    "/dev/vg/none none swap sw 0 0\nnas:/x /e nfs defaults\nLABEL=y /f ext4 _netdev\n"
    "/dev/sr0 /g udf user,noauto\n"
    "LABEL=z /h ext4 x-systemd.automount\ntmpfs /tmp tmpfs size=1g\n/swapfile none swap sw\nlonely\n"
)


@TABLES
def fstab_lines() -> Iterator[str]:
    """What is mounted, and what of it is missed."""

    def tell(text: str) -> dict[str, Any]:
        lines = fstab.parse(text)
        absent = fstab.absent(lines, SURVEY)
        return {
            "lines": [
                [x.label, x.type, *x.options, x.optional, x.network, x.required] for x in lines
            ],
            "absent": absent,
            "slow": fstab.slow(lines, SURVEY),
            "by name": fstab.by_name(lines, absent or ()),
        }

    return varied.of_text(FSTAB, tell)


PARTS = tuple(
    Partition(n, n << 30, 1 << 30, EFI_SYSTEM if n == 1 else "0x83", "", "", bootable=False)
    for n in range(1, 6)
)


def pieces() -> Disk:
    """A guest in five partitions: ESP, /boot, root on LVM, swap, a locked one."""
    tree = disk().trees[0]
    root = {name: content for name, content in tree.items() if not name.startswith("boot/")}
    root |= {
        "boot": None,
        "etc/fstab": f"UUID={ROOT} / ext4 defaults 0 1\nUUID={BOOT} /boot ext4 defaults 0 2\n"
        "LABEL=ESP /boot/efi vfat umask=0077 0 1\nLABEL=swap none swap sw 0 0\n",
    }
    own = {name[5:]: content for name, content in tree.items() if name.startswith("boot/")}
    own |= {"grub/grub.cfg": str(tree[GRUB_CFG]).replace("/boot/", "/"), "efi": None}
    volumes = (
        Volume(
            "/dev/sda1",
            1 << 30,
            1 << 30,
            "vfat",
            1,
            "a-01",
            "1234-ABCD",
            "ESP",
            clean=True,
            esp=True,
        ),
        Volume("/dev/sda2", 2 << 30, 1 << 30, "ext4", 2, "a-02", BOOT, "boot", clean=True),
        Volume("/dev/sda3", 3 << 30, 1 << 30, "LVM2_member", 3, "a-03"),
        Volume(
            "/dev/vg/root",
            3 << 30,
            1 << 29,
            "ext4",
            uuid=ROOT,
            label="root",
            clean=True,
            group="vg",
        ),
        Volume("/dev/sda4", 4 << 30, 1 << 30, "swap", 4, "a-04", label="swap"),
        Volume("/dev/sda5", 5 << 30, 1 << 30, "ext4", 5, "a-05", label="data", clean=True),
    )
    esp = {"EFI/BOOT/BOOTX64.EFI": trees.pe(), "EFI/debian/grubx64.efi": trees.pe()}
    return Disk(
        volumes, (esp, own, {}, root, {}, {"photos/1.jpg": b"x"}), PartitionTable("gpt", PARTS)
    )


VOLUME_CHANGES: dict[str, tuple[Any, ...]] = {
    "type": (
        None,
        "ext4",
        "vfat",
        "swap",
        "crypto_LUKS",
        "BitLocker",
        "LVM2_member",
        "ntfs",
        "zfs_member",
        "btrfs",
    ),
    "clean": (None, False, True),
    "uuid": (None, OTHER),
    "label": (None, "x"),
    "esp": (True, False),
    "offset": (None,),
    "partition": (None, 5),
    "group": (None, "other"),
}


@TABLES
def volumes() -> Iterator[str]:
    """Each volume of a disk otherwise, or unreadable."""
    base = pieces()
    known = varied.told(lambda: facts(base))
    yield from every_field.otherwise({}, known).split("; ")

    def changes() -> Iterator[tuple[str, Disk]]:
        for at, volume in enumerate(base.volumes):
            for name, values in VOLUME_CHANGES.items():
                for value in values:
                    new = replace(volume, **{name: value}, detail="it was in use")
                    items = (*base.volumes[:at], new, *base.volumes[at + 1 :])
                    yield f"{volume.device} {name} = {value}", replace(base, volumes=items)
            broken = (*base.trees[:at], "it cannot be mounted", *base.trees[at + 1 :])
            yield f"{volume.device} unreadable", replace(base, trees=broken)
            rest = base.volumes[:at] + base.volumes[at + 1 :]
            yield (
                f"{volume.device} gone",
                Disk(rest, base.trees[:at] + base.trees[at + 1 :], base.table),
            )
        for scheme in ("mbr", "none"):
            for code in (None, "grub", "syslinux", "windows", "unknown"):
                yield (
                    f"{scheme} {code}",
                    replace(base, table=PartitionTable(scheme, PARTS, boot_code=code)),
                )

    for label, changed in changes():
        said = varied.told(lambda changed=changed: facts(changed))
        yield f"{label}  {varied.otherwise(known, said)}".rstrip()


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)

"""Names of devices, lines of fstab, volumes of a disk, each otherwise: what is said then, word for word."""

from __future__ import annotations

import struct
import tempfile
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
from phony import builder

from pipeline.content.lvm import LogicalVolume, Place
from pipeline.content.partition_types import BIOS_BOOT, DYNAMIC_DISK, EFI_SYSTEM
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.formats.base import Problem
from pipeline.guest import facts as facts_of
from pipeline.guest import (
    firmware,
    fstab,
    roots,
    survey,
)
from pipeline.guest.survey import Survey, Volume
from pipeline.guest.volumes import Volumes
from pipeline.source import Source
from tests import every_field

disks = builder("guest_disks")
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


def lvm_disks(directory: Path) -> Iterator[tuple[str, Path]]:
    """Volume groups, whole, in pieces, and without their other half."""
    (directory / "root").write_bytes(bytes(4 << 20))
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "in pieces": {"pieces": 3},
        "half": {"whole": False},
    }
    for name, options in ways.items():
        yield name, disks.lvm(directory / name, "vg", {"root": directory / "root"}, **options)
    other = disks.lvm(directory / "other", "other", {"root": directory / "root"}).read_bytes()
    whole = (directory / "whole").read_bytes()
    for name, group in (("whole", other), ("in pieces", other), ("half", other), ("whole", whole)):
        entries = (struct.pack("<B3xB3xII", 0, 0x8E, at << 11, 16 << 11) for at in (1, 17))
        table = (bytes(446) + b"".join(entries)).ljust(510, b"\0") + b"\x55\xaa"
        parts = [
            (directory / name).read_bytes().ljust(16 << 20, b"\0"),
            group.ljust(16 << 20, b"\0"),
        ]
        path = directory / f"{name} beside {'itself' if group == whole else 'another'}"
        path.write_bytes(table.ljust(1 << 20, b"\0") + b"".join(parts))
        yield path.name, path


@TABLES
def surveys() -> Iterator[str]:
    """What lies on a disk, from its bytes."""
    with tempfile.TemporaryDirectory() as directory:
        for name, path in lvm_disks(Path(directory)):
            with Source.open(path) as source:
                found = survey.survey(source)
            more = [[x.device, x.pieces, x.mountable, x.opaque] for x in found.volumes]
            yield from varied.of_values(
                {name: found}, lambda it, more=more: {"found": it, "more": more}
            )
    places = {
        "none": None,
        "empty": (),
        "one": ((0, 4),),
        "joined": ((0, 4), (4, 2)),
        "apart": ((0, 4), (5, 2)),
        "behind": ((4, 2), (0, 4)),
        "three": ((0, 4), (4, 2), (6, 1), (9, 1)),
    }
    for name, parts in places.items():
        for physical in ("a", "b"):
            at = None if parts is None else tuple(Place(physical, *part) for part in parts)
            found = survey._pieces_on_disk(LogicalVolume("v", 10, None, None, at), {"a": 100})
            yield f"{name} on {physical}  {found}"


@TABLES
def kinds_of_volumes() -> Iterator[str]:
    """What a volume may hold, by what is known of it."""
    kinds = (
        None,
        "ext4",
        "xfs",
        "vfat",
        "ntfs",
        "swap",
        "crypto_LUKS",
        "BitLocker",
        "LVM2_member",
        "iso9660",
        "udf",
        "zfs_member",
        "linux_raid_member",
    )
    for kind in kinds:
        for offset, spread in ((0, None), (None, None), (None, ((0, 1), (2, 3)))):
            for partition, group in ((None, None), (1, None), (None, "vg")):
                volume = Volume("/d", offset, 9, kind, partition, group=group, spread=spread)
                said = (volume.pieces, volume.mountable, volume.opaque)
                one = Survey(TABLE, (volume,), (), (), truncated=False)
                alone = roots._placeless(Volumes(one, Disk((volume,), ({},))))
                without = facts_of.without_appliance(one)
                none = without and without["unknown"].get("systems", without["systems"])
                hidden = fstab.hides_something(one)
                yield f"{kind} {offset} {spread} {partition} {group}  {said} {hidden} {alone} {none}"
    for truncated in (False, True):
        for problems in ((), (Problem("rule", "detail"),)):
            for kind in ("swap", "BitLocker"):
                table = PartitionTable("mbr", problems=problems)
                some = Survey(table, (Volume("/d", 0, 9, kind),), (), (), truncated=truncated)
                found = facts_of.without_appliance(some)
                said = found and (
                    found["systems"],
                    found["unknown"].get("systems"),
                    found["swap_partitions"],
                )
                hidden = fstab.hides_something(some)
                yield f"{truncated} {len(problems)} {kind}  {said} {some.encrypted != ()} {hidden}"


@TABLES
def last_on_disk() -> Iterator[str]:
    """Which partition can grow, and which firmware starts a disk."""
    for names in (
        ("", "", ""),
        ("", "", "extended"),
        ("extended", "", ""),
        ("Linux extended", "", ""),
    ):
        parts = tuple(
            replace(part, type_name=name) for part, name in zip(PARTS[1:4], names, strict=True)
        )
        found = Survey(PartitionTable("mbr", parts), (), (), (), truncated=False)
        ends = [found.is_last(Volume("/d", 0, 1, "ext4", number)) for number in (1, 2, 3, 4, 5)]
        plain, grouped = Volume("/d", 0, 1, "ext4"), Volume("/d", 0, 1, "ext4", group="vg")
        yield f"{names}  {ends} {found.is_last(plain)} {found.is_last(grouped)} {found.dynamic}"
    for kind in ("0x42", "0x83", BIOS_BOOT, *DYNAMIC_DISK):
        for bootable in (False, True):
            part = replace(PARTS[0], type=kind, bootable=bootable)
            for scheme in ("gpt", "mbr", "none"):
                for code in (None, "grub", "syslinux", "windows", "unknown"):
                    table = PartitionTable(scheme, (part,), boot_code=code)
                    dynamic = Survey(table, (), (), (), truncated=False).dynamic
                    yield f"{kind} {bootable} {scheme} {code}  {survey.boots_from_bios(table)} {dynamic}"
    for listed in (
        [],
        ["/EFI/BOOT/BOOTX64.EFI"],
        ["/efi/debian/grubx64.efi"],
        ["/EFI/x/BOOTAA64.efi"],
    ):
        for table in (PartitionTable("gpt"), PartitionTable("mbr", boot_code="grub")):
            yield f"{listed} {table.scheme}  {firmware.facts(table, listed)}"


@TABLES
def loaders_of_efi() -> Iterator[str]:
    """Each file of an EFI system partition otherwise."""
    names = (
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/debian/shimx64.efi",
        "EFI/debian/grub.cfg",
        "boot/x/a.efi",
        "zoo/x/b.efi",
    )
    tree: dict[str, Any] = dict.fromkeys(names, "x")
    yield from varied.of_tree(tree, lambda files: {"loaders": firmware.efi_loaders(files)})
    for count in (15, 16, 17):
        many = varied.files_of({f"efi/{n:02}/a.efi": "x" for n in range(count)})
        yield f"{count} vendors  {len(firmware.efi_loaders(many))}"


@TABLES
def who_read_it() -> Iterator[str]:
    """Which rung brought each volume, and so the system."""
    base = pieces()
    found = facts(base)
    one = Survey(base.table, base.volumes, ("vg",), (), truncated=False)
    ways: dict[str, dict[str, list[str]]] = {
        "nobody": {},
        "one": {"/dev/vg/root": ["direct"]},
        "two": {"/dev/vg/root": ["direct", "appliance"], "/dev/sda1": ["direct"]},
        "others": {"/dev/sda1": ["appliance"], "/dev/sda2": ["direct"]},
    }
    for name, rungs in ways.items():
        for by in ("partition table", "inspect_os"):
            for entries in (
                found["filesystems"],
                [dict(x, use=None) for x in found["filesystems"]],
                [dict(x, use="/") for x in found["filesystems"]],  # as of several systems
            ):
                section = {**found, "found_by": by, "filesystems": entries}
                said = facts_of.credited(section, one, rungs)
                yield f"{name} {by}  {said['found_by']} {[x['read_by'] for x in said['filesystems']]}"


class Inspected(Disk):
    """A disk in which only libguestfs finds something."""

    def inspect(self) -> list[Any]:
        kinds = {volume.device: volume.type for volume in self.volumes}
        points = {"/": "/dev/sda3", "/boot": "/dev/sda2", "/data": "/dev/sda1"}
        return [{"root": "/dev/sda3", "mountpoints": points, "kinds": kinds}]


@TABLES
def inspected() -> Iterator[str]:
    """What comes of libguestfs' own inspection, and of disks that nobody can look into."""
    base = pieces()
    opaque = tuple(replace(x, type="zfs_member") for x in base.volumes[:3])
    root = {**base.trees[3], "etc/fstab": "tank/root / zfs defaults 0 0\n"}
    guest = Inspected(opaque, ({}, base.trees[1], root), base.table)
    yield from varied.of_values({"zfs": guest}, facts)
    windows = Inspected(opaque, ({}, {}, {"Windows/System32/config/SOFTWARE": b"x"}), base.table)
    yield from varied.of_values({"windows": windows}, facts)
    broken = Inspected(opaque, ({}, "it cannot be read", root), base.table)
    yield from varied.of_values({"boot that cannot be read": broken}, facts)
    for clean in (None, False, True):
        for kind in ("ext4", "vfat", "crypto_LUKS"):
            for groups in ((), ("vg",)):
                volume = Volume("/dev/sda1", 0, 9, kind, 1, clean=clean, detail="in use")
                some = Survey(base.table, (volume,), groups, groups, truncated=False)
                why = roots.reason_for_none(Volumes(some, Disk((volume,), ({},))))
                yield f"{clean} {kind} {groups}  {why}"


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)

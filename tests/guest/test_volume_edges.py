"""Volumes at their edges: kinds beside the one that is meant, names, counts, what lies behind what."""

from dataclasses import replace

import pytest
from guests import BOOT, OTHER, ROOT, TABLE, VOLUME, Disk, disks, facts, trees
from phony import files_of

from pipeline.content import lvm
from pipeline.content.partition_types import EFI_SYSTEM, MBR_EFI_SYSTEM
from pipeline.content.partitions import Partition, PartitionTable
from pipeline.guest import fstab, root_volume, survey
from pipeline.guest.roots import Root
from pipeline.guest.survey import Survey, Volume
from pipeline.source import Source
from tests.every_field import Memory as Bytes

MIB = 1 << 20


def part(number, start=0, size=MIB, kind="0x83", kind_name="", name="", uuid=None):
    return Partition(number, start, size, kind, kind_name, name, bootable=False, uuid=uuid)


# ------------------------------------------------------------------------------------- how many


@pytest.mark.parametrize("count", [1, 63, 64, 65, 66])
def test_sixty_four_partitions_are_looked_at(count):
    table = PartitionTable("gpt", tuple(part(n, n * 512, 512) for n in range(1, count + 1)))

    found = survey.survey(Bytes(bytes(512 * 80)), table)

    assert [volume.partition for volume in found.volumes] == list(range(1, min(count, 64) + 1))
    assert found.truncated is (count > 64)


def test_volumes_of_lvm_count_like_partitions(tmp_path, monkeypatch):
    (tmp_path / "lv").write_bytes(bytes(4096))
    volumes = dict.fromkeys("abcd", tmp_path / "lv")
    names = ["/dev/sda", *(f"/dev/vg/{name}" for name in volumes)]

    with Source.open(disks.lvm(tmp_path / "pv", "vg", volumes)) as source:
        for most in (1, 3, 4, 5, 6, 300):
            monkeypatch.setattr(survey, "MAX_VOLUMES", most)
            found = survey.survey(source)
            assert [volume.device for volume in found.volumes] == names[:most]
            assert found.truncated is (most < 5)


@pytest.mark.parametrize(
    ("places", "offset", "spread"),
    [(None, None, None), ((), None, None), ((lvm.Place("p", 4, 5),), 104, None),
     ((lvm.Place("p", 4, 5), lvm.Place("p", 19, 5)), None, ((104, 5), (119, 5))),
     ((lvm.Place("p", 4, 5), lvm.Place("q", 19, 5)), None, None)],
)  # fmt: skip
def test_where_a_logical_volume_lies(places, offset, spread):
    group = lvm.VolumeGroup("vg", 1, (lvm.LogicalVolume("lv", 10, None, None, places),))

    (found,) = survey._logical(Bytes(bytes(512)), group, {"p": 100})

    assert (found.device, found.offset, found.spread) == ("/dev/vg/lv", offset, spread)


@pytest.mark.parametrize(
    ("start", "there"), [(4095, True), (4096, False), (4097, False), (9000, False)]
)
def test_a_partition_behind_the_end_of_the_disk_is_no_volume(start, there):
    table = PartitionTable("mbr", (part(1, 512, 512), part(2, start, 512)))

    found = survey.survey(Bytes(bytes(4096)), table)

    assert [volume.partition for volume in found.volumes] == ([1, 2] if there else [1])


def test_what_is_said_of_a_partition():
    parts = (
        part(1, 512, 512, EFI_SYSTEM, name="one"),
        part(17, 1024, 512, MBR_EFI_SYSTEM),
        part(3, 1536, 512, uuid="AB-CD"),
        *(part(n, 2048, 512, kind_name=name) for n, name in
          enumerate(("extended", "Linux extended", "BIOS boot", "GPT protective"), 4)),
    )  # fmt: skip
    table = PartitionTable("mbr", parts, identifier="12345678")

    found = survey.survey(Bytes(bytes(8192)), table).volumes

    assert [(x.partition, x.device, x.partition_uuid, x.partition_label, x.esp) for x in found] == [
        (1, "/dev/sda1", "12345678-01", "one", True),
        (17, "/dev/sda17", "12345678-11", None, True),
        (3, "/dev/sda3", "ab-cd", None, False),
    ]


@pytest.mark.parametrize("scheme", ["gpt", "mbr", "none"])
def test_a_disk_without_a_table_may_be_one_volume(scheme):
    swap = bytes(4086) + b"SWAPSPACE2" + (1).to_bytes(4, "little") + bytes(4092)

    found = survey.survey(Bytes(swap), PartitionTable(scheme)).volumes

    assert [volume.device for volume in found] == (["/dev/sda"] if scheme == "none" else [])


@pytest.mark.parametrize(
    ("starts", "number", "last"),
    [((0,), 1, True), ((0, MIB), 1, False), ((0, MIB), 2, True), ((0, MIB - 1), 1, True), ((MIB, 0), 1, True),
     ((MIB, 0), 2, False), ((0,), 9, False), ((1,), 9, False), ((), 9, True)],
)  # fmt: skip
def test_what_nothing_lies_behind_is_last(starts, number, last):
    table = PartitionTable("mbr", tuple(part(n, start) for n, start in enumerate(starts, 1)))
    found = Survey(table, (), (), (), truncated=False)

    assert found.is_last(Volume("/d", 0, MIB, "ext4", number)) is last


# ------------------------------------------------------------------------------------------ kinds


def tree_of(**more):
    return {**trees.debian(ROOT), **more}


@pytest.mark.parametrize("kind", ["ext2", "ext4", "btrfs", "xfs", "f2fs"])
def test_a_root_on_any_kind_of_file_system(kind):
    found = facts(Disk((replace(VOLUME, type=kind),), (tree_of(),)))

    assert (found["systems"], found["os"]) == (1, "linux")
    assert found["filesystems"][0]["use"] == "/"
    assert found["efi_loaders"] == []


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "ntfs"])
def test_only_btrfs_has_subvolumes_with_a_system(kind):
    tree = {f"@/{name}": content for name, content in trees.debian(ROOT).items()}

    found = facts(Disk((replace(VOLUME, type=kind),), (tree,)))

    assert found["systems"] == (kind == "btrfs")


@pytest.mark.parametrize("kind", ["vfat", "ext4", "xfs", "btrfs"])
def test_only_fat_holds_loaders_of_efi(kind):
    volumes = (
        VOLUME,
        replace(VOLUME, device="/dev/sda2", partition=2, type=kind, uuid=OTHER, label=None),
    )

    found = facts(Disk(volumes, (tree_of(), {"EFI/BOOT/BOOTX64.EFI": "x"})))

    assert found["efi_loaders"] == (["/EFI/BOOT/BOOTX64.EFI"] if kind == "vfat" else [])
    assert found["firmware"] == ("both" if kind == "vfat" else "bios")


@pytest.mark.parametrize(
    ("kind", "use"),
    [("BitLocker", None), ("LVM2_member", "lvm"), ("ext4", None), ("swap", "swap"), ("vfat", None),
     ("crypto_LUKS", None), ("xfs", None), ("iso9660", None), ("udf", None)],
)  # fmt: skip
def test_what_a_volume_is_there_for(kind, use):
    volumes = (
        VOLUME,
        replace(VOLUME, device="/dev/sda2", partition=2, type=kind, uuid=OTHER, label=None),
    )

    found = facts(Disk(volumes, (tree_of(), {})))

    assert [entry["use"] for entry in found["filesystems"]] == ["/", use]
    assert found["swap_partitions"] == (["/dev/sda2"] if kind == "swap" else [])
    assert found["encrypted"] == (
        [f"/dev/sda2: {kind}"] if kind in ("BitLocker", "crypto_LUKS") else []
    )


@pytest.mark.parametrize("kind", ["ext4", "swap", "tmpfs", "udf", "vfat", "xfs", "auto"])
def test_a_line_of_fstab_for_boot(kind):
    # given a kernel that is only on the volume of /boot
    root = {name: content for name, content in tree_of().items() if not name.startswith("boot/")}
    own = {name[5:]: content for name, content in tree_of().items() if name.startswith("boot/")}
    root |= {
        "boot": None,
        "etc/fstab": f"UUID={ROOT} / ext4 defaults 0 1\nUUID={BOOT} /boot {kind}\n",
    }
    volumes = (VOLUME, replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT, label=None))

    found = facts(Disk(volumes, (root, own)))

    assert found["filesystems"][1]["use"] == ("swap" if kind == "swap" else "/boot")
    assert bool(found["kernels"]) is (kind != "swap")


@pytest.mark.parametrize(
    ("place", "attached"), [("/boot/efi", 1), ("/efi", 1), ("/boot", 2), ("/mnt", 2)]
)
def test_an_efi_system_partition_that_fstab_does_not_name(place, attached):
    esp = replace(VOLUME, type="vfat", esp=True, label=None)
    volumes = (VOLUME, replace(esp, device="/dev/sda2", partition=2, uuid="1234-ABCD"),
               replace(esp, device="/dev/sda3", partition=3, uuid="5678-ABCD"))  # fmt: skip
    entry = {"loader/entries/own.conf": "title Own\nlinux /k\n", "loader/loader.conf": "timeout 1\n",
             "EFI/systemd/systemd-bootx64.efi": "MZ"}  # fmt: skip
    root = {name: content for name, content in tree_of().items() if not name.startswith("boot/")}
    root["etc/fstab"] = f"UUID={ROOT} / ext4 defaults 0 1\nUUID=1234-ABCD {place} vfat\n"

    found = facts(Disk(volumes, (root, {}, entry)))

    titles = [entry["title"] for entry in (found["boot"] or {"entries": []})["entries"]]
    assert titles == (["Own"] if attached == 2 else [])


@pytest.mark.parametrize(
    ("tree", "has"),
    [({"usr/bin/growpart": "x"}, True), ({"bin/growpart": "x"}, True), ({}, False),
     ({"usr/lib/systemd/systemd-growfs": "x"}, False), ({"usr/sbin/growpart": "x"}, False)],
)  # fmt: skip
def test_what_makes_the_partition_larger(tree, has):
    files = files_of(tree)
    root = Root("linux", files, files.find("/").tree, VOLUME, "/dev/sda1")

    found = root_volume.file_system(root, Survey(TABLE, (VOLUME,), (), (), truncated=False), None)

    assert found.growpart is has


@pytest.mark.parametrize(
    ("told", "root", "boot"),
    [({}, "auto", "auto"), ({"/dev/sda1": "zfs"}, "zfs", "auto"), ({"/dev/sda2": "ext4"}, "auto", "ext4"),
     ({"/dev/sda1": "zfs", "/dev/sda2": "ext4", "/dev/sda3": "xfs"}, "zfs", "ext4")],
)  # fmt: skip
def test_what_libguestfs_finds_is_mounted_as_it_says(told, root, boot):
    # given a disk of which only libguestfs finds out what it holds
    asked = []

    class Inspected(Disk):
        def mount(self, device, kind):
            asked.append((device, kind))
            return super().mount(device, kind)

        def inspect(self):
            points = {"/": "/dev/sda1", "/boot": "/dev/sda2", "/data": "/dev/sda3"}
            return [{"root": "/dev/sda9", "mountpoints": points, "kinds": told}]

    volumes = tuple(
        replace(VOLUME, device=f"/dev/sda{n}", type="zfs_member", partition=n) for n in (1, 2, 3)
    )

    found = facts(Inspected(volumes, (tree_of(), {}, {})))

    assert (found["systems"], found["found_by"]) == (1, "inspect_os")
    assert asked == [("/dev/sda1", root), ("/dev/sda2", boot)]


# ------------------------------------------------------------------------------------------ fstab


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("LABEL=a /a", ("LABEL=a", "/a", "auto", ())),
        ("LABEL=a /a ext4", ("LABEL=a", "/a", "ext4", ())),
        ("LABEL=a /a ext4 ro", ("LABEL=a", "/a", "ext4", ("ro",))),
        ("LABEL=a /a ext4 ro,x 0", ("LABEL=a", "/a", "ext4", ("ro", "x"))),
        ("LABEL=a /a ext4 ro 0 1 more", ("LABEL=a", "/a", "ext4", ("ro",))),
        ("LABEL=a", None), ("#LABEL=a /a", None), ("# LABEL=a /a", None), ("", None),
        (r'"LABEL=a\040b" /a\011b', ("LABEL=a b", "/a\tb", "auto", ())),
        (r"LABEL=\100\1019 /a", ("LABEL=@A9", "/a", "auto", ())),
        ("UUID='a' /a", ("UUID='a", "/a", "auto", ())),
        ('UUID="a" /a', ("UUID=a", "/a", "auto", ())),
    ],
)  # fmt: skip
def test_a_line_of_fstab(line, expected):
    found = fstab.parse(f"{line}\n")

    assert [(x.spec, x.mountpoint, x.type, x.options) for x in found] == (
        [expected] if expected else []
    )


def named(number, **other):
    return replace(
        VOLUME, device=f"/dev/sda{number}", partition=number, uuid=None, label=None, **other
    )


@pytest.mark.parametrize(
    ("spec", "number"),
    [("/dev/sda0", None), ("/dev/sda1", None), ("/dev/sda2", 2), ("/dev/sda20", None), ("/dev/vda300", 300),
     ("PARTUUID=p-2/PARTNROFF=298", 300), ("PARTUUID=p-2/PARTNROFF=1", 3), ("PARTUUID=p-3/PARTNROFF=-1", 2),
     ("PARTUUID=p-2/PARTNROFF=2", None), ("PARTUUID=p-3/PARTNROFF=-999", None), ("PARTLABEL=b", 3),
     ("PARTLABEL=a", None), ("PARTLABEL=c", None), ("LABEL=b", None), ("PARTUUID=P-300", 300),
     ("PARTUUID=p", None)],
)  # fmt: skip
def test_which_volume_a_name_means(spec, number):
    volumes = (named(2, partition_uuid="p-2"), named(3, partition_uuid="p-3", partition_label="b"),
               named(300, partition_uuid="p-300"), Volume("/dev/vg/a", None, 1, "ext4"))  # fmt: skip

    found = fstab.find(spec, volumes)

    assert (found and found.partition) == number


@pytest.mark.parametrize(
    ("spec", "there"),
    [("/dev/vg/a", True), ("/dev/vg/b", False), ("/dev/vg/a/b", None), ("/dev/a", None), ("/dev/md0", False),
     ("/dev/mapper/vg-a", True), ("/dev/mapper/vg-b", False), ("/dev/mapper/vg-a-b", False),
     ("/dev/zram0", None),
     ("/dev/cciss/c0d0p1", None), ("/dev/disk/by-id/x", None), ("/dev/sr0", False), ("/dev/sda2", True),
     ("/dev/sdb2", False), ("/dev/sda7", False), ("/dev/nbd0", None), ("tmpfs", None), ("ID=x", None)],
)  # fmt: skip
def test_whether_the_disk_holds_what_a_name_means(spec, there):
    volumes = (named(2), Volume("/dev/vg/a", None, 1, "ext4", group="vg"))

    assert fstab.on_disk(spec, Survey(TABLE, volumes, ("vg",), (), truncated=False)) is there

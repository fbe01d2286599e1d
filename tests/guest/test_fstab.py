"""/etc/fstab: which lines another machine cannot follow, and what each costs the first start."""

import json
import os
import subprocess
from dataclasses import replace

import pytest
from guests import BOOT, OTHER, ROOT, TABLE, VOLUME, Disk, disk, facts, findings

from pipeline.guest import fstab
from pipeline.guest.survey import Survey, Volume

ENGLISH = {**os.environ, "LC_ALL": "C"}
ROOT_LINE = f"UUID={ROOT} / ext4 errors=remount-ro 0 1\n"
ABSENT, BY_NAME, SLOW = {"fstab-absent-disks"}, {"fstab-device-names"}, {"fstab-slow-start"}


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        # what is on the disk
        (f"UUID={ROOT} /home ext4 defaults 0 2", set()),
        (f"UUID={ROOT.upper()} /x ext4", set()),
        (f'UUID="{ROOT}" /x ext4', set()),
        ("LABEL=root /x ext4", set()),
        ("PARTUUID=12345678-01 /x ext4", set()),
        ("PARTLABEL=system /x ext4", set()),
        (f"/dev/disk/by-uuid/{ROOT} /x ext4", set()),
        ("/dev/disk/by-label/root /x ext4", set()),
        ("/dev/disk/by-partuuid/12345678-01 /x ext4", set()),
        ("/dev/disk/by-partlabel/system /x ext4", set()),
        ("PARTUUID=12345678-01/PARTNROFF=0 /x ext4", set()),
        # what is not
        ("PARTUUID=12345678-01/PARTNROFF=1 /x ext4", ABSENT),
        ("PARTUUID=12345678-02/PARTNROFF=0 /x ext4", ABSENT),
        (f"UUID={OTHER} /data ext4", ABSENT),
        ("LABEL=data /data ext4", ABSENT),
        ("LABEL=ROOT /data ext4", ABSENT),
        ("PARTUUID=12345678-02 /data ext4", ABSENT),
        ("PARTLABEL=data /data ext4", ABSENT),
        (f"/dev/disk/by-uuid/{OTHER} /data ext4", ABSENT),
        ("/dev/disk/by-label/data /data ext4", ABSENT),
        ("/dev/disk/by-label/my\\x20data /data ext4", ABSENT),
        ("/dev/disk/by-partuuid/12345678-02 /data ext4", ABSENT),
        ("/dev/mapper/vg-data /data ext4", ABSENT),
        ("/dev/vg/data /data ext4", ABSENT),
        ("/dev/md0 /data ext4", ABSENT),
        ("/dev/md/host:0 /data ext4", ABSENT),
        ("/dev/sr0 /media/cdrom iso9660 ro", ABSENT),
        ("/dev/cdrom /media/cdrom udf,iso9660 ro", ABSENT),
        # names that change
        ("/dev/sda1 /x ext4", BY_NAME),
        ("/dev/vda1 /x ext4", BY_NAME),
        ("/dev/xvda1 /x ext4", BY_NAME),
        ("/dev/hda1 /x ext4", BY_NAME),
        ("/dev/nvme0n1p1 /x ext4", BY_NAME),
        ("/dev/mmcblk0p1 /x ext4", BY_NAME),
        ("/dev/cciss/c0d0p1 /x ext3", BY_NAME),
        ("/dev/loop0p1 /x ext4", BY_NAME),
        ("/dev/nbd0p1 /x ext4", BY_NAME),
        ("/dev/dm-0 /x ext4", BY_NAME),
        ("/dev/disk/by-id/ata-VBOX_HARDDISK_VB1-part1 /x ext4", BY_NAME),
        ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part1 /x ext4", BY_NAME),
        ("/dev/sdb1 /data ext4", ABSENT),
        ("/dev/vdb /data ext4", ABSENT),
        ("/dev/sda7 /data ext4", ABSENT),
        ("/dev/disk/by-id/dm-name-vg-root /x ext4", set()),
        ("/dev/disk/by-id/lvm-pv-uuid-abc /x ext4", set()),
        # what the start goes on without
        (f"UUID={OTHER} /data ext4 nofail", set()),
        (f"UUID={OTHER} /data ext4 defaults,nofail,x-systemd.device-timeout=1", set()),
        (f"UUID={OTHER} /data ext4 noauto", set()),
        (f"UUID={OTHER} /data ext4 x-systemd.automount", set()),
        (f"UUID={OTHER} /data ext4 noauto,x-systemd.automount", set()),
        (f"UUID={OTHER} /data ext4 nobootwait", set()),
        ("/dev/sdb1 /data ext4 nofail", set()),
        ("/dev/mapper/vg-data /data ext4 nofail", set()),
        ("/dev/sr0 /media/cdrom udf,iso9660 user,noauto", set()),
        # what the start waits for
        (f"UUID={OTHER} none swap sw", SLOW),
        ("/dev/sda5 none swap sw", SLOW),
        ("/dev/mapper/vg-swap none swap sw", SLOW),
        (f"UUID={OTHER} none swap sw,nofail", set()),
        ("nas:/export /mnt nfs", SLOW),
        ("nas:/export /mnt nfs4 _netdev", SLOW),
        ("//nas/share /mnt cifs credentials=/x", SLOW),
        ("nas:/export /mnt nfs nofail", set()),
        ("nas:/export /mnt nfs noauto", set()),
        (f"UUID={OTHER} /data ext4 _netdev", SLOW),
        # no devices
        ("tmpfs /tmp tmpfs defaults", set()),
        ("proc /proc proc defaults", set()),
        ("none /sys/kernel/debug debugfs", set()),
        ("/swapfile none swap sw", set()),
        ("/srv/a /srv/b none bind", set()),
        ("/dev/zram0 none swap", set()),
        ("/dev/loop0 /x ext4", BY_NAME),  # nobody attaches it before local-fs.target
        ("overlay /x overlay lowerdir=/a", set()),
        # no lines
        ("# /dev/sdb1 /data ext4", set()),
        ("", set()),
        ("/dev/sdb1", set()),
    ],
)
def test_a_line_of_fstab(line, rules):
    guest = disk({"etc/fstab": f"{ROOT_LINE}{line}\n"}, partition_label="system")

    assert findings(guest) == rules


@pytest.mark.parametrize(
    "hidden",
    [
        Volume("/dev/sda2", 0, 1, "crypto_LUKS", 2),
        Volume("/dev/sda2", 0, 1, "linux_raid_member", 2),
        Volume("/dev/sda2", 0, 1, None, 2),
    ],
    ids=["encrypted", "RAID", "unknown"],
)
def test_what_may_lie_where_nobody_can_look_is_unknown(hidden):
    lines = fstab.parse(f"UUID={OTHER} /data ext4\nUUID={OTHER} none swap\n")
    survey = Survey(TABLE, (VOLUME, hidden), (), (), truncated=False)

    assert (fstab.absent(lines, survey), fstab.slow(lines, survey)) == (None, None)


LOGICAL = Volume("/dev/my-vg/root", 0, 1, "ext4", group="my-vg")


@pytest.mark.parametrize(
    ("spec", "volume"),
    [
        ("LABEL=my\\040root", "my root"),
        ("/dev/disk/by-label/my\\x20root", "my root"),
        ("/dev/vda1", "my root"),
        ("/dev/nvme0n1p1", "my root"),
        ("/dev/sdb1", None),
        ("/dev/mapper/my--vg-root", None),
        ("UUID=", None),
        ("=", None),
    ],
)
def test_which_volume_a_line_means(spec, volume):
    labelled = replace(VOLUME, label="my root")
    (line,) = fstab.parse(f"{spec} / auto")

    found = fstab.find(line.spec, (labelled, LOGICAL))

    expected = LOGICAL if "my--vg" in spec else (labelled if volume else None)
    assert found is expected


def test_a_volume_group_and_its_root():
    system = {
        **disk().trees[0],
        "etc/fstab": "/dev/mapper/vg-root / ext4 rw\n/dev/vg/swap none swap\n",
    }
    volumes = (
        Volume("/dev/sda1", 0, 1, "LVM2_member", 1),
        replace(VOLUME, device="/dev/vg/root", partition=None, group="vg"),
        Volume("/dev/vg/swap", 0, 1, "swap", group="vg"),
    )

    assert findings(Disk(volumes, ({}, system, {}))) == set()


@pytest.mark.parametrize("mountpoint", ["/boot", "/var", "/usr", "/home", "/boot/efi"])
def test_a_part_of_the_system_that_cannot_be_read_is_named(mountpoint):
    system = {**disk().trees[0], "etc/fstab": f"{ROOT_LINE}UUID={BOOT} {mountpoint} ext4 rw\n"}
    volume = replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT)

    unknown = facts(Disk((VOLUME, volume), (system, "bad superblock")))["unknown"]

    reasons = [reason for name, reason in unknown.items() if not name.startswith("volume")]
    assert reasons
    cause = f"{mountpoint} (/dev/sda2) could not be read: bad superblock"
    assert all(reason.endswith(cause) for reason in reasons)
    assert unknown["volume /dev/sda2"] == "bad superblock"


def test_two_hundred_lines_are_enough():
    assert len(fstab.parse("a /b c\n" * 10_000)) == fstab.MAX_LINES


TEXTS = [
    "UUID=1 / ext4 defaults 0 1\n",
    "# comment\n\n  # another\nLABEL=x /a\\040b xfs\n/dev/sda1\t/d\text4\trw,noauto\t0\t0\n",
    "LABEL=my\\040label /c ext4 ro\n",
    "tmpfs /tmp tmpfs size=5%,mode=1777 0 0\nproc /proc proc\n",
    "/dev/mapper/vg-lv /x auto nofail,x-systemd.automount\n",
    "//nas/my\\040share /mnt cifs credentials=/root/c,_netdev 0 0\n",
]


@pytest.mark.needs("findmnt")
@pytest.mark.parametrize("text", TEXTS)
def test_findmnt_reads_the_same_lines(tmp_path, text):
    path = tmp_path / "fstab"
    path.write_text(text)
    argv = ["findmnt", "--tab-file", path, "--list", "-J", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS"]
    said = subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout

    truth = [
        (item["source"], item["target"], item["fstype"], item["options"] or "")
        for item in json.loads(said)["filesystems"]
    ]
    ours = [
        (line.spec, line.mountpoint, line.type, ",".join(line.options))
        for line in fstab.parse(text)
    ]
    assert ours == truth


@pytest.mark.needs("findmnt")
@pytest.mark.parametrize("options", ["defaults", "rw,noatime", "noauto", "noauto,nofail"])
def test_findmnt_calls_the_same_lines_required(tmp_path, options):
    text = f"LABEL=imgprep-test-{OTHER} {tmp_path} ext4 {options} 0 0\n"
    path = tmp_path / "fstab"
    path.write_text(text)
    argv = ["findmnt", "--verify", "--tab-file", path]
    said = subprocess.run(argv, capture_output=True, text=True, env=ENGLISH, timeout=60).stdout

    (line,) = fstab.parse(text)
    assert line.required == ("[E] unreachable on boot required source" in said)

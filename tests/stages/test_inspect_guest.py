"""The stage on phony guests in real containers, by every rung, and everything that keeps it from them."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from phony import builder

from pipeline import profile
from pipeline.beside import Beside
from pipeline.content.partitions import PartitionTable
from pipeline.disk import GuestDisk
from pipeline.errors import ToolError
from pipeline.guest.survey import Survey, Volume
from pipeline.model import Job, Options, StageStatus
from pipeline.source import Source
from pipeline.stage import Cancellation, Context
from stages import inspect_guest
from stages.identify import Identify
from stages.inspect_disk import InspectDisk
from stages.inspect_guest import InspectGuest

MIB = 1 << 20
SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "facts.schema.json"
BUILD = ("mke2fs", "sfdisk", "zstd", "qemu-nbd")
LAUNCH = (*BUILD, "qemu-system-x86_64", "supermin")


def inspect(path, scratch, **options):
    """What the three inspecting stages find out about a file."""
    notes = []
    with Source.open(path) as source:
        context = Context(
            job=Job(str(path), "rackspace", options=Options(**options)),
            job_id="test",
            source=source,
            profile=profile.load("rackspace"),
            scratch=scratch,
            beside=Beside(scratch, "test"),
            notebook=None,
            cancellation=Cancellation(),
            monitor=notes.append,
        )
        facts = dict(Identify().run(context).facts)
        with GuestDisk(source, facts["container"], scratch) as disk:
            for stage in (InspectDisk(), InspectGuest()):
                outcome = stage.run(replace(context, facts=facts, opened=disk))
                facts = {**facts, **outcome.facts}
        source.require_unchanged()
    assert os.listdir(scratch) == []
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes())).validate(facts)
    return outcome, facts


def judged(facts, *rules):
    """How the built-in requirements of these names come out."""

    found = {}
    chosen = profile.load("rackspace")
    judgement = profile.judge(chosen, facts)
    for rule in rules:
        failed = [item for item in judgement.findings if item.rule == rule]
        known = {"pass": judgement.passed, "not applicable": judgement.not_applicable}
        found[rule] = (
            failed[0].status.value
            if failed
            else next(word for word, names in known.items() if rule in names)
        )
    return found


def read(tmp_path_factory, name, container="raw", mode="require"):
    directory = tmp_path_factory.mktemp(name)
    image = builder().build(name, directory)
    if container != "raw":
        packed = image.with_suffix(f".{container}")
        argv = ["qemu-img", "convert", "-f", "raw", "-O", container, image, packed]
        subprocess.run(argv, check=True, timeout=60)
        image = packed
    (directory / "scratch").mkdir()
    outcome, facts = inspect(image, directory / "scratch", guest=mode)
    assert outcome.status is StageStatus.DONE
    return outcome, facts


def readers(facts):
    """Who read which volume."""
    return {item["device"]: item["read_by"] for item in facts["guest"]["filesystems"]}


# -------------------------------------------------------------------------- by the direct reader


@pytest.mark.needs(*BUILD, "qemu-img")
def test_debian_in_a_qcow2(tmp_path_factory):
    outcome, facts = read(tmp_path_factory, "debian", "qcow2")

    assert outcome.tools == {"libfsext": outcome.tools["libfsext"]}
    assert readers(facts) == {"/dev/sda1": ["direct"]}
    require_debian(facts)


@pytest.mark.appliance
@pytest.mark.timeout(400)
@pytest.mark.needs(*LAUNCH, "qemu-img")
def test_debian_in_a_qcow2_by_the_appliance(tmp_path_factory):
    outcome, facts = read(tmp_path_factory, "debian", "qcow2", "appliance")

    assert outcome.tools["libguestfs"].startswith("1.")
    assert (facts["guest"]["found_by"], readers(facts)) == (
        "appliance",
        {"/dev/sda1": ["appliance"]},
    )
    require_debian(facts)


def require_debian(facts):
    guest = facts["guest"]

    assert (guest["os"], guest["distro"], guest["version"]) == ("linux", "debian", "12")
    assert (guest["firmware"], guest["arch"]) == ("bios", "x86_64")
    assert guest["xen_drivers"]["xen-blkfront"] == "initramfs"
    assert guest["unknown"] == {}
    assert guest["filesystems"][0]["use"] == "/"
    assert judged(
        facts, "xen-drivers-in-initramfs", "uefi-only", "windows-guest", "machine-id"
    ) == {
        "xen-drivers-in-initramfs": "pass",
        "uefi-only": "pass",
        "windows-guest": "pass",
        "machine-id": "pass",
    }


@pytest.mark.needs(*BUILD)
def test_a_boot_partition_on_ext2_is_read(tmp_path_factory):
    _, facts = read(tmp_path_factory, "ext2-boot")
    guest = facts["guest"]

    assert guest["unknown"] == {}
    assert guest["boot"]["config"] == "/boot/grub/grub.cfg"
    assert guest["boot"]["missing"] == []
    assert guest["xen_drivers"]["xen-blkfront"] == "initramfs"


@pytest.mark.needs(*BUILD, "mkntfs", "ntfs-3g", "fusermount", "module:hivex")
def test_a_windows_domain_controller(tmp_path_factory):
    _, facts = read(tmp_path_factory, "windows-dc", mode="direct")
    guest = facts["guest"]

    assert guest["found_by"] == "direct"

    assert (guest["os"], guest["product_name"]) == ("windows", "Windows Server 2022 Standard")
    assert (guest["version"], guest["arch"], guest["firmware"]) == ("10.0.20348", "x86_64", "bios")
    assert (guest["windows"]["product_type"], guest["windows"]["hibernated"]) == ("LanmanNT", True)
    assert guest["windows"]["evaluation_ends"] == 1_700_000_000 + 180 * 86400
    assert guest["windows"]["pending_reboot"] == [
        "component servicing (RebootPending)", "Windows Update (RebootRequired)",
    ]  # fmt: skip
    assert guest["databases"] == ["mssql: /Program Files/Microsoft SQL Server/MSSQL15.X/MSSQL/DATA"]
    assert judged(
        facts, "windows-guest", "windows-domain-controller", "database-in-image", "machine-id"
    ) == {
        "windows-guest": "fail",
        "windows-domain-controller": "fail",
        "database-in-image": "fail",
        "machine-id": "not applicable",
    }


@pytest.mark.needs(*BUILD, "mkfs.xfs", "mkfs.vfat", "mcopy")
def test_a_fedora_that_starts_with_uefi_only(tmp_path_factory):
    _, facts = read(tmp_path_factory, "fedora-uefi", mode="direct")
    guest = facts["guest"]

    assert guest["found_by"] == "direct"

    assert (guest["distro"], guest["firmware"]) == ("fedora", "uefi")
    assert guest["efi_loaders"] == ["/EFI/BOOT/BOOTX64.EFI"]
    assert [item["use"] for item in guest["filesystems"]] == ["/boot/efi", "/boot", "/"]
    assert guest["kernels"][0]["initramfs"] == "/boot/initramfs-6.1.0-18-amd64.img"
    assert guest["xen_drivers"]["xen-blkfront"] == "module"
    assert judged(facts, "uefi-only", "xen-drivers-in-initramfs", "boot-loader") == {
        "uefi-only": "fail",
        "xen-drivers-in-initramfs": "fail",
        "boot-loader": "pass",
    }


@pytest.mark.needs(*BUILD, "mkswap")
def test_a_root_on_lvm(tmp_path_factory):
    _, facts = read(tmp_path_factory, "lvm", mode="direct")
    guest = facts["guest"]

    assert guest["found_by"] == "direct"

    assert guest["os"] == "linux"
    assert [(item["device"], item["use"]) for item in guest["filesystems"]] == [
        ("/dev/sda1", "lvm"),
        ("/dev/vg/root", "/"),
        ("/dev/vg/swap", "swap"),
    ]
    assert guest["fstab_absent"] == ["UUID=99999999-2222-4333-8444-555555555555 on /data"]
    assert judged(facts, "lvm-devices-file", "fstab-absent-disks") == {
        "lvm-devices-file": "fail",
        "fstab-absent-disks": "fail",
    }


# ------------------------------------------------------------------------------ up the ladder


@pytest.mark.appliance
@pytest.mark.timeout(400)
@pytest.mark.needs(*LAUNCH)
def test_what_the_direct_reader_must_not_read_is_read_by_the_appliance(tmp_path_factory):
    _, facts = read(tmp_path_factory, "two-rungs")

    assert (facts["guest"]["os"], facts["guest"]["found_by"]) == ("linux", "appliance")
    assert readers(facts) == {"/dev/sda1": ["direct"], "/dev/sda2": ["appliance"]}
    assert facts["guest"]["xen_drivers"]["xen-blkfront"] == "initramfs"
    assert facts["guest"]["unknown"] == {}


@pytest.mark.needs(*BUILD)
def test_without_an_appliance_it_is_unknown_and_the_reason_is_said(tmp_path, scratch):
    outcome, facts = inspect(builder().build("two-rungs", tmp_path), scratch, guest="direct")

    assert outcome.status is StageStatus.DONE
    assert readers(facts) == {"/dev/sda1": ["direct"], "/dev/sda2": []}
    assert "bit 0x8000" in facts["guest"]["unknown"]["volume /dev/sda2"]
    assert judged(facts, "windows-guest", "guest-no-system") == {
        "windows-guest": "unknown",
        "guest-no-system": "unknown",
    }


@pytest.mark.appliance
@pytest.mark.timeout(400)
@pytest.mark.needs(*LAUNCH, "mkfs.btrfs")
def test_a_root_in_a_subvolume(tmp_path_factory):
    outcome, facts = read(tmp_path_factory, "btrfs")
    guest = facts["guest"]

    assert outcome.tools["libguestfs"].startswith("1.")
    assert guest["found_by"] == "appliance"
    assert (guest["os"], guest["firmware"]) == ("linux", "bios")
    assert guest["ssh"]["authorized_keys"] == ["/home/admin/.ssh/authorized_keys"]


@pytest.mark.appliance
@pytest.mark.timeout(400)
@pytest.mark.needs(*LAUNCH, "tune2fs", "debugfs")
def test_a_volume_that_crashes_its_reader_leaves_the_guest_unknown(tmp_path_factory):
    directory = tmp_path_factory.mktemp("panic")
    image = builder().build("panic", directory)
    (directory / "scratch").mkdir()

    outcome, facts = inspect(image, directory / "scratch")

    assert outcome.status is StageStatus.FAILED
    assert facts["guest"]["code"] == "guest-appliance-stopped"
    assert "file system may be damaged" in facts["guest"]["reason"]
    assert "LIBGUESTFS_DEBUG" not in facts["guest"]["reason"]
    assert judged(facts, "windows-guest", "uefi-only") == {
        "windows-guest": "unknown",
        "uefi-only": "unknown",
    }


# ------------------------------------------------------------------------------- without a launch


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.mark.needs(*BUILD)
def test_turned_off(tmp_path, scratch):
    outcome, facts = inspect(builder().build("debian", tmp_path), scratch, guest="off")

    assert outcome.status is StageStatus.SKIPPED
    assert facts["guest"] == {
        "status": "skipped",
        "reason": "guest inspection was turned off (--guest=off)",
    }
    assert judged(facts, "windows-guest", "uefi-only") == {
        "windows-guest": "unknown",
        "uefi-only": "unknown",
    }


def test_a_blank_disk_needs_no_appliance(tmp_path, scratch):
    outcome, facts = inspect(builder().build("blank", tmp_path), scratch)

    assert outcome.status is StageStatus.DONE
    assert facts["guest"]["systems"] == 0
    assert judged(facts, "guest-no-system") == {"guest-no-system": "fail"}


@pytest.mark.needs("cryptsetup", "sfdisk")
def test_an_encrypted_disk_needs_no_appliance(tmp_path, scratch):
    _, facts = inspect(builder().build("luks", tmp_path), scratch)

    assert facts["guest"]["encrypted"] == ["/dev/sda1: crypto_LUKS"]
    assert facts["guest"]["unknown"]["os"] == "the system is encrypted"
    assert judged(
        facts, "disk-encrypted", "encrypted-volume", "guest-no-system", "windows-guest"
    ) == {
        "disk-encrypted": "fail",
        "encrypted-volume": "fail",
        "guest-no-system": "unknown",
        "windows-guest": "unknown",
    }


@pytest.mark.needs(*BUILD, "debugfs")
def test_a_disk_that_begins_like_another_image_meets_no_appliance(tmp_path, scratch):
    image = builder().build("hostile", tmp_path)

    outcome, facts = inspect(image, scratch, guest="require")

    assert outcome.status is StageStatus.SKIPPED
    assert facts["guest"]["status"] == "skipped"


def test_a_container_that_is_not_safe_meets_no_appliance(tmp_path, scratch):
    # given an overlay whose backing file is a file of the host
    image = tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", tmp_path / "base", "1M"], check=True)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "base", image]
    subprocess.run(argv, check=True)

    outcome, facts = inspect(image, scratch, guest="require")

    assert outcome.status is StageStatus.SKIPPED
    assert "backing-file" in facts["guest"]["reason"]


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setenv("SUPERMIN_KERNEL", "/nowhere/vmlinuz")


@pytest.mark.needs(*LAUNCH)
def test_an_appliance_that_cannot_start_makes_the_guest_unknown(tmp_path, scratch, no_kernel):
    outcome, facts = inspect(builder().build("debian", tmp_path), scratch, guest="appliance")

    assert outcome.status is StageStatus.FAILED
    assert (facts["guest"]["status"], facts["guest"]["code"]) == ("failed", "guest-kernel-missing")
    assert "correct SUPERMIN_KERNEL" in facts["guest"]["reason"]
    assert judged(facts, "windows-guest") == {"windows-guest": "unknown"}


@pytest.mark.needs(*LAUNCH)
def test_an_appliance_that_is_required_and_cannot_start_is_an_error(tmp_path, scratch, no_kernel):
    with pytest.raises(ToolError) as caught:
        inspect(builder().build("two-rungs", tmp_path), scratch, guest="require")

    assert (caught.value.code, caught.value.exit_code) == ("guest-kernel-missing", 3)


@pytest.mark.parametrize(
    ("kinds", "whole", "lvm"),
    [
        (("ext4", "vfat", "swap", "btrfs", "crypto_LUKS"), False, False),
        (("ext4", "LVM2_member"), False, True),
        (("ext4", "linux_raid_member"), True, True),
        (("ext4", "isw_raid_member"), True, True),
        (("ext4", None), True, True),
    ],
)
def test_the_appliance_looks_only_for_what_may_be_there(kinds, whole, lvm):
    volumes = tuple(
        Volume(f"/dev/sda{number}", number << 20, 1 << 20, kind, number)
        for number, kind in enumerate(kinds, start=1)
    )
    seen = Survey(PartitionTable("gpt"), volumes, (), (), truncated=False)

    needs = inspect_guest.needs(seen)

    assert (needs.whole, needs.lvm) == (whole, lvm)

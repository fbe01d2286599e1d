"""Real guests, changed in one place each: what imgprep says cannot start does not, and the rest does.

    Debian 12, one disk a boot way ──a file changed──▶ imgprep: exactly these findings
                                         └──▶ qemu, TCG ──▶ "login:" on its console, or why not

The guests are built without cloud-init's start, which takes half of the time under emulation.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import debians
import pytest
from debians import ROOT_UUID, Variant
from machines import FIRMWARE, LOGIN, said_until, started

PROFILE = Path(__file__).resolve().parents[1] / "guest/portable.json"
OTHER = "99999999-2222-4333-8444-555555555555"
STOPS = ("emergency mode", "(initramfs)", "end Kernel panic")
GRUB_CFG, FSTAB = "/boot/grub/grub.cfg", "/etc/fstab"
ABSENT_OPTIONS = (
    "x-systemd.device-timeout=5s"  # instead of 90 seconds, which are more under emulation
)
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs(
        *("mmdebstrap", "tar", "chroot", "mount", "losetup", "sfdisk", "mke2fs", "debugfs"),
        *(
            "fstrim",
            "mkfs.vfat",
            "mcopy",
            "grub-mkimage",
            "qemu-system-x86_64",
            "extlinux",
            "mkfs.xfs",
            "mkfs.btrfs",
            "supermin",  # btrfs is read by the appliance alone
            FIRMWARE,
        ),
    ),
    pytest.mark.skipif(debians.NOT_ROOT, reason="only root may mount and use chroot"),
    pytest.mark.timeout(1800),
]


@dataclass(frozen=True)
class Guest:
    """A disk, and where its file systems begin (bytes); the root is changed where it is a plain ext4."""

    path: Path
    variant: Variant
    kernel: str
    root: int
    esp: int | None = None

    def read(self, name: str) -> str:
        """A file's text; of the EFI system partition where it begins with "esp:"."""
        if name.startswith("esp:"):
            return debians.run("mtype", "-i", f"{self.path}@@{self.esp}", f"::{name[4:]}")
        return debians.run("debugfs", "-R", f"cat {name}", f"{self.path}?offset={self.root}")

    def write(self, name: str, text: str | None) -> None:
        """Another text for a file; None takes it away."""
        source = self.path.with_name("file")
        source.write_text(text or "")
        if name.startswith("esp:"):
            place = f"{self.path}@@{self.esp}"
            argv = ["mdel", "-i", place] if text is None else ["mcopy", "-o", "-i", place, source]
            debians.run(*argv, f"::{name[4:]}")
            return
        script = self.path.with_name("commands")
        script.write_text(f"rm {name}\n" + (f"write {source} {name}\n" if text is not None else ""))
        debians.run("debugfs", "-w", "-f", script, f"{self.path}?offset={self.root}")


@dataclass(frozen=True)
class Case:
    """A change, what imgprep says of it, and what the console shows."""

    way: str
    rules: set[str] = field(default_factory=set)
    shows: str = LOGIN
    grub: str | None = None  # grub.cfg's menu
    fstab: str = ""  # one more line
    files: dict[str, str | None] = field(default_factory=dict)

    @property
    def starts(self) -> bool:
        """Whether somebody may log in at its end."""
        return self.shows == LOGIN


WAYS = {
    "bios": Variant(),
    "uefi": Variant(uefi=True),
    "systemd-boot": Variant("systemd-boot", uefi=True),
    "uki": Variant("uki", uefi=True),
    "extlinux": Variant("extlinux"),
    "ext2-boot": Variant(boot=True),
    "lvm": Variant(lvm=True),
    "dracut-xfs": Variant(root="xfs", dracut=True),
    "btrfs": Variant(root="btrfs"),
}
SHELL = "serial --unit=0\nterminal_input serial\nterminal_output serial\nset timeout=1\n"
UNIT = "systemd.unit=getty.target"  # local file systems and the console, and no more to wait for
KERNEL = f"linux /boot/vmlinuz-{{version}} root={{root}} ro console=ttyS0 rootdelay=5 {UNIT}"
INITRD = "initrd /boot/initrd.img-{version}"


def menu(*entries: str, first: str = "") -> str:
    """A grub.cfg that talks to the console."""
    return (
        SHELL
        + first
        + "".join(f"menuentry 'E{n}' {{\n{text}\n}}\n" for n, text in enumerate(entries))
    )


def entry(kernel: str = KERNEL, initrd: str = INITRD, root: str = f"UUID={ROOT_UUID}") -> str:
    """A menu entry; the version of the kernel stays open."""
    return f"{kernel}\n{initrd}".replace("{root}", root)


GONE = KERNEL.replace("{version}", "gone")
CASES = {
    "bios as built": Case("bios"),
    "uefi as built": Case("uefi"),
    "systemd-boot as built": Case("systemd-boot"),
    "uki as built": Case("uki"),
    "extlinux as built": Case("extlinux"),
    "ext2-boot as built": Case("ext2-boot"),
    "lvm as built": Case("lvm"),
    "dracut-xfs as built": Case("dracut-xfs"),
    "btrfs as built": Case("btrfs"),
    "kernel that is not there": Case(
        "bios", {"boot-files-missing"}, "`/boot/vmlinuz-gone' not found", menu(entry(GONE))
    ),
    "initramfs that is not there": Case(
        "bios",
        {"boot-files-missing"},
        "Kernel panic",
        menu(entry(initrd="initrd /boot/initrd.img-gone")),
    ),
    "kernel that is not there, and another to fall back to": Case(
        "bios", {"boot-other-entries"}, LOGIN, menu(entry(GONE), entry(), first="set fallback=1\n")
    ),
    "no entry": Case("bios", {"boot-no-kernel", "root-device-name?"}, "grub>", SHELL),
    "root that is not on the disk": Case(
        "bios", {"root-not-on-disk"}, "(initramfs)", menu(entry(root=f"UUID={OTHER}"))
    ),
    "root by the name of another bus": Case(
        "bios", {"root-device-name"}, "(initramfs)", menu(entry(root="/dev/sda1"))
    ),
    "default that is in no menu": Case(
        "bios",
        {"boot-other-entries"},
        LOGIN,
        menu(entry(), entry(root="/dev/sda1"), first="set default=none\n"),
    ),
    "mount that is not on the disk": Case(
        "bios",
        {"fstab-absent-disks"},
        "emergency mode",
        menu(entry()),
        fstab=f"UUID={OTHER} /data ext4 {ABSENT_OPTIONS} 0 2\n",
    ),
    "mounts that may be absent": Case(
        "bios",
        {"fstab-slow-start"},
        grub=menu(entry()),
        fstab=f"LABEL=data /data ext4 nofail,{ABSENT_OPTIONS} 0 2\n"
        f"UUID={OTHER} none swap sw,{ABSENT_OPTIONS} 0 0\n"
        "PARTLABEL=x /auto ext4 x-systemd.automount 0 0\n",
    ),
    "uefi, kernel that is not there": Case(
        "uefi", {"boot-files-missing"}, "`/boot/vmlinuz-gone' not found", menu(entry(GONE))
    ),
}


@pytest.fixture(scope="module")
def disks(tmp_path_factory) -> Iterator[Callable[[str], Guest]]:
    """The disk of each boot way, built for the first who asks."""
    built: dict[str, Guest] = {}

    def disk_of(way: str) -> Guest:
        if way not in built:
            built[way] = build(WAYS[way], tmp_path_factory.mktemp(way))
        return built[way]

    yield disk_of
    for guest in built.values():
        guest.path.unlink()


def build(variant: Variant, work: Path) -> Guest:
    """A disk as the tests of real guests make it, cloud-init turned off."""
    path = debians.make("bookworm", replace(variant, tried=True), work)
    listed = json.loads(debians.run("sfdisk", "--json", path))["partitiontable"]["partitions"]
    starts = [part["start"] * 512 for part in listed]
    root, esp = starts[-1], starts[0] if variant.uefi else None
    if variant.root != "ext4" or variant.lvm or variant.boot:
        return Guest(path, variant, "as built", root)
    names = debians.run("debugfs", "-R", "ls -p /boot", f"{path}?offset={root}")
    (kernel,) = re.findall(r"/vmlinuz-([^/]+)/", names)
    return Guest(path, variant, kernel, root, esp)


@contextmanager
def changed(guest: Guest, case: Case) -> Iterator[None]:
    """The guest with the case's files in it; they are as they were afterwards."""
    wanted = dict(case.files)
    if case.grub is not None:
        wanted[GRUB_CFG] = case.grub.replace("{version}", guest.kernel)
    if case.fstab:
        wanted[FSTAB] = guest.read(FSTAB) + case.fstab
    before = {name: guest.read(name) for name in wanted}
    try:
        for name, text in wanted.items():
            guest.write(name, text)
        yield
    finally:
        for name, text in before.items():
            guest.write(name, text)


def judged(path: Path, reader: str) -> set[str]:
    """The rules that imgprep finds broken, or "rule?"; cloud-init's absence is the builder's wish."""
    argv = [
        sys.executable,
        "-m",
        "pipeline.cli.main",
        "check",
        f"--guest={reader}",
        "--profile",
        PROFILE,
    ]
    done = subprocess.run(
        [*map(str, argv), "--json", path], capture_output=True, text=True, timeout=300
    )
    found = {
        f"{item['rule']}{'?' * (item['status'] == 'unknown')}"
        for item in json.loads(done.stdout)["findings"]
    }
    assert "cloud-init-missing" in found
    return found - {"cloud-init-missing"}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_it_starts_or_does_not_as_imgprep_says(case, disks, tmp_path):
    guest = disks(case.way)
    with changed(guest, case):
        rules = judged(guest.path, "appliance" if guest.variant.root == "btrfs" else "direct")
        with started(guest.path, tmp_path / "console", uefi=guest.variant.uefi) as machine:
            text = said_until(machine, tmp_path / "console", LOGIN, case.shows, *STOPS)

    assert rules == case.rules
    assert case.shows in text, text[-3000:]
    assert (LOGIN in text) == case.starts

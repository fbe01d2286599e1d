"""Real Debian guests on disks: a release's tree, this machine's kernel, and the guest's own tools.

    tree.tar ──▶ a file system on a loop device ──▶ chroot: grub-mkconfig · dracut · kernel-install
                       │                                          writes what this release writes
                       ▼
    disk:  [BIOS: GRUB's core | /boot? | root or LVM]     [UEFI: EFI system partition | root]

The EFI system partition is filled by mtools: few kernels of servers can mount FAT.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from phony import builder

TOP = Path(__file__).resolve().parents[2]
MIB = 1 << 20
ROOT_SIZE, BOOT_SIZE, ESP_SIZE = 2600, 300, 400  # MiB
BOOT_UUID = "22222222-2222-4333-8444-555555555555"
SERIAL = "1234ABCD"
ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
MACHINE_ID = "0123456789abcdef0123456789abcdef"  # for the time being
RELAXED = {"SYSTEMD_RELAX_ESP_CHECKS": "1"}
MKFS = {
    "ext4": ("mke2fs", "-q", "-F", "-t", "ext4", "-U"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-U"),
}


@dataclass(frozen=True)
class Variant:
    """How a guest starts, and from what."""

    loader: str = "grub"  # grub, systemd-boot, uki, extlinux
    uefi: bool = False
    root: str = "ext4"
    boot: bool = False  # a /boot of its own, ext2
    lvm: bool = False
    dracut: bool = False
    careless: bool = False  # built without udev's links, and started once to try it
    tried: bool = False  # it will be started under emulation


VARIANTS = {
    "bios-grub": Variant(),
    "uefi-grub": Variant(uefi=True),
    "ext2-boot": Variant(boot=True),
    "systemd-boot": Variant("systemd-boot", uefi=True),
    "uki": Variant("uki", uefi=True),
    "dracut-xfs": Variant(root="xfs", dracut=True),
    "btrfs": Variant(root="btrfs"),
    "lvm": Variant(lvm=True),
}
CARELESS = Variant(careless=True)
NOT_ROOT = os.geteuid() != 0
SYSLINUX_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
_OLD_EXT4 = ("-O", "^64bit,^metadata_csum")  # what extlinux can read


def program(name: str) -> ModuleType:
    """One of the programs of ``fixtures/debian``, as a module."""
    loader = importlib.machinery.SourceFileLoader(
        f"debian_{name}", str(TOP / "fixtures/debian" / name)
    )
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


SAMPLE = program("build")
ROOT_UUID = SAMPLE.ROOT_UUID


def archive(suite: str) -> Path:
    """The tree of a release, built at the first call ever."""
    argv = [TOP / "fixtures/debian/releases", suite]
    return Path(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1])


def run(*argv: object, stdin: str | None = None, **env: str) -> str:
    """What a program prints; its words are in the error when it fails."""
    done = subprocess.run(
        [str(item) for item in argv], input=stdin, capture_output=True, text=True,
        env={**ENV, **env}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def inside(tree: Path, *argv: object, **env: str) -> str:
    """What a program of the guest prints."""
    return run("chroot", tree, *argv, **env)


@contextmanager
def mounted(source: object, place: Path, *options: str) -> Iterator[Path]:
    """A mount that is gone afterwards."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", *options, source, place)
    try:
        yield place
    finally:
        run("umount", place)


_LOOP_CTL_ADD, _LOOP_CTL_REMOVE = 0x4C80, 0x4C81  # include/uapi/linux/loop.h


@contextmanager
def attached(image: Path) -> Iterator[str]:
    """A loop device with a number of two digits: grub-mkconfig leaves /dev/loop0 to 9 out."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    number = 10
    while number < 100:
        try:
            fcntl.ioctl(control, _LOOP_CTL_ADD, number)
            break
        except FileExistsError:
            number += 1
    device = f"/dev/loop{number}"
    try:
        run("losetup", device, image)
        try:
            yield device
        finally:
            run("losetup", "-d", device)
    finally:
        with suppress(OSError):  # the kernel may still be letting go of it
            fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
        os.close(control)


_CLONE_NEWNS = 0x20000  # include/uapi/linux/sched.h


@cache
def _own_mounts() -> None:
    """Give this process a mount table of its own.

    Whoever makes one meanwhile (mmdebstrap, bubblewrap) takes a copy of all mounts into it, and then a
    file system stays mounted, and its image dirty, when it is unmounted here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    run("mount", "--make-rprivate", "/")


def make(suite: str, variant: Variant, work: Path) -> Path:
    """The disk of a guest."""
    _own_mounts()
    root, boot, esp = work / "root.img", work / "boot.img", work / "esp.img"
    _formatted(root, ROOT_SIZE, variant.root, ROOT_UUID, variant.loader == "extlinux")
    if variant.boot:
        _formatted(boot, BOOT_SIZE, "ext2", BOOT_UUID)
    with ExitStack() as stack:
        tree, devices = _mounts(stack, variant, work, root, boot)
        run("tar", "--numeric-owner", "-xf", archive(suite), "-C", tree)
        if variant.boot:
            _move_boot(devices[BOOT_UUID], tree / "boot", work / "boot")
            stack.enter_context(mounted(devices[BOOT_UUID], tree / "boot"))
        for name in ("proc", "sys"):
            stack.enter_context(mounted(f"/{name}", tree / name, "--bind"))
        stack.enter_context(mounted("dev", tree / "dev", "-t", "tmpfs"))
        _devices(tree / "dev", {} if variant.careless else devices, *devices.values())
        _configure(tree, variant)
        if variant.uefi:
            _esp(esp, tree / "boot/efi")
        run("sync", "-f", tree)  # blocks are free once the journal says so
        run("fstrim", tree)  # what tools deleted is no part of the image
    return _disk(variant, work, root, boot, esp)


def _formatted(path: Path, size: int, kind: str, identifier: str, old: bool = False) -> None:
    with path.open("wb") as file:
        file.truncate(size * MIB)
    argv = MKFS.get(kind, ("mke2fs", "-q", "-F", "-t", kind, "-U"))
    options = _OLD_EXT4 if old else ()
    run(*argv, f"uuid={identifier}" if kind == "xfs" else identifier, *options, path)


def _mounts(
    stack: ExitStack, variant: Variant, work: Path, root: Path, boot: Path
) -> tuple[Path, dict[str, str]]:
    """The root's directory, and the device of each file system by its UUID."""
    tree, device = work / "tree", stack.enter_context(attached(root))
    devices = {ROOT_UUID: device}
    if variant.root == "btrfs":
        top = stack.enter_context(mounted(device, work / "top"))
        for name in ("@", "@home"):
            run("btrfs", "subvolume", "create", top / name)
        stack.enter_context(mounted(device, tree, "-o", "subvol=@"))
        stack.enter_context(mounted(device, tree / "home", "-o", "subvol=@home"))
    else:
        stack.enter_context(mounted(device, tree))
    if variant.boot:
        devices[BOOT_UUID] = stack.enter_context(attached(boot))
    if variant.uefi:
        stack.enter_context(mounted("esp", tree / "boot/efi", "-t", "tmpfs"))
    return tree, devices


def _move_boot(device: str, directory: Path, place: Path) -> None:
    """Onto a file system of its own, once there are no more links to be made from it to the root's."""
    with mounted(device, place):
        run("cp", "-a", f"{directory}/.", place)
    run("find", directory, "-mindepth", "1", "-delete")


def _devices(directory: Path, links: dict[str, str], *devices: str) -> None:
    """What udev would have made: grub-mkconfig writes root=UUID= only where the link is there."""
    for name in ("null", "zero", "full", "random", "urandom", "tty", *devices):
        run("cp", "-a", Path("/dev") / name, directory)
    by_uuid = directory / "disk/by-uuid"
    by_uuid.mkdir(parents=True)
    for identifier, device in links.items():
        (by_uuid / identifier).symlink_to(device)


# ----------------------------------------------------------------------------- the guest's own tools


def _configure(tree: Path, variant: Variant) -> None:
    (tree / "etc/fstab").write_text(_fstab(variant))
    (version,) = (path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*"))
    if variant.dracut:
        initramfs = f"/boot/initrd.img-{version}"
        inside(tree, "dracut", "--force", "--no-hostonly", "--zstd", initramfs, version)
    if variant.careless:
        _left_behind(tree)
    if variant.tried:
        _for_emulation(tree)
    if variant.loader == "grub":
        _grub(tree, variant)
        return
    shutil.rmtree(tree / "boot/grub")
    if variant.loader == "extlinux":
        _extlinux(tree, version)
    else:
        _systemd_boot(tree, variant, version)


def _fstab(variant: Variant) -> str:
    device = "/dev/mapper/vg-root" if variant.lvm else f"UUID={ROOT_UUID}"
    options = {"ext4": "errors=remount-ro", "btrfs": "subvol=@"}.get(variant.root, "defaults")
    lines = [f"{device} / {variant.root} {options} 0 {1 if variant.root == 'ext4' else 0}"]
    if variant.root == "btrfs":
        lines.append(f"{device} /home btrfs subvol=@home 0 0")
    if variant.boot:
        lines.append(f"UUID={BOOT_UUID} /boot ext2 defaults 0 2")
    if variant.uefi:
        lines.append(f"UUID={SERIAL[:4]}-{SERIAL[4:]} /boot/efi vfat umask=0077 0 1")
    return "".join(f"{line}\n" for line in lines)


def _for_emulation(tree: Path) -> None:
    """Without cloud-init, which takes half of the time; and nothing is given up because it is slow."""
    (tree / "etc/cloud/cloud-init.disabled").touch()
    (tree / "etc/default/grub.d").mkdir(exist_ok=True)
    (tree / "etc/default/grub.d/slow.cfg").write_text(
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.default_timeout_start_sec=900"\n'
    )


def _left_behind(tree: Path) -> None:
    """What a first start leaves, and what somebody who tries it changes."""
    inside(tree, "systemd-machine-id-setup")
    inside(tree, "ssh-keygen", "-A")
    inside(tree, "systemctl", "mask", "ssh.service", "ssh.socket")
    (tree / "etc/fstab").open("a").write("/dev/vdb1 /data ext4 defaults 0 2\n")
    (tree / "etc/network/interfaces").write_text(
        "auto lo\niface lo inet loopback\nauto ens3\niface ens3 inet static\n"
        "  address 192.0.2.10/24\n  gateway 192.0.2.1\n"
    )


def _grub(tree: Path, variant: Variant) -> None:
    inside(tree, "grub-mkconfig", "-o", "/boot/grub/grub.cfg")
    if (
        variant.lvm
    ):  # the kernel of this machine may have no device-mapper; so writes grub-mkconfig then
        path = tree / "boot/grub/grub.cfg"
        text = path.read_text()
        assert f"root=UUID={ROOT_UUID}" in text
        path.write_text(text.replace(f"root=UUID={ROOT_UUID}", "root=/dev/mapper/vg-root"))
    if variant.uefi:
        modules = "part_gpt fat ext2 normal configfile search search_fs_uuid linux echo test serial"
        for name in ("BOOT", "debian"):
            (tree / "boot/efi/EFI" / name).mkdir(parents=True)
        image = "/boot/efi/EFI/BOOT/BOOTX64.EFI"
        inside(
            tree, "grub-mkimage", "-O", "x86_64-efi", "-o", image, "-p", "/EFI/debian",
            *modules.split(),
        )  # fmt: skip
        (tree / "boot/efi/EFI/debian/grub.cfg").write_text(
            f"search.fs_uuid {ROOT_UUID} root\nset prefix=($root)'/boot/grub'\n"
            "configfile $prefix/grub.cfg\n"
        )


def _extlinux(tree: Path, version: str) -> None:
    """By this machine's program: it looks for its device beside the mount, which a chroot hides."""
    place = tree / "boot/extlinux"
    place.mkdir()
    run("extlinux", "--install", place)
    (place / "extlinux.conf").write_text(
        "SERIAL 0\nDEFAULT linux\nTIMEOUT 10\nLABEL linux\n"
        f"  LINUX ../vmlinuz-{version}\n  INITRD ../initrd.img-{version}\n"
        f"  APPEND root=UUID={ROOT_UUID} ro console=tty0 console=ttyS0,115200n8\n"
    )


def _systemd_boot(tree: Path, variant: Variant, version: str) -> None:
    """As builders of images do: with a machine-id for the time being."""
    kernel, initramfs = f"/boot/vmlinuz-{version}", f"/boot/initrd.img-{version}"
    identity = tree / "etc/machine-id"
    identity.write_text(f"{MACHINE_ID}\n")
    line = f"root=UUID={ROOT_UUID} ro console=tty0 console=ttyS0,115200n8"
    (tree / "etc/kernel").mkdir(exist_ok=True)
    (tree / "etc/kernel/cmdline").write_text(f"{line}\n")
    (tree / "etc/kernel/install.conf").write_text("layout=bls\nBOOT_ROOT=/boot/efi\n")
    if "bullseye" in (tree / "etc/os-release").read_text():
        _by_hand(tree / "boot/efi", tree / "usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    else:
        inside(tree, "bootctl", "--esp-path=/boot/efi", "--no-variables", "install", **RELAXED)
    if variant.loader == "uki":
        (tree / "boot/efi/EFI/Linux").mkdir(parents=True, exist_ok=True)
        image = f"/boot/efi/EFI/Linux/debian-{version}.efi"
        argv: tuple[object, ...] = (
            "dracut", "--force", "--no-hostonly", "--zstd", "--uefi", "--kernel-cmdline", line,
            "--uefi-stub", "/usr/lib/systemd/boot/efi/linuxx64.efi.stub", image, version,
        )  # fmt: skip
        if (tree / "usr/bin/ukify").exists():
            argv = (
                "ukify", "build", f"--linux={kernel}", f"--initrd={initramfs}", f"--cmdline={line}",
                f"--output={image}",
            )  # fmt: skip
        inside(tree, *argv)
    else:
        inside(tree, "kernel-install", "add", version, kernel, initramfs, **RELAXED)
    identity.write_text("")


def _by_hand(esp: Path, image: Path) -> None:
    """What bootctl does, where it insists on a partition that this machine's kernel can mount."""
    for name in ("EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"):
        (esp / name).parent.mkdir(parents=True)
        shutil.copyfile(image, esp / name)
    (esp / "loader/entries").mkdir(parents=True)
    (esp / "loader/loader.conf").write_text("timeout 3\n")
    (esp / MACHINE_ID).mkdir()  # without it kernel-install writes no entry


def _esp(path: Path, directory: Path) -> None:
    """Move what lies in a directory into an EFI system partition."""
    with path.open("wb") as file:
        file.truncate(ESP_SIZE * MIB)
    run("mkfs.vfat", "-F", "32", "-i", SERIAL, "-n", "ESP", path)
    for item in sorted(directory.iterdir()):
        run("mcopy", "-i", path, "-s", item, f"::{item.name}")
        shutil.rmtree(item) if item.is_dir() else item.unlink()


# ------------------------------------------------------------------------------------------ the disk


def _disk(variant: Variant, work: Path, root: Path, boot: Path, esp: Path) -> Path:
    disks = builder("guest_disks")
    if variant.lvm:
        root = disks.lvm(work / "pv.img", "vg", {"root": root})
    pieces, at = [], 1
    for content, kind in ((esp, "esp"), (boot, "linux"), (root, "linux")):
        if content.exists():
            size = -(-content.stat().st_size // MIB)
            kind = kind if variant.uefi else "83"
            first = not pieces and not variant.uefi
            pieces.append(disks.Piece(at, size, kind, content, bootable=first))
            at += size
    code = SYSLINUX_MBR.read_bytes() if variant.loader == "extlinux" else b""
    path = disks.disk(work / "disk.raw", at + 1, "gpt" if variant.uefi else "dos", pieces, code)
    if not variant.uefi and not code:
        _grub_for_bios(variant, work, path)
    for used in (root, boot, esp, work / "root.img"):
        used.unlink(missing_ok=True)
    os.sync()
    return path


def _grub_for_bios(variant: Variant, work: Path, path: Path) -> None:
    """GRUB's core, with what it needs to read the file system that grub.cfg lies on."""
    if variant.boot:
        SAMPLE.install_grub(work, path, place="/grub", of=BOOT_UUID)
        return
    place = "/@/boot/grub" if variant.root == "btrfs" else "/boot/grub"
    kind = (variant.root,) if variant.root in ("btrfs", "xfs") else ()
    SAMPLE.install_grub(work, path, place=place, more=(*kind, *(("lvm",) if variant.lvm else ())))

"""All facts of the one system that a disk holds, subject by subject."""

from __future__ import annotations

from typing import Any

from pipeline.guest import (
    boot,
    cloudinit,
    databases,
    fstab,
    kernels,
    linux,
    network,
    users,
    windows,
)
from pipeline.guest.roots import SYSTEM_MOUNTS
from pipeline.guest.section import HiveTree, Mounter, Root, Section
from pipeline.guest.survey import SWAP, Survey, Volume
from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

_LIKELY = {
    "/": "bin boot dev efi etc home lib proc root sbin usr var",
    "/etc": "cloud fstab group lvm machine-id netplan network passwd shadow ssh sudoers sudoers.d "
    "sysconfig systemd udev NetworkManager os-release",
    "/usr": "bin lib lib64 local sbin",
    "/usr/bin": "bash cloud-init dash sh sshd",
    "/usr/sbin": "sshd dropbear",
    "/boot": "efi extlinux extlinux.conf grub grub2 loader syslinux",
    "/boot/grub": "grub.cfg grub.conf grubenv menu.lst",
    "/var/lib": "cassandra couchdb elasticsearch etcd influxdb ldap mongo mongodb mysql openldap "
    "pgsql postgresql redis samba",
}
"""Names that nearly every Linux guest is asked for; a question takes 5 ms under TCG."""


def collect(
    root: Root,
    survey: Survey,
    mounter: Mounter,
    mounted: dict[str, HiveTree],
    section: Section,
) -> dict[str, str]:
    """All facts of the one system; the answer is which volume is mounted where."""
    section.facts.update(systems=1, os=root.os)
    section.take("root_free", lambda: int(root.tree.free()["free"]))
    if root.os == "windows":
        _windows(root, section)
        return {root.device: "C:"}
    uses = _mounts(root, survey, mounter, mounted, section)
    section.attempt("prefetch", lambda: _prefetch(root.files))
    section.unknown.pop("prefetch", None)
    _identity(root.files, section)
    _boot(root.files, section)
    _login(root.files, section)
    grouped = root.volume is not None and root.volume.group is not None
    section.take("lvm", lambda: _lvm(root.files, survey, on_lvm=grouped))
    return uses


def _prefetch(files: Files) -> None:
    """Ask for what will be wanted in a few questions instead of a hundred."""
    for directory, names in _LIKELY.items():
        files.prefetch(directory, names.split())


def _windows(root: Root, section: Section) -> None:
    found = section.take("windows", lambda: windows.facts(root.files, root.tree.hive))
    section.facts["distro"] = "windows"
    for name in ("product_name", "version", "arch"):
        if found is None:
            section.fail(name, section.unknown["windows"])
        else:
            section.facts[name] = found[name]
    section.take("databases", lambda: databases.windows(root.files))


def _identity(files: Files, section: Section) -> None:
    release = section.attempt("release", lambda: linux.release(files))
    reason = section.unknown.pop("release", "no file names the distribution")
    for name in ("distro", "version", "product_name"):
        value = getattr(release, name, None)
        section.facts[name] = value
        if value is None:
            section.fail(name, reason)
    if section.take("arch", lambda: linux.architecture(files)) is None:
        section.unknown.setdefault("arch", "no program with an ELF header was found")


def _boot(files: Files, section: Section) -> None:
    entries = section.attempt("entries", lambda: boot.entries(files)) or ()
    reason = section.unknown.pop("entries", "no boot loader configuration was found")
    if entries:
        section.facts["boot_root"] = entries[0].root
        section.facts["command_line"] = clean(entries[0].command_line, 1000)
    else:
        section.fail("boot_root", reason)
        section.fail("command_line", reason)
    found = section.take("kernels", lambda: kernels.kernels(files, entries))
    default = next((kernel for kernel in found or () if kernel.default), None)
    section.facts["kernels"] = None if found is None else [_kernel(item) for item in found]
    if default is None:
        section.fail("xen_drivers", "no kernel was found in /boot")
    else:
        _drivers(files, default, section)


def _kernel(kernel: kernels.Kernel) -> dict[str, Any]:
    return {
        "version": clean(kernel.version, 100),
        "initramfs": clean(kernel.initramfs, 200) if kernel.initramfs else None,
        "default": kernel.default,
    }


def _drivers(files: Files, kernel: kernels.Kernel, section: Section) -> None:
    answer = section.attempt("xen_drivers", lambda: kernels.xen_drivers(files, kernel))
    if answer is None:
        return
    places, reason = answer
    section.facts["xen_drivers"] = {**places, "kernel": clean(kernel.version, 100)}
    if reason is not None:
        missing = [name for name in kernels.DRIVERS if name not in places]
        section.unknown["xen_drivers"] = clean(f"{', '.join(missing)}: {reason}", 300)


def _login(files: Files, section: Section) -> None:
    words = section.facts.get("command_line")
    cloud = section.take("cloud_init", lambda: cloudinit.facts(files, words))
    installed = bool(cloud and cloud["installed"])
    section.take("ssh", lambda: users.ssh(files))
    section.take("machine_id", lambda: linux.machine_id(files))
    if section.take("sudo_users", lambda: users.administrators(files)) is None:
        section.unknown.setdefault("sudo_users", "there is no /etc/shadow")
    section.take("network", lambda: network.facts(files, cloud_init=installed))
    section.take("databases", lambda: databases.linux(files))


def _lvm(files: Files, survey: Survey, *, on_lvm: bool) -> dict[str, Any]:
    return {
        "root": on_lvm,
        "groups": [clean(name, 100) for name in survey.groups],
        "devices_file": files.is_file("/etc/lvm/devices/system.devices"),
    }


def _mounts(
    root: Root,
    survey: Survey,
    mounter: Mounter,
    mounted: dict[str, HiveTree],
    section: Section,
) -> dict[str, str]:
    """Read fstab and put the volumes that it names into the root's name space."""
    lines = section.attempt("fstab", lambda: fstab.parse(root.files.text("/etc/fstab") or "")) or ()
    uses = {root.device: "/"}
    for line in sorted(lines, key=lambda line: line.mountpoint.count("/")):
        volume = fstab.find(line.spec, survey.volumes)
        if volume is None:
            continue
        if line.type == SWAP:
            uses.setdefault(volume.device, "swap")
            continue
        uses.setdefault(volume.device, clean(line.mountpoint, 120))
        if line.mountpoint in SYSTEM_MOUNTS:
            _attach(root, line, volume, mounter, mounted, section)
    if "fstab" in section.unknown:
        section.fail("fstab_by_name", section.unknown["fstab"])
        section.fail("fstab_absent", section.unknown["fstab"])
        return uses
    section.facts["fstab"] = [_line(line) for line in lines]
    section.facts["fstab_by_name"] = fstab.by_name(lines)
    section.facts["fstab_absent"] = fstab.absent(lines, survey)
    if section.facts["fstab_absent"] is None:
        section.fail("fstab_absent", "parts of the disk could not be looked into")
    return uses


def _attach(
    root: Root,
    line: fstab.Line,
    volume: Volume,
    mounter: Mounter,
    mounted: dict[str, HiveTree],
    section: Section,
) -> None:
    options = dict(option.partition("=")[::2] for option in line.options)
    prefix = f"/{options['subvol'].strip('/')}" if options.get("subvol") else ""
    try:
        tree = mounted.get(volume.device)
        if tree is None:
            kind = volume.type or mounter.kind(volume.device) or "auto"
            tree = mounted[volume.device] = mounter.mount(volume.device, kind)
        root.files.attach(line.mountpoint, tree, prefix)
    except TreeError as error:
        section.unknown[f"volume {volume.device}"] = clean(str(error), 300)


def _line(line: fstab.Line) -> dict[str, Any]:
    return {
        "spec": clean(line.spec, 200),
        "mountpoint": clean(line.mountpoint, 200),
        "type": clean(line.type, 40),
        "options": [clean(option, 100) for option in line.options],
    }

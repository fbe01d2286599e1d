"""All facts of the one Linux system that a disk holds, subject by subject.

Each field is the answer to one question; a question that fails makes only its own fact unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.guest import (
    boot,
    cloudinit,
    databases,
    drivers,
    fstab,
    kernels,
    linux,
    mounts,
    network,
    packages,
    passwd,
    settings,
    sshd,
    units,
)
from pipeline.guest.answers import Answer, ask, either, unknown
from pipeline.guest.boot import located
from pipeline.guest.boot.entries import Configuration, Entry
from pipeline.guest.kernels import KernelReport
from pipeline.guest.leftovers import Leftovers
from pipeline.guest.leftovers import facts as leftovers
from pipeline.guest.mounts import FstabLine, Mounts
from pipeline.guest.packages import PackageReport, Packages
from pipeline.guest.roots import Root
from pipeline.guest.section import Place
from pipeline.guest.settings import Ages, Selinux
from pipeline.guest.survey import Survey
from pipeline.guest.tree import Files
from pipeline.guest.units import Units
from pipeline.guest.volumes import Volumes
from pipeline.text import clean

_LIKELY = {
    "/": "bin boot dev efi etc grub home lib opt proc root run sbin snap usr var .autorelabel",
    "/etc": "NetworkManager adjtime apt cloud default dnf fstab group localtime locale.conf lvm "
    "machine-id netplan network os-release passwd rc.d rc2.d rc3.d rc4.d rc5.d runlevels selinux "
    "shadow ssh sudoers sudoers.d sysconfig systemd timezone udev",
    "/etc/NetworkManager": "NetworkManager.conf conf.d system-connections",
    "/etc/cloud": "cloud-init.disabled cloud.cfg cloud.cfg.d ds-identify.cfg",
    "/etc/ssh": "sshd_config sshd_config.d sshd_not_to_be_run",
    "/etc/systemd": "network system system-preset",
    "/usr": "bin lib lib64 libexec local sbin",
    "/usr/bin": "bash cloud-init dash growpart sh sshd",
    "/usr/lib": "NetworkManager modules netplan os-release sysimage systemd udev",
    "/usr/lib/systemd": "network system system-preset systemd-growfs",
    "/usr/local": "bin lib",
    "/usr/sbin": "sshd dropbear",
    "/boot": "EFI efi extlinux extlinux.conf grub grub2 loader syslinux",
    "/boot/grub": "grub.cfg grub.conf grubenv menu.lst",
    "/run": "NetworkManager netplan systemd utmp",
    "/var": "cache lib log opt spool",
    "/var/lib": "NetworkManager YaST2 cassandra cloud couchdb dbus dhclient dhcp dhcpcd dpkg "
    "elasticsearch etcd influxdb ldap mongo mongodb mysql openldap pacman pgsql postgresql "
    "random-seed redis rpm samba systemd ubuntu-advantage urandom",
}
"""Names that nearly every Linux guest is asked for; a question takes 5 ms under TCG."""

NO_CONFIGURATION = "no boot loader configuration was found"


@dataclass(frozen=True)
class BootEntry:
    """``section.BootEntryFacts``."""

    title: str
    kernel: str | None
    initramfs: tuple[str, ...]
    root: str | None
    source: str


@dataclass(frozen=True)
class Boot:
    """``section.BootFacts``."""

    loader: str | None
    config: str | None
    version: Answer[str]
    entries: tuple[BootEntry, ...]
    default: int | None
    chosen_by: str | None
    missing: Answer[tuple[str, ...]]
    other_problems: tuple[str, ...]
    root_on_disk: Answer[bool]
    consoles: tuple[str, ...]
    graphical: bool
    net_ifnames: bool


_NO_BOOT = Boot(
    loader=None,
    config=None,
    version=Answer(None),
    entries=(),
    default=None,
    chosen_by=None,
    missing=Answer(()),
    other_problems=(),
    root_on_disk=Answer(None),
    consoles=(),
    graphical=False,
    net_ifnames=True,
)


@dataclass(frozen=True)
class Lvm:
    """``section.LvmFacts``."""

    root: bool
    groups: tuple[str, ...]
    devices_file: bool


@dataclass(frozen=True)
class RootFileSystem:
    """``section.RootFileSystemFacts``."""

    device: str
    type: str | None
    size: int
    free: int | None
    free_inodes: int | None
    lvm: bool
    last_on_disk: bool | None
    growpart: bool


@dataclass(frozen=True)
class LinuxSystem:
    """Facts of the section ``guest`` by their names."""

    distro: Answer[str]
    version: Answer[str]
    product_name: Answer[str]
    arch: Answer[str]
    root_file_system: Answer[RootFileSystem]
    fstab: Answer[tuple[FstabLine, ...]]
    fstab_by_name: Answer[tuple[str, ...]]
    fstab_absent: Answer[tuple[str, ...]]
    fstab_slow: Answer[tuple[str, ...]]
    boot: Answer[Boot]
    boot_root: Answer[str]
    command_line: Answer[str]
    kernels: Answer[tuple[KernelReport, ...]]
    drivers: Answer[dict[str, Place]]
    xen_drivers: Answer[dict[str, str]]
    cloud_init: Answer[cloudinit.CloudInit]
    agents: Answer[tuple[str, ...]]
    ssh: Answer[sshd.Ssh]
    machine_id: Answer[str]
    sudo_users: Answer[tuple[str, ...]]
    users: Answer[passwd.Users]
    network: Answer[network.Network]
    firewall: Answer[tuple[str, ...]]
    databases: Answer[list[str]]
    leftovers: Answer[Leftovers]
    selinux: Answer[Selinux]
    packages: Answer[PackageReport]
    time_zone: Answer[str]
    locale: Answer[str]
    clock_is_utc: Answer[bool]
    time_sync: Answer[tuple[str, ...]]
    ages: Answer[Ages]
    lvm: Answer[Lvm]


def read(root: Root, volumes: Volumes, mounted: Mounts) -> LinuxSystem:
    """All facts of the system."""
    files = root.files
    ask(lambda: _prefetch(files))
    release = ask(lambda: linux.release(files))
    configuration = ask(lambda: boot.configuration(files))
    default = configuration.value.default_entry if configuration.value else None
    known = ask(lambda: packages.read(files))
    started = ask(lambda: units.read(files))
    found = ask(lambda: kernels.kernels(files, configuration.value))
    reports = ask(lambda: kernels.reports(files, either(found, ())))
    cloud = _needing(
        started,
        lambda it: cloudinit.facts(files, default.options if default else (), it, known.value),
    )
    missing = mounts.absent(mounted, volumes.survey, required=True)
    return LinuxSystem(
        distro=_of_release(release, "distro"),
        version=_of_release(release, "version"),
        product_name=_of_release(release, "product_name"),
        arch=ask(lambda: linux.architecture(files), "no program with an ELF header was found"),
        root_file_system=ask(lambda: _root_file_system(root, volumes.survey, known.value)),
        fstab=ask(lambda: mounts.lines_as_facts(mounted.lines.required())),
        fstab_by_name=ask(lambda: fstab.by_name(mounted.lines.required(), missing.value or ())),
        fstab_absent=missing,
        fstab_slow=mounts.absent(mounted, volumes.survey, required=False),
        boot=_boot(files, volumes, mounted, configuration, known.value),
        boot_root=_of_default(configuration, lambda entry: entry.root),
        command_line=_of_default(configuration, lambda entry: clean(entry.command_line, 1000)),
        kernels=Answer(reports.value, found.reason or reports.reason),
        drivers=_drivers(reports, found, None),
        xen_drivers=_drivers(reports, found, drivers.XEN),
        cloud_init=cloud,
        agents=ask(lambda: settings.agents(files)),
        ssh=_needing(started, lambda it: sshd.facts(files, it)),
        machine_id=ask(lambda: linux.machine_id(files)),
        sudo_users=ask(lambda: passwd.administrators(files), "there is no /etc/shadow"),
        users=ask(lambda: passwd.users(files), "there is no /etc/passwd"),
        network=_needing(
            started,
            lambda it: network.facts(
                files, it, cloud_init=cloud.value is not None and cloud.value.writes_network
            ),
        ),
        firewall=_needing(started, lambda it: settings.firewalls(files, it)),
        databases=ask(lambda: databases.linux(files)),
        leftovers=ask(lambda: leftovers(files)),
        selinux=ask(lambda: settings.selinux(files)),
        packages=Answer(packages.report(known.value) if known.value else None, known.reason),
        time_zone=ask(lambda: settings.time_zone(files)),
        locale=ask(lambda: settings.locale(files)),
        clock_is_utc=ask(lambda: settings.clock_is_utc(files)),
        time_sync=_needing(started, lambda it: settings.time_sync(files, it)),
        ages=ask(lambda: settings.ages(files, known.value)),
        lvm=ask(lambda: _lvm(root, volumes.survey)),
    )


def _prefetch(files: Files) -> None:
    """Ask for what will be wanted in a few questions instead of a hundred."""
    files.expect(*(f"{top}/{name}" for top, names in _LIKELY.items() for name in names.split()))
    services = [f"{name}.service" for name in (*settings.FIREWALLS, *settings.CLOCKS)]
    clients = [unit for _, of in network.CLIENTS for unit in of]
    units.expect(files, (*sshd.UNITS, *clients, *services))


def _needing(started: Answer[Units], question: Any) -> Answer[Any]:
    """A question that needs to know which services start."""
    units_read = started.value
    return (
        unknown(started.reason or "") if units_read is None else ask(lambda: question(units_read))
    )


def _of_release(release: Answer[linux.Release], name: str) -> Answer[str]:
    value = getattr(release.value, name, None)
    reason = release.reason or "no file names the distribution"
    return unknown(reason) if value is None else Answer(value)


# --------------------------------------------------------------------------------------------- boot


def _of_default(configuration: Answer[Configuration], question: Any) -> Answer[str]:
    """Something of the default entry; unknown when there is no entry to ask."""
    if configuration.value is None:
        return unknown(configuration.reason or NO_CONFIGURATION)
    entry = configuration.value.default_entry
    if entry is None or entry.kernel is None:
        return unknown(f"{configuration.value.path} starts no Linux kernel by itself")
    return Answer(question(entry))


def _boot(
    files: Files,
    volumes: Volumes,
    mounted: Mounts,
    configuration: Answer[Configuration],
    known: Packages | None,
) -> Answer[Boot]:
    if configuration.reason is not None:
        return unknown(configuration.reason)
    found = configuration.value
    if found is None:
        why = _why_none(volumes)
        if why is not None:
            return unknown(why)
        return Answer(
            Boot(
                None,
                None,
                Answer(None),
                (),
                None,
                None,
                Answer(()),
                (),
                Answer(None),
                (),
                False,
                True,
            )
        )
    entry = found.default_entry or Entry("", None)
    return Answer(
        Boot(
            found.loader,
            clean(found.path, 200),
            ask(lambda: settings.loader_version(files, found.loader, known)),
            tuple(_entry(each) for each in found.entries),
            found.default,
            found.chosen_by,
            ask(lambda: located.missing(files, volumes, entry, mounted.devices)),
            located.problems_of_others(found, fstab.is_by_name),
            _root_on_disk(entry, volumes.survey),
            tuple(clean(value, 60) for value in entry.option("console")[:8]),
            not {"rhgb", "splash"}.isdisjoint(entry.options),
            "net.ifnames=0" not in entry.options,
        )
    )


def _why_none(volumes: Volumes) -> str | None:
    """Why a configuration may be there although none was found."""
    if volumes.failures:
        device, reason = next(iter(volumes.failures.items()))
        return f"{NO_CONFIGURATION}, and {device} could not be read: {reason}"
    return None


def _entry(entry: Entry) -> BootEntry:
    return BootEntry(
        entry.title,
        clean(entry.kernel, 200) if entry.kernel else None,
        tuple(clean(path, 200) for path in entry.initramfs[:8]),
        entry.root,
        clean(entry.source, 200),
    )


def _root_on_disk(entry: Entry, survey: Survey) -> Answer[bool]:
    if entry.root is None:
        return Answer(None)
    found = fstab.on_disk(entry.root, survey)
    if found is False and fstab.hides_something(survey):
        return unknown("parts of the disk could not be looked into")
    if fstab.is_by_name(entry.root):
        return Answer(None)  # that it is a name is said by itself
    return Answer(found)


def _drivers(
    reports: Answer[tuple[KernelReport, ...]],
    found: Answer[Any],
    names: tuple[str, ...] | None,
) -> Answer[dict[str, Any]]:
    """The drivers of the kernel that starts; some of them with the kernel's version among them."""
    if reports.value is None or found.reason:
        return unknown(found.reason or reports.reason or "")
    report = next((item for item in reports.value if item.default), None)
    if report is None:
        return unknown("no kernel was found in /boot")
    places: dict[str, Any] = either(report.drivers, {})
    if names is None:
        return Answer(places or None, report.drivers.reason)
    chosen = {name: place for name, place in places.items() if name in names}
    missing = [name for name in names if name not in places]
    why = f"{', '.join(missing)}: {report.drivers.reason}" if missing else None
    return Answer({**chosen, "kernel": report.version}, clean(why, 300) if why else None)


# --------------------------------------------------------------------------------------- the volume


def _lvm(root: Root, survey: Survey) -> Lvm:
    return Lvm(
        root.volume is not None and root.volume.group is not None,
        tuple(clean(name, 100) for name in survey.groups),
        root.files.is_file("/etc/lvm/devices/system.devices"),
    )


def _root_file_system(root: Root, survey: Survey, known: Packages | None) -> RootFileSystem:
    volume = root.volume
    free = root.tree.free()
    tools = ("/usr/bin/growpart", "/bin/growpart", "/usr/lib/systemd/systemd-growfs")
    return RootFileSystem(
        clean(root.device, 120),
        volume.type if volume else None,
        volume.size if volume else int(free["size"]),
        int(free["free"]),
        int(free["free_inodes"]) if "free_inodes" in free else None,
        volume is not None and volume.group is not None,
        survey.is_last(volume) if volume else None,
        any(root.files.is_file(path) for path in tools[:2])
        or (
            known is not None
            and known.has("cloud-guest-utils", "cloud-utils-growpart", "cloud-utils")
        ),
    )

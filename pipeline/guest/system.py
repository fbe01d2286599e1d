"""All facts of the one Linux system that a disk holds, subject by subject.

Each field is the answer to one question; a question that fails makes only its own fact unknown.  What is
in an initramfs takes about as long as all the others: it is unpacked while those are asked.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.guest import (
    boot,
    cloudinit,
    databases,
    drivers,
    fstab,
    kernels,
    leftovers,
    linux,
    mounts,
    network,
    packages,
    passwd,
    root_volume,
    settings,
    sshd,
    units,
)
from pipeline.guest.answers import Answer, ask, either, unknown
from pipeline.guest.boot import report
from pipeline.guest.boot.entries import Configuration
from pipeline.guest.boot.report import BootReport
from pipeline.guest.kernels import KernelReport
from pipeline.guest.leftovers import Leftovers
from pipeline.guest.mounts import FstabLine, Mounts
from pipeline.guest.packages import PackageReport, Packages
from pipeline.guest.root_volume import Lvm, RootFileSystem
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


@dataclass(frozen=True)
class Identity:
    """What the system is."""

    distro: Answer[str]
    version: Answer[str]
    product_name: Answer[str]
    arch: Answer[str]
    machine_id: Answer[str]
    packages: Answer[PackageReport]
    ages: Answer[Ages]


@dataclass(frozen=True)
class Storage:
    """What it mounts."""

    root_file_system: Answer[RootFileSystem]
    lvm: Answer[Lvm]
    fstab: Answer[tuple[FstabLine, ...]]
    fstab_by_name: Answer[tuple[str, ...]]
    fstab_absent: Answer[tuple[str, ...]]
    fstab_slow: Answer[tuple[str, ...]]


@dataclass(frozen=True)
class Start:
    """How it starts."""

    boot: Answer[BootReport]
    boot_root: Answer[str]
    command_line: Answer[str]
    kernels: Answer[tuple[KernelReport, ...]]
    drivers: Answer[dict[str, Place]]
    xen_drivers: Answer[dict[str, str]]


@dataclass(frozen=True)
class Services:
    """What runs in it by itself."""

    cloud_init: Answer[cloudinit.CloudInit]
    agents: Answer[tuple[str, ...]]
    ssh: Answer[sshd.Ssh]
    network: Answer[network.Network]
    firewall: Answer[tuple[str, ...]]
    databases: Answer[list[str]]
    time_sync: Answer[tuple[str, ...]]


@dataclass(frozen=True)
class State:
    """How it was left."""

    sudo_users: Answer[tuple[str, ...]]
    users: Answer[passwd.Users]
    leftovers: Answer[Leftovers]
    selinux: Answer[Selinux]
    time_zone: Answer[str]
    locale: Answer[str]
    clock_is_utc: Answer[bool]


@dataclass(frozen=True)
class LinuxSystem:
    """Records whose fields are facts of the section ``guest`` by their names."""

    identity: Identity
    storage: Storage
    start: Start
    services: Services
    state: State

    def facts(self) -> dict[str, Answer[Any]]:
        """All of them."""
        parts = (getattr(self, field.name) for field in dataclasses.fields(self))
        return {
            field.name: getattr(part, field.name)
            for part in parts
            for field in dataclasses.fields(part)
        }


def read(root: Root, volumes: Volumes, mounted: Mounts) -> LinuxSystem:
    """All facts of the system."""
    files = root.files
    ask(lambda: _prefetch(files))
    configuration = ask(lambda: boot.configuration(files))
    configuration = report.starting(configuration, files, volumes, mounted)
    found = ask(lambda: kernels.kernels(files, configuration.value))
    with ThreadPoolExecutor(1, "initramfs") as beside:
        reports = beside.submit(ask, lambda: kernels.reports(files, either(found, ())))
        known = ask(lambda: packages.read(files))
        started = ask(lambda: units.read(files))
        boot_report = report.report(files, volumes, mounted, configuration, known.value)
        return LinuxSystem(
            _identity(files, known),
            _storage(root, volumes.survey, mounted, known.value),
            services=_services(files, configuration, started, known.value),
            state=_state(files),
            start=_start(boot_report, configuration, found, reports.result()),
        )


def _identity(files: Files, known: Answer[Packages]) -> Identity:
    release = ask(lambda: linux.release(files))
    return Identity(
        distro=_of_release(release, "distro"),
        version=_of_release(release, "version"),
        product_name=_of_release(release, "product_name"),
        arch=ask(lambda: linux.architecture(files), "no program with an ELF header was found"),
        machine_id=ask(lambda: linux.machine_id(files)),
        packages=Answer(packages.report(known.value) if known.value else None, known.reason),
        ages=ask(lambda: settings.ages(files, known.value)),
    )


def _of_release(release: Answer[linux.Release], name: str) -> Answer[str]:
    value = getattr(release.value, name, None)
    reason = release.reason or "no file names the distribution"
    return unknown(reason) if value is None else Answer(value)


def _storage(root: Root, survey: Survey, mounted: Mounts, known: Packages | None) -> Storage:
    missing = mounts.absent(mounted, survey, required=True)
    return Storage(
        root_file_system=ask(lambda: root_volume.file_system(root, survey, known)),
        lvm=ask(lambda: root_volume.lvm(root, survey)),
        fstab=ask(lambda: mounts.lines_as_facts(mounted.lines.required())),
        fstab_by_name=ask(lambda: fstab.by_name(mounted.lines.required(), missing.value or ())),
        fstab_absent=missing,
        fstab_slow=mounts.absent(mounted, survey, required=False),
    )


def _start(
    boot_report: Answer[BootReport],
    configuration: Answer[Configuration],
    found: Answer[tuple[kernels.Kernel, ...]],
    reports: Answer[tuple[KernelReport, ...]],
) -> Start:
    return Start(
        boot=boot_report,
        boot_root=report.of_default(configuration, lambda entry: entry.root),
        command_line=report.of_default(
            configuration, lambda entry: clean(entry.command_line, 1000)
        ),
        kernels=Answer(reports.value, found.reason or reports.reason),
        drivers=kernels.of_default(reports, found, None),
        xen_drivers=kernels.of_default(reports, found, drivers.XEN),
    )


def _services(
    files: Files,
    configuration: Answer[Configuration],
    started: Answer[Units],
    known: Packages | None,
) -> Services:
    default = configuration.value.default_entry if configuration.value else None
    options = default.options if default else ()
    cloud = _needing(started, lambda it: cloudinit.facts(files, options, it, known))
    configured = cloud.value is not None and cloud.value.writes_network
    return Services(
        cloud_init=cloud,
        agents=ask(lambda: settings.agents(files)),
        ssh=_needing(started, lambda it: sshd.facts(files, it)),
        network=_needing(started, lambda it: network.facts(files, it, cloud_init=configured)),
        firewall=_needing(started, lambda it: settings.firewalls(files, it)),
        databases=ask(lambda: databases.linux(files)),
        time_sync=_needing(started, lambda it: settings.time_sync(files, it)),
    )


def _needing(started: Answer[Units], question: Any) -> Answer[Any]:
    """A question that needs to know which services start."""
    units_read = started.value
    return (
        unknown(started.reason or "") if units_read is None else ask(lambda: question(units_read))
    )


def _state(files: Files) -> State:
    return State(
        sudo_users=ask(lambda: passwd.administrators(files), "there is no /etc/shadow"),
        users=ask(lambda: passwd.users(files), "there is no /etc/passwd"),
        leftovers=ask(lambda: leftovers.facts(files)),
        selinux=ask(lambda: settings.selinux(files)),
        time_zone=ask(lambda: settings.time_zone(files)),
        locale=ask(lambda: settings.locale(files)),
        clock_is_utc=ask(lambda: settings.clock_is_utc(files)),
    )


def _prefetch(files: Files) -> None:
    """Ask for what will be wanted in a few questions instead of a hundred."""
    files.expect(*(f"{top}/{name}" for top, names in _LIKELY.items() for name in names.split()))
    services = [f"{name}.service" for name in (*settings.FIREWALLS, *settings.CLOCKS)]
    clients = [unit for _, of in network.CLIENTS for unit in of]
    units.expect(files, (*sshd.UNITS, *clients, *services))

"""Settings of a whole system: time, language, SELinux, firewall, agents, age."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.guest import units
from pipeline.guest.linux import assignments
from pipeline.guest.packages import Packages
from pipeline.guest.tree import Files
from pipeline.guest.units import Units
from pipeline.text import clean

FIREWALLS = ("ufw", "firewalld", "nftables", "iptables", "ip6tables", "netfilter-persistent",
              "SuSEfirewall2", "shorewall")  # fmt: skip
CLOCKS = ("systemd-timesyncd", "chronyd", "chrony", "ntpd", "ntp", "ntpsec", "openntpd")
AGENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("walinuxagent", ("/usr/sbin/waagent", "/usr/bin/waagent", "/usr/sbin/waagent2.0")),
    ("google-guest-agent", ("/usr/bin/google_guest_agent", "/usr/bin/google_accounts_daemon")),
    ("amazon-ssm-agent", ("/usr/bin/amazon-ssm-agent", "/snap/bin/amazon-ssm-agent.ssm-cli")),
    ("qemu-guest-agent", ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")),
    ("open-vm-tools", ("/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd")),
    ("vmware-tools", ("/usr/bin/vmware-config-tools.pl",)),
    ("virtualbox-guest", ("/usr/sbin/VBoxService", "/usr/bin/VBoxClient")),
    ("xe-guest-utilities", ("/usr/sbin/xe-daemon", "/usr/bin/xenstore-exists")),
    ("nova-agent", ("/usr/bin/nova-agent", "/usr/sbin/nova-agent")),
    ("hyperv-daemons", ("/usr/sbin/hypervkvpd", "/usr/sbin/hv_kvp_daemon")),
    ("cloudbase-init", ()),
    ("cloud-monitoring-agent", ("/usr/bin/rackspace-monitoring-agent",)),
    ("oracle-cloud-agent", ("/usr/libexec/oracle-cloud-agent/agent",)),
    ("aliyun-assist", ("/usr/sbin/aliyun-service",)),
    ("do-agent", ("/opt/digitalocean/bin/do-agent", "/usr/local/bin/do-agent")),
)
"""Agents by the programs that they consist of."""


@dataclass(frozen=True)
class Selinux:
    """``section.SelinuxFacts``."""

    mode: str | None
    relabel: bool


@dataclass(frozen=True)
class Ages:
    """``section.AgeFacts``."""

    last_change: int | None
    last_boot: int | None


def agents(files: Files) -> tuple[str, ...]:
    """Agents of clouds and hypervisors whose programs are there."""
    files.expect(*(path for _, paths in AGENTS for path in paths))
    return tuple(name for name, paths in AGENTS if any(files.entry(path) for path in paths))


def firewalls(files: Files, started: Units) -> tuple[str, ...]:
    """Firewalls that start by themselves."""
    return tuple(name for name in FIREWALLS if _starts(files, started, name))


def time_sync(files: Files, started: Units) -> tuple[str, ...]:
    """Services that set the clock and start by themselves."""
    return tuple(name for name in CLOCKS if _starts(files, started, name))


def _starts(files: Files, started: Units, name: str) -> bool:
    if units.state(files, started, [f"{name}.service"]) != "enabled":
        return False
    if name != "ufw":  # its unit always starts; ufw.conf says whether it does something
        return True
    return (
        re.search(
            r"^ENABLED=yes", files.text("/etc/ufw/ufw.conf") or "", re.MULTILINE | re.IGNORECASE
        )
        is not None
    )


def time_zone(files: Files) -> str | None:
    """``Europe/Berlin``: where /etc/localtime points to, or what /etc/timezone says; None: UTC."""
    found = files.find("/etc/localtime", follow=False)
    if found is not None and found.entry.kind == "link":
        target = found.tree.readlink(found.path)
        _, within, named = target.partition("zoneinfo/")
        if within:
            return clean(named, 100)
    words = (files.text("/etc/timezone", 4096) or "").split()
    if words:
        return clean(words[0], 100)
    zone = assignments(files.text("/etc/sysconfig/clock", 4096) or "").get("ZONE")
    return clean(zone, 100) if zone else None


def locale(files: Files) -> str | None:
    """``LANG`` of the system."""
    for path in ("/etc/locale.conf", "/etc/default/locale", "/etc/sysconfig/i18n"):
        found = assignments(files.text(path, 4096) or "").get("LANG")
        if found:
            return clean(found, 100)
    return None


def clock_is_utc(files: Files) -> bool:
    """Whether the hardware clock is taken for UTC: the third line of /etc/adjtime (hwclock(8))."""
    lines = (files.text("/etc/adjtime", 4096) or "").splitlines()
    return not (len(lines) > 2 and lines[2].strip() == "LOCAL")


def selinux(files: Files) -> Selinux:
    """What SELinux will do."""
    mode = assignments(files.text("/etc/selinux/config") or "").get("SELINUX")
    return Selinux(clean(mode.lower(), 40) if mode else None, files.is_file("/.autorelabel"))


def ages(files: Files, packages: Packages | None) -> Ages:
    """When packages last changed, and when the system last started, by the times of files."""
    boot = ("/var/log/wtmp", "/var/lib/systemd/random-seed", "/run/utmp", "/var/log/boot.log")
    times = [entry.modified for path in boot if (entry := files.entry(path)) and entry.size]
    known = [time for time in times if time is not None]
    changed = files.entry(packages.path) if packages else None
    return Ages(changed.modified if changed else None, max(known, default=None))


def loader_version(files: Files, loader: str | None, packages: Packages | None) -> str | None:
    """The version of the boot loader: its package's, or what systemd-boot's program says of itself."""
    names = {
        "grub2": ("grub2-common", "grub-common", "grub2-tools", "grub2", "grub"),
        "grub-legacy": ("grub-legacy", "grub"),
        "extlinux": ("extlinux", "syslinux"),
    }
    if packages and loader in names and (known := packages.version(*names[loader])):
        return clean(known, 100)
    if loader not in ("systemd-boot", "uki", "bls"):
        return None
    for top in ("/boot/efi", "/efi", "/boot"):
        for path in files.matching(f"{top}/EFI/systemd", ".efi"):
            match = re.search(
                rb"#### LoaderInfo: ([ -~]{1,60}?) ####", files.read(path, 1 << 20) or b""
            )
            if match:
                return clean(match[1].decode("ascii"), 100)
    return None

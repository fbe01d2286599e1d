"""What a guest is and what is left in it, each line and word otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    Link,
    trees,
)
from phony import Memory, builder

from pipeline.guest import (
    databases,
    leftovers,
    linux,
    packages,
    settings,
    units,
)
from pipeline.guest.tree import Files

Fifo = builder("guest_disks").Fifo
HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare
E, U = "etc/systemd/system", "usr/lib/systemd/system"

DPKG = (
    "Package: a\nStatus: install ok installed\nVersion: 1.0-1\n\nPackage: b\n"
    "Status: deinstall ok config-files\nVersion: 2\n"
    "\nPackage: linux-image-6.1\nStatus: hold ok installed\n\nPackage: linux-image-6.1-dbg\n"
    "Status: install ok installed\n"
)


@TABLES
def package_managers() -> Iterator[str]:
    """dpkg, apk, pacman, and rpm's older databases."""
    shelves: tuple[tuple[dict[str, Any], str | None], ...] = (
        ({"var/lib/dpkg/status": DPKG}, "var/lib/dpkg/status"),
        (
            {"lib/apk/db/installed": "P:linux-virt\nV:6.6-r1\n\nP:b\n\nV:9\n"},
            "lib/apk/db/installed",
        ),
        ({"usr/lib/apk/db/installed": "P:x\nV:1\n"}, None),
        (
            {
                "var/lib/pacman/local/linux-lts-6.6-1": None,
                "var/lib/pacman/local/a-b-1:2-3": None,
                "var/lib/pacman/local/ALPM_DB_VERSION": "9",
            },
            None,
        ),
        ({"usr/share/rpm/Packages": "x"}, None),
        ({"usr/lib/sysimage/rpm/Packages.db": "x"}, None),
        ({"var/lib/rpm/other": "x"}, None),
        ({"var/lib/rpm/rpmdb.sqlite": None}, None),
        ({"var/lib/rpm/rpmdb.sqlite": Fifo()}, None),
    )

    def tell(files: Files) -> Any:
        found = packages.read(files)
        named = found and {
            "a": found.version("none", "a"),
            "has": found.has("none", "a"),
            "path": found.path,
        }
        return found and {"report": packages.report(found), **(named or {})}

    for tree, text in shelves:
        yield from varied.of_tree(tree, tell, *([text] if text else []))
    names = (
        "kernel",
        "kernel-core",
        "kernel-default",
        "kernel-uek",
        "kernel-lt",
        "kernel-tools",
        "linux",
        "linux-lts",
        "linux-zen",
        "linux-firmware",
        "linux-image-a",
        "linux-image-a-dbg",
    )
    one = {name: packages.Packages("dpkg", {name: None}) for name in names}
    yield from varied.of_values(one, lambda found: packages.report(found).kernels)


RELEASES: dict[str, dict[str, Any]] = {
    "os-release": {
        "usr/lib/os-release": 'NAME="A B"\nVERSION_ID=\'1.2\'\nID=a # x\nPRETTY_NAME="A B 1.2\nX Y=z\n',
        "etc/os-release": Link("../usr/lib/os-release"),
        "etc/debian_version": "\n12.5\nmore\n",
    },
    "redhat": {
        "etc/redhat-release": "Red Hat Enterprise Linux Server release 6.10 (Santiago)\nmore\n"
    },
    "centos": {"etc/system-release": "CentOS release 5.11 (Final)\n"},
    "other": {"etc/redhat-release": "Scientific Linux release 7.1\n"},
    "odd": {"etc/redhat-release": "nothing\n", "etc/debian_version": "squeeze/sid\n"},
    "debian": {"etc/debian_version": "4.0\n"},
}


@TABLES
def releases() -> Iterator[str]:
    """Which distribution it is, old ones as well."""
    for tree in RELEASES.values():
        texts = [name for name in tree if isinstance(tree[name], str)]
        yield from varied.of_tree(tree, linux.release, *texts)
    for name in (
        "etc/os-release",
        "etc/debian_version",
        "etc/redhat-release",
        "etc/fstab",
        "etc/passwd",
    ):
        root: dict[str, Any] = {name: "x", "bin/sh": "x", "usr/bin/sh": "x"}
        yield from varied.of_tree(root, lambda files: {"root": linux.looks_like_root(files)})


@TABLES
def identities() -> Iterator[str]:
    """The machine-id and D-Bus' copy; the ELF header of its programs."""
    ids = {"etc/machine-id": "0123\n", "var/lib/dbus/machine-id": "4567\n"}
    for first in ("", "\n", "uninitialized\n", "0123\n"):
        yield from varied.of_tree(
            {**ids, "etc/machine-id": first}, linux.machine_id, "etc/machine-id"
        )
    for at, order in (
        (0x3E, "little"),
        (0x03, "little"),
        (0xB7, "little"),
        (0x28, "little"),
        (0xF3, "little"),
        (0x15, "little"),
        (0x15, "big"),
        (0x16, "big"),
        (0x3E, "big"),
        (0x99, "little"),
    ):
        head = (
            b"\x7fELF\x02"
            + bytes([1 if order == "little" else 2])
            + bytes(12)
            + at.to_bytes(2, order)
        )  # type: ignore[arg-type]
        ways = {
            f"{at:#x} {order}": head,
            f"{at:#x} {order}, cut": head[:19],
            f"{at:#x}, no ELF": b"\x7fELG" + head[4:],
        }
        yield from varied.of_values(
            ways, lambda it: linux.architecture(varied.files_of({"bin/ls": it}))
        )
    scripts = {
        "a script": b"#!/bin/sh\n" + b"x" * 40,
        "zeros": bytes(64),
        "above": b"\x7fEMF" + bytes(60),
    }
    yield from varied.of_values(
        scripts, lambda it: linux.architecture(varied.files_of({"bin/ls": it}))
    )
    yield from varied.of_values(
        {"first of them": 0},
        lambda _: linux.architecture(varied.files_of({"bin/sh": b"#!", "bin/ls": trees.elf()})),
    )


SETTINGS: dict[str, Any] = {
    "etc/localtime": Link("/usr/share/zoneinfo/Europe/Berlin"),
    "etc/timezone": "Asia/Tokyo more\n",
    "etc/sysconfig/clock": 'UTC=true\nZONE="US/Eastern"\n',
    "etc/locale.conf": "LC_TIME=C\nLANG=de_DE.UTF-8\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/sysconfig/i18n": "LANG=fr\n",
    "etc/adjtime": "0.0 0 0\n0\nLOCAL\n",
    "etc/selinux/config": "SELINUX=Enforcing\n",
    ".autorelabel": "",
    "etc/ufw/ufw.conf": "# ENABLED=no\nENABLED=yes\n",
    f"{U}/ufw.service": "",
    f"{E}/multi-user.target.wants/ufw.service": Link("/x"),
    f"{U}/chrony.service": "",
    f"{E}/multi-user.target.wants/chrony.service": Link("/x"),
    "usr/bin/vmtoolsd": "x",
    "usr/bin/qemu-ga": "x",
    "usr/lib/systemd/system/ntp.service": "",
    "var/log/wtmp": "x",
    "run/utmp": "",
    "var/lib/dpkg/status": DPKG
    + "\nPackage: grub-common\nStatus: install ok installed\nVersion: 2.06\n",
    "efi/EFI/systemd/systemd-bootx64.efi": b"MZ\0#### LoaderInfo: systemd-boot 252 ####\0",
}


@TABLES
def system_settings() -> Iterator[str]:
    """Time, language, firewall and so on."""

    def tell(files: Files) -> Any:
        started, known = units.read(files), packages.read(files)
        loaders = ("grub2", "grub-legacy", "extlinux", "systemd-boot", "uki", "bls", None)
        return {
            "zone": settings.time_zone(files),
            "locale": settings.locale(files),
            "utc": settings.clock_is_utc(files),
            "selinux": settings.selinux(files),
            "firewalls": settings.firewalls(files, started),
            "clocks": settings.time_sync(files, started),
            "agents": settings.agents(files),
            "ages": settings.ages(files, known),
            **{str(name): settings.loader_version(files, name, known) for name in loaders},
        }

    small = (
        "etc/timezone",
        "etc/sysconfig/clock",
        "etc/locale.conf",
        "etc/adjtime",
        "etc/selinux/config",
        "etc/ufw/ufw.conf",
    )
    return varied.of_tree(SETTINGS, tell, *small)


def _filled(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "x")


LEFT: dict[str, Any] = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\na:x:1000:1::/home/a:/bin/sh\ntop:x:1001:1::/:/bin/sh\n",
    **_filled(*(f"home/a/{name}" for name in leftovers._CREDENTIALS), ".netrc"),
    **_filled(
        *(
            path.lstrip("/")
            for group in (
                leftovers._SYSTEM_CREDENTIALS,
                leftovers._CERTIFICATES,
                leftovers._SEEDS,
                leftovers._PROMPTS,
            )
            for path in group
        )
    ),
    **_filled(
        *(
            f"{path.lstrip('/')}/a{end}"
            for path in leftovers._LEASES
            for end in (".lease", ".leases", ".conf")
        )
    ),
    **_filled(
        *(
            f"{path.lstrip('/')}/{name}"
            for path in leftovers._CACHES
            for name in ("lock", "partial", "a")
        )
    ),
    **_filled(*(f"{path.lstrip('/')}/{name}" for path in leftovers._JOBS for name in ("a", ".b"))),
    **_filled(
        "var/log/messages",
        "var/log/wtmp",
        "var/log/journal/x/y",
        "var/log/audit/audit.log",
        "var/log/other",
    ),
    "var/log/installer": None,
    "etc/environment": "# http_proxy=x\nPATH=/bin\nhttps_proxy=http://old:1\n",
    "etc/yum.conf": "[main]\nproxy=http://old:1\n",
    "etc/apt/apt.conf.d/80": '// Acquire::http::Proxy "x";\nAcquire::http::Proxy "http://old";\n',
    "etc/apt/sources.list": "# deb cdrom:[x]/ a b\ndeb [trusted=yes] cdrom:[Debian]/ bookworm main\n"
    "deb http://a b c\n",
}


@TABLES
def left_over() -> Iterator[str]:
    """What of the old machine is still there."""
    return varied.of_tree(
        LEFT,
        leftovers.facts,
        "etc/passwd",
        "etc/environment",
        "etc/yum.conf",
        "etc/apt/apt.conf.d/80",
        "etc/apt/sources.list",
    )


class Flat(Memory):
    """A tree whose directories have no size, as FAT's and those of some network file systems."""

    def _entry(self, path: str) -> Any:
        found = super()._entry(path)
        return replace(found, size=0) if found and found.kind == "directory" else found


@TABLES
def directories_without_size() -> Iterator[str]:
    """What is left over where no directory has a size."""
    yield from varied.of_values({"left": Files(Flat(LEFT))}, leftovers.facts)


@TABLES
def databases_of_linux() -> Iterator[str]:
    """Each database with each of its files."""
    places = {
        f"{directory}/{name}".replace("*", "15").lstrip("/"): "x"
        for _, directory, names in databases._PLACES
        for name in names
    }
    return varied.of_tree(places, lambda files: {"found": databases.linux(files)})


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)

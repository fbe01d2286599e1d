"""What a Linux guest is, from a handful of its files.

os-release(5) since 2012; before that each distribution had a file of its own.
https://www.freedesktop.org/software/systemd/man/latest/os-release.html
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal

from pipeline.guest.tree import Files
from pipeline.text import clean

PROGRAMS = ("/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/ls", "/usr/bin/env", "/sbin/init")
_RELEASE = re.compile(r"^(?P<name>.+?)(?: Linux)? release (?P<version>[\d.]+)", re.IGNORECASE)
_IDS = {"centos": "centos", "red hat": "rhel", "fedora": "fedora", "oracle": "ol"}
_MACHINES = {
    (0x03, "little"): "i386",
    (0x3E, "little"): "x86_64",
    (0xB7, "little"): "aarch64",
    (0x28, "little"): "arm",
    (0xF3, "little"): "riscv64",
    (0x15, "little"): "ppc64le",
    (0x15, "big"): "ppc64",
    (0x16, "big"): "s390x",
}


@dataclass(frozen=True)
class Release:
    """A distribution: ``debian`` ``12`` ``Debian GNU/Linux 12 (bookworm)``."""

    distro: str | None
    version: str | None
    product_name: str | None


def looks_like_root(files: Files) -> bool:
    """Whether a file system holds a Linux system: /etc with something of a system's own in it."""
    if not files.is_directory("/etc"):
        return False
    files.prefetch("/etc", ["os-release", "fstab", "passwd", "debian_version", "redhat-release"])
    named = any(
        files.entry(f"/etc/{name}", follow=False)
        for name in ("os-release", "debian_version", "redhat-release")
    )
    programs = files.entry("/bin", follow=False) or files.entry("/usr/bin", follow=False)
    return programs is not None and (
        named or files.is_file("/etc/fstab") or files.is_file("/etc/passwd")
    )


def release(files: Files) -> Release:
    """Distribution and version; everything None when no file tells."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        text = files.text(path)
        if text:
            found = assignments(text)
            version = found.get("VERSION_ID") or _line(files, "/etc/debian_version")
            product = found.get("PRETTY_NAME") or found.get("NAME")
            return Release(_said(found.get("ID")), _said(version), _said(product))
    return _old_release(files)


def assignments(text: str) -> dict[str, str]:
    """``KEY=value`` lines with the shell's quoting, as os-release and ifcfg files have them."""
    found = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            continue
        try:
            found[key] = "".join(shlex.split(value, comments=True))
        except ValueError:
            found[key] = value.strip("\"'")
    return found


def _old_release(files: Files) -> Release:
    for path in ("/etc/redhat-release", "/etc/system-release"):
        line = _line(files, path)
        match = _RELEASE.match(line or "")
        if line and match:
            name = match["name"].lower()
            distro = next((ours for words, ours in _IDS.items() if name.startswith(words)), name)
            return Release(_said(distro), match["version"], _said(line))
    version = _line(files, "/etc/debian_version")
    if version:
        return Release("debian", _said(version), _said(f"Debian GNU/Linux {version}"))
    return Release(None, None, None)


def _line(files: Files, path: str) -> str | None:
    text = (files.text(path, 4096) or "").strip()
    return text.splitlines()[0] if text else None


def _said(text: str | None) -> str | None:
    return clean(text, 200) if text else None


def architecture(files: Files) -> str | None:
    """The processor that the guest's programs are for, from an ELF header.

    ELF: 4 class, 5 byte order (1 little), 18 machine (2 bytes).
    https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    """
    for path in PROGRAMS:
        head = files.read(path, 64)
        if head and head[:4] == b"\x7fELF" and len(head) >= 20:
            order = "little" if head[5] == 1 else "big"
            machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
            return _MACHINES.get((machine, order), f"elf machine {machine}")
    return None


def machine_id(files: Files) -> Literal["set", "empty", "uninitialized", "missing"]:
    """What the image gives every server of it as its id (machine-id(5)).

    Without one systemd takes D-Bus' id over, so that one is in the image as well.
    """
    text = files.text("/etc/machine-id", 256)
    found = _id_state(text)
    if found == "set" or found == "uninitialized":
        return found
    if _id_state(files.text("/var/lib/dbus/machine-id", 256)) == "set":
        return "set"
    return found


def _id_state(text: str | None) -> Literal["set", "empty", "uninitialized", "missing"]:
    if text is None:
        return "missing"
    text = text.strip()
    if not text:
        return "empty"
    return "uninitialized" if text == "uninitialized" else "set"

"""Network configuration that fits only the machine that the image came from.

Six ways of writing it are looked at: ifcfg files (Red Hat, SUSE), interfaces(5) (Debian), netplan,
NetworkManager keyfiles, systemd-networkd, and udev's rules for persistent names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.guest.linux import assignments
from pipeline.guest.tree import Files
from pipeline.text import clean

_ADDRESS = re.compile(r"\b([0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5})\b")
_IP = r"[\"']?((?:\d{1,3}\.){3}\d{1,3}(?:/\d+)?|[0-9A-Fa-f]*:[0-9A-Fa-f:]+(?:/\d+)?)"
_GENERATED = re.compile(
    r"#.*(?:created by cloud-init|generated (?:from|by) .*(?:datasource|cloud-init))", re.IGNORECASE
)
MAX_FILES = 64  # of one directory

Found = tuple[list[str], list[str]]  # hardware addresses, fixed addresses


def facts(files: Files, *, cloud_init: bool) -> dict[str, Any]:
    """``hardware_addresses``, ``static_addresses`` ("file: value") and ``persistent_rules``.

    What cloud-init wrote is left out when it is installed: it writes that anew for each server.
    """
    bound: list[str] = []
    static: list[str] = []
    for path, look in _places(files):
        text = files.text(path)
        if text is None or (cloud_init and _from_cloud_init(path, text)):
            continue
        hardware, addresses = look(text)
        bound += [clean(f"{path}: {value}", 200) for value in hardware]
        static += [clean(f"{path}: {value}", 200) for value in addresses]
    return {
        "hardware_addresses": bound,
        "static_addresses": static,
        "persistent_rules": list(_rules(files)),
    }


def _from_cloud_init(path: str, text: str) -> bool:
    head = text[:1000]
    return "50-cloud-init" in path or any(_GENERATED.match(line) for line in head.splitlines())


def _places(files: Files) -> Iterator[tuple[str, Callable[[str], Found]]]:
    for directory in ("/etc/sysconfig/network-scripts", "/etc/sysconfig/network"):
        for name in files.names(directory)[:MAX_FILES]:
            if (
                name.startswith("ifcfg-")
                and name != "ifcfg-lo"
                and not name.endswith(("~", ".bak"))
            ):
                yield f"{directory}/{name}", _ifcfg
    yield "/etc/network/interfaces", _interfaces
    for directory, suffixes, look in (
        ("/etc/network/interfaces.d", ("",), _interfaces),
        ("/etc/netplan", (".yaml", ".yml"), _netplan),
        ("/etc/NetworkManager/system-connections", ("",), _keyfile),
        ("/etc/systemd/network", (".network", ".link"), _networkd),
    ):
        for path in list(files.matching(directory, *suffixes))[:MAX_FILES]:
            yield path, look


def _lines(text: str) -> str:
    """Without comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))


def _ifcfg(text: str) -> Found:
    values = assignments(text)
    hardware = [value for key in ("HWADDR",) if (value := values.get(key, ""))]
    dynamic = values.get("BOOTPROTO", "").lower() in ("dhcp", "bootp", "dhcp4", "dhcp6")
    fixed = [value for key, value in values.items() if re.fullmatch(r"IPADDR\d*", key) and value]
    return hardware, [] if dynamic else fixed


def _interfaces(text: str) -> Found:
    text = _lines(text)
    hardware = re.findall(r"^[ \t]*hwaddress\s+(?:ether\s+)?(\S+)", text, re.MULTILINE)
    fixed = []
    for stanza in re.split(r"^[ \t]*(?=iface\s)", text, flags=re.MULTILINE):
        if re.match(r"iface\s+\S+\s+inet6?\s+static", stanza):
            fixed += re.findall(r"^[ \t]*address\s+(\S+)", stanza, re.MULTILINE)
    return [value for value in hardware if _ADDRESS.search(value)], fixed


def _netplan(text: str) -> Found:
    text = _lines(text)
    hardware = re.findall(r"\bmacaddress:\s*[\"']?([0-9A-Fa-f:]{17})", text)
    fixed: list[str] = []
    # "addresses" below "nameservers" are other machines' addresses
    for match in re.finditer(
        r"^([ \t]*)addresses:[ \t]*(.*(?:\n\1[ \t]*-.*)*)", text, re.MULTILINE
    ):
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        if "nameservers" not in before and "search" not in before:
            fixed += re.findall(_IP, match[2])
    return hardware, fixed


def _keyfile(text: str) -> Found:
    text = _lines(text)
    hardware = re.findall(r"^mac-address=(\S+)", text, re.MULTILINE)
    manual = re.search(r"^method=manual", text, re.MULTILINE) is not None
    fixed = re.findall(r"^address(?:es)?\d*=([^,;\s]+)", text, re.MULTILINE)
    return [value for value in hardware if _ADDRESS.search(value)], fixed if manual else []


def _networkd(text: str) -> Found:
    hardware: list[str] = []
    fixed: list[str] = []
    section = ""
    for line in _lines(text).splitlines():
        header = re.match(r"\s*\[(\w+)\]", line)
        section = header[1] if header else section
        key, _, value = (part.strip() for part in line.partition("="))
        if section == "Match" and key in ("MACAddress", "PermanentMACAddress"):
            hardware += _ADDRESS.findall(value)
        if section in ("Network", "Address") and key == "Address" and value:
            fixed.append(value)
    return hardware, fixed


def _rules(files: Files) -> Iterator[str]:
    """Rules of udev that give an interface its name by its hardware address."""
    for path in list(files.matching("/etc/udev/rules.d", ".rules"))[:MAX_FILES]:
        if "net" not in path.rsplit("/", 1)[1]:
            continue
        text = _lines(files.text(path) or "")
        if any("address" in line and _ADDRESS.search(line) for line in text.splitlines()):
            yield clean(path, 200)

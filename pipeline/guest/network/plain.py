"""Plain text: ifcfg files (Red Hat, SUSE), interfaces(5), NetworkManager keyfiles, systemd-networkd."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from pipeline.guest.linux import assignments
from pipeline.guest.network.seen import (
    MAC,
    Seen,
    bound_name,
    fixed,
    of_no_card,
    together,
    without_comments,
)

_NO = ("no", "false", "off", "0")
_ADDRESS_KEYS = ("HWADDR", "MACADDR", "LLADDR")
"""What a card must have; what it is given by Red Hat's scripts and by SUSE's wicked (ifcfg(5))."""
_OF_CARDS = ("ethernet", "802-3-ethernet")
_OF_NO_CARD = ("loopback", "wireguard", "tun", "ip-tunnel", "vpn", "dummy")
_LEAVES_BY_CARD = ("bond", "vlan", "macvlan")


def ifcfg(text: str) -> Seen:
    """An ifcfg file: shell assignments."""
    values = assignments(text)
    device = values.get("DEVICE", values.get("NAME", ""))
    by_hand = values.get("STARTMODE", "").lower() in ("off", "manual")  # SUSE's (ifcfg(5))
    if of_no_card(device) or by_hand or values.get("ONBOOT", "").lower() in _NO:
        return Seen()  # or what nobody starts
    dynamic = values.get("BOOTPROTO", "").lower() in ("dhcp", "bootp", "dhcp4", "dhcp6")
    addresses = [value for key, value in values.items() if re.fullmatch(r"IPADDR\w*", key)]
    return Seen(
        tuple(mac for key in _ADDRESS_KEYS for mac in MAC.findall(values.get(key, ""))),
        () if dynamic else tuple(value for value in addresses if fixed(value)),
        dynamic,
        bound_name(device),
    )


def interfaces(text: str) -> Seen:
    """What ifupdown reads: stanzas that begin with iface, auto, mapping, source."""
    text = without_comments(text.replace("\\\n", " "))
    parts = []
    for stanza in re.split(
        r"^[ \t]*(?=(?:iface|mapping|auto|allow-\w+)\s)", text, flags=re.MULTILINE
    ):
        head = re.match(r"iface\s+(\S+)(?:\s+(inet6?)\s+(\w+))?", stanza)
        if head is None or of_no_card(head[1]):
            continue
        hardware = re.findall(r"^[ \t]*hwaddress\s+(?:ether\s+)?(\S+)", stanza, re.MULTILINE)
        addresses = re.findall(r"^[ \t]*address\s+(\S+)", stanza, re.MULTILINE)
        static = addresses if head[3] in ("static", None) else []
        parts.append(
            Seen(
                tuple(value for value in hardware if MAC.fullmatch(value)),
                tuple(value for value in static if fixed(value)),
                head[3] in ("dhcp", "auto"),
                bound_name(head[1]),
            )
        )
    return together(parts)


def sources(text: str) -> Iterator[tuple[str, str]]:
    """``source`` and ``source-directory`` lines: the word, and the path or pattern."""
    for line in without_comments(text.replace("\\\n", " ")).splitlines():
        words = _words(line)
        if words and words[0] in ("source", "source-directory"):
            yield from ((words[0], path) for path in words[1:])


def _words(line: str) -> list[str]:
    """As a shell takes them (wordexp(3)); what it would refuse, by its blanks."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _sections(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each line of an ini file; keys may come again."""
    section = ""
    for line in without_comments(text).splitlines():
        header = re.match(r"\s*\[([^\]]+)\]", line)
        if header:
            section = header[1]
            continue
        key, sign, value = (part.strip() for part in line.partition("="))
        if sign:
            yield section, key, value


def keyfile(text: str) -> Seen:
    """A NetworkManager connection (nm-settings-keyfile(5))."""
    rows = list(_sections(text))
    known = {(section, key): value for section, key, value in rows}
    name = known.get(("connection", "interface-name"), "")
    if known.get(("connection", "type")) in _OF_NO_CARD or of_no_card(name):
        return Seen()
    if known.get(("connection", "autoconnect"), "").lower() in _NO:
        return Seen()  # nobody starts it
    manual = {
        section for (section, key), value in known.items() if (key, value) == ("method", "manual")
    }
    static = [
        re.split(r"[,;\s]", value)[0]
        for section, key, value in rows
        if section in manual and re.fullmatch(r"address(?:es)?\d*", key)
    ]
    keys = [(kind, key) for key in ("mac-address", "cloned-mac-address") for kind in _OF_CARDS]
    return Seen(
        tuple(mac for key in keys for mac in MAC.findall(known.get(key, ""))),
        tuple(value for value in static if fixed(value)),
        any((key, value) == ("method", "auto") for _, key, value in rows),
        bound_name(name),
    )


def _of_no_card(section: str, key: str, value: str) -> bool:
    if section == "Match":
        return key in ("Kind", "Virtualization") and bool(value)
    return (section, key) == ("NetDev", "Kind") and value not in _LEAVES_BY_CARD


def networkd(text: str) -> Seen:
    """A .network, .link or .netdev file, its drop-ins behind it (systemd.network(5)).

    What matches by Kind= or Virtualization= is about containers and tunnels, not about a card.  Of
    [NetDev] only what always leaves by a card counts: a bridge may be one for containers alone.
    """
    hardware: list[str] = []
    given: list[str] = []  # by [Link], whose policy may be another
    policy = ""
    static: list[str] = []
    names: list[str] = []
    dhcp = False
    for section, key, value in _sections(text):
        if section == "Match" and key in ("MACAddress", "PermanentMACAddress"):
            hardware = [*hardware, *MAC.findall(value)] if value else []
        elif section == "Match" and key in ("Name", "OriginalName"):
            names += value.split()
        elif _of_no_card(section, key, value):
            return Seen()
        elif section in ("Link", "NetDev") and key == "MACAddress":
            given = MAC.findall(value)
        elif (section, key) == ("Link", "MACAddressPolicy"):
            policy = value
        elif section in ("Network", "Address") and key == "Address":
            static = [*static, value] if value else []
        elif (section, key) == ("Network", "DHCP"):
            dhcp = value.lower() not in ("no", "false", "none", "0", "")
    if names and all(of_no_card(name) for name in names):
        return Seen()
    bound = tuple(name for each in names for name in bound_name(each))
    hardware += given if policy in ("", "none") else []
    return Seen(tuple(hardware), tuple(value for value in static if fixed(value)), dhcp, bound)

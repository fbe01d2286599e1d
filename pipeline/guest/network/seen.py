"""What one file of network configuration says about one machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

MAC = re.compile(r"\b([0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5})\b")
_HARDWARE_NAME = re.compile(r"(?:en|eth|wl|ww)[a-zA-Z0-9]+|eno\d+")
_OF_NO_CARD = re.compile(
    r"lo0?|(?:dummy|wg|tun|tap|docker|virbr|veth|lxcbr|lxdbr|cni|flannel|tailscale|sit|gre|vti|ipsec)[\w.-]*"
)
_ANY_MACHINE = re.compile(r"eth\d+")


@dataclass(frozen=True)
class Seen:
    """What a file binds to one machine."""

    hardware: tuple[str, ...] = ()  # hardware addresses that a card must have, or is given
    static: tuple[str, ...] = ()  # fixed addresses
    dhcp: bool = False
    names: tuple[str, ...] = ()  # interfaces called by the slot or bus of their card


def together(parts: list[Seen]) -> Seen:
    """Several interfaces of one file."""
    return Seen(
        tuple(value for part in parts for value in part.hardware),
        tuple(value for part in parts for value in part.static),
        any(part.dhcp for part in parts),
        tuple(dict.fromkeys(value for part in parts for value in part.names)),
    )


def bound_name(name: str) -> tuple[str, ...]:
    """The name, where another machine's card would have another one: ens192, but neither eth0 nor en*."""
    bound = _HARDWARE_NAME.fullmatch(name) and not _ANY_MACHINE.fullmatch(name)
    return (name,) if bound else ()


def of_no_card(name: str) -> bool:
    """Whether an interface is the machine's own: loopback, or of a tunnel or containers on it."""
    return _OF_NO_CARD.fullmatch(name.split(":")[0]) is not None


def fixed(address: str) -> bool:
    """Whether it is an address that another network gave: neither loopback, link-local nor nonsense.

    0.0.0.0 asks systemd-networkd for any free network.
    """
    try:
        found = ipaddress.ip_interface(address.strip().split()[0]).ip
    except (ValueError, IndexError):
        return False
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


def without_comments(text: str) -> str:
    """The lines that are not comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))

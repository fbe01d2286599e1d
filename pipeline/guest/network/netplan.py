"""netplan: YAML with one mapping a kind of interface (https://netplan.readthedocs.io/en/stable/netplan-yaml/)."""

from __future__ import annotations

from typing import Any

from pipeline.guest import yamlfile
from pipeline.guest.network.seen import MAC, Seen, bound_name, fixed, of_no_card, together

_KINDS = ("ethernets", "wifis", "modems", "bonds", "bridges", "vlans", "vrfs")
MAX_INTERFACES = 64


def look(text: str) -> Seen:
    """What a file of /etc/netplan says."""
    network = yamlfile.mapping(text, typed=False).get("network")
    parts = []
    for kind in _KINDS:
        for name, settings in list(_map(_map(network).get(kind)).items())[:MAX_INTERFACES]:
            if isinstance(settings, dict) and not of_no_card(str(name)):
                parts.append(_interface(str(name), settings, kind))
    return together(parts)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _interface(name: str, settings: dict[str, Any], kind: str) -> Seen:
    wanted = _map(settings.get("match"))
    told = [wanted.get("macaddress", "")]
    if kind != "bridges" or settings.get("interfaces"):  # a bridge without a card is for containers
        told.append(settings.get("macaddress", ""))
    hardware = tuple(address for value in told for address in MAC.findall(str(value)))
    listed = settings.get("addresses")
    addresses = [_address(item) for item in (listed if isinstance(listed, list) else [])]
    by_name = name if not wanted and kind == "ethernets" else str(wanted.get("name", ""))
    return Seen(
        hardware,
        tuple(address for address in addresses[:MAX_INTERFACES] if fixed(address)),
        any(_yes(settings.get(key)) for key in ("dhcp4", "dhcp6")),
        bound_name(by_name),
    )


def _address(item: Any) -> str:
    """An address alone, or a mapping with it as the only key (label, lifetime)."""
    return str(next(iter(item), "")) if isinstance(item, dict) else str(item)


def _yes(value: Any) -> bool:
    return str(value).lower() in ("yes", "true", "on", "y")

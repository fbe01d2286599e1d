"""Every line and word of network files otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    Link,
)

from pipeline.guest import (
    network,
    units,
)
from pipeline.guest.tree import Files

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare

INTERFACES = (
    "# comment\nauto lo eth0\niface lo inet loopback\niface eth0 inet static\n  address 10.0.0.5/24\n"
    "  hwaddress ether 52:54:00:12:34:56\niface eth0 inet6 auto\nallow-hotplug ens3\niface ens3 inet dhcp\n"
    "iface docker0 inet static\n  address 172.17.0.1\niface eth9\n  address 10.9.0.1\nmapping eth1\n"
    "  script x\n"
    "source interfaces.d/*\nsource-directory more\n"
)
IFCFG = (
    'DEVICE="ens192"\nONBOOT=yes\nBOOTPROTO=none\nIPADDR0=10.0.0.7\nIPADDR=127.0.0.1\n'
    "HWADDR=52:54:00:12:34:57\n"
    "MACADDR=52-54-00-12-34-58\nSTARTMODE=auto\nNAME=x\n"
)
KEYFILE = (
    "[connection]\nid=a\ntype=ethernet\ninterface-name=enp1s0\nautoconnect=true\n[ethernet]\n"
    "mac-address=52:54:00:12:34:59\ncloned-mac-address=52:54:00:12:34:5A\n[ipv4]\nmethod=manual\n"
    "address1=10.0.0.8/24,10.0.0.1\naddresses=10.0.0.9;10.0.0.10\n[ipv6]\nmethod=auto\n"
    "address1=2001:db8::1/64\n"
)
NETWORKD = (
    "[Match]\nName=ens4 eth2\nMACAddress=52:54:00:12:34:5B\n[Link]\nMACAddress=52:54:00:12:34:5C\n"
    "MACAddressPolicy=none\n[Network]\nDHCP=ipv4\nAddress=10.0.0.11/24\nAddress=169.254.0.1/16\n[Address]\n"
    "Address=0.0.0.0/28\n[NetDev]\nKind=vlan\nMACAddress=52:54:00:12:34:5D\n"
)
NETPLAN = (
    "network:\n  version: 2\n  ethernets:\n    ens5:\n"
    "      match: {macaddress: '52:54:00:12:34:5E', name: ens5}\n"
    "      addresses: [10.0.0.12/24, {10.0.0.13/24: {label: x}}]\n      dhcp4: true\n    lo:\n"
    "      addresses: [10.1.1.1/8]\n"
    "    eno1:\n      macaddress: 52:54:00:12:34:5F\n      dhcp6: no\n  bridges:\n    br0:\n"
    "      macaddress: 52:54:00:12:34:60\n"
    "      interfaces: [eno1]\n  vlans:\n    v1:\n      addresses: [10.0.0.14/24]\n"
)


@TABLES
def network_files() -> Iterator[str]:
    """What each kind of network file says."""
    looks: tuple[tuple[str, Callable[[str], Any]], ...] = (
        (INTERFACES, network.plain.interfaces),
        (IFCFG, network.plain.ifcfg),
        (KEYFILE, network.plain.keyfile),
        (NETWORKD, network.plain.networkd),
        (NETPLAN, network.netplan.look),
    )
    for text, look in looks:
        yield from varied.of_text(text, look)
    yield from varied.of_text(
        INTERFACES, lambda text: {"sources": list(network.plain.sources(text))}
    )


RULE = 'SUBSYSTEM=="net", ATTR{address}=="52:54:00:12:34:61", NAME="eth0"\n'
CARDS: dict[str, Any] = {
    "etc/network/interfaces": INTERFACES,
    "etc/network/interfaces.d/a": "iface eth3 inet static\n address 10.0.1.1\n",
    "etc/network/interfaces.d/.hidden": "iface eth3 inet static\n address 10.0.1.2\n",
    "etc/network/more/b": "iface eth4 inet static\n address 10.0.1.3\nsource /etc/network/interfaces\n",
    "etc/network/more/b.bak": "iface eth4 inet static\n address 10.0.1.4\n",
    "etc/sysconfig/network-scripts/ifcfg-ens192": IFCFG,
    "etc/sysconfig/network-scripts/ifcfg-lo": IFCFG,
    "etc/sysconfig/network/ifcfg-eth0.rpmsave": IFCFG,
    "etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO=dhcp\n",
    "etc/NetworkManager/system-connections/a.nmconnection": KEYFILE,
    "etc/NetworkManager/system-connections/a~": KEYFILE,
    "usr/lib/NetworkManager/system-connections/a.nmconnection": KEYFILE,
    "run/NetworkManager/system-connections/c": KEYFILE.replace("10.0.0.8", "10.0.0.88"),
    "etc/netplan/50-cloud-init.yaml": NETPLAN,
    "etc/netplan/90.yaml": NETPLAN.replace("10.0.0.12", "10.0.0.112"),
    "usr/lib/systemd/network/10-a.network": NETWORKD,
    "usr/lib/systemd/network/20-b.network": NETWORKD.replace("10.0.0.11", "10.0.0.111"),
    "etc/systemd/network/20-b.network": Link("/dev/null"),
    "etc/systemd/network/10-a.network.d/x.conf": "[Network]\nAddress=10.0.2.1/24\n",
    "etc/systemd/network/30-c.link": "[Match]\nMACAddress=52:54:00:12:34:62\n[Link]\nName=lan\n",
    "etc/systemd/network/30-c.link.d/y.conf": "[Match]\nMACAddress=52:54:00:12:34:63\n",
    "etc/systemd/network/cloud-init-eth7.network": NETWORKD,
    "etc/udev/rules.d/70-persistent-net.rules": RULE,
    "etc/udev/rules.d/80-mine.rules": f"# {RULE}{RULE.replace('ATTR', 'ATTRS')}",
    "usr/lib/udev/rules.d/75-persistent-net.rules": RULE,
    "usr/lib/udev/rules.d/80-theirs.rules": RULE,
    "etc/NetworkManager/NetworkManager.conf": "[main]\nno-auto-default=*\n",
    "etc/NetworkManager/conf.d/a.conf": "#no-auto-default=*\n",
    "usr/lib/systemd/system/NetworkManager.service": "",
    "usr/lib/systemd/system/wickedd.service": "",
    "usr/lib/systemd/system/multi-user.target.wants/wickedd.service": Link("../wickedd.service"),
    "etc/systemd/system/multi-user.target.wants/NetworkManager.service": Link("/x"),
}


@TABLES
def networks() -> Iterator[str]:
    """All files of the network together, with cloud-init and without."""
    for configured in (False, True):

        def tell(files: Files, configured: bool = configured) -> Any:
            return network.facts(files, units.read(files), cloud_init=configured)

        yield from varied.of_tree(CARDS, tell, "etc/udev/rules.d/80-mine.rules")


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)

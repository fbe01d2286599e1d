"""Network files at their edges: keys beside those that are meant, sections of others, what a card is not."""

import pytest
from guests import Link, facts
from phony import files_of

from pipeline.guest import network, units
from pipeline.guest.network import netplan, plain
from pipeline.guest.network.seen import Seen, fixed

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"

# ------------------------------------------------------------------------------- systemd-networkd


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"[Match]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Match]\nPermanentMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Match]\nMACAddress={MAC}\nMACAddress={OTHER}\n", Seen((MAC, OTHER))),
        (f"[Match]\nMACAddress={MAC}\nMACAddress=\n", Seen()),
        (f"[Match]\nOriginalMACAddress={MAC}\nMAC={MAC}\n", Seen()),
        (f"[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Link]\nMACAddress={MAC}\nDescription=x\nAlias=a\n", Seen((MAC,))),
        (f"[Link]\nMACAddress={MAC}\nMTUBytes=1500\nName=lan0\n", Seen((MAC,))),
        (f"[Link]\nMACAddress={MAC}\nMACAddress={OTHER}\n", Seen((OTHER,))),
        (f"[Link]\nMACAddressPolicy=persistent\nMACAddress={MAC}\n", Seen()),
        (f"[Link]\nMACAddressPolicy=none\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Link]\nNamePolicy=slot\nMACAddress={MAC}\nAlias=persistent\n", Seen((MAC,))),
        (f"[Match]\nMACAddressPolicy=persistent\n[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Bridge]\nMACAddress={MAC}\n[Network]\nMACAddress={MAC}\n", Seen()),
        (f"[NetDev]\nKind=vlan\nMACAddress={MAC}\nName=enp9\n", Seen((MAC,))),
        (f"[NetDev]\nKind=bridge\nMACAddress={MAC}\n", Seen()),
        (f"[NetDev]\nType=bridge\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Link]\nKind=bridge\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Address]\nKind=bridge\n[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[VLAN]\nKind=bridge\n[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Match]\nKind=bridge\n[Link]\nMACAddress={MAC}\n", Seen()),
        (f"[Match]\nKind=\n[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        (f"[Match]\nVirtualization=container\n[Link]\nMACAddress={MAC}\n", Seen()),
        (f"[Match]\nDriver=e1000\nType=ether\n[Link]\nMACAddress={MAC}\n", Seen((MAC,))),
        ("[Match]\nName=ens7 eth0 en*\n", Seen(names=("ens7",))),
        ("[Match]\nOriginalName=ens7\n", Seen(names=("ens7",))),
        ("[Match]\nHost=ens7\nPath=ens8\n", Seen()),
        ("[Link]\nName=ens7\n", Seen()),
        ("[Match]\nName=docker0\n[Network]\nAddress=10.0.0.5/24\n", Seen()),
        ("[Match]\nName=docker0 eth0\n[Network]\nAddress=10.0.0.5/24\n", Seen(static=("10.0.0.5/24",))),
        ("[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.2\n", Seen(static=("10.0.0.5/24",))),
        ("[Network]\nAPN=10.0.0.5\nAddress=\n", Seen()),
        ("[Network]\nAddress=10.0.0.5/24\nAddress=\nAddress=10.0.0.6/24\n", Seen(static=("10.0.0.6/24",))),
        ("[Address]\nAddress=10.0.0.5/24\nPeer=10.0.0.9\nBroadcast=10.0.0.255\n",
         Seen(static=("10.0.0.5/24",))),
        ("[Route]\nAddress=10.0.0.5/24\n[Neighbor]\nAddress=10.0.0.6\n", Seen()),
        ("[Network]\nDHCP=yes\n", Seen(dhcp=True)),
        *((f"[Network]\nDHCP={word}\n", Seen()) for word in ("no", "False", "none", "0", "")),
        ("[Network]\nDHCP=yes\nDHCP=no\n", Seen()),
        ("[Network]\nDHCP=yes\nGateway=10.0.0.1\nBridge=br0\n", Seen(dhcp=True)),
        ("[Network]\nGateway=yes\nIPForward=yes\nAddDNS=yes\n[Route]\nDHCP=yes\n[Link]\nDHCP=yes\n", Seen()),
    ],
)  # fmt: skip
def test_a_file_of_systemd_networkd(text, seen):
    assert plain.networkd(text) == seen


# -------------------------------------------------------------------------------------- keyfiles


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\n", Seen(static=("10.0.0.5/24",))),
        ("[ipv4]\nmethod=manual\naddress=10.0.0.5/24\n", Seen(static=("10.0.0.5/24",))),
        ("[ipv4]\nmethod=manual\naddresses=10.0.0.5/24;10.0.0.6\n", Seen(static=("10.0.0.5/24",))),
        ("[ipv4]\nmethod=manual\naddress-data=10.0.0.5/24\naddr=10.0.0.6\n", Seen()),
        ("[ipv4]\nmethod=shared\naddress1=10.0.0.5/24\n", Seen()),
        ("[ipv4]\nmethod=link-local\naddress1=10.0.0.5/24\nmay-fail=no\nnever-default=x\n", Seen()),
        ("[ipv4]\nmethod=auto\naddress1=10.0.0.5/24\n", Seen(dhcp=True)),
        ("[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\n[ipv6]\nmethod=ignore\naddress1=2001:db8::1/64\n",
         Seen(static=("10.0.0.5/24",))),
        ("[ipv6]\nmethod=disabled\nzone=auto\ndns=auto\n", Seen()),
        (f"[ethernet]\nmac-address={MAC}\ncloned-mac-address={OTHER}\n", Seen((MAC, OTHER))),
        (f"[802-3-ethernet]\nmac-address={MAC}\n", Seen((MAC,))),
        (f"[wifi]\nmac-address={MAC}\n[bridge]\nmac-address={MAC}\n", Seen()),
        ("[connection]\ninterface-name=ens7\n", Seen(names=("ens7",))),
        ("[connection]\ninterface-name=ens7\nautoconnect=false\n", Seen()),
        ("[connection]\ninterface-name=ens7\ntype=wireguard\n", Seen()),
        ("[connection]\ninterface-name=wg0\n[ipv4]\nmethod=auto\n", Seen()),
        ("interface-name=ens7\n[ipv4]\n; method=auto\n#method=auto\n", Seen()),
    ],
)  # fmt: skip
def test_a_keyfile(text, seen):
    assert plain.keyfile(text) == seen


# ------------------------------------------------------------------------ ifcfg files, interfaces(5)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("DEVICE=ens7\nIPADDR=10.0.0.5\n", Seen(static=("10.0.0.5",), names=("ens7",))),
        ("NAME=ens7\nIPADDR1=10.0.0.5\nIPADDR2=10.0.0.6\n",
         Seen(static=("10.0.0.5", "10.0.0.6"), names=("ens7",))),
        ("DEVICE=eth0\nNAME=ens7\nXIPADDR=10.0.0.5\nNETMASK=10.0.0.6\n", Seen()),
        ("BOOTPROTO=DHCP\nIPADDR=10.0.0.5\n", Seen(dhcp=True)),
        *((f"BOOTPROTO={word}\n", Seen(dhcp=True)) for word in ("bootp", "dhcp4", "dhcp6")),
        ("BOOTPROTO=static\nIPADDR=10.0.0.5\n", Seen(static=("10.0.0.5",))),
        *((f"ONBOOT={word}\nBOOTPROTO=dhcp\n", Seen()) for word in ("no", "NO", "false", "off", "0")),
        *((f"STARTMODE={word}\nBOOTPROTO=dhcp\n", Seen()) for word in ("off", "Manual")),
        ("STARTMODE=hotplug\nONBOOT=1\nBOOTPROTO=dhcp\n", Seen(dhcp=True)),
        (f"HWADDR={MAC}\nMACADDR={OTHER}\n", Seen((MAC, OTHER))),
        (f"LLADDR={MAC}\nOVS_MAC={OTHER}\n", Seen((MAC,))),
        ("DEVICE=docker0\nBOOTPROTO=dhcp\n", Seen()),
    ],
)  # fmt: skip
def test_an_ifcfg_file(text, seen):
    assert plain.ifcfg(text) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("iface ens7 inet static\n address 10.0.0.5\n", Seen(static=("10.0.0.5",), names=("ens7",))),
        ("iface eth0 inet manual\n address 10.0.0.5\n", Seen()),
        ("iface eth0 inet6 auto\n", Seen(dhcp=True)),
        ("iface eth0 inet dhcp\n address 10.0.0.5\n", Seen(dhcp=True)),
        ("iface eth0 inet dhcp2\n", Seen()),
        ("iface eth0\n address 10.0.0.5\n", Seen(static=("10.0.0.5",))),
        (f"iface eth0 inet static\n hwaddress {MAC}\n", Seen((MAC,))),
        (f"iface eth0 inet static\n hwaddress ether {MAC}\n hwaddresses {OTHER}\n", Seen((MAC,))),
        ("iface eth0 inet static\n address 10.0.0.5\nauto eth1\n address 10.0.0.6\n",
         Seen(static=("10.0.0.5",))),
        ("iface eth0 inet static\n\taddress 10.0.0.5\n\taddress 10.0.0.6\n\tgateway 10.0.0.1\n",
         Seen(static=("10.0.0.5", "10.0.0.6"))),
        ("iface lo:1 inet static\n address 10.0.0.5\n", Seen()),
        ("iface eth0 inet static\\\n\n address 10.0.0.5\n", Seen(static=("10.0.0.5",))),
    ],
)  # fmt: skip
def test_interfaces(text, seen):
    assert plain.interfaces(text) == seen


# ------------------------------------------------------------------------------------------ netplan


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"ethernets: {{ens7: {{macaddress: '{MAC}'}}}}", Seen((MAC,), names=("ens7",))),
        (f"ethernets: {{ens7: {{match: {{macaddress: '{MAC}'}}}}}}", Seen((MAC,))),
        (f"ethernets: {{a: {{match: {{name: ens7}}, macaddress: '{MAC}'}}}}", Seen((MAC,), names=("ens7",))),
        (f"bonds: {{ethbond: {{macaddress: '{MAC}'}}}}", Seen((MAC,))),
        (f"vlans: {{ens7: {{macaddress: '{MAC}'}}}}", Seen((MAC,))),
        (f"wifis: {{wlp3s0: {{macaddress: '{MAC}'}}}}", Seen((MAC,))),
        (f"modems: {{wwan0: {{macaddress: '{MAC}'}}}}", Seen((MAC,))),
        (f"vrfs: {{env: {{macaddress: '{MAC}'}}}}", Seen((MAC,))),
        (f"bridges: {{enbr: {{macaddress: '{MAC}'}}}}", Seen()),
        (f"bridges: {{enbr: {{macaddress: '{MAC}', interfaces: [eth0]}}}}", Seen((MAC,))),
        (f"dummies: {{ens7: {{macaddress: '{MAC}'}}}}", Seen()),
        ("bridges: {br0: {addresses: [10.0.0.5/24]}}", Seen(static=("10.0.0.5/24",))),
        ("ethernets: {eth0: {addresses: [{10.0.0.5/24: {label: x}}, 10.0.0.6/24, {}]}}",
         Seen(static=("10.0.0.5/24", "10.0.0.6/24"))),
        ("ethernets: {eth0: {addresses: 10.0.0.5/24}}", Seen()),
        *((f"ethernets: {{eth0: {{{key}: {word}}}}}", Seen(dhcp=True))
          for key in ("dhcp4", "dhcp6") for word in ("yes", "True", "on", "y")),
        *((f"ethernets: {{eth0: {{dhcp4: {word}}}}}", Seen()) for word in ("no", "false", "off", "n", "1")),
        ("ethernets: {eth0: {dhcp: yes, accept-ra: yes}}", Seen()),
        ("ethernets: {docker0: {dhcp4: yes}}", Seen()),
    ],
)  # fmt: skip
def test_an_interface_of_netplan(text, seen):
    assert netplan.look(f"network: {{{text}}}") == seen


# ------------------------------------------------------------------------------------- all of them


def looked(tree, cloud_init=False):
    files = files_of(tree)
    return network.facts(files, units.read(files), cloud_init=cloud_init)


@pytest.mark.parametrize(
    ("length", "rewritten"), [(40, True), (999, True), (1000, True), (1001, False), (1040, False)]
)
def test_who_wrote_a_file_stands_in_its_first_thousand_characters(length, rewritten):
    mark = "# created by cloud-init"
    text = f"#{'x' * (length - len(mark) - 2)}\n{mark}\nIPADDR=10.0.0.5\n"

    found = looked({"etc/sysconfig/network-scripts/ifcfg-eth0": text}, cloud_init=True)

    assert (len(found.rewritten), len(found.static_addresses)) == (rewritten, not rewritten)


@pytest.mark.parametrize("line", range(1, 10))
def test_the_line_of_a_hardware_address_is_told(line):
    lines = [f"X{number}=1" for number in range(1, 12)]
    lines[line - 1] = f"HWADDR={MAC}"
    path = "etc/sysconfig/network-scripts/ifcfg-eth0"

    found = looked({path: "\n".join(lines)})

    assert found.hardware_addresses == (f"/{path}, line {line}: HWADDR={MAC}",)


@pytest.mark.parametrize(
    ("name", "looks"),
    [("ifcfg-eth0", True), ("ifcfg-p1p1", True), ("ifcfg-lo", False), ("ifcfg-lo1", True),
     ("ifcfg-eth0.bak", False), ("ifcfg-eth0~", False), ("route-eth0", False), (".ifcfg-eth0", False)],
)  # fmt: skip
def test_which_files_of_network_scripts_count(name, looks):
    found = looked({f"etc/sysconfig/network-scripts/{name}": "BOOTPROTO=dhcp\n"})

    assert bool(found.dhcp) is looks


def test_a_client_whose_unit_is_masked_does_not_start():
    wanted = "etc/systemd/system/multi-user.target.wants"
    tree = {
        "usr/lib/systemd/system/NetworkManager.service": "",
        "etc/systemd/system/NetworkManager.service": Link("/dev/null"),
        "usr/lib/systemd/system/networking.service": "",
        f"{wanted}/networking.service": Link("/usr/lib/systemd/system/networking.service"),
        "usr/lib/systemd/system/dhcpcd.service": "",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",  # so that no preset counts
    }

    assert looked(tree).clients == ("ifupdown",)


def test_sixty_four_files_lead_from_one_to_the_next():
    tree = {
        f"etc/network/{number}": f"iface eth{number} inet dhcp\nsource /etc/network/{number + 1}\n"
        for number in range(1, 70)
    }
    tree["etc/network/interfaces"] = "source /etc/network/1\nsource /etc/network/1\n"

    assert len(looked(tree).dhcp) == 63


@pytest.mark.parametrize(
    ("rule", "binds"),
    [
        (f'ATTR{{address}}=="{MAC}", NAME="eth0"', True),
        (f'ATTRS{{permaddr}}=="{MAC}", NAME="eth0"', True),
        (f'ENV{{ID_NET_NAME_MAC}}=="x{MAC}", NAME="eth0"', False),
        (f'ENV{{ID_NET_NAME_MAC}}=="{MAC}", NAME="eth0"', True),
        (f'ATTR{{address}}=="{MAC}", RUN+="x"', False),
        (f'ATTR{{type}}=="{MAC}", NAME="eth0"', False),
        ('ATTR{address}=="52:54:*", NAME="eth0"', False),
    ],
)
def test_a_rule_that_names_a_card(rule, binds):
    for name, counts in (
        ("etc/udev/rules.d/80-mine.rules", True),
        ("usr/lib/udev/rules.d/80-theirs.rules", False),
        ("usr/lib/udev/rules.d/75-persistent-net.rules", True),
        ("lib/udev/rules.d/75-persistent-net.rules", True),
        ("lib/udev/rules.d/80-theirs.rules", False),
        ("etc/udev/rules.d/80-mine.rule", False),
    ):
        found = looked({name: f"{rule}\n"}).persistent_rules
        assert found == ((f"/{name}",) if binds and counts else ())


def test_no_auto_default_of_network_manager():
    for text, says in (("no-auto-default=*", True), (" no-auto-default = *\n", True),
                       ("#no-auto-default=*", False), ("no-auto-default=eth0", False)):  # fmt: skip
        found = facts({"usr/lib/NetworkManager/conf.d/a.conf": f"[main]\n{text}\n"})["network"]
        assert found["no_auto_default"] is says


@pytest.mark.parametrize(
    ("text", "is_fixed"),
    [
        ("192.0.2.7", True), (" 192.0.2.7/24 ", True), ("192.0.2.7/24 192.0.2.1", True),
        ("192.0.2.7 x", True),
        ("2001:db8::7/64 x", True), ("x 192.0.2.7", False), ("", False), (" ", False), ("x", False),
        ("127.0.0.1 192.0.2.7", False), ("169.254.1.1", False), ("fe80::1/64", False), ("0.0.0.0/24", False),
        ("::", False), ("::1", False), ("192.0.2.300", False),
    ],
)  # fmt: skip
def test_an_address_is_the_first_word_and_no_one_of_this_machine_s_own(text, is_fixed):
    assert fixed(text) is is_fixed

"""Network configuration: seven ways of writing it, and what of it fits one machine only."""

import os
import subprocess

import pytest
import yaml
from guests import Link, facts, findings

from pipeline.guest.network import netplan as netplan_files

MAC = "52:54:00:12:34:56"
BOUND, STATIC = {"hardware-address-bound"}, {"static-address"}
BARE = {"usr/bin/cloud-init": ..., "etc/network/interfaces": "auto lo\niface lo inet loopback\n"}
NO_CLOUD = {"cloud-init-missing"}


def netplan(text):
    return {"etc/netplan/01.yaml": text}


def networkd(text, name="10-lan.network"):
    return {f"etc/systemd/network/{name}": text}


def keyfile(text, top="etc"):
    return {f"{top}/NetworkManager/system-connections/lan.nmconnection": text}


CASES = [
    # netplan
    (  # to PyYAML a number of base 60
        netplan("network: {ethernets: {a: {match: {macaddress: 52:54:00:12:34:56}, dhcp4: y}}}"),
        BOUND,
    ),
    (
        netplan("network: {ethernets: {a: {match: {macaddress: 02:54:00:12:34:08}, dhcp4: on}}}"),
        BOUND,
    ),
    # what hides a vendor's file
    (
        {
            "usr/lib/systemd/network/a.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.0.5/24\n",
            "etc/systemd/network/a.network": Link("/dev/null"),
        },
        set(),
    ),
    (
        {
            "usr/lib/systemd/network/a.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.0.5/24\n",
            "etc/systemd/network/a.network": "",
        },
        set(),
    ),
    # what nobody starts
    (
        keyfile(
            "[connection]\ntype=ethernet\nautoconnect=false\n[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\n"
        ),
        set(),
    ),
    (
        {"etc/sysconfig/network-scripts/ifcfg-eth1": "DEVICE=eth1\nONBOOT=no\nIPADDR=10.0.0.5\n"},
        set(),
    ),
    # what editors and packages leave
    *(
        (
            {
                f"etc/NetworkManager/system-connections/lan{end}": "[ipv4]\nmethod=manual\n"
                "address1=10.0.0.5/24\n"
            },
            set(),
        )
        for end in ("~", ".swp", ".rpmsave", ".dpkg-old")
    ),
    *(
        ({f"etc/sysconfig/network-scripts/ifcfg-eth0{end}": "IPADDR=10.0.0.5\n"}, set())
        for end in (".orig", ".old", ".rpmorig")
    ),
    (netplan("network: {ethernets: {eth0: {dhcp4: true}}}"), set()),
    (netplan("network: {ethernets: {eth0: {addresses: [10.0.0.5/24]}}}"), STATIC),
    (
        netplan("network:\n  ethernets:\n    eth0:\n      addresses:\n        - 10.0.0.5/24\n"),
        STATIC,
    ),
    (
        netplan("network:\n  ethernets:\n    eth0:\n      addresses:\n      - '10.0.0.5/24'\n"),
        STATIC,
    ),
    (netplan("network: {ethernets: {a: {addresses: [{10.0.0.5/24: {label: x}}]}}}"), STATIC),
    (
        netplan(
            "network:\n  ethernets:\n    eth0:\n      dhcp4: yes\n      nameservers:\n"
            "        search:\n          - example.com\n          - example.org\n"
            "        addresses:\n          - 8.8.8.8\n"
        ),
        set(),
    ),
    (
        netplan("network: {ethernets: {eth0: {dhcp4: true, nameservers: {addresses: [1.1.1.1]}}}}"),
        set(),
    ),
    (
        netplan(
            "network: {ethernets: {eth0: {routes: [{to: default, via: 10.0.0.1}], dhcp4: true}}}"
        ),
        set(),
    ),
    (netplan("network: {ethernets: {lo: {addresses: [10.9.9.9/32]}, eth0: {dhcp4: true}}}"), set()),
    (
        netplan(f"network: {{ethernets: {{a: {{match: {{macaddress: '{MAC}'}}, dhcp4: true}}}}}}"),
        BOUND,
    ),
    # an address that is given to the card: all servers of the image would have it
    (netplan(f"network: {{ethernets: {{a: {{macaddress: '{MAC}', dhcp4: true}}}}}}"), BOUND),
    (netplan(f"network: {{bridges: {{b: {{interfaces: [a], macaddress: '{MAC}'}}}}}}"), BOUND),
    (netplan(f"network: {{bridges: {{b: {{macaddress: '{MAC}', dhcp4: true}}}}}}"), set()),
    (netplan(f"network: {{bonds: {{b: {{interfaces: [a], macaddress: '{MAC}'}}}}}}"), BOUND),
    (netplan("network: {ethernets: {a: {macaddress: random, dhcp4: true}}}"), set()),
    (netplan(f"# match: {{macaddress: '{MAC}'}}\nnetwork: {{version: 2}}\n"), set()),
    (netplan("network: {bridges: {br0: {addresses: [10.0.0.1/24]}}}"), STATIC),
    (netplan("network: {vlans: {v: {id: 5, link: eth0, addresses: ['fd00::1/64']}}}"), STATIC),
    (netplan("network: {ethernets: [1, 2]}"), set()),
    (netplan("network: 5"), set()),
    (netplan("{{{"), set()),
    (netplan(""), set()),
    (
        netplan(
            "a: &a [1]\nb: ["
            + "*a, " * 1000
            + "]\nnetwork: {ethernets: {e: {addresses: [1.2.3.4/8]}}}"
        ),
        set(),
    ),
    (netplan("[" * 5000), set()),
    (netplan("network: !!python/object/apply:os.system [touch /tmp/x]"), set()),
    # systemd-networkd
    (networkd("[Match]\nName=en*\n[Network]\nDHCP=yes\n"), set()),
    (networkd("[Match]\nName=en*\n[Network]\nAddress=192.168.1.5/24\n"), STATIC),
    (networkd("[Match]\nName=eth0\n[Address]\nAddress=192.168.1.5/24\n"), STATIC),
    (networkd("[Match]\nName=eth0\n[Network]\nAddress=10.0.0.1/8\nAddress=\nDHCP=yes\n"), set()),
    (networkd("[Match]\nName=lo\n[Network]\nAddress=10.9.9.9/32\n"), set()),
    (networkd(f"[Match]\nMACAddress={MAC}\n[Network]\nDHCP=yes\n"), BOUND),
    (networkd(f"[Match]\nPermanentMACAddress={MAC}\n[Link]\nName=lan0\n", "10-x.link"), BOUND),
    (networkd(f"[Match]\nName=eth0\n[Link]\nMACAddress={MAC}\n"), BOUND),
    (networkd(f"[Match]\nName=eth0\n[Link]\nMACAddress={MAC}\n", "10-x.link"), BOUND),
    (
        networkd(
            f"[Match]\nName=eth0\n[Link]\nMACAddress={MAC}\nMACAddressPolicy=none\n", "10-x.link"
        ),
        BOUND,
    ),
    (
        networkd(
            f"[Match]\nName=eth0\n[Link]\nMACAddressPolicy=persistent\nMACAddress={MAC}\n",
            "10-x.link",
        ),
        set(),
    ),
    (networkd(f"[NetDev]\nName=br0\nKind=bridge\nMACAddress={MAC}\n", "br0.netdev"), set()),
    (networkd(f"[NetDev]\nName=v0\nKind=vlan\nMACAddress={MAC}\n", "v0.netdev"), BOUND),
    (networkd(f"[NetDev]\nName=d0\nKind=dummy\nMACAddress={MAC}\n", "d0.netdev"), set()),
    (networkd(f"[NetDev]\nName=b0\nKind=bond\nMACAddress={MAC}\n", "b0.netdev"), BOUND),
    (networkd("[NetDev]\nName=b0\nKind=bond\nMACAddress=none\n", "b0.netdev"), set()),
    (networkd(f"[Match]\n#MACAddress={MAC}\n;MACAddress={MAC}\nName=eth0\n"), set()),
    (networkd("[Network]\nDNS=8.8.8.8\nGateway=10.0.0.1\nDHCP=yes\n"), set()),
    (
        {
            **networkd("[Match]\nName=eth0\n[Network]\nDHCP=yes\n"),
            "etc/systemd/network/10-lan.network.d/50-mac.conf": f"[Match]\nMACAddress={MAC}\n",
        },
        BOUND,
    ),
    (
        {
            "usr/lib/systemd/network/80-x.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
            "etc/systemd/network/80-x.network.d/a.conf": "[Network]\nAddress=10.0.0.9/24\n",
        },
        STATIC,
    ),
    ({"usr/lib/systemd/network/80-x.network": f"[Match]\nMACAddress={MAC}\n"}, BOUND),
    (
        {
            "usr/lib/systemd/network/80-x.network": f"[Match]\nMACAddress={MAC}\n",
            "etc/systemd/network/80-x.network": "[Match]\nName=en*\n",
        },
        set(),
    ),
    (networkd("[Match]\nKind=veth\nName=ve-*\n[Network]\nAddress=10.0.0.1/28\n"), set()),
    (networkd("[Match]\nName=eth0\n[Network]\nAddress=0.0.0.0/28\n"), set()),
    # NetworkManager
    (keyfile("[ipv4]\nmethod=auto\n"), set()),
    (keyfile("[ipv4]\nmethod=manual\naddress1=10.1.1.1/24,10.1.1.254\n"), STATIC),
    (keyfile("[ipv4]\nmethod=auto\naddress1=10.1.1.1/24\n"), set()),
    (keyfile("[ipv6]\nmethod=manual\naddresses=fd00::5/64;\n"), STATIC),
    (
        keyfile(
            "[connection]\ntype=loopback\ninterface-name=lo\n[ipv4]\nmethod=manual\naddress1=10.9.9.9/32"
        ),
        set(),
    ),
    (keyfile(f"[ethernet]\nmac-address={MAC}\n"), BOUND),
    (keyfile(f"[ethernet]\ncloned-mac-address={MAC}\n"), BOUND),
    (keyfile("[ethernet]\ncloned-mac-address=stable\n"), set()),
    (keyfile(f"[ethernet]\nmac-address={MAC}\n", "usr/lib"), BOUND),
    (keyfile(f"[ethernet]\nmac-address={MAC}\n", "run"), BOUND),
    (
        {
            **keyfile(f"[ethernet]\nmac-address={MAC}\n", "usr/lib"),
            **keyfile("[ipv4]\nmethod=auto\n"),
        },
        set(),
    ),
    # ifupdown
    ({"etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n"}, set()),
    ({"etc/network/interfaces": "iface eth0 inet static\n address 192.168.0.2\n"}, STATIC),
    ({"etc/network/interfaces": "iface lo inet static\n address 10.9.9.9\n"}, set()),
    ({"etc/network/interfaces": "iface lo inet loopback\n address 127.0.0.2/8\n"}, set()),
    ({"etc/network/interfaces": "iface eth0 inet \\\n static\n address \\\n 10.0.0.2\n"}, STATIC),
    ({"etc/network/interfaces": f"iface eth0 inet dhcp\n hwaddress ether {MAC}\n"}, BOUND),
    ({"etc/network/interfaces": "iface eth0 inet dhcp\n# address 1.2.3.4\n"}, set()),
    (
        {
            "etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
            "etc/network/interfaces.d/eth0": "iface eth0 inet static\n address 10.0.0.3\n",
        },
        STATIC,
    ),
    (
        {
            "etc/network/interfaces": "source-directory /etc/network/more.d\n",
            "etc/network/more.d/eth0": "iface eth0 inet static\n address 10.0.0.3\n",
        },
        STATIC,
    ),
    (
        {
            "etc/network/interfaces": "source-directory more.d\n",
            "etc/network/more.d/eth0.bak": "iface eth0 inet static\n address 10.0.0.3\n",
        },
        set(),
    ),
    (
        {
            "etc/network/interfaces": "iface lo inet loopback\n",
            "etc/network/interfaces.d/eth0": "iface eth0 inet static\n address 10.0.0.3\n",
        },
        set(),  # no line reads that directory
    ),
    ({"etc/network/interfaces": "source /etc/network/interfaces\n"}, set()),
    *(
        (
            {
                "etc/network/interfaces": f"{line}\n",
                f"etc/network/{name}": "iface eth0 inet static\n address 10.0.0.3\n",
            },
            rules,
        )
        for line, name, rules in [
            ("source interfaces.d/*.cfg", "interfaces.d/a.cfg", STATIC),
            ("source interfaces.d/*.cfg", "interfaces.d/a.conf", set()),
            ("source interfaces.d/*", "interfaces.d/.hidden", set()),
            ("source interfaces.d/.h*", "interfaces.d/.hidden", STATIC),
            ("source /etc/network/*/eth[0-9]", "more.d/eth0", STATIC),
            ("source /etc/network/*/eth[1-9]", "more.d/eth0", set()),
            ("source /etc/network/*.d/e?h0 x", "more.d/eth0", STATIC),
            ("source 'my files/eth0'", "my files/eth0", STATIC),
            ("source my\\ files/eth0", "my files/eth0", STATIC),
            ("source my files/eth0", "my files/eth0", set()),
            ("source \\\n more.d/eth0", "more.d/eth0", STATIC),
            ("source it's", "more.d/eth0", set()),
            ("source-directory *.d", "more.d/eth0", STATIC),
            ("source-directory *.d", "more.d/eth0.cfg", set()),
            ("source-directory more.d/", "more.d/eth-0_a", STATIC),
        ]
    ),
    (  # a path counts from the file that it stands in
        {
            "etc/network/interfaces": "source a.d/first\n",
            "etc/network/a.d/first": "source second\n",
            "etc/network/a.d/second": "iface eth0 inet static\n address 10.0.0.3\n",
        },
        STATIC,
    ),
    # ifcfg
    ({"etc/sysconfig/network-scripts/ifcfg-eth0": "BOOTPROTO=dhcp\nIPADDR=10.0.0.1\n"}, set()),
    ({"etc/sysconfig/network-scripts/ifcfg-eth0": "BOOTPROTO=none\nIPADDR=10.0.0.1\n"}, STATIC),
    (
        {"etc/sysconfig/network-scripts/ifcfg-eth0": "BOOTPROTO=static\nIPADDR0='10.0.0.1'\n"},
        STATIC,
    ),
    ({"etc/sysconfig/network-scripts/ifcfg-eth0": f'BOOTPROTO=dhcp\nHWADDR="{MAC}"\n'}, BOUND),
    ({"etc/sysconfig/network-scripts/ifcfg-eth0": f"BOOTPROTO=dhcp\nMACADDR={MAC}\n"}, BOUND),
    ({"etc/sysconfig/network/ifcfg-eth0": f"BOOTPROTO=dhcp\nLLADDR='{MAC}'\n"}, BOUND),
    ({"etc/sysconfig/network-scripts/ifcfg-eth0.bak": f"HWADDR={MAC}\n"}, set()),
    ({"etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\nIPADDR=127.0.0.1\n"}, set()),
    ({"etc/sysconfig/network-scripts/ifcfg-loop": "DEVICE=lo:1\nIPADDR=10.9.9.9\n"}, set()),
    ({"etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\nIPADDR=''\n"}, set()),
    ({"etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='static'\nIPADDR='10.0.0.1/24'\n"}, STATIC),
    *(
        (
            {
                "etc/sysconfig/network/ifcfg-x": f"BOOTPROTO=static\nSTARTMODE='{mode}'\nIPADDR='10.0.0.1'\n"
            },
            rules,
        )
        for mode, rules in [
            ("auto", STATIC),
            ("hotplug", STATIC),
            ("manual", set()),
            ("off", set()),
        ]
    ),
    # interfaces without a card, which any machine may have
    *(
        (changes, set())
        for name in ("wg0", "docker0", "virbr0", "tun0", "dummy1", "lxdbr0", "wg-office")
        for changes in (
            networkd(f"[Match]\nName={name}\n[Network]\nAddress=10.8.0.1/24\n"),
            keyfile(
                f"[connection]\ninterface-name={name}\n[ipv4]\nmethod=manual\naddress1=10.8.0.2/24\n"
            ),
            {"etc/network/interfaces": f"iface {name} inet static\n address 10.8.0.1/24\n"},
        )
    ),
    (keyfile("[connection]\ntype=wireguard\n[ipv4]\nmethod=manual\naddress1=10.8.0.2/24\n"), set()),
    (
        networkd("[Match]\nName=eth0\n[Network]\nAddress=fe80::1/64\nAddress=169.254.1.1/16\n"),
        set(),
    ),
    (networkd("[Match]\nName=lan0\n[Network]\nAddress=10.8.0.1/24\n"), STATIC),
    # udev
    (
        {"etc/udev/rules.d/70-persistent-net.rules": f'ATTR{{address}}=="{MAC}", NAME="eth0"\n'},
        {"persistent-net-rules"},
    ),
    (
        {"etc/udev/rules.d/99-mine.rules": f'ATTR{{address}}=="{MAC}", \\\n NAME="lan"\n'},
        {"persistent-net-rules"},
    ),
    ({"etc/udev/rules.d/99-mine.rules": f'#ATTR{{address}}=="{MAC}", NAME="lan"\n'}, set()),
    ({"etc/udev/rules.d/99-mine.rules": f'ATTR{{address}}=="{MAC}", RUN+="/bin/x"\n'}, set()),
    ({"etc/udev/rules.d/80-net.rules": 'SUBSYSTEM=="net", NAME="$env{ID_NET_NAME}"\n'}, set()),
]


@pytest.mark.parametrize(("changes", "rules"), CASES)
def test_what_fits_one_machine_only(changes, rules):
    assert findings({**BARE, **changes}) == rules | NO_CLOUD


GENERATED = [
    {
        "etc/netplan/50-cloud-init.yaml": f"network: {{ethernets: {{e: {{match: {{macaddress: '{MAC}'}}}}}}}}"
    },
    {
        "etc/systemd/network/10-cloud-init-eth0.network": f"[Match]\nMACAddress={MAC}\n[Network]\nDHCP=yes\n"
    },
    {
        "etc/systemd/network/10-cloud-init-eth0.link": f"[Match]\nMACAddress={MAC}\n[Link]\nName=eth0\n"
    },
    {
        "etc/network/interfaces": "source interfaces.d/*\n",
        "etc/network/interfaces.d/50-cloud-init": f"iface e inet static\naddress 1.2.3.4\nhwaddress {MAC}\n",
    },
    {
        "etc/sysconfig/network-scripts/ifcfg-eth0": f"# Created by cloud-init automatically\nHWADDR={MAC}\n"
    },
    {
        "etc/sysconfig/network-scripts/ifcfg-eth0": f"# Created by cloud-init on boot\nHWADDR={MAC}\n"
    },
    {
        "etc/NetworkManager/system-connections/cloud-init-a.nmconnection": f"[ethernet]\nmac-address={MAC}\n"
    },
    {
        "etc/netplan/90-x.yaml": "# generated from information provided by the datasource.\n"
        f"network: {{ethernets: {{e: {{match: {{macaddress: '{MAC}'}}}}}}}}"
    },
]


@pytest.mark.parametrize("changes", GENERATED)
def test_what_cloud_init_writes_anew_does_not_count(changes):
    assert findings(changes) == set()
    assert any(MAC in item for item in facts(changes)["network"]["rewritten"])


@pytest.mark.parametrize("changes", GENERATED)
@pytest.mark.parametrize(
    ("off", "rules"),
    [
        ({"usr/bin/cloud-init": ...}, {"cloud-init-missing"}),
        ({"etc/cloud/cloud-init.disabled": ""}, {"cloud-init-missing"}),
        ({"etc/cloud/cloud.cfg.d/99.cfg": "network: {config: disabled}\n"}, set()),
    ],
    ids=["absent", "disabled", "not the network"],
)
def test_it_counts_where_cloud_init_does_not_write_it_anew(changes, off, rules):
    found = findings({**changes, **off})

    assert found - STATIC == BOUND | rules


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (
            netplan("network: {ethernets: {ens192: {dhcp4: true}}}"),
            ["/etc/netplan/01.yaml: ens192"],
        ),
        (netplan("network: {ethernets: {eth0: {dhcp4: true}}}"), []),
        (netplan("network: {ethernets: {all: {match: {name: 'en*'}, dhcp4: true}}}"), []),
        (
            {"etc/network/interfaces": "iface enp0s3 inet dhcp\n"},
            ["/etc/network/interfaces: enp0s3"],
        ),
        (networkd("[Match]\nName=en*\n"), []),
        (
            networkd("[Match]\nName=eno1 ens3\n"),
            [
                "/etc/systemd/network/10-lan.network: eno1",
                "/etc/systemd/network/10-lan.network: ens3",
            ],
        ),
        (
            keyfile("[connection]\ninterface-name=ens160\n"),
            ["/etc/NetworkManager/system-connections/lan.nmconnection: ens160"],
        ),
    ],
)
def test_interfaces_that_are_called_by_their_slot(changes, names):
    assert facts({**BARE, **changes})["network"]["interface_names"] == names


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        (netplan("network: {ethernets: {eth0: {dhcp4: 'yes'}}}"), ["/etc/netplan/01.yaml"]),
        (netplan("network: {ethernets: {eth0: {dhcp4: no}}}"), []),
        (networkd("[Network]\nDHCP=ipv4\n"), ["/etc/systemd/network/10-lan.network"]),
        (networkd("[Network]\nDHCP=no\n"), []),
        (
            keyfile("[ipv4]\nmethod=auto"),
            ["/etc/NetworkManager/system-connections/lan.nmconnection"],
        ),
        ({"etc/network/interfaces": "iface eth0 inet6 auto\n"}, ["/etc/network/interfaces"]),
    ],
)
def test_where_dhcp_is_asked_for(changes, files):
    assert facts({**BARE, **changes})["network"]["dhcp"] == files


def test_who_configures_the_network():
    unit = "usr/lib/systemd/system/systemd-networkd.service"
    wanted = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    more = {
        unit: "",
        wanted: Link("/" + unit),
        "etc/NetworkManager/conf.d/a.conf": "[main]\nno-auto-default=*\n",
    }

    found = facts(more)["network"]

    assert (found["clients"], found["no_auto_default"]) == (["systemd-networkd"], True)


PLANS = [
    "network: {version: 2, ethernets: {eth0: {addresses: [10.0.0.5/24, 'fd00::5/64']}}}",
    (
        "network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses:\n      - 10.0.0.5/24:\n"
        "          label: 'eth0:x'\n      - 10.0.0.6/24\n"
    ),
    "network: {version: 2, ethernets: {lo: {addresses: [10.9.9.9/32]}, eth0: {dhcp4: on}}}",
    f"network: {{version: 2, ethernets: {{a: {{match: {{macaddress: '{MAC}'}}, dhcp6: yes}}}}}}",
    "network: {version: 2, bridges: {br0: {addresses: [10.1.0.1/16], dhcp4: no}}}",
    (
        "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    all:\n      match: {name: 'en*'}\n"
        "      dhcp4: true\n      nameservers: {search: [a.example], addresses: [8.8.8.8]}\n"
    ),
]


@pytest.mark.needs("netplan")
@pytest.mark.parametrize("text", PLANS)
def test_netplan_itself_reads_the_same(tmp_path, text):
    # given the same file in a root of its own
    path = tmp_path / "etc" / "netplan" / "01.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)
    argv = ["netplan", "get", "--root-dir", tmp_path, "all"]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    said = subprocess.run(argv, capture_output=True, text=True, check=True, env=env, timeout=60)

    # when netplan's own view of it is gone through
    network = yaml.safe_load(said.stdout)["network"]
    interfaces = {
        name: settings
        for kind in ("ethernets", "bridges")
        for name, settings in network.get(kind, {}).items()
        if name != "lo"
    }
    addresses = [
        next(iter(item)) if isinstance(item, dict) else item
        for settings in interfaces.values()
        for item in settings.get("addresses", [])
    ]
    cards = [
        settings["match"]["macaddress"]
        for settings in interfaces.values()
        if "macaddress" in settings.get("match", {})
    ]

    # then ours is the same
    found = netplan_files.look(text)
    assert sorted(found.static) == sorted(addresses)
    assert list(found.hardware) == cards
    dynamic = (settings.get(key) for settings in interfaces.values() for key in ("dhcp4", "dhcp6"))
    assert found.dhcp == any(dynamic)

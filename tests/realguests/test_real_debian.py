"""Real Debian trees of four releases against their own programs: what they say, our facts say too.

The trees are those of ``fixtures/debian/releases``; the programs run in a chroot of them.
"""

import json
import os
import re
import shutil
import subprocess

import debians
import pytest
from phony import Directory

from pipeline.content.partitions import PartitionTable
from pipeline.guest import cloudinit, fstab, initramfs, network, sshd, units
from pipeline.guest.boot import bls
from pipeline.guest.facts import collect
from pipeline.guest.network import netplan
from pipeline.guest.survey import Survey, Volume
from pipeline.guest.tree import Files

VERSIONS = {"bullseye": "11", "bookworm": "12", "trixie": "13", "sid": None}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mmdebstrap", "tar", "chroot"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may use chroot"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module", params=VERSIONS)
def tree(request, tmp_path_factory):
    """A release's tree, unpacked for as long as it is asked."""
    top = tmp_path_factory.mktemp(request.param)
    subprocess.run(["tar", "-xf", debians.archive(request.param), "-C", top], check=True)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def suite(request):
    """The name of the tree's release."""
    return request.node.callspec.params["tree"]


@pytest.fixture
def changed(tree):
    """Writes files into the tree, and takes them away again."""
    before = {}

    def write(path, content):
        place = tree / path
        before[place] = place.read_bytes() if place.is_file() and not place.is_symlink() else None
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_text(content)

    yield write
    for place, content in before.items():
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_bytes(content)


def inside(tree, *argv, **env):
    """What a program of the guest says."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **env}
    argv = [shutil.which("chroot", path="/usr/sbin:/usr/bin"), tree, *argv]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300)
    return f"{done.stdout}{done.stderr}\nended with {done.returncode}"


def test_nothing_about_it_is_unknown_or_bound_to_a_machine(tree, suite):
    class Mounter:
        def mount(self, device, kind):
            return Directory(tree)

        def kind(self, device):
            return None

        def inspect(self):
            return []

    uuid = re.search(r"UUID=(\S+)\s+/\s", (tree / "etc/fstab").read_text())[1]
    volume = Volume("/dev/sda1", 1 << 20, 10 << 30, "ext4", 1, uuid=uuid, clean=True)
    table = PartitionTable("mbr", boot_code="grub")
    survey = Survey(table, (volume,), (), (), truncated=False)

    found = collect(survey, Mounter())

    assert found["unknown"] == {}
    assert (found["distro"], found["arch"]) == ("debian", "x86_64")
    assert found["version"] == VERSIONS[suite] or (suite == "sid" and "sid" in found["version"])
    assert found["network"]["static_addresses"] == found["network"]["hardware_addresses"] == []
    assert found["boot"]["missing"] == []
    assert found["boot"]["root_on_disk"] is True
    assert {found["drivers"][name] for name in ("virtio_blk", "xen-blkfront")} == {"initramfs"}
    listed = inside(tree, "dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\\n")
    installed = {line.split()[1] for line in listed.splitlines() if line.startswith("installed ")}
    assert set(found["packages"]["names"]) == installed
    assert f"linux-image-{found['kernels'][0]['version']}" in installed


@pytest.mark.parametrize(
    "unit",
    ["ssh.service", "cloud-init.service", "networking.service", "systemd-networkd.service",
     "cron.service", "fstrim.timer", "e2scrub_all.timer", "nothing.service"],
)  # fmt: skip
def test_what_starts_by_itself_is_what_systemctl_says(tree, unit):
    files = Files(Directory(tree))

    said = inside(tree, "systemctl", "is-enabled", unit).splitlines()[0]

    truth = {"enabled": "enabled", "disabled": "disabled", "masked": "masked"}.get(said, "absent")
    assert units.state(files, units.read(files), [unit]) == truth


@pytest.mark.parametrize("command", ["mask", "disable"])
def test_an_ssh_server_that_is_turned_off_is_off_by_whatever_name(tree, command):
    states = []
    try:
        inside(tree, "systemctl", command, "ssh.service")
        files = Files(Directory(tree))
        started = units.read(files)
        for unit in ("ssh.service", "sshd.service"):
            said = inside(tree, "systemctl", "is-enabled", unit).splitlines()[0]
            states.append((said, units.state(files, started, [unit])))
        ssh = sshd.facts(files, started)
    finally:
        inside(tree, "systemctl", "unmask", "ssh.service")
        inside(tree, "systemctl", "enable", "ssh.service")
    assert all(said != "enabled" and found != "enabled" for said, found in states), states
    assert ssh.enabled is False


CONFIGS = [
    "",
    "PermitRootLogin yes\nPasswordAuthentication no\n",
    "PermitRootLogin no\nPermitRootLogin yes\nPort 2222\nPort 22\n",
    "PasswordAuthentication no\nMatch User rescue\n PasswordAuthentication yes\n",
    "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n",
    'permitrootlogin="no"\n',
    "  PermitRootLogin   forced-commands-only  \n",
    "AuthorizedKeysFile /etc/keys/%u\n",
    "Match all\nPermitRootLogin no\n",
    "Match User rescue\n PermitRootLogin no\nMatch all\nPermitRootLogin yes\n",
    "Match User rescue\nInclude sshd_config.d/*.conf\nMatch all\nPermitRootLogin yes\n",
]


@pytest.mark.parametrize("text", CONFIGS)
def test_the_ssh_server_reads_its_configuration_as_sshd_does(tree, changed, text):
    changed("etc/ssh/sshd_config", text)
    changed("etc/ssh/sshd_config.d/50-x.conf", "PasswordAuthentication no\n")
    if not (tree / "tmp/host-key").exists():
        inside(tree, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/host-key")
    (tree / "run/sshd").mkdir(exist_ok=True)

    said = dict(
        line.lower().split(" ", 1)
        for line in inside(tree, "/usr/sbin/sshd", "-T", "-h", "/tmp/host-key").splitlines()
        if " " in line and not line.lower().startswith("port ")
    )

    files = Files(Directory(tree))
    found = sshd.facts(files, units.read(files))
    names = {"without-password": "prohibit-password"}
    assert found.root_login == names.get(said["permitrootlogin"], said["permitrootlogin"])
    assert found.password_login == (said["passwordauthentication"] == "yes")


LISTS = [
    "datasource_list: [ Ec2, None ]\n",
    "datasource_list: [Azure]\n",
    "datasource_list: ['NoCloud', \"None\"]\n",
]  # ds-identify is a shell script and reads no other form; cloud-init itself reads all of YAML


@pytest.mark.parametrize("text", LISTS)
def test_the_datasource_list_is_the_one_that_ds_identify_takes(tree, changed, text):
    changed("etc/cloud/cloud.cfg.d/99-last.cfg", text)
    changed("tmp/cmdline", "ro quiet\n")

    said = inside(
        tree, "/usr/lib/cloud-init/ds-identify", "--force", DI_LOG="stderr",
        PATH_PROC_CMDLINE="/tmp/cmdline",
    )  # fmt: skip

    truth = re.search(r"^DSLIST=(.*)$", said, re.MULTILINE)[1].split()
    files = Files(Directory(tree))
    found = cloudinit.facts(files, (), units.read(files), None)
    assert list(found.datasource_list or ()) == [name.strip("'\"") for name in truth]


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("etc/cloud/ds-identify.cfg", "policy: disabled\n", "ro"),
        ("etc/cloud/ds-identify.cfg", "policy: enabled\n", "ro"),
        (
            "etc/cloud/ds-identify.cfg",
            "policy: search,found=all,maybe=all,notfound=enabled\n",
            "ro",
        ),
        ("tmp/other", "", "ro ci.di.policy=disabled"),
    ],
)
def test_what_ds_identify_turns_off(tree, changed, path, text, words):
    changed(path, text)
    changed("tmp/cmdline", f"{words}\n")

    said = inside(
        tree,
        "/usr/lib/cloud-init/ds-identify",
        "--force",
        DI_LOG="stderr",
        PATH_PROC_CMDLINE="/tmp/cmdline",
    )

    files = Files(Directory(tree))
    found = cloudinit.facts(files, tuple(words.split()), units.read(files), None)
    assert found.disabled == said.endswith("ended with 1")


MARKED, ENABLED = {"etc/cloud/cloud-init.disabled": ""}, {"etc/cloud/cloud-init.enabled": ""}
SWITCHES = [
    ({}, "ro quiet"),
    ({}, "ro cloud-init=disabled"),
    (MARKED, "ro"),
    (ENABLED, "ro"),
    ({**MARKED, **ENABLED}, "ro"),
    (MARKED, "ro cloud-init=enabled"),
    (ENABLED, "ro cloud-init=disabled"),
    ({"etc/cloud/ds-identify.cfg": "policy: disabled\n"}, "ro"),
    ({"etc/cloud/ds-identify.cfg": "policy: enabled\n"}, "ro ci.di.policy=disabled"),
]


@pytest.mark.parametrize(("files", "words"), SWITCHES)
def test_cloud_init_is_on_as_its_generator_and_its_status_say(tree, changed, files, words):
    for path, text in ({"tmp/cmdline": f"{words}\n"} | files).items():
        changed(path, text)
    (tree / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    (tree / "tmp/links").mkdir(exist_ok=True)
    shutil.rmtree(tree / "run/cloud-init", ignore_errors=True)
    told = {
        "KERNEL_CMDLINE": words,
        "PATH_PROC_CMDLINE": "/tmp/cmdline",
        "DEBUG_PROC_CMDLINE": words,
    }

    generator = "/lib/systemd/system-generators/cloud-init-generator"  # in Debian 11 not below /usr
    inside(tree, generator, *["/tmp/links"] * 3, **told)
    status = inside(tree, "cloud-init", "status", "--long", DEBUG_PROC_CMDLINE=words)

    found = cloudinit.facts(
        Files(Directory(tree)), tuple(words.split()), units.read(Files(Directory(tree))), None
    )
    assert (tree / "run/cloud-init/enabled").exists() != found.disabled, status
    if "cloud-init=enabled" not in words and files != {**MARKED, **ENABLED}:
        # of these two newer releases' status knows no more than that they are there
        assert ("status: disabled" in status) == found.disabled, status
    shutil.rmtree(tree / "run/cloud-init")


def test_the_names_in_its_initramfs_are_those_of_lsinitramfs(tree):
    (path,) = (tree / "boot").glob("initrd.img-*")

    said = set(inside(tree, "lsinitramfs", f"/boot/{path.name}").splitlines()[:-1]) - {"", "."}

    ours = set(initramfs.names(Files(Directory(tree)), f"/boot/{path.name}"))
    assert {name.removeprefix("./") for name in ours} - {".", "TRAILER!!!"} == said


INTERFACES = [
    ("source interfaces.d/*.cfg", "interfaces.d/a.cfg"),
    ("source interfaces.d/*.cfg", "interfaces.d/a.conf"),
    ("source interfaces.d/*", "interfaces.d/.hidden"),
    ("source /etc/network/*/eth[0-9]", "more.d/eth0"),
    ("source /etc/network/*/eth[1-9]", "more.d/eth0"),
    ("source 'my files/eth0'", "my files/eth0"),
    ("source my\\ files/eth0", "my files/eth0"),
    ("source-directory more.d", "more.d/eth0"),
    ("source-directory more.d", "more.d/eth0.cfg"),
    ("source-directory *.d", "more.d/eth0"),
    ("# source more.d/eth0", "more.d/eth0"),
    ("auto lo", "interfaces.d/eth0"),
]


@pytest.mark.parametrize(("line", "name"), INTERFACES)
def test_ifquery_follows_the_same_lines(tree, changed, line, name):
    changed("etc/network/interfaces", f"{line}\n")
    changed(f"etc/network/{name}", "auto eth0\niface eth0 inet static\n  address 192.0.2.7/24\n")

    said = inside(tree, "ifquery", "eth0")

    files = Files(Directory(tree))
    found = network.facts(files, units.read(files), cloud_init=False)
    assert bool(found.static_addresses) == ("address: 192.0.2.7" in said), said


NETPLANS = [
    "network: {version: 2, ethernets: {eth0: {dhcp4: true}}}",
    "network: {ethernets: {a: {match: {macaddress: 52:54:00:12:34:56}, dhcp4: yes}}}",
    "network: {ethernets: {eth0: {addresses: [10.0.0.5/24, {10.0.0.6/24: {label: 'eth0:1'}}]}}}",
    "network:\n  ethernets:\n    eth0:\n      dhcp6: on\n      nameservers:\n        addresses: [1.1.1.1]\n",
    "network: {bridges: {br0: {interfaces: [eth0], addresses: [10.0.0.7/24]}}, ethernets: {eth0: {}}}",
    "network: {ethernets: {eth0: {macaddress: '52:54:00:12:34:57', dhcp4: true}}}",
    "network: {ethernets: {eth0: {}}, bonds: {b0: {interfaces: [eth0], macaddress: 52:54:00:12:34:57}}}",
]


@pytest.mark.parametrize("text", NETPLANS)
def test_netplan_reads_its_files_as_we_do(tree, changed, text):
    changed("etc/netplan/50-x.yaml", text)

    said = inside(tree, "netplan", "get", "all")
    inside(tree, "netplan", "generate")  # its own parser; in Debian 11 "get" is Python's
    made = tree / "run/systemd/network"
    kinds = (".network", ".link", ".netdev")
    found = [path.read_text() for path in sorted(made.glob("10-netplan-*")) if path.suffix in kinds]
    written = "".join(found)
    shutil.rmtree(made)

    seen = netplan.look(text)
    assert sorted(seen.static) == sorted(re.findall(r"^Address=(.+)$", written, re.MULTILINE))
    assert sorted(set(re.findall(r"10\.[\d.]+/24", said))) == sorted(seen.static)
    assert set(seen.hardware) == set(re.findall(r"^\w*MACAddress=(.+)$", written, re.MULTILINE))
    assert seen.dhcp == ("\nDHCP=" in written) == (re.search("dhcp[46]: true", said) is not None)


FSTABS = {
    "PARTLABEL=nothing /a ext4 defaults 0 2": True,
    "UUID=99999999-2222-4333-8444-555555555555 /a ext4 nofail 0 2": True,
    "LABEL=my\\040data /a ext4 defaults 0 2": True,
    "/dev/vg/data /a ext4 defaults 0 2": True,
    "/dev/mapper/vg-data /a ext4 defaults 0 2": True,
    "tmpfs /a tmpfs size=1m 0 0": False,
    "proc /a proc defaults 0 0": False,
    "host:/x /a nfs4 defaults 0 0": False,
}


@pytest.mark.parametrize("line", FSTABS)
def test_findmnt_misses_the_sources_that_we_miss(tree, changed, line):
    changed("etc/fstab.x", f"{line}\n")
    (tree / "a").mkdir(exist_ok=True)

    said = inside(tree, "findmnt", "--verify", "--tab-file", "/etc/fstab.x")

    (parsed,) = fstab.parse(f"{line}\n")
    empty = Survey(PartitionTable("mbr"), (), (), (), truncated=False)
    missed = fstab.on_disk(parsed.spec, empty) is False
    assert missed == ("unreachable" in said) == FSTABS[line], said


LOADER_ENTRIES = [
    ("a-6.1.conf", "a-6.10.conf", "a-6.9.conf"),
    ("z-9.conf", "a-1.conf sort-key=x"),
    ("a-1.conf sort-key=x version=2", "a-2.conf sort-key=x version=1"),
    ("a-1.conf sort-key=x", "a-2.conf sort-key=x"),
    ("a-1.conf sort-key=y machine-id=1", "a-2.conf sort-key=x machine-id=2",
     "b.conf sort-key=x machine-id=1"),
    ("a-2+0-3.conf", "a-1.conf"),
    ("a-2+3.conf", "a-1.conf"),
    ("a-1.conf", "b-1.conf", "a.conf", "a-1-1.conf", "a1.conf", "a.1.conf"),
    ("arch-lts.conf", "arch.conf", "arch-fallback.conf", "arch2.conf"),
]  # fmt: skip


@pytest.mark.parametrize("tree", ["trixie", "sid"], indirect=True)  # older ones tell no JSON
@pytest.mark.parametrize("entries", LOADER_ENTRIES)
def test_bootctl_lists_the_entries_in_our_order(tree, entries):
    with debians.mounted("esp", tree / "efi", "-t", "tmpfs") as top:
        (top / "loader/entries").mkdir(parents=True)
        (top / "EFI").mkdir()
        for item in entries:
            name, *fields = item.split()
            lines = [f"title {name}", "linux /k", *(field.replace("=", " ") for field in fields)]
            (top / "loader/entries" / name).write_text("\n".join(lines) + "\n")
        (top / "k").write_bytes(b"")

        said = inside(tree, "bootctl", "--esp-path=/efi", "list", "--json=short", **debians.RELAXED)

        listed = [
            item["id"] for item in json.loads(said.splitlines()[0]) if item["type"] == "type1"
        ]
        (found,) = bls.systemd_boot(Files(Directory(tree)))
    assert listed == [entry.id for entry in found.entries]

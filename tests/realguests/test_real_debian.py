"""A real Debian's tree against its own programs: what they say of it, our facts say too.

The tree is the one from which ``fixtures/debian/build`` makes the sample image; the programs run in a
chroot of it.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from phony import Directory

from pipeline.content.partitions import PartitionTable
from pipeline.guest import cloudinit, initramfs, sshd, units
from pipeline.guest.facts import collect
from pipeline.guest.survey import Survey, Volume
from pipeline.guest.tree import Files

TOP = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mmdebstrap", "tar", "chroot"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may use chroot"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The tree, unpacked."""
    build = [TOP / "fixtures" / "debian" / "build"]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]
    (packed,) = Path(image).parent.glob("debian-12-*.tar")
    top = tmp_path_factory.mktemp("debian")
    subprocess.run(["tar", "-xf", packed, "-C", top], check=True)
    return top


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


def test_nothing_about_it_is_unknown_or_bound_to_a_machine(tree):
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
    assert (found["distro"], found["version"], found["arch"]) == ("debian", "12", "x86_64")
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
]


@pytest.mark.parametrize("text", CONFIGS)
def test_the_ssh_server_reads_its_configuration_as_sshd_does(tree, changed, text):
    changed("etc/ssh/sshd_config", text)
    changed("etc/ssh/sshd_config.d/50-x.conf", "PasswordAuthentication no\n")
    if not (tree / "tmp/host-key").exists():
        inside(tree, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/host-key")
    (tree / "run/sshd").mkdir(exist_ok=True)

    said = dict(
        line.split(" ", 1)
        for line in inside(tree, "/usr/sbin/sshd", "-T", "-h", "/tmp/host-key").splitlines()
        if " " in line and not line.startswith("port ")
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


def test_the_names_in_its_initramfs_are_those_of_lsinitramfs(tree):
    (path,) = (tree / "boot").glob("initrd.img-*")

    said = set(inside(tree, "lsinitramfs", f"/boot/{path.name}").splitlines()[:-1]) - {"", "."}

    ours = set(initramfs.names(Files(Directory(tree)), f"/boot/{path.name}"))
    assert {name.removeprefix("./") for name in ours} - {".", "TRAILER!!!"} == said

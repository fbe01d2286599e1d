"""Facts of phony Linux guests whose file systems are directories here: what each file tells."""

import pytest
from phony import Directory, builder, planted

from pipeline.content.partitions import PartitionTable
from pipeline.guest import databases, linux, passwd
from pipeline.guest.facts import collect
from pipeline.guest.survey import Survey, Volume

trees = builder("guest_trees")
disks = builder("guest_disks")
ROOT = "11111111-2222-4333-8444-555555555555"


class OneVolume:
    """Brings a directory as the only volume."""

    def __init__(self, root) -> None:
        self.root = root

    def mount(self, device, kind):
        return Directory(self.root)

    def kind(self, device):
        return None

    def inspect(self):
        return []


def facts(tmp_path, tree, kind="ext4"):
    """The section for a disk whose only partition holds this tree."""
    disks.plant(tmp_path / "root", tree)
    volume = Volume("/dev/sda1", 1 << 20, 1 << 30, kind, 1, "12345678-01", ROOT, "root", True)
    table = PartitionTable("mbr", boot_code="grub")
    return collect(Survey(table, (volume,), (), (), False), OneVolume(tmp_path / "root"))


def test_an_image_as_it_should_be(tmp_path):
    found = facts(tmp_path, trees.debian(ROOT))

    assert found["unknown"] == {}
    assert (found["os"], found["distro"], found["version"], found["arch"]) == (
        "linux",
        "debian",
        "12",
        "x86_64",
    )
    assert found["product_name"] == "Debian GNU/Linux 12 (bookworm)"
    assert (found["firmware"], found["boot_root"]) == ("bios", f"UUID={ROOT}")
    assert found["xen_drivers"]["xen-blkfront"] == "initramfs"
    assert found["cloud_init"]["datasource_list"] == ["NoCloud", "ConfigDrive", "None"]
    assert (found["sudo_users"], found["machine_id"]) == (["admin"], "empty")
    assert (found["ssh"]["server"], found["ssh"]["enabled"]) == (True, True)
    assert (found["ssh"]["host_keys"], found["ssh"]["authorized_keys"]) == ([], [])
    assert (found["fstab_by_name"], found["fstab_absent"], found["databases"]) == ([], [], [])


def test_an_image_with_everything_that_a_cloud_stumbles_over(tmp_path):
    found = facts(tmp_path, trees.legacy(), kind="xfs")

    assert (found["distro"], found["version"]) == ("centos", "7")
    assert found["fstab_by_name"] == ["/dev/sda1 on /"]
    assert found["fstab_absent"] == ["/dev/sdb1 on /data"]
    assert found["fstab_slow"] == ["/dev/sda5 on none", "nas:/export on /mnt"]
    assert found["boot_root"] == "/dev/sda1"
    assert found["xen_drivers"]["xen-blkfront"] == "module"
    assert found["xen_drivers"]["xen-netfront"] == "missing"
    card = "/etc/sysconfig/network-scripts/ifcfg-ens192"
    assert found["network"]["hardware_addresses"] == [f"{card}, line 3: HWADDR=00:50:56:12:34:56"]
    assert found["network"]["static_addresses"] == [f"{card}: 192.168.1.10"]
    assert found["network"]["persistent_rules"] == ["/etc/udev/rules.d/70-persistent-net.rules"]
    assert found["databases"] == ["mysql: /var/lib/mysql", "postgresql: /var/lib/pgsql/13/data"]
    assert (found["machine_id"], found["sudo_users"]) == ("set", [])
    assert found["ssh"]["server"] is False
    assert found["ssh"]["host_keys"] == ["ssh_host_rsa_key"]
    assert found["ssh"]["authorized_keys"] == ["/root/.ssh/authorized_keys"]
    assert found["cloud_init"]["installed"] is False


def test_two_systems_on_one_disk(tmp_path):
    disks.plant(tmp_path / "root", trees.debian(ROOT))
    one = Volume("/dev/sda1", 1 << 20, 1 << 30, "ext4", 1, uuid=ROOT)
    two = Volume("/dev/sda2", 1 << 30, 1 << 30, "ext4", 2)

    found = collect(
        Survey(PartitionTable("mbr"), (one, two), (), (), False), OneVolume(tmp_path / "root")
    )

    assert (found["systems"], found["os"]) == (2, None)
    assert found["unknown"]["os"] == "there are 2 systems: /dev/sda1, /dev/sda2"


def test_a_disk_of_data_has_no_system(tmp_path):
    found = facts(tmp_path, {"photos/1.jpg": b"x", "etc": None})

    assert (found["systems"], found["os"], found["unknown"]) == (0, None, {})


def test_files_that_are_traps_cost_only_their_own_facts(tmp_path):
    hostile = builder().hostile_tree()
    hostile.pop("etc/ssh/ssh_host_\udcff_key")

    found = facts(tmp_path, hostile)

    assert (found["os"], found["distro"]) == ("linux", "debian")
    assert found["product_name"] == "D\\x1b[31mred\\xff\\xfe"
    assert (found["machine_id"], found["sudo_users"]) == ("missing", [])
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(
    ("tree", "distro", "version"),
    [
        ({"etc/redhat-release": "CentOS release 6.10 (Final)\n"}, "centos", "6.10"),
        (
            {"etc/redhat-release": "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n"},
            "rhel",
            "5.11",
        ),
        ({"etc/debian_version": "7.11\n"}, "debian", "7.11"),
        (
            {
                "etc/os-release": "ID=debian\nNAME='Debian testing'\n",
                "etc/debian_version": "trixie/sid\n",
            },
            "debian",
            "trixie/sid",
        ),
        ({"etc/os-release": 'ID="sles"\nVERSION_ID="15.5"\n'}, "sles", "15.5"),
        ({"etc/os-release": "ID=\"unclosed\nVERSION_ID='9\n"}, "unclosed", "9"),
        ({}, None, None),
    ],
)
def test_distributions_old_and_new(tmp_path, tree, distro, version):
    found = linux.release(planted(tmp_path, {"etc": None, **tree}))

    assert (found.distro, found.version) == (distro, version)


@pytest.mark.parametrize(
    ("head", "arch"),
    [
        (trees.elf(0x3E), "x86_64"),
        (trees.elf(0xB7), "aarch64"),
        (b"\x7fELF\x02\x02\x01" + bytes(11) + b"\x00\x15" + bytes(44), "ppc64"),
        (trees.elf(0x1234), "elf machine 4660"),
        (b"#!/bin/sh", None),
    ],
)
def test_architecture(tmp_path, head, arch):
    assert linux.architecture(planted(tmp_path, {"bin/ls": head})) == arch


# -------------------------------------------------------------------------------------- users, data


@pytest.mark.parametrize(
    ("changes", "admins"),
    [
        ({}, ("admin",)),
        ({"etc/group": "sudo:x:27:\n"}, ()),
        ({"etc/group": "", "etc/sudoers.d/90-x": "admin ALL=(ALL) NOPASSWD:ALL\n"}, ("admin",)),
        ({"etc/group": "", "etc/sudoers.d/90.bak": "admin ALL=(ALL) ALL\n"}, ()),
        ({"etc/group": "", "etc/sudoers": "admin ALL=/usr/bin/true\n"}, ()),
        ({"etc/shadow": "root:$6$x:1::::::\nadmin:!:1::::::\n"}, ("root",)),
        ({"etc/group": "wheel:x:1000:\n"}, ("admin",)),
    ],
)
def test_who_can_become_root_on_the_console(tmp_path, changes, admins):
    assert passwd.administrators(planted(tmp_path, {**trees.debian(ROOT), **changes})) == admins


def test_without_shadow_nobody_can_tell(tmp_path):
    assert (
        passwd.administrators(planted(tmp_path, {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"}))
        is None
    )


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        ("var/lib/mysql/ibdata1", "mysql: /var/lib/mysql"),
        ("var/lib/postgresql/15/main/PG_VERSION", "postgresql: /var/lib/postgresql/15/main"),
        ("var/lib/mongodb/WiredTiger", "mongodb: /var/lib/mongodb"),
        ("var/lib/redis/dump.rdb", "redis: /var/lib/redis"),
        ("var/lib/ldap/data.mdb", "ldap: /var/lib/ldap"),
        ("var/opt/mssql/data/master.mdf", "mssql: /var/opt/mssql/data"),
    ],
)
def test_databases(tmp_path, path, engine):
    assert databases.linux(planted(tmp_path, {path: "x"})) == [engine]


def test_an_empty_database_directory_is_none(tmp_path):
    assert (
        databases.linux(planted(tmp_path, {"var/lib/mysql": None, "var/lib/postgresql/15": None}))
        == []
    )

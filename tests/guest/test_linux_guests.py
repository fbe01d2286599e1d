"""Facts of phony Linux guests whose file systems are directories here: what each file tells."""

import gzip

import pytest
from phony import Directory, builder, planted

from pipeline.content.partitions import PartitionTable
from pipeline.guest import boot, cloudinit, databases, fstab, kernels, linux, network, users
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
    assert found["ssh"] == {"server": True, "host_keys": [], "authorized_keys": []}
    assert (found["fstab_by_name"], found["fstab_absent"], found["databases"]) == ([], [], [])


def test_an_image_with_everything_that_a_cloud_stumbles_over(tmp_path):
    found = facts(tmp_path, trees.legacy(), kind="xfs")

    assert (found["distro"], found["version"]) == ("centos", "7")
    assert found["fstab_by_name"] == ["/dev/sda1 on /", "/dev/sdb1 on /data"]
    assert found["fstab_absent"] == [
        "/dev/sdb1 on /data",
        "/dev/sda5 on none",
        "nas:/export on /mnt",
    ]
    assert found["boot_root"] == "/dev/sda1"
    assert found["xen_drivers"]["xen-blkfront"] == "module"
    assert found["xen_drivers"]["xen-netfront"] == "missing"
    assert found["network"] == {
        "hardware_addresses": ["/etc/sysconfig/network-scripts/ifcfg-ens192: 00:50:56:12:34:56"],
        "static_addresses": ["/etc/sysconfig/network-scripts/ifcfg-ens192: 192.168.1.10"],
        "persistent_rules": ["/etc/udev/rules.d/70-persistent-net.rules"],
    }
    assert found["databases"] == ["mysql: /var/lib/mysql", "postgresql: /var/lib/pgsql/13/data"]
    assert (found["machine_id"], found["sudo_users"]) == ("set", [])
    assert found["ssh"] == {
        "server": False,
        "host_keys": ["ssh_host_rsa_key"],
        "authorized_keys": ["/root/.ssh/authorized_keys"],
    }
    assert found["cloud_init"] == {"installed": False, "disabled": False, "datasource_list": None}


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


# ------------------------------------------------------------------------------------------- boot


def test_a_default_entry_of_the_boot_loader_specification(tmp_path):
    files = planted(
        tmp_path,
        {
            "boot/grub2/grub.cfg": "insmod blscfg\nblscfg\n",
            "boot/grub2/grubenv": "kernelopts=root=/dev/vda2 ro\nsaved_entry=id-5.14.0-70\n",
            "boot/loader/entries/id-5.14.0-70.conf": "linux /vmlinuz-5.14.0-70\n"
            "initrd /initramfs-5.14.0-70.img $tuned_initrd\noptions $kernelopts crash\n",
            "boot/loader/entries/id-5.14.0-162.conf": "linux /vmlinuz-5.14.0-162\noptions root=UUID=1\n",
            "boot/loader/entries/id-0-rescue.conf": "linux /vmlinuz-0-rescue-id\noptions root=LABEL=rescue\n",
        },
    )

    first, second = boot.entries(files)

    assert (first.version, first.root) == ("5.14.0-70", "/dev/vda2")
    assert (second.version, second.root) == ("5.14.0-162", "UUID=1")


@pytest.mark.parametrize(
    ("path", "text", "root"),
    [
        (
            "boot/grub/menu.lst",
            "default 0\ntitle Linux\nkernel /vmlinuz-2.6 ro root=LABEL=/\ninitrd /initrd-2.6.img",
            "LABEL=/",
        ),
        (
            "boot/extlinux/extlinux.conf",
            "LABEL linux\n KERNEL /vmlinuz-6.1\n APPEND root=/dev/xvda1 initrd=/initrd.img-6.1",
            "/dev/xvda1",
        ),
        (
            "boot/grub/grub.cfg",
            "linux /boot/vmlinuz-1 root=UUID=a single\nlinux /boot/vmlinuz-1 root=UUID=b ro",
            "UUID=b",
        ),
        ("boot/grub/grub.cfg", "linuxefi ($root)/vmlinuz-1 root=PARTUUID=x", "PARTUUID=x"),
    ],
)
def test_other_boot_loaders(tmp_path, path, text, root):
    assert boot.entries(planted(tmp_path, {path: text}))[0].root == root


def test_a_configuration_of_a_million_blank_lines_takes_no_time(tmp_path):
    files = planted(
        tmp_path, {"boot/grub/grub.cfg": "\n" * 1_000_000, "etc/cloud/cloud.cfg": " " * 260_000}
    )

    assert boot.entries(files) == ()
    assert cloudinit.facts(files, None)["installed"] is False


def test_kernel_versions_sort_as_people_do():
    versions = ["6.9.1-amd64", "6.10.0-amd64", "5.15.0-91-generic", "6.9.1-rc2-amd64"]

    assert max(versions, key=boot.version_key) == "6.10.0-amd64"


def xen(tmp_path, **changes):
    files = planted(tmp_path / "guest", {**trees.debian(ROOT), **changes})
    (kernel,) = kernels.kernels(files, boot.entries(files))
    return kernels.xen_drivers(files, kernel)


INITRD = f"boot/initrd.img-{trees.KERNEL}"


def test_drivers_that_are_built_in(tmp_path):
    places, reason = xen(
        tmp_path,
        **{
            f"usr/lib/modules/{trees.KERNEL}/modules.builtin": "kernel/drivers/block/xen-blkfront.ko\n"
            "kernel/drivers/net/xen-netfront.ko"
        },
    )

    assert (places, reason) == ({"xen-blkfront": "built-in", "xen-netfront": "built-in"}, None)


@pytest.mark.parametrize(
    "compress", [gzip.compress, trees.zstd, lambda data: data], ids=["gzip", "zstd", "plain"]
)
def test_drivers_in_an_initramfs(tmp_path, compress):
    places, reason = xen(tmp_path, **{INITRD: compress(trees.cpio([f"{trees.INITRAMFS[1]}.xz"]))})

    assert (places, reason) == ({"xen-blkfront": "initramfs", "xen-netfront": "module"}, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x02\x21\x4c\x18rest", "its compression (lz4) is not known"),
        (b"rubbish", "its compression (unknown) is not known"),
        (gzip.compress(trees.cpio(["init"]))[:-20], "ends too early"),
        (gzip.compress(b"070701" + b"F" * 104 + bytes(5000)), "a name of"),
    ],
    ids=["lz4", "rubbish", "cut short", "endless name"],
)
def test_an_initramfs_that_cannot_be_read_is_unknown_not_missing(tmp_path, content, words):
    places, reason = xen(tmp_path, **{INITRD: content})

    assert places == {}
    assert words in (reason or "")


def test_a_kernel_without_initramfs(tmp_path):
    tree = trees.debian(ROOT)
    tree.pop(INITRD)
    files = planted(tmp_path, tree)

    (kernel,) = kernels.kernels(files, boot.entries(files))

    assert (kernel.default, kernel.initramfs) == (True, None)
    assert kernels.xen_drivers(files, kernel)[0]["xen-blkfront"] == "module"


# ------------------------------------------------------------------------------------------ fstab


@pytest.mark.parametrize(
    ("line", "by_name"),
    [
        ("/dev/vda1 / ext4 defaults 0 1", ["/dev/vda1 on /"]),
        ("/dev/nvme0n1p2 / xfs defaults 0 0", ["/dev/nvme0n1p2 on /"]),
        ("/dev/cciss/c0d0p1 / ext3 defaults", ["/dev/cciss/c0d0p1 on /"]),
        ("/dev/sdb1 /data ext4 defaults,nofail 0 2", []),
        ("/dev/sda2 none swap sw 0 0", []),
        ("/dev/sr0 /media/cdrom udf,iso9660 user,noauto 0 0", []),
        ("/dev/mapper/vg-root / ext4 defaults", []),
        ("/dev/disk/by-id/scsi-1-part1 / ext4 defaults", []),
        ("# /dev/sda1 / ext4 defaults", []),
        ("PARTUUID=12345678-01 / ext4", []),
    ],
)
def test_lines_that_name_a_device(line, by_name):
    assert fstab.by_name(fstab.parse(line)) == by_name


VOLUME = Volume("/dev/sda1", 0, 1, "ext4", 1, "12345678-01", ROOT, "my root", True)
LOGICAL = Volume("/dev/my-vg/root", 0, 1, "ext4", group="my-vg")


@pytest.mark.parametrize(
    ("spec", "volume"),
    [
        (f"UUID={ROOT.upper()}", VOLUME),
        ("LABEL=my\\040root", VOLUME),
        ('UUID="' + ROOT + '"', VOLUME),
        ("PARTUUID=12345678-01", VOLUME),
        ("/dev/vda1", VOLUME),
        ("/dev/nvme0n1p1", VOLUME),
        ("/dev/sdb1", None),
        ("/dev/mapper/my--vg-root", LOGICAL),
        ("/dev/my-vg/root", LOGICAL),
        ("UUID=other", None),
    ],
)
def test_which_volume_a_line_means(spec, volume):
    (line,) = fstab.parse(f"{spec} / auto")

    assert fstab.find(line.spec, (VOLUME, LOGICAL)) is volume


def test_a_disk_that_cannot_be_seen_whole_makes_absent_disks_unknown():
    lines = fstab.parse("UUID=other /data ext4 defaults")
    encrypted = Volume("/dev/sda2", 0, 1, "crypto_LUKS", 2)

    assert fstab.absent(lines, Survey(PartitionTable("mbr"), (VOLUME,), (), (), False)) == [
        "UUID=other on /data"
    ]
    assert (
        fstab.absent(lines, Survey(PartitionTable("mbr"), (VOLUME, encrypted), (), (), False))
        is None
    )


# -------------------------------------------------------------------------------------- cloud-init

CLOUD = {"usr/bin/cloud-init": "x", "etc/cloud/cloud.cfg": "users: []\n"}


@pytest.mark.parametrize(
    ("tree", "sources"),
    [
        ({}, None),
        ({"etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ Ec2, None ]"}, ["Ec2", "None"]),
        (
            {
                "etc/cloud/cloud.cfg.d/90.cfg": "datasource_list:\n  - Azure # here\n  - None\nother: 1"
            },
            ["Azure", "None"],
        ),
        ({"etc/cloud/cloud.cfg.d/90.cfg": "datasource_list:\n- 'ConfigDrive'\n"}, ["ConfigDrive"]),
        (
            {"etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [\n  Ec2,\n  GCE\n]\n"},
            ["Ec2", "GCE"],
        ),
        (
            {
                "etc/cloud/cloud.cfg.d/10.cfg": "datasource_list: [A]",
                "etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [B]",
            },
            ["B"],
        ),
        ({"etc/cloud/cloud.cfg.d/90.cfg.disabled": "datasource_list: [A]"}, None),
        (
            {
                "etc/cloud/ds-identify.cfg": "datasource: Ec2\n",
                "etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [B]",
            },
            ["Ec2"],
        ),
        ({"etc/cloud/cloud.cfg.d/90.cfg": "#datasource_list: [A]\n"}, None),
    ],
)
def test_the_datasource_list_in_force(tmp_path, tree, sources):
    assert cloudinit.facts(planted(tmp_path, {**CLOUD, **tree}), "")["datasource_list"] == sources


def test_the_kernel_command_line_goes_before_all(tmp_path):
    files = planted(tmp_path, CLOUD)

    assert cloudinit.facts(files, "ro ds=nocloud quiet")["datasource_list"] == ["nocloud"]
    assert cloudinit.facts(files, "cloud-init=disabled")["disabled"] is True


@pytest.mark.parametrize(
    "tree",
    [
        {"etc/cloud/cloud-init.disabled": ""},
        {"etc/systemd/system/cloud-init.service": disks.Link("/dev/null")},
    ],
)
def test_ways_to_disable_it(tmp_path, tree):
    assert cloudinit.facts(planted(tmp_path, {**CLOUD, **tree}), None)["disabled"] is True


# ----------------------------------------------------------------------------------------- network

MAC = "52:54:00:12:34:56"
NETPLAN = f"""network:
  ethernets:
    eth0:
      match: {{macaddress: '{MAC}'}}
      addresses:
        - 10.0.0.5/24
      nameservers:
        addresses: [8.8.8.8]
"""


@pytest.mark.parametrize(
    ("path", "text", "bound", "static"),
    [
        ("etc/netplan/01.yaml", NETPLAN, [MAC], ["10.0.0.5/24"]),
        ("etc/netplan/01.yaml", "network: {ethernets: {eth0: {dhcp4: true}}}", [], []),
        (
            "etc/network/interfaces",
            f"iface eth0 inet static\n  address 192.168.0.2\n  hwaddress ether {MAC}\n",
            [MAC],
            ["192.168.0.2"],
        ),
        ("etc/network/interfaces.d/eth0", "iface eth0 inet dhcp\n# address 1.2.3.4\n", [], []),
        (
            "etc/NetworkManager/system-connections/a.nmconnection",
            f"[ethernet]\nmac-address={MAC}\n[ipv4]\nmethod=manual\naddress1=10.1.1.1/24,10.1.1.254\n",
            [MAC],
            ["10.1.1.1/24"],
        ),
        ("etc/NetworkManager/system-connections/a.nmconnection", "[ipv4]\nmethod=auto\n", [], []),
        (
            "etc/systemd/network/10.network",
            f"[Match]\nMACAddress={MAC}\n[Network]\nAddress=fe80::1/64\n",
            [MAC],
            ["fe80::1/64"],
        ),
        ("etc/systemd/network/10.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n", [], []),
        ("etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\nIPADDR=''\n", [], []),
        ("etc/sysconfig/network-scripts/ifcfg-lo", "IPADDR=127.0.0.1\n", [], []),
    ],
)
def test_six_ways_to_configure_a_network(tmp_path, path, text, bound, static):
    found = network.facts(planted(tmp_path, {path: text}), cloud_init=False)

    assert found["hardware_addresses"] == [f"/{path}: {value}" for value in bound]
    assert found["static_addresses"] == [f"/{path}: {value}" for value in static]


def test_what_cloud_init_wrote_does_not_count_when_it_writes_again(tmp_path):
    tree = {
        "etc/netplan/50-cloud-init.yaml": NETPLAN,
        "etc/sysconfig/network-scripts/ifcfg-eth0": f"# Created by cloud-init automatically\nHWADDR={MAC}\n",
    }
    files = planted(tmp_path, tree)

    assert network.facts(files, cloud_init=True)["hardware_addresses"] == []
    assert len(network.facts(files, cloud_init=False)["hardware_addresses"]) == 2


# -------------------------------------------------------------------------------------- users, data


@pytest.mark.parametrize(
    ("changes", "admins"),
    [
        ({}, ["admin"]),
        ({"etc/group": "sudo:x:27:\n"}, []),
        ({"etc/group": "", "etc/sudoers.d/90-x": "admin ALL=(ALL) NOPASSWD:ALL\n"}, ["admin"]),
        ({"etc/group": "", "etc/sudoers.d/90.bak": "admin ALL=(ALL) ALL\n"}, []),
        ({"etc/group": "", "etc/sudoers": "admin ALL=/usr/bin/true\n"}, []),
        ({"etc/shadow": "root:$6$x:1::::::\nadmin:!:1::::::\n"}, ["root"]),
        ({"etc/group": "wheel:x:1000:\n"}, ["admin"]),
    ],
)
def test_who_can_become_root_on_the_console(tmp_path, changes, admins):
    assert users.administrators(planted(tmp_path, {**trees.debian(ROOT), **changes})) == admins


def test_without_shadow_nobody_can_tell(tmp_path):
    assert (
        users.administrators(planted(tmp_path, {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"}))
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

"""Settings of a whole system: packages, time, language, firewall, agents, leftovers, age."""

import contextlib
import sqlite3

import pytest
from guests import Link, disk, facts, findings
from phony import Memory, files_of

from pipeline.guest import settings, sqlitefile
from pipeline.guest.packages import read
from pipeline.guest.tree import Files, TreeError


def rpm_database(tmp_path, names):
    """As rpm 4.16 and later write it: the table Name has a row a package."""
    path = tmp_path / "rpmdb.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
        )
        database.execute(
            "CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)"
        )
        for number, name in enumerate(names):
            database.execute("INSERT INTO Packages VALUES (?, ?)", (number + 1, bytes(3000)))
            database.execute("INSERT INTO Name VALUES (?, ?, 0)", (name, number + 1))
    database.close()
    return path.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 50, 3000])
def test_packages_of_rpm(tmp_path, count):
    names = ["kernel-core", "gpg-pubkey", *(f"package-{number}" for number in range(count))]
    content = rpm_database(tmp_path, names)

    found = facts({"var/lib/dpkg/status": ..., "var/lib/rpm/rpmdb.sqlite": content})["packages"]

    assert (found["manager"], found["count"]) == ("rpm", count + 1)
    assert found["names"] == sorted(set(names) - {"gpg-pubkey"})
    assert found["kernels"] == ["kernel-core"]


@pytest.mark.parametrize("at", [0, 16, 17, 100, 103, 105, 108, 4096, 4099, 4100, 4108, 5000, 8192])
@pytest.mark.parametrize("value", [0x00, 0x7F, 0xFF])
def test_a_damaged_rpm_database_is_an_answer(tmp_path, at, value):
    content = bytearray(rpm_database(tmp_path, [f"p{number}" for number in range(900)]))
    content[at] = value

    with contextlib.suppress(TreeError):
        assert read(files_of({"var/lib/rpm/rpmdb.sqlite": bytes(content)})).manager == "rpm"


def test_a_database_whose_pages_loop():
    page = b"SQLite format 3\0" + (512).to_bytes(2, "big") + bytes(82)
    page += bytes([5, 0, 0, 0, 0, 0, 0, 0]) + (1).to_bytes(4, "big")

    database = sqlitefile.Database(
        lambda offset, length: page.ljust(512, b"\0")[offset : offset + length]
    )

    with pytest.raises(TreeError, match="loop"):
        list(sqlitefile.rows(database, "Name", 10))


@pytest.mark.parametrize(
    ("changes", "manager", "names"),
    [
        (
            {"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nVersion: 1\n"},
            "dpkg",
            ["a"],
        ),
        ({"var/lib/dpkg/status": "Package: a\nStatus: deinstall ok config-files\n"}, "dpkg", []),
        (
            {"var/lib/dpkg/status": ..., "lib/apk/db/installed": "P:a\nV:1-r0\n\nP:b\nV:2\n"},
            "apk",
            ["a", "b"],
        ),
        (
            {"var/lib/dpkg/status": ..., "var/lib/pacman/local/linux-6.9-1": None},
            "pacman",
            ["linux"],
        ),
    ],
)
def test_packages_of_others(changes, manager, names):
    found = facts({"lib": ..., **changes})["packages"]

    assert (found["manager"], found["names"]) == (manager, names)


def test_no_package_manager_and_an_old_one():
    assert facts({"var/lib/dpkg/status": ...})["packages"] is None
    found = facts({"var/lib/dpkg/status": ..., "var/lib/rpm/Packages": b"x"})
    assert found["unknown"]["packages"] == "/var/lib/rpm holds an rpm database of an older kind"


UNIT = "etc/systemd/system/multi-user.target.wants"


def started(name):
    return {f"usr/lib/systemd/system/{name}.service": "", f"{UNIT}/{name}.service": Link("/x")}


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({}, "time_zone", "Etc/UTC"),
        (
            {"etc/localtime": Link("../usr/share/zoneinfo/Europe/Berlin")},
            "time_zone",
            "Europe/Berlin",
        ),
        ({"etc/localtime": b"TZif2", "etc/timezone": "Asia/Tokyo\n"}, "time_zone", "Asia/Tokyo"),
        (
            {"etc/localtime": b"TZif2", "etc/sysconfig/clock": 'ZONE="US/Eastern"\n'},
            "time_zone",
            "US/Eastern",
        ),
        ({"etc/localtime": ...}, "time_zone", None),
        ({}, "locale", "C.UTF-8"),
        ({"etc/locale.conf": "LANG=de_DE.UTF-8\n"}, "locale", "de_DE.UTF-8"),
        ({"etc/default/locale": ...}, "locale", None),
        ({}, "clock_is_utc", True),
        ({"etc/adjtime": "0.0 0 0.0\n0\nUTC\n"}, "clock_is_utc", True),
        ({"etc/adjtime": "0.0 0 0.0\n0\nLOCAL\n"}, "clock_is_utc", False),
        ({}, "firewall", []),
        (started("nftables"), "firewall", ["nftables"]),
        ({**started("ufw"), "etc/ufw/ufw.conf": "ENABLED=no\n"}, "firewall", []),
        ({**started("ufw"), "etc/ufw/ufw.conf": "ENABLED=yes\n"}, "firewall", ["ufw"]),
        (started("chrony"), "time_sync", ["chrony"]),
        ({}, "agents", []),
        (
            {"usr/sbin/waagent": "x", "usr/bin/qemu-ga": "x"},
            "agents",
            ["walinuxagent", "qemu-guest-agent"],
        ),
        (
            {"etc/selinux/config": "SELINUX=enforcing\n"},
            "selinux",
            {"mode": "enforcing", "relabel": False},
        ),
        (
            {"etc/selinux/config": "SELINUX=disabled\n", ".autorelabel": ""},
            "selinux",
            {"mode": "disabled", "relabel": True},
        ),
        ({}, "swap_partitions", []),
        ({"etc/hostname": "x\x1b[31m"}, "os", "linux"),
    ],
)
def test_a_setting(changes, name, value):
    assert facts(changes)[name] == value


@pytest.mark.parametrize(
    ("changes", "name", "paths"),
    [
        ({"root/.aws/credentials": "x"}, "cloud_credentials", ["/root/.aws/credentials"]),
        ({"root/.aws/config": "x"}, "cloud_credentials", []),
        (
            {"home/admin/.config/openstack/clouds.yaml": "x"},
            "cloud_credentials",
            ["/home/admin/.config/openstack/clouds.yaml"],
        ),
        ({"etc/krb5.keytab": "x"}, "certificates", ["/etc/krb5.keytab"]),
        ({"etc/krb5.keytab": ""}, "certificates", []),
        ({"var/lib/systemd/random-seed": "x"}, "random_seeds", ["/var/lib/systemd/random-seed"]),
        ({"var/lib/dhcp/dhclient.leases": "x"}, "dhcp_leases", ["/var/lib/dhcp/dhclient.leases"]),
        ({"var/cache/apt/archives/a.deb": "x"}, "package_caches", ["/var/cache/apt/archives"]),
        (
            {"var/cache/apt/archives/partial": None, "var/cache/apt/archives/lock": ""},
            "package_caches",
            [],
        ),
        (
            {"var/log/syslog": "x", "var/log/wtmp": "", "var/log/journal/1/x": "x"},
            "logs",
            ["/var/log/syslog", "/var/log/journal"],
        ),
        (
            {"var/spool/cron/crontabs/root": "* * * * * x"},
            "jobs",
            ["/var/spool/cron/crontabs/root"],
        ),
        ({"etc/environment": "http_proxy=http://old:3128\n"}, "proxies", ["/etc/environment"]),
        (
            {"etc/apt/apt.conf.d/80p": 'Acquire::http::Proxy "http://old";\n'},
            "proxies",
            ["/etc/apt/apt.conf.d/80p"],
        ),
        ({"etc/environment": "#http_proxy=x\nPATH=/bin\n"}, "proxies", []),
        (
            {"etc/apt/sources.list": "deb cdrom:[Debian]/ bookworm main\n"},
            "install_media",
            ["/etc/apt/sources.list"],
        ),
        ({"etc/apt/sources.list": "#deb cdrom:[Debian]/ bookworm main\n"}, "install_media", []),
        ({".unconfigured": ""}, "first_boot_prompts", ["/.unconfigured"]),
    ],
)
def test_what_of_the_old_machine_is_left(changes, name, paths):
    assert facts(changes)["leftovers"][name] == paths
    assert findings(changes) == set()


def test_ages_are_those_of_files():
    tree = {**disk({"var/log/wtmp": "x"}).trees[0]}
    memory = Memory(tree, {"var/lib/dpkg/status": 1_600_000_000, "var/log/wtmp": 1_650_000_000})
    files = Files(memory)

    assert settings.ages(files, read(files)) == settings.Ages(1_600_000_000, 1_650_000_000)


@pytest.mark.parametrize(
    ("loader", "changes", "version"),
    [
        ("grub2", {}, "2.06-13+deb12u1"),
        ("grub2", {"var/lib/dpkg/status": ...}, None),
        (
            "systemd-boot",
            {
                "efi/EFI/systemd/systemd-bootx64.efi": b"MZ\0#### LoaderInfo: systemd-boot 252.39-1 ####\0"
            },
            "systemd-boot 252.39-1",
        ),
        ("systemd-boot", {"efi/EFI/systemd/systemd-bootx64.efi": b"MZ"}, None),
        (None, {}, None),
    ],
)
def test_the_boot_loader_s_version(loader, changes, version):
    tree = {
        name: content
        for name, content in {**disk().trees[0], **changes}.items()
        if content is not ...
    }
    files = files_of(tree)

    assert settings.loader_version(files, loader, read(files)) == version


@pytest.mark.parametrize(
    ("volume", "last"),
    [
        ({"partition": 1}, True),
        ({"partition": None}, True),
        ({"group": "vg", "partition": None}, None),
    ],
)
def test_whether_the_root_can_grow(volume, last):
    found = facts(disk(**volume))["root_file_system"]

    assert (found["last_on_disk"], found["growpart"], found["free"]) == (last, True, 1 << 30)

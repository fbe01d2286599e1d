"""Settings of a Linux at their edges: words beside the one that is meant, odd files, short lines."""

from dataclasses import replace

import pytest
from guests import Link, disks, facts
from phony import Memory, files_of

from pipeline.guest import (
    cloudinit,
    initramfs,
    leftovers,
    linux,
    packages,
    passwd,
    settings,
    sshd,
    units,
    versions,
    windows,
)
from pipeline.guest.tree import Files, TreeError

UNIT = "usr/lib/systemd/system"
OWN = "etc/systemd/system"
STARTED_BEFORE = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n"
}  # so that no preset counts

# ------------------------------------------------------------------------- what is no regular file


class Odd(Memory):
    """A file system in which everything has a size, even a directory or a FIFO."""

    def _entry(self, path):
        found = super()._entry(path)
        return found and replace(found, size=max(found.size, 9))


FIFO = disks.Fifo()


@pytest.mark.parametrize("content", [None, FIFO], ids=["directory", "FIFO"])
def test_only_regular_files_count(content):
    def files(**tree):
        return Files(Odd({"etc/passwd": "root:x:0:0::/root:/bin/sh\n", **tree}))

    key, seed, log = "root/.ssh/id_rsa", "var/lib/systemd/random-seed", "var/log/messages"
    assert passwd.users(files(**{key: "key"})).private_keys.value == ("/root/.ssh/id_rsa",)
    assert passwd.users(files(**{key: content})).private_keys.value == ()
    assert leftovers.facts(files(**{seed: "x"})).random_seeds.value == (f"/{seed}",)
    assert leftovers.facts(files(**{seed: content})).random_seeds.value == ()
    assert leftovers.facts(files(**{log: "x"})).logs.value == (f"/{log}",)
    assert leftovers.facts(files(**{log: content})).logs.value == ()
    assert packages.read(files(**{"var/lib/rpm/rpmdb.sqlite": content})) is None
    for path in ("/etc/x", "/etc/x/y"):
        odd = files(**{"etc/x": content})
        assert (odd.read(path), odd.read_at(path, 0, 1), odd.text(path)) == (None, None, None)
        assert not odd.is_file(path)
    assert files(**{"etc/x": FIFO}).names("/etc/x") == []
    assert not files(**{"etc/x": FIFO}).is_directory("/etc/x")
    assert units.read(files(**{f"{OWN}/x.service": content})).masked == frozenset()
    with pytest.raises(TreeError, match="there is no registry hive SOFTWARE"):
        windows._hive(
            files(**{"Windows/System32/config/SOFTWARE": content}), lambda *_: [], "SOFTWARE", []
        )
    with pytest.raises(initramfs.NotReadableError, match="not a regular file"):
        list(initramfs.names(files(i=content), "/i"))


def test_nothing_is_learned_of_names_in_what_is_no_directory():
    class Closed(Odd):
        def stat(self, directory, names):
            assert directory == "/", directory
            return super().stat(directory, names)

    files = Files(Closed({"a": FIFO, "b": "x"}))

    files.prefetch("/a", ["x"])
    files.prefetch("/b", ["x"])

    assert files.entry("/a").kind == "other"


# --------------------------------------------------------------------------------------- services


@pytest.mark.parametrize(
    ("link", "masked"),
    [("/dev/null", True), ("/dev/nul", False), ("/dev/a", False), ("../x.service", False), ("/a", False),
     ("/usr/lib/systemd/system/x.service", False), ("", False)],
)  # fmt: skip
def test_only_a_link_to_dev_null_masks(link, masked):
    tree = {f"{OWN}/x.service": Link(link), f"{OWN}/y.service": Link("/x/x.service")}

    found = units.read(files_of(tree)).masked

    assert found == (frozenset({"x.service", "y.service"}) if masked else frozenset())


@pytest.mark.parametrize(
    ("line", "state"),
    [("enable a.service", "enabled"), ("disable a.service", "disabled"), ("enable a.service x y", "enabled"),
     ("disable a.service x y", "disabled"), ("disable a.service #", "disabled"), ("disable", "enabled"),
     ("enabled a.service\ndisable a*", "disabled"), ("ignore a.service\ndisable *", "disabled"),
     ("disabl a.service", "enabled"), ("# disable a.service", "enabled")],
)  # fmt: skip
def test_a_line_of_a_preset(line, state):
    tree = {f"{UNIT}/a.service": "", f"{OWN}-preset/1.preset": f"{line}\n"}
    files = files_of(tree)

    assert units.state(files, units.read(files), ["a.service"]) == state


def service(name, how):
    unit = {f"{UNIT}/{name}.service": ""}
    started = {f"{OWN}/multi-user.target.wants/{name}.service": Link(f"/{UNIT}/{name}.service")}
    masked = {f"{OWN}/{name}.service": Link("/dev/null")}
    ways = {"absent": {}, "disabled": unit, "enabled": unit | started, "masked": unit | masked}
    return ways[how]


@pytest.mark.parametrize("how", ["absent", "disabled", "enabled", "masked"])
def test_what_the_state_of_a_unit_means(how):
    found = facts(
        {
            **service("firewalld", how),
            **service("chronyd", how),
            f"{UNIT}/ssh.service": ...,
            f"{OWN}/multi-user.target.wants/ssh.service": ...,
            **service("ssh", how),
            "usr/sbin/sshd": b"x",
        }
    )

    why = {"absent": "no unit starts it", "disabled": "its unit is disabled", "enabled": None,
           "masked": "its unit is masked"}  # fmt: skip
    assert (found["ssh"]["enabled"], found["ssh"]["disabled_by"]) == (how == "enabled", why[how])
    assert ("firewalld" in found["firewall"]) is (how == "enabled")
    assert ("chronyd" in found["time_sync"]) is (how == "enabled")


@pytest.mark.parametrize(
    ("text", "starts"),
    [("ENABLED=yes\n", True), ("enabled=YES\n", True), ("ENABLED=no\n", False), ("X=1\nENABLED=yes", True),
     (" ENABLED=yes\n", False), (None, False)],
)  # fmt: skip
def test_ufw_is_on_where_its_own_file_says_so(text, starts):
    tree = {**service("ufw", "enabled"), "etc/ufw/ufw.conf": text or "", **STARTED_BEFORE}
    files = files_of(tree)

    assert settings.firewalls(files, units.read(files)) == (("ufw",) if starts else ())


# ------------------------------------------------------------------------------- time, identity, age


@pytest.mark.parametrize(
    ("text", "utc"),
    [("", True), ("0\n", True), ("0\n0\n", True), ("0\n0\nLOCAL\n", False), ("0\n0\n LOCAL \nx\n", False),
     ("0\n0\nUTC\n", True), ("0\n0\nLOCA\n", True), ("0\n0\n\n", True), ("0\n0\nLOCALE\n", True),
     ("0\nLOCAL\n0\n", True), ("0\n0\n0\nLOCAL\n", True)],
)  # fmt: skip
def test_the_hardware_clock(text, utc):
    assert settings.clock_is_utc(files_of({"etc/adjtime": text})) is utc


@pytest.mark.parametrize(
    ("target", "zone"),
    [("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"), ("../usr/share/zoneinfo/UTC", "UTC"),
     ("zoneinfo/zoneinfo/UTC", "zoneinfo/UTC"), ("/etc/own", "Asia/Tokyo"), ("zoneinfo", "Asia/Tokyo")],
)  # fmt: skip
def test_the_time_zone(target, zone):
    tree = {"etc/localtime": Link(target), "etc/timezone": "Asia/Tokyo x\n"}

    assert settings.time_zone(files_of(tree)) == zone


@pytest.mark.parametrize(
    ("own", "of_dbus", "state"),
    [("0123\n", "4567\n", "set"), ("uninitialized\n", "4567\n", "uninitialized"), ("", "4567\n", "set"),
     (None, "4567\n", "set"), (None, "uninitialized\n", "missing"), ("", "uninitialized\n", "empty"),
     ("\n", "\n", "empty"), (None, None, "missing"), (None, "", "missing"), ("zzz\n", None, "set"),
     ("uninit\n", None, "set")],
)  # fmt: skip
def test_the_machine_id(own, of_dbus, state):
    named = {"etc/machine-id": own, "var/lib/dbus/machine-id": of_dbus}
    tree = {name: text for name, text in named.items() if text is not None}

    assert linux.machine_id(files_of(tree)) == state


@pytest.mark.parametrize(
    ("order", "arch"), [(0, "ppc64"), (1, "elf machine 5376"), (2, "ppc64"), (3, "ppc64")]
)
def test_an_elf_header_s_byte_order(order, arch):
    head = b"\x7fELF\x02" + bytes([order]) + bytes(12) + b"\x00\x15"

    assert linux.architecture(files_of({"bin/sh": head})) == arch


def test_numbers_in_versions_have_one_digit_or_many():
    assert versions.uapi_key("7x10") == ((6, 7, ""), (5, 0, "x"), (6, 10, ""), (1, 0, ""))
    assert versions.uapi_key("1" * 19)[0] == (6, int("1" * 18), "")


# ---------------------------------------------------------------------------------------- accounts


@pytest.mark.parametrize(
    ("group", "members"),
    [("sudo:x:27:a", {"a", "root"}), ("sudo:x:27", {"root"}), ("sudo", {"root"}),
     ("sudo:x:27:a:b", {"a", "root"}),
     ("sudo:x:27:", {"root"}), ("sudoers:x:27:a", {"root"}), ("wheel:x:5:", {"a", "root"}),
     ("wheel:x", {"root"})],
)  # fmt: skip
def test_a_line_of_group(group, members):
    tree = {
        "etc/passwd": "root:x:0:0::/root:/bin/sh\nlonely\ntwo:x\nthree:x:1\na:x:1000:5::/a:/bin/sh\n",
        "etc/shadow": "root:$6$x:1\na:$6$y\nlonely\n",
        "etc/group": f"{group}\n",
    }

    assert set(passwd.administrators(files_of(tree))) == members


def test_who_may_become_root_in_several_ways():
    tree = {
        "etc/passwd": "root:x:0:0::/root:/bin/sh\na:x:1000:27::/a:/bin/sh\nb:x:1001:1::/b:/bin/sh\n",
        "etc/shadow": "root:$6$x:1\na:$6$y:1\nb:$6$z:1\n",
        "etc/group": "sudo:x:27:a,root\nwheel:x:10:a\n",
        "etc/sudoers": "root ALL=(ALL) ALL\na ALL=(ALL) ALL\n",
        "etc/sudoers.d/a": f"a ALL=ALL\n{'b'.ljust(993)}ALL=ALL\n{'b'.ljust(994)}ALL=ALL\n",
    }

    assert passwd.administrators(files_of(tree)) == ("a", "b", "root")
    tree["etc/sudoers.d/a"] = f"a ALL=ALL\n{'b'.ljust(994)}ALL=ALL\n"
    assert passwd.administrators(files_of(tree)) == ("a", "root")


@pytest.mark.parametrize(
    ("field", "of_shadow", "password", "empty", "root"),
    [
        ("x", "$6$x", ("root",), (), "set"), ("x", "!", (), (), "locked"), ("x", "*", (), (), "locked"),
        ("x", "", (), ("root",), "empty"), ("x", None, (), (), "locked"), ("", "$6$x", (),
        ("root",), "empty"),
        ("$1$x", "!", ("root",), (), "set"), ("x", "x", (), (), "locked"), ("x", "!$6$x", (), (), "locked"),
    ],
)  # fmt: skip
def test_a_password_s_field(field, of_shadow, password, empty, root):
    tree = {"etc/passwd": f"root:{field}:0:0::/root:/bin/sh\nlonely\n"}
    if of_shadow is not None:
        tree["etc/shadow"] = f"root:{of_shadow}:1\nlonely\n"

    found = passwd.users(files_of(tree))

    assert (found.with_password, found.empty_password, found.root_password) == (
        password,
        empty,
        root,
    )


# --------------------------------------------------------------------------------------------- SSH


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("Port 1\n", (1,)), ("Match user a\nPort 1\n", (22,)), ("Match all\nPort 1\n", (1,)),
        ("Match ALL\nPort 1\n", (1,)), ("Match address 10.0.0.1\nPort 1\n", (22,)),
        ("Match all user a\nPort 1\n", (22,)), ("Match zone a\nPort 1\n", (22,)),
        ("Match user a\nInclude more\n", (22,)), ("Include more\n", (4,)), ("Includes more\n", (22,)),
        ("Hostkey more\nInclud more\nListen more\n", (22,)), ("Matched user a\nPort 1\n", (1,)),
        ("Port one\nPort 2\n", (2,)), ("Port\n", (22,)),
        (f"Port{' ' * 995}2\n", (2,)), (f"Port{' ' * 996}2\n", (22,)),  # 1,000 characters of a line
    ],
)  # fmt: skip
def test_a_keyword_of_sshd_config(text, ports):
    tree = {"etc/ssh/sshd_config": text, "etc/ssh/more": "Port 4\n"}

    assert sshd.facts(files_of(tree), units.read(files_of(tree))).ports == ports


@pytest.mark.parametrize(
    ("value", "lets_in"),
    [("yes", True), ("no", False), ("NO", False), ("maybe", True), ("none", True)],
)
def test_only_no_forbids_passwords(value, lets_in):
    tree = {"etc/ssh/sshd_config": f"PasswordAuthentication {value}\n", "usr/sbin/sshd": "x"}

    assert sshd.facts(files_of(tree), units.read(files_of(tree))).password_login is lets_in


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("%h/keys", "/home/a/keys"), ("/k/%u", "/k/a"), ("keys", "/home/a/keys"), ("zkeys", "/home/a/zkeys"),
     ("none", None), ("%%h", "/home/a/%h"), ("%%%u", "/home/a/%a"), ("%x", "/home/a/%x"),
     ("nones", "/home/a/nones")],
)  # fmt: skip
def test_where_the_keys_of_an_account_are(pattern, path):
    account = passwd.Account("a", 1000, "1", "/home/a", "/bin/sh")

    assert sshd._path(pattern, account) == path


# -------------------------------------------------------------------------------------- cloud-init


@pytest.mark.parametrize(
    ("line", "by"),
    [("", "file"), ("cloud-init=enabled", None), ("cloud-init=disabled", "line"), ("cloud-init=on", "file"),
     ("cloud-init=a", "file"), ("cloud-init=enabled cloud-init=x", "file"),
     ("cloud-init=x cloud-init=enabled", None), ("cloud-init=a cloud-init=b cloud-init=disabled", "line"),
     ("cloud-init=disabled cloud-init=b cloud-init=a", "file")],
)  # fmt: skip
def test_what_the_kernel_s_command_line_says_of_cloud_init(line, by):
    files = files_of({"usr/bin/cloud-init": "", "etc/cloud/cloud-init.disabled": ""})

    found = cloudinit.facts(files, tuple(line.split()), units.read(files), None)

    told = {
        "file": "/etc/cloud/cloud-init.disabled",
        "line": "cloud-init=disabled on the kernel command line",
    }
    assert (found.disabled, found.disabled_by) == (by is not None, by and told[by])


@pytest.mark.parametrize(
    ("text", "disabled"),
    [("policy: disabled", True), ("policy: 'disabled,x'", True), ("policy: a", False),
     ("policy: enabled", False), ("policy: search", False), ("policy: 'x,disabled'", False)],
)  # fmt: skip
def test_the_policy_of_ds_identify(text, disabled):
    files = files_of({"usr/bin/cloud-init": "", "etc/cloud/ds-identify.cfg": f"{text}\n"})

    assert cloudinit.facts(files, (), units.read(files), None).disabled is disabled
    by_line = cloudinit.facts(files, ("ci.di.policy=a",), units.read(files), None)
    assert by_line.disabled is False


@pytest.mark.parametrize(
    ("value", "disabled"),
    [
        ("disabled", True),
        ("a", False),
        ("enabled", False),
        ("{version: 2}", False),
        ("[disabled]", False),
    ],
)
def test_the_network_of_cloud_init(value, disabled):
    files = files_of(
        {"usr/bin/cloud-init": "", "etc/cloud/cloud.cfg": f"network: {{config: {value}}}\n"}
    )

    assert cloudinit.facts(files, (), units.read(files), None).network_disabled is disabled


@pytest.mark.parametrize(
    ("word", "source"),
    [("nocloud", "NoCloud"), ("NOCLOUD", "NoCloud"), ("openstack", "openstack"), ("Ec2,None", "Ec2"),
     ("nocloud-net", "NoCloud"), ("noclouds", "noclouds")],
)  # fmt: skip
def test_a_data_source_on_the_kernel_s_command_line(word, source):
    files = files_of({"usr/bin/cloud-init": ""})

    found = cloudinit.facts(files, (f"ds={word};s=x",), units.read(files), None)

    assert found.datasource_list == (source,)

"""Who can log in, and whether the server that lets them in starts by itself."""

import os
import subprocess

import pytest
from guests import Link, facts, findings, trees
from phony import builder, files_of, planted

from pipeline.guest import units

WANTS = "systemd/system/multi-user.target.wants"
SSH_LINK = f"etc/{WANTS}/ssh.service"
SSH_UNIT = "usr/lib/systemd/system/ssh.service"
NULL = Link("/dev/null")
MACHINE_ID = "0123456789abcdef0123456789abcdef\n"
DISABLED = {"ssh-server-disabled"}


@pytest.mark.parametrize(
    ("changes", "enabled", "rules"),
    [
        ({}, True, set()),
        ({SSH_LINK: ...}, False, DISABLED),
        ({"etc/systemd/system/ssh.service": NULL}, False, DISABLED),
        ({"etc/systemd/system/ssh.service": ""}, False, DISABLED),
        (
            {SSH_LINK: ..., "etc/systemd/system/sockets.target.wants/ssh.socket": Link("/x")},
            True,
            set(),
        ),
        ({SSH_LINK: ..., f"etc/{WANTS}/sshd.service": Link("/x")}, True, set()),
        ({SSH_LINK: ..., f"usr/lib/{WANTS}/ssh.service": Link("/x")}, True, set()),
        ({SSH_LINK: ..., SSH_UNIT: ..., "etc/rc2.d/S01ssh": Link("../init.d/ssh")}, True, set()),
        # systemd looks at no SysV link where it has a unit
        ({SSH_LINK: ..., "etc/rc2.d/S01ssh": Link("../init.d/ssh")}, False, DISABLED),
        (
            {
                "etc/systemd/system/ssh.service": NULL,
                "etc/systemd/system/sshd.service": Link("/lib/systemd/system/ssh.service"),
                "etc/rc2.d/S01ssh": Link("../init.d/ssh"),
            },
            False,
            DISABLED,
        ),
        ({SSH_LINK: ..., "etc/rc2.d/K01ssh": Link("../init.d/ssh")}, False, DISABLED),
        ({SSH_LINK: ..., "etc/runlevels/default/sshd": Link("/etc/init.d/sshd")}, True, set()),
        ({"etc/ssh/sshd_not_to_be_run": ""}, False, DISABLED),
        ({SSH_LINK: ..., SSH_UNIT: ...}, False, DISABLED),
        # the first boot of an image without a machine id follows the presets
        ({SSH_LINK: ..., "etc/machine-id": ...}, True, set()),
        ({SSH_LINK: ..., "etc/machine-id": "uninitialized\n"}, True, set()),
        (
            {
                SSH_LINK: ...,
                "etc/machine-id": ...,
                "usr/lib/systemd/system-preset/90.preset": "disable *\n",
            },
            False,
            DISABLED,
        ),
        (
            {
                SSH_LINK: ...,
                "etc/machine-id": ...,
                "usr/lib/systemd/system-preset/90.preset": "enable ssh*.service\ndisable *\n",
            },
            True,
            set(),
        ),
        (
            {
                SSH_LINK: ...,
                "etc/machine-id": ...,
                "usr/lib/systemd/system-preset/90.preset": "enable ssh.service\n",
                "etc/systemd/system-preset/90.preset": "disable ssh.service\n",
            },
            False,
            DISABLED,
        ),
        ({"usr/sbin/sshd": ...}, False, {"ssh-server-missing"}),
    ],
)
def test_whether_the_ssh_server_starts(changes, enabled, rules):
    assert facts(changes)["ssh"]["enabled"] is enabled
    assert findings(changes) == rules


def test_without_any_init_system_nobody_can_tell():
    changes = {name: ... for name in trees.debian("") if "systemd/system/" in name}

    assert facts(changes)["ssh"]["enabled"] is None
    assert findings(changes) == set()


UNIT = (
    "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
)
STATES = [
    ({}, "absent"),
    ({"usr/lib/systemd/system/a.service": UNIT}, "disabled"),
    (
        {
            "usr/lib/systemd/system/a.service": UNIT,
            f"etc/{WANTS}/a.service": Link("/usr/lib/systemd/system/a.service"),
        },
        "enabled",
    ),
    (
        {
            "usr/lib/systemd/system/a.service": UNIT,
            "etc/systemd/system/graphical.target.requires/a.service": Link(
                "/usr/lib/systemd/system/a.service"
            ),
        },
        "enabled",
    ),
    ({"usr/lib/systemd/system/a.service": UNIT, "etc/systemd/system/a.service": NULL}, "masked"),
    (
        {
            "usr/lib/systemd/system/a.service": UNIT,
            "etc/systemd/system/a.service": NULL,
            f"etc/{WANTS}/a.service": Link("/usr/lib/systemd/system/a.service"),
        },
        "masked",
    ),
    ({"etc/systemd/system/a.service": UNIT}, "disabled"),
    (
        {
            "etc/systemd/system/a.service": UNIT,
            f"etc/{WANTS}/a.service": Link("/etc/systemd/system/a.service"),
        },
        "enabled",
    ),
]


@pytest.mark.needs("systemctl")
@pytest.mark.parametrize(("tree", "state"), STATES)
def test_systemctl_says_the_same(tmp_path, tree, state):
    tree = {"etc/machine-id": "0" * 31 + "1\n", "etc/os-release": "ID=x\n", **tree}
    files = planted(tmp_path, tree)
    argv = ["systemctl", f"--root={tmp_path}", "is-enabled", "a.service"]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    said = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60)

    truth = said.stdout.strip() if said.returncode in (0, 1) and said.stdout else "absent"
    assert units.state(files, units.read(files), ["a.service"]) == state
    assert {"not-found": "absent"}.get(truth, truth) == state


CONFIG = "etc/ssh/sshd_config"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("", "root_login", "prohibit-password"),
        ("PermitRootLogin yes\n", "root_login", "yes"),
        ("permitrootlogin=no\n", "root_login", "no"),
        ("PermitRootLogin no\nPermitRootLogin yes\n", "root_login", "no"),
        ("#PermitRootLogin yes\n", "root_login", "prohibit-password"),
        ("Match User admin\n PermitRootLogin yes\n", "root_login", "prohibit-password"),
        ("Match all\nPermitRootLogin yes\n", "root_login", "yes"),
        (
            "Match User a\n PermitRootLogin no\nMatch all\nPermitRootLogin yes\n",
            "root_login",
            "yes",
        ),
        (
            "Match User a\nInclude sshd_config.d/*.conf\nMatch all\nPermitRootLogin yes\n",
            "root_login",
            "yes",
        ),
        ("PermitRootLogin yes # for now\n", "root_login", "yes"),
        ('PermitRootLogin "yes" #x\n', "root_login", "yes"),
        (
            "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n",
            "root_login",
            "without-password",
        ),
        ("PermitRootLogin no\nInclude sshd_config.d/*.conf\n", "root_login", "no"),
        ("PasswordAuthentication no\n", "password_login", False),
        ("", "password_login", True),
        ("Port 22\nPort 2222\n", "ports", [22, 2222]),
        ("Include /etc/ssh/sshd_config\nPort 5\n" * 10, "ports", [5]),
    ],
)
def test_what_sshd_config_lets_in(text, name, value):
    found = facts({CONFIG: text, f"{CONFIG}.d/50.conf": "PermitRootLogin without-password\n"})[
        "ssh"
    ][name]

    assert (found[:1] if name == "ports" and value == [5] else found) == value


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"etc/ssh/ssh_host_rsa_key": "k"}, {"ssh-host-keys"}),
        ({"etc/ssh/ssh_host_rsa_key.pub": "k"}, set()),
        ({CONFIG: "HostKey /etc/keys/host\n", "etc/keys/host": "k"}, {"ssh-host-keys"}),
        ({CONFIG: "HostKey /etc/keys/host\n"}, set()),
        ({"home/admin/.ssh/authorized_keys": "ssh-ed25519 AAAA\n"}, {"ssh-authorized-keys"}),
        ({"home/admin/.ssh/authorized_keys": "# nothing\n\n"}, set()),
        ({"root/.ssh/authorized_keys2": "ssh-ed25519 AAAA\n"}, {"ssh-authorized-keys"}),
        (
            {CONFIG: "AuthorizedKeysFile /etc/keys/%u\n", "etc/keys/admin": "ssh-rsa A\n"},
            {"ssh-authorized-keys"},
        ),
        (
            {
                CONFIG: "AuthorizedKeysFile /etc/keys/%u\n",
                "root/.ssh/authorized_keys": "ssh-rsa A\n",
            },
            set(),
        ),
        ({CONFIG: "AuthorizedKeysFile none\n", "root/.ssh/authorized_keys": "ssh-rsa A\n"}, set()),
        ({"etc/machine-id": MACHINE_ID}, {"machine-id"}),
        ({"etc/machine-id": "uninitialized\n"}, set()),
        ({"etc/machine-id": ...}, set()),
        ({"etc/machine-id": ..., "var/lib/dbus/machine-id": MACHINE_ID}, {"machine-id"}),
        ({"var/lib/dbus/machine-id": MACHINE_ID}, {"machine-id"}),
        ({"var/lib/dbus/machine-id": Link("/etc/machine-id")}, set()),
        ({"var/lib/dbus/machine-id": ""}, set()),
    ],
)
def test_what_every_server_of_the_image_would_share(changes, rules):
    assert findings(changes) == rules


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (["admin"], [], "locked")),
        ({"etc/shadow": "root:$y$x:1::::::\nadmin::1::::::\n"}, (["root"], ["admin"], "set")),
        ({"etc/shadow": "root::1::::::\nadmin:!:1::::::\n"}, ([], ["root"], "empty")),
        ({"etc/shadow": "root:!$6$x:1::::::\nadmin:!!:1::::::\n"}, ([], [], "locked")),
        ({"etc/passwd": "root:$1$x:0:0::/root:/bin/sh\n"}, (["root"], [], "set")),
        ({"etc/passwd": "root::0:0::/root:/usr/sbin/nologin\n"}, ([], [], "empty")),
        ({"etc/passwd": "a:x:1000:1000::/home/a:/bin/sh\n"}, ([], [], "absent")),
    ],
)
def test_passwords_are_seen_and_never_kept(changes, expected):
    found = facts(changes)

    users = found["users"]
    assert (users["with_password"], users["empty_password"], users["root_password"]) == expected
    assert "$" not in str(found["users"])


def test_private_keys_and_histories():
    found = facts(
        {
            "home/admin/.ssh/id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----",
            "root/.bash_history": "ls\n",
            "home/admin/.bash_history": "",
            "home/other/.bash_history": "x",
        }
    )["users"]

    assert (found["private_keys"], found["histories"]) == (
        ["/home/admin/.ssh/id_ed25519"],
        ["/root/.bash_history"],
    )


def test_units_of_an_empty_guest():
    found = units.read(files_of({"etc/x": ""}))

    assert (found.systemd, found.wanted, found.masked, found.rc) == (
        False,
        frozenset(),
        frozenset(),
        frozenset(),
    )
    assert builder("guest_trees").KERNEL

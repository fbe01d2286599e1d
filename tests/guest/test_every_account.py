"""Accounts, services, SSH and cloud-init, each line and word otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    Link,
)

from pipeline.guest import (
    cloudinit,
    passwd,
    sshd,
    units,
)
from pipeline.guest.tree import Files

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare

PEOPLE: dict[str, Any] = {
    "etc/passwd": "root:x:0:0::/root:/bin/bash\nold:$1$a:500:27::/home/old:/bin/sh\n"
    "daemon:x:1:1::/:/usr/sbin/nologin\n"
    "admin:x:1000:1000::/home/admin:/bin/bash\nopen:x:1001:10::/home/open\n"
    "lost::1002:1::/home/lost:/bin/false\n"
    "nobody:x:65534:65534::/none:/bin/sh\nlast:x:65533:1::/home/last/:/bin/sh\nbad:x:x:1::/:/bin/sh\n"
    "short:x:1\n"
    "sys:x:499:1::/home/sys:/bin/sh\nnine:x:999:1::/home/nine:/bin/sh\n",
    "etc/shadow": "root:$6$a:1::::::\nadmin:$6$b:1::::::\nopen::1::::::\nlost:!$6$c:1::::::\n"
    "nobody:*:1::::::\n"
    "last:$y$d:1::::::\nsys:$6$e:1\nnine\ndaemon:x:1\n",
    "etc/group": "# comment\nroot:x:0:\nsudo:x:27:admin,open\nwheel:x:10:\nadmin:x:99:last,,\n"
    "users:x:100:nine\nshort:x:7\n",
    "etc/sudoers": "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n  sys ALL = (root) NOPASSWD: ALL\n"
    "nine ALL=/bin/ls\n",
    "etc/sudoers.d/a": "last host=ALL\n",
    "etc/sudoers.d/b.bak": "nine ALL=ALL\n",
    "etc/sudoers.d/c~": "nine ALL=ALL\n",
    "etc/ssh/sshd_config": "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\nPort = 2222\n"
    'PermitRootLogin "yes"\n'
    "PasswordAuthentication no # comment\nAuthorizedKeysFile %h/.ssh/keys /etc/keys/%u %%x none\n"
    "HostKey /etc/own_key\n"
    "HostKey /etc/ssh/ssh_host_rsa_key\nHostKey none\nMatch User a\nPort 1\nMatch all\nPort 3\n",
    "etc/ssh/sshd_config.d/10.conf": "PermitRootLogin no\nInclude more.conf\n",
    "etc/ssh/more.conf": "PasswordAuthentication yes\nMatch Group b\nPort 4\n",
    "etc/ssh/ssh_host_rsa_key": "key",
    "etc/ssh/ssh_host_rsa_key.pub": "key",
    "etc/own_key": "key",
    "etc/keys/admin": "ssh-ed25519 A\n",
    "root/.ssh/keys": "# none\n\n",
    "home/admin/.ssh/keys": "ssh-ed25519 B\n",
    "home/admin/.ssh/id_rsa": "key",
    "home/open/.ssh/id_ed25519": "",
    "home/last/.ssh/identity": "key",
    "home/old/.bash_history": "ls",
    "home/nine/.python_history": "x",
    "usr/sbin/sshd": b"x",
    "usr/lib/systemd/system/ssh.service": "",
    "etc/systemd/system/multi-user.target.wants/ssh.service": Link("/x"),
}


@TABLES
def people() -> Iterator[str]:
    """Accounts, who becomes root, who comes in by SSH."""

    def tell(files: Files) -> Any:
        return {
            "users": passwd.users(files),
            "root": passwd.administrators(files),
            "logins": [each.name for each in passwd.login_accounts(files)],
            "ssh": sshd.facts(files, units.read(files)),
        }

    return varied.of_tree(
        PEOPLE,
        tell,
        "etc/passwd",
        "etc/shadow",
        "etc/group",
        "etc/sudoers",
        "etc/ssh/sshd_config",
        "etc/ssh/sshd_config.d/10.conf",
        "etc/ssh/more.conf",
    )


E = "etc/systemd/system"
U = "usr/lib/systemd/system"
UNITS: dict[str, Any] = {
    f"{U}/a.service": "",
    f"{E}/multi-user.target.wants/a.service": Link("/x"),
    f"{E}/b.service": Link("/dev/null"),
    f"{E}/c.service": "",
    f"{E}/alias.service": Link("/usr/lib/systemd/system/b.service"),
    f"{E}/d.service": "[Unit]\n",
    f"{E}/e.service.requires/f.service": Link("/x"),
    f"{U}/f.service": "",
    f"{U}/sockets.target.wants/g.socket": Link("/x"),
    f"{U}/g.socket": "",
    f"{U}/h.service": "",
    f"{U}/i.service": "",
    "etc/machine-id": "uninitialized\n",
    "etc/systemd/system-preset/10.preset": "# comment\nenable h*.service\ndisable a.service\n",
    "usr/lib/systemd/system-preset/10.preset": "disable h.service\n",
    "usr/lib/systemd/system-preset/90.preset": "enable d.service\ndisable *\nlonely\n",
    "etc/rc3.d/S20j": Link("../init.d/j"),
    "etc/rc3.d/K20k": Link("../init.d/k"),
    "etc/rc.d/rc5.d/S20a": Link("/x"),
    "etc/runlevels/default/l": Link("/x"),
    "etc/runlevels/other/m": Link("/x"),
}


@TABLES
def services() -> Iterator[str]:
    """Which units start by themselves."""
    names = [
        *(f"{x}.service" for x in ("a", "b", "c", "alias", "d", "f", "h", "i", "j", "k", "l", "m")),
        "g.socket",
    ]

    def tell(files: Files) -> Any:
        read = units.read(files)
        states = {name: units.state(files, read, [name]) for name in names}
        return states | {
            "a or b": units.state(files, read, ["a.service", "b.service"]),
            "read": varied.told(lambda: read),
        }

    def plain(files: Files) -> Any:
        return {name: value for name, value in tell(files).items() if name != "read"}

    return varied.of_tree(
        UNITS,
        plain,
        "etc/systemd/system-preset/10.preset",
        "usr/lib/systemd/system-preset/90.preset",
        "etc/machine-id",
    )


CLOUD: dict[str, Any] = {
    "usr/bin/cloud-init": "#!",
    "etc/cloud/cloud.cfg": "users: [default]\ndisable_root: true\nssh_pwauth: 'yes'\nssh_deletekeys: off\n"
    "datasource_list: [NoCloud, 'Ec2']\nnetwork: {config: enabled}\ncloud_init_modules:\n - seed-random\n"
    " - [growpart, always]\n - {name: users-groups.py}\n - 5\n - []\ncloud_config_modules: none\n",
    "etc/cloud/cloud.cfg.d/10.cfg": "datasource_list: OpenStack, None,\n5: x\n",
    "etc/cloud/cloud.cfg.d/20.cfg": "ssh_pwauth: 1\nnetwork:\n  config: disabled\n",
    "etc/cloud/ds-identify.cfg": "policy: search,found=all\ndatasource: Azure\n",
    "etc/cloud/cloud-init.disabled": "",
    "etc/cloud/cloud-init.enabled": "",
    "var/lib/cloud/instance": Link("/x"),
    "var/lib/cloud/instances/i-1": None,
    f"{U}/cloud-init.service": "",
    f"{U}/cloud-final.service": "",
    f"{E}/cloud-init.target.wants/cloud-init.service": Link("/x"),
    f"{U}/cloud-init-local.service": "[Unit]\nConditionPathExists=!/etc/cloud/cloud-init.disabled\n",
    f"{E}/cloud-init.target": Link("/dev/null"),
    "usr/lib/python3/dist-packages/cloud_init-23.1.egg-info": None,
}
LINES = (
    "ds=nocloud;s=/x",
    "ci.ds=Ec2",
    "ci.datasource=GCE,None",
    "ds=",
    "cloud-init=disabled",
    "cloud-init=enabled",
    "cloud-init=disabled cloud-init=enabled",
    "cloud-init=enabled cloud-init=disabled",
    "ci.di.policy=disabled",
    "ci.di.policy=search,x",
    "ci.di.policy=disabled,x ci.di.policy=search",
    "x",
)


@TABLES
def cloud_init() -> Iterator[str]:
    """Its configuration, and what turns it off."""

    def tell(files: Files, line: str = "") -> Any:
        found = cloudinit.facts(files, tuple(line.split()), units.read(files), None)
        return {"found": found, "writes network": found.writes_network}

    yield from varied.of_tree(CLOUD, tell, *(name for name in CLOUD if name.endswith(".cfg")))
    left = {
        name: content
        for name, content in CLOUD.items()
        if "cloud-init." not in name or "bled" not in name
    }
    old = {name: content for name, content in left.items() if "local" not in name}
    off = {"etc/cloud/cloud-init.disabled": ""}
    for tree in (left, old, CLOUD, {**left, **off}, {**old, **off}):
        files = varied.files_of(tree)
        yield from varied.of_values(
            {line: line for line in LINES}, lambda line, files=files: tell(files, line)
        )
    words = ("true", "Yes", "on", "1", "false", "no", "OFF", "0", "2", "null", "[]")
    yield from varied.of_values(
        {word: word for word in words},
        lambda word: tell(
            varied.files_of({**CLOUD, "etc/cloud/cloud.cfg.d/30.cfg": f"ssh_pwauth: '{word}'\n"})
        ),
    )


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)

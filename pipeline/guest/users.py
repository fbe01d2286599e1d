"""Who can log in: local administrators, SSH's server and keys."""

from __future__ import annotations

import re
from typing import Any

from pipeline.guest.tree import Files
from pipeline.text import clean

_ADMIN_GROUPS = frozenset({"sudo", "wheel", "admin"})
_SERVERS = ("/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd", "/usr/sbin/dropbear")
_SUDO_RULE = re.compile(
    r"^[ \t]*([A-Za-z_][\w.-]*)\s+\S+\s*=\s*(?:\([^)]*\))?\s*(?:[A-Z]+:\s*)*ALL\b"
)
LONGEST_LINE = 1000  # characters of a line of sudoers that are looked at
MAX_HOMES = 50  # home directories that are looked into


def _rows(files: Files, path: str) -> list[list[str]]:
    text = files.text(path, 1 << 20) or ""
    return [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]


def administrators(files: Files) -> list[str] | None:
    """Users with a password that may become root, root itself included; None: no /etc/shadow.

    They are who can still log in on the emergency console when the network does not come up.
    """
    shadow = _rows(files, "/etc/shadow")
    if not shadow:
        return None
    usable = {row[0] for row in shadow if len(row) > 1 and row[1][:1] not in ("", "!", "*", "x")}
    allowed = {"root"} | _group_members(files) | _named_in_sudoers(files)
    return sorted(clean(name, 64) for name in usable & allowed)


def _group_members(files: Files) -> set[str]:
    found: set[str] = set()
    numbers = set()
    for row in _rows(files, "/etc/group"):
        if len(row) >= 4 and row[0] in _ADMIN_GROUPS:
            numbers.add(row[2])
            found.update(name for name in row[3].split(",") if name)
    found.update(
        row[0] for row in _rows(files, "/etc/passwd") if len(row) > 3 and row[3] in numbers
    )
    return found


def _named_in_sudoers(files: Files) -> set[str]:
    paths = ["/etc/sudoers"]
    # sudo itself skips names with a dot or a trailing tilde (sudoers(5), @includedir)
    paths += [
        f"/etc/sudoers.d/{name}"
        for name in files.names("/etc/sudoers.d")
        if "." not in name and not name.endswith("~")
    ]
    lines = (line for path in paths for line in (files.text(path) or "").splitlines())
    return {match[1] for line in lines if (match := _SUDO_RULE.match(line[:LONGEST_LINE]))}


def ssh(files: Files) -> dict[str, Any]:
    """Whether there is an SSH server, and the keys that are part of the image."""
    for directory in ("/usr/sbin", "/usr/bin", "/sbin"):
        names = [path.rsplit("/", 1)[1] for path in _SERVERS if path.startswith(f"{directory}/")]
        files.prefetch(directory, names)
    keys = [name for name in files.names("/etc/ssh") if re.fullmatch(r"ssh_host_\w+_key", name)]
    return {
        "server": any(files.is_file(path) for path in _SERVERS),
        "host_keys": [clean(name, 100) for name in keys],
        "authorized_keys": _authorized(files),
    }


def _authorized(files: Files) -> list[str]:
    found = []
    homes = [row[5] for row in _rows(files, "/etc/passwd") if len(row) > 5 and _has_home(row)]
    for home in dict.fromkeys(homes[:MAX_HOMES]):
        for name in ("authorized_keys", "authorized_keys2"):
            path = f"{home.rstrip('/')}/.ssh/{name}"
            text = files.text(path)
            if text and any(line.strip()[:1] not in ("", "#") for line in text.splitlines()):
                found.append(clean(path, 200))
    return found


def _has_home(row: list[str]) -> bool:
    return row[0] == "root" or (row[2].isdigit() and 1000 <= int(row[2]) < 65534)

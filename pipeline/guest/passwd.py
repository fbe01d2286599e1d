"""Accounts: /etc/passwd, /etc/shadow, /etc/group and sudoers.  Hashes are looked at, never kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.guest.answers import Answer, ask
from pipeline.guest.tree import Files
from pipeline.text import clean

_ADMIN_GROUPS = frozenset({"sudo", "wheel", "admin"})
_SUDO_RULE = re.compile(
    r"^[ \t]*([A-Za-z_][\w.-]*)\s+\S+\s*=\s*(?:\([^)]*\))?\s*(?:[A-Z]+:\s*)*ALL\b"
)
_PRIVATE = ("id_rsa", "id_ed25519", "id_ecdsa", "id_dsa", "identity")
_HISTORIES = (".bash_history", ".zsh_history", ".ash_history", ".mysql_history", ".psql_history",
              ".python_history", ".sh_history")  # fmt: skip
_NO_LOGIN = re.compile(r"/(?:nologin|false|sync|halt|shutdown)$")
LONGEST_LINE = 1000  # characters of a line of sudoers that are looked at
MAX_HOMES = 50
MAX_ACCOUNTS = 1000


@dataclass(frozen=True)
class Account:
    """One line of /etc/passwd."""

    name: str
    number: int
    group: str
    home: str
    shell: str

    @property
    def person(self) -> bool:
        """Whether somebody logs in with it: root, or an ordinary user."""
        return self.number == 0 or 1000 <= self.number < 65534 or self.number in range(500, 1000)

    @property
    def may_log_in(self) -> bool:
        """Whether its shell lets it."""
        return not _NO_LOGIN.search(self.shell)


@dataclass(frozen=True)
class Users:
    """``section.UserFacts``."""

    with_password: tuple[str, ...]
    empty_password: tuple[str, ...]
    root_password: Literal["set", "empty", "locked", "absent"]
    private_keys: Answer[tuple[str, ...]]
    histories: Answer[tuple[str, ...]]


def _rows(files: Files, path: str) -> list[list[str]]:
    text = files.text(path, 1 << 20) or ""
    rows = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return rows[:MAX_ACCOUNTS]


def accounts(files: Files) -> list[Account]:
    """The lines of /etc/passwd that make sense."""
    return [
        Account(row[0], int(row[2]), row[3], row[5], row[6] if len(row) > 6 else "/bin/sh")
        for row in _rows(files, "/etc/passwd")
        if len(row) > 5 and re.fullmatch(r"\d{1,10}", row[2])
    ]


def login_accounts(files: Files) -> list[Account]:
    """Accounts of people, each home once."""
    homes: dict[str, Account] = {}
    for account in accounts(files):
        if account.person and account.home.startswith("/"):
            homes.setdefault(account.home, account)
    return list(homes.values())


def _hashes(files: Files) -> dict[str, str]:
    """The second field of each account: from /etc/shadow, or, where that is not used, passwd."""
    found = {row[0]: row[1] for row in _rows(files, "/etc/passwd") if len(row) > 1}
    shadow = {row[0]: row[1] for row in _rows(files, "/etc/shadow") if len(row) > 1}
    return {name: shadow.get(name, "!") if field == "x" else field for name, field in found.items()}


def _is_set(field: str) -> bool:
    return field[:1] not in ("", "!", "*", "x")


def users(files: Files) -> Users | None:
    """Accounts and what they left in their homes; None: there is no /etc/passwd."""
    known = accounts(files)
    if not known:
        return None
    hashes = _hashes(files)
    shells = [account for account in known if account.may_log_in]
    root = hashes.get("root")
    return Users(
        tuple(clean(each.name, 64) for each in known if _is_set(hashes.get(each.name, "!"))),
        tuple(clean(each.name, 64) for each in shells if hashes.get(each.name) == ""),
        _state(root),
        ask(lambda: _in_homes(files, [f".ssh/{name}" for name in _PRIVATE])),
        ask(lambda: _in_homes(files, list(_HISTORIES))),
    )


def _state(field: str | None) -> Literal["set", "empty", "locked", "absent"]:
    if field is None:
        return "absent"
    if field == "":
        return "empty"
    return "set" if _is_set(field) else "locked"


def _in_homes(files: Files, names: list[str]) -> tuple[str, ...]:
    found = []
    for account in login_accounts(files)[:MAX_HOMES]:
        home = account.home.rstrip("/")
        files.expect(*(f"{home}/{name}" for name in names))
        for name in names:
            entry = files.entry(f"{home}/{name}")
            if entry is not None and entry.kind == "file" and entry.size:
                found.append(clean(f"{home}/{name}", 200))
    return tuple(found)


# --------------------------------------------------------------------------------- who becomes root


def administrators(files: Files) -> tuple[str, ...] | None:
    """Users with a password that may become root, root itself included; None: no /etc/shadow.

    They are who can still log in on the emergency console when the network does not come up.
    """
    shadow = _rows(files, "/etc/shadow")
    if not shadow:
        return None
    usable = {row[0] for row in shadow if len(row) > 1 and _is_set(row[1])}
    allowed = {"root"} | _group_members(files) | _named_in_sudoers(files)
    return tuple(sorted(clean(name, 64) for name in usable & allowed))


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

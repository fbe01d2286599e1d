"""The SSH server: whether it starts, who may log in, and the keys that are part of the image.

sshd_config(5): the first value of a keyword counts; Include reads other files where it stands; what
follows Match holds for some connections only, and is left out, until "Match all" or the file's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.guest import globs, units
from pipeline.guest.answers import Answer, ask
from pipeline.guest.passwd import Account, login_accounts
from pipeline.guest.tree import Files
from pipeline.guest.units import Units
from pipeline.text import clean

_CONFIGS = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config")  # the vendor's, where /etc has none
_SERVERS = ("/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd", "/usr/sbin/dropbear")
UNITS = (
    "ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "dropbear.service",
    "dropbear.socket", "openssh-server.service",
)  # fmt: skip
_NOT_RUN = "/etc/ssh/sshd_not_to_be_run"
MAX_INCLUDES = 32
MAX_HOMES = 50  # home directories that are looked into
_KEYWORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+?)\s*$")


@dataclass(frozen=True)
class Ssh:
    """``section.SshFacts``."""

    server: bool
    enabled: bool | None
    disabled_by: str | None
    host_keys: tuple[str, ...]
    authorized_keys: Answer[tuple[str, ...]]
    root_login: str | None
    password_login: bool | None
    ports: tuple[int, ...]


def facts(files: Files, started: Units) -> Ssh:
    """All about the SSH server."""
    server = _installed(files)
    settings = _settings(files)
    enabled, why = _enabled(files, started) if server else (False, None)
    return Ssh(
        server,
        enabled,
        why,
        tuple(_host_keys(files, settings)),
        ask(lambda: tuple(_authorized(files, settings))),
        _first(settings, "permitrootlogin", "prohibit-password") if server else None,
        _first(settings, "passwordauthentication", "yes") != "no" if server else None,
        tuple(int(port) for port in settings.get("port", ["22"]) if port.isdigit())[:8],
    )


def _installed(files: Files) -> bool:
    files.expect(*_SERVERS)
    return any(files.is_file(path) for path in _SERVERS)


def _enabled(files: Files, started: Units) -> tuple[bool | None, str | None]:
    if files.entry(_NOT_RUN):
        return False, _NOT_RUN
    state = units.state(files, started, UNITS)
    if state == "absent":
        return (None, None) if not started.systemd else (False, "no unit starts it")
    return (True, None) if state == "enabled" else (False, f"its unit is {state}")


# ------------------------------------------------------------------------------------------- config


def _settings(files: Files) -> dict[str, list[str]]:
    """Every keyword in lower case with its values, the first one first."""
    found: dict[str, list[str]] = {}
    path = next((path for path in _CONFIGS if files.entry(path)), _CONFIGS[0])
    for keyword, value in _lines(files, path, [0]):
        found.setdefault(keyword, []).append(value)
    return found


def _lines(files: Files, path: str, included: list[int]) -> Iterator[tuple[str, str]]:
    included[0] += 1
    everybody = True
    for line in (files.text(path) or "").splitlines():
        match = _KEYWORD.match(line[:1000])
        if match is None:
            continue
        keyword, words = match[1].lower(), _words(match[2])
        if keyword == "match":
            everybody = [word.lower() for word in words] == ["all"]
        elif keyword == "include" and everybody:
            for other in (name for pattern in words for name in _included(files, pattern)):
                if included[0] < MAX_INCLUDES:
                    yield from _lines(files, other, included)
        elif everybody and words:
            yield keyword, " ".join(words)


def _words(text: str) -> list[str]:
    """The arguments, without quotes and without the comment that may follow them."""
    parts = re.findall(r'"([^"]*)"|(#.*)|([^\s"]+)', text)
    return [quoted or bare for quoted, comment, bare in parts if not comment]


def _included(files: Files, pattern: str) -> list[str]:
    return globs.expand(files, pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}")


def _first(settings: dict[str, list[str]], keyword: str, default: str) -> str:
    return clean(settings.get(keyword, [default])[0].lower(), 60)


# --------------------------------------------------------------------------------------------- keys


def _host_keys(files: Files, settings: dict[str, list[str]]) -> Iterator[str]:
    for name in files.names("/etc/ssh"):
        if re.fullmatch(r"ssh_host_\w+_key", name):
            yield clean(name, 100)
    for path in settings.get("hostkey", []):
        usual = re.fullmatch(r"/etc/ssh/ssh_host_\w+_key", path)
        if not usual and path.startswith("/") and files.is_file(path):
            yield clean(path, 200)


def _authorized(files: Files, settings: dict[str, list[str]]) -> Iterator[str]:
    named = settings.get("authorizedkeysfile", [".ssh/authorized_keys .ssh/authorized_keys2"])[0]
    seen = set()
    for account in login_accounts(files)[:MAX_HOMES]:
        for pattern in named.split():
            path = _path(pattern, account)
            if path and path not in seen and _has_key(files.text(path)):
                seen.add(path)
                yield clean(path, 200)


def _path(pattern: str, account: Account) -> str | None:
    tokens = {"%": "%", "h": account.home, "u": account.name}
    path = re.sub(r"%([%hu])", lambda match: tokens[match[1]], pattern)
    if path == "none":
        return None
    return path if path.startswith("/") else f"{account.home.rstrip('/')}/{path}"


def _has_key(text: str | None) -> bool:
    return any(line.strip()[:1] not in ("", "#") for line in (text or "").splitlines())

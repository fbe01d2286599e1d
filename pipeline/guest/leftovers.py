"""What of the old machine and its people is still in an image.  Paths only, never contents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.guest.answers import Answer, ask
from pipeline.guest.passwd import login_accounts
from pipeline.guest.tree import Files
from pipeline.text import clean

_CREDENTIALS = (
    ".aws/credentials", ".azure/accessTokens.json", ".azure/msal_token_cache.json",
    ".config/gcloud/credentials.db", ".config/gcloud/application_default_credentials.json",
    ".config/openstack/clouds.yaml", ".oci/config", ".docker/config.json", ".kube/config",
    ".netrc", ".git-credentials", ".config/doctl/config.yaml", ".s3cfg", ".boto",
)  # fmt: skip
_SYSTEM_CREDENTIALS = (
    "/etc/openstack/clouds.yaml", "/etc/openstack/secure.yaml", "/etc/boto.cfg",
)  # fmt: skip
_CERTIFICATES = (
    "/etc/krb5.keytab", "/etc/sysconfig/rhn/systemid", "/etc/pki/consumer/key.pem",
    "/etc/pki/consumer/cert.pem", "/etc/zypp/credentials.d/SCCcredentials",
    "/var/lib/ubuntu-advantage/private/machine-token.json",
    "/etc/ubuntu-advantage/machine-token.json",
)  # fmt: skip
_SEEDS = ("/var/lib/systemd/random-seed", "/var/lib/random-seed", "/var/lib/urandom/random-seed",
          "/boot/loader/random-seed", "/boot/efi/loader/random-seed",
          "/efi/loader/random-seed")  # fmt: skip
_LEASES = ("/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/NetworkManager", "/var/lib/dhcpcd")
_CACHES = ("/var/cache/apt/archives", "/var/cache/dnf", "/var/cache/yum", "/var/cache/zypp/packages",
           "/var/cache/pacman/pkg")  # fmt: skip
_JOBS = ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs",
         "/var/spool/at", "/var/spool/cron/atjobs")  # fmt: skip
_LOGS = ("messages", "syslog", "auth.log", "secure", "wtmp", "btmp", "lastlog", "dmesg", "kern.log",
         "cloud-init.log", "cloud-init-output.log", "audit", "journal", "installer",
         "anaconda")  # fmt: skip
_PROXIES = ("/etc/environment", "/etc/yum.conf", "/etc/dnf/dnf.conf", "/etc/apt/apt.conf")
_PROXY = re.compile(
    r"^[ \t]*(?:\w*_proxy|proxy|Acquire::\w+::Proxy)\b\s*[=\s]\s*\S", re.IGNORECASE | re.MULTILINE
)
_PROMPTS = ("/.unconfigured", "/forcefsck", "/fsckoptions", "/etc/sysconfig/firstboot-run",
            "/var/lib/YaST2/reconfig_system")  # fmt: skip
MAX_FOUND = 20


@dataclass(frozen=True)
class Leftovers:
    """``section.LeftoverFacts``."""

    cloud_credentials: Answer[tuple[str, ...]]
    certificates: Answer[tuple[str, ...]]
    random_seeds: Answer[tuple[str, ...]]
    dhcp_leases: Answer[tuple[str, ...]]
    package_caches: Answer[tuple[str, ...]]
    logs: Answer[tuple[str, ...]]
    jobs: Answer[tuple[str, ...]]
    proxies: Answer[tuple[str, ...]]
    install_media: Answer[tuple[str, ...]]
    first_boot_prompts: Answer[tuple[str, ...]]


def facts(files: Files) -> Leftovers:
    """Everything of that kind."""

    def paths(found: Iterator[str]) -> Answer[tuple[str, ...]]:
        return ask(
            lambda: tuple(
                clean(path, 200) for path, _ in zip(found, range(MAX_FOUND), strict=False)
            )
        )

    files.expect(*_SYSTEM_CREDENTIALS, *_CERTIFICATES, *_SEEDS, *_LEASES, *_CACHES, *_JOBS)
    files.expect(*_PROXIES, *_PROMPTS, *(f"/var/log/{name}" for name in _LOGS))
    return Leftovers(
        paths(_credentials(files)),
        paths(_filled(files, _CERTIFICATES)),
        paths(_filled(files, _SEEDS)),
        paths(_leases(files)),
        paths(_caches(files)),
        paths(_logs(files)),
        paths(_jobs(files)),
        paths(_proxies(files)),
        paths(_media(files)),
        paths(_prompts(files)),
    )


def _filled(files: Files, paths: tuple[str, ...]) -> Iterator[str]:
    """The paths that are files with something in them."""
    for path in paths:
        entry = files.entry(path)
        if entry is not None and entry.kind == "file" and entry.size:
            yield path


def _credentials(files: Files) -> Iterator[str]:
    yield from _filled(files, _SYSTEM_CREDENTIALS)
    for account in login_accounts(files)[:MAX_FOUND]:
        home = account.home.rstrip("/")
        if files.is_directory(home or "/"):
            places = tuple(f"{home}/{name}" for name in _CREDENTIALS)
            files.expect(*places)
            yield from _filled(files, places)


def _leases(files: Files) -> Iterator[str]:
    for directory in _LEASES:
        for path in files.matching(directory, ".leases", ".lease"):
            yield from _filled(files, (path,))


def _caches(files: Files) -> Iterator[str]:
    for directory in _CACHES:
        kept = [
            name for name in files.names(directory) if name not in ("lock", "partial", "README")
        ]
        if kept:
            yield directory


def _logs(files: Files) -> Iterator[str]:
    for name in _LOGS:
        entry = files.entry(f"/var/log/{name}")
        empty = entry is None or (entry.kind == "file" and not entry.size)
        if not empty and (entry.kind == "file" or files.names(f"/var/log/{name}")):  # type: ignore[union-attr]
            yield f"/var/log/{name}"


def _jobs(files: Files) -> Iterator[str]:
    for directory in _JOBS:
        for name in files.names(directory):
            path = f"{directory}/{name}"
            if not name.startswith(".") and files.is_file(path):
                yield path


def _proxies(files: Files) -> Iterator[str]:
    for path in (*_PROXIES, *files.matching("/etc/apt/apt.conf.d", "")):
        text = files.text(path)
        if text and _PROXY.search(re.sub(r"^[ \t]*(?:#|//).*$", "", text, flags=re.MULTILINE)):
            yield path


def _media(files: Files) -> Iterator[str]:
    text = files.text("/etc/apt/sources.list") or ""
    if re.search(r"^deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?cdrom:", text, re.MULTILINE):
        yield "/etc/apt/sources.list"


def _prompts(files: Files) -> Iterator[str]:
    yield from (path for path in _PROMPTS if files.is_file(path))

"""Which packages are installed: dpkg's status, rpm's SQLite database, apk's and pacman's files.

    dpkg    /var/lib/dpkg/status                  paragraphs: Package, Status, Version
    apk     /lib/apk/db/installed                 paragraphs: P:, V:
    pacman  /var/lib/pacman/local/NAME-VERSION-REL/
    rpm     …/rpm/rpmdb.sqlite                    the table Name (rpm 4.16 and later)

Older rpm databases (Berkeley DB, ndb) are not read: then nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.guest import sqlitefile
from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

LIMIT = 32 << 20  # bytes of a database; dpkg's status of a desktop has 4 MiB
MAX_PACKAGES = 20_000
_RPM = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_KERNEL = re.compile(
    r"linux-image-(?!.*-dbg)|kernel(?:-core|-default|-uek|-uek-core|-lt|-ml)?$|linux(?:-lts|-virt|-zen)?$"
)


@dataclass(frozen=True)
class Packages:
    """What a package manager's database holds."""

    manager: str
    versions: Mapping[str, str | None] = field(default_factory=dict)  # package: version
    path: str = ""  # of the database: its time is that of the last change

    def version(self, *names: str) -> str | None:
        """The version of the first of these packages that is installed."""
        return next((found for name in names if (found := self.versions.get(name))), None)

    def has(self, *names: str) -> bool:
        """Whether any of them is installed."""
        return any(name in self.versions for name in names)


@dataclass(frozen=True)
class PackageReport:
    """``section.PackageFacts``."""

    manager: str | None
    count: int
    names: tuple[str, ...]
    kernels: tuple[str, ...]


def read(files: Files) -> Packages | None:
    """The installed packages; None: no package manager is known here.  Raises ``TreeError``."""
    readers: tuple[Callable[[Files], Packages | None], ...] = (_dpkg, _rpm, _apk, _pacman)
    return next((found for look in readers if (found := look(files)) is not None), None)


def report(found: Packages) -> PackageReport:
    """The packages as the facts have them."""
    names = sorted(found.versions)
    kernels = (
        f"{name} {found.versions[name] or ''}".strip() for name in names if _KERNEL.match(name)
    )
    return PackageReport(
        found.manager,
        len(names),
        tuple(clean(name, 100) for name in names),
        tuple(clean(words, 160) for words in kernels),
    )


def _dpkg(files: Files) -> Packages | None:
    path = "/var/lib/dpkg/status"
    text = files.text(path, LIMIT)
    if text is None:
        return None
    found: dict[str, str | None] = {}
    for paragraph in text.split("\n\n")[:MAX_PACKAGES]:
        name = re.search(r"^Package: *(\S+)", paragraph, re.MULTILINE)
        state = re.search(r"^Status: *\S+ \S+ (\S+)", paragraph, re.MULTILINE)
        version = re.search(r"^Version: *(\S+)", paragraph, re.MULTILINE)
        if name and state and state[1] == "installed":
            found[name[1]] = version[1] if version else None
    return Packages("dpkg", found, path)


def _apk(files: Files) -> Packages | None:
    for path in _APK:
        text = files.text(path, LIMIT)
        if text is None:
            continue
        found: dict[str, str | None] = {}
        for paragraph in text.split("\n\n")[:MAX_PACKAGES]:
            fields = dict(re.findall(r"^([PV]):(\S+)", paragraph, re.MULTILINE))
            if "P" in fields:
                found[fields["P"]] = fields.get("V")
        return Packages("apk", found, path)
    return None


def _pacman(files: Files) -> Packages | None:
    path = "/var/lib/pacman/local"
    if not files.is_directory(path):
        return None
    found: dict[str, str | None] = {}
    for name in files.names(path)[:MAX_PACKAGES]:
        match = re.fullmatch(r"(.+)-([^-]+-[^-]+)", name)
        if match:
            found[match[1]] = match[2]
    return Packages("pacman", found, path)


def _rpm(files: Files) -> Packages | None:
    for directory in _RPM:
        path = f"{directory}/rpmdb.sqlite"
        found = files.find(path)
        if found is None or found.entry.kind != "file":
            if any(files.is_file(f"{directory}/{name}") for name in ("Packages", "Packages.db")):
                raise TreeError(f"{directory} holds an rpm database of an older kind")
            continue
        if found.entry.size > 16 * LIMIT:
            raise TreeError(f"{path} has {found.entry.size} bytes")
        rows = sqlitefile.rows(sqlitefile.of_guest(files, path), "Name", MAX_PACKAGES)
        names = {str(row[0]) for row in rows if row and isinstance(row[0], str)}
        return Packages("rpm", dict.fromkeys(sorted(names - {"gpg-pubkey"})), path)
    return None

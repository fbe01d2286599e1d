"""Whether a service starts by itself: systemd's links, SysV's rc directories, OpenRC's run levels.

    /etc/systemd/system/NAME        a link to /dev/null: masked
    …/*.wants/NAME, *.requires/     links made by "systemctl enable"; also below /usr/lib and /run
    presets                         at a first boot systemd enables what they say (machine-id(5))
    /etc/rc[2-5].d/S??NAME          SysV, which systemd passes over where it has a unit of that name, even a
                                    masked one (systemd-sysv-generator(8)); /etc/runlevels/*/NAME: OpenRC

https://www.freedesktop.org/software/systemd/man/latest/systemctl.html (is-enabled)
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.guest.tree import Files

State = Literal["enabled", "disabled", "masked", "absent"]

_ETC = "/etc/systemd/system"
_VENDOR = ("/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system")
_PRESETS = ("/etc/systemd/system-preset", "/usr/lib/systemd/system-preset")
_TARGETS = (
    "multi-user.target", "default.target", "graphical.target", "sysinit.target", "basic.target",
    "network.target", "network-online.target", "sockets.target", "timers.target",
    "cloud-init.target", "cloud-config.target", "local-fs.target", "network-pre.target",
)  # fmt: skip
MAX_LINKS = 500  # names of one directory of links


@dataclass(frozen=True)
class Units:
    """The services that start by themselves, read once."""

    systemd: bool  # there is a systemd
    wanted: frozenset[str]  # unit names with a link in some .wants or .requires directory
    masked: frozenset[str]
    first_boot: bool  # systemd will take this for the first start, and apply presets
    presets: tuple[tuple[bool, str], ...]  # enable or disable, pattern; the first that fits counts
    rc: frozenset[str]  # names of SysV scripts and OpenRC services that start


def read(files: Files) -> Units:
    """What starts by itself in a guest."""
    own = files.names(_ETC)
    files.expect(*(f"{_ETC}/{name}" for name in own[:MAX_LINKS]))
    wanted = {name for top in (_ETC, *_VENDOR[:1]) for name in _links(files, top, own)}
    named = [name for name in own if "." in name]
    masked = {name for name in named if _is_masked(files, name)}
    masked |= {name for name in named if _alias_of(files, name) in masked}
    machine_id = files.text("/etc/machine-id", 256)
    first = machine_id is None or machine_id.strip() == "uninitialized"
    return Units(
        any(files.is_directory(path) for path in (*_VENDOR, _ETC)),
        frozenset(wanted),
        frozenset(masked),
        first,
        tuple(_presets(files)) if first else (),
        frozenset(_rc(files)),
    )


def _links(files: Files, top: str, own: list[str]) -> Iterator[str]:
    if top == _ETC:
        directories = [name for name in own if name.endswith((".wants", ".requires"))]
    else:
        directories = [f"{target}.wants" for target in _TARGETS]
        files.expect(*(f"{top}/{name}" for name in directories))
    for name in directories:
        yield from files.names(f"{top}/{name}")[:MAX_LINKS]


def _is_masked(files: Files, name: str) -> bool:
    """A link to /dev/null, or an empty file (systemd.unit(5))."""
    found = files.find(f"{_ETC}/{name}", follow=False)
    if found is None or found.entry.kind not in ("link", "file"):
        return False
    if found.entry.kind == "file":
        return not found.entry.size
    return found.tree.readlink(found.path) == "/dev/null"


def _alias_of(files: Files, name: str) -> str | None:
    """``ssh.service`` for /etc/systemd/system/sshd.service, a link to it."""
    found = files.find(f"{_ETC}/{name}", follow=False)
    if found is None or found.entry.kind != "link":
        return None
    return found.tree.readlink(found.path).rsplit("/", 1)[-1]


def _presets(files: Files) -> Iterator[tuple[bool, str]]:
    """All lines of all preset files by file name; a name in /etc hides the same one elsewhere."""
    paths: dict[str, str] = {}
    for directory in reversed(_PRESETS):
        for path in files.matching(directory, ".preset"):
            paths[path.rsplit("/", 1)[1]] = path
    for name in sorted(paths)[:64]:
        for line in (files.text(paths[name]) or "").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] in ("enable", "disable"):
                yield words[0] == "enable", words[1]


def _rc(files: Files) -> Iterator[str]:
    for level in "2345":
        for directory in (f"/etc/rc{level}.d", f"/etc/rc.d/rc{level}.d"):
            for name in files.names(directory)[:MAX_LINKS]:
                match = re.fullmatch(r"S\d\d(.+)", name)
                if match:
                    yield match[1]
    for level in ("default", "boot", "sysinit"):
        yield from files.names(f"/etc/runlevels/{level}")[:MAX_LINKS]


def expect(files: Files, names: Iterable[str]) -> None:
    """Learn which of these units there are; their states will be asked for."""
    files.expect(*(f"{top}/{name}" for name in names for top in (_ETC, *_VENDOR)))


def state(files: Files, units: Units, names: Sequence[str]) -> State:
    """Whether any of these services starts by itself; "masked" when all that exist are masked.

    Names are unit names ("ssh.service"); without the suffix they stand for SysV and OpenRC.
    """
    existing = [name for name in names if _exists(files, name) or name in units.wanted]
    free = [name for name in existing if name not in units.masked]
    if any(name in units.wanted for name in free):
        return "enabled"
    if units.first_boot and any(_preset(units, name) for name in free if _exists(files, name)):
        return "enabled"
    if any(
        name.removesuffix(".service") in units.rc and not (units.systemd and name in existing)
        for name in names
    ):
        return "enabled"
    if any(name in units.masked for name in names) and not free:
        return "masked"
    return "disabled" if existing else "absent"


def _exists(files: Files, name: str) -> bool:
    return any(files.entry(f"{top}/{name}") for top in (_ETC, *_VENDOR))


def _preset(units: Units, name: str) -> bool:
    """What the presets say; a unit that none names is enabled (systemd.preset(5))."""
    return next((yes for yes, pattern in units.presets if fnmatch.fnmatchcase(name, pattern)), True)
